"""Training clips of OSMN and OSVOS: sizes, sampling and batches; Keras is not imported here."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from deeplab_gygo.baselines.shared.config import STRIDE, BaselineTrainConfig
from deeplab_gygo.synthesis.clips import ClipSource, RawClip
from deeplab_gygo.training.examples import Batch

Example = dict[str, np.ndarray]

MAX_ATTEMPTS = 8
"""Number of clips that are sampled until one is suitable; the last is taken in any case."""

_SIZE_STREAM = 2**31  # separates the random numbers of a step's size from those of its clips


def step_size(config: BaselineTrainConfig, step: int) -> tuple[int, int]:
    """Samples the image size of a step, a pure function of (seed, step).

    Args:
        config: Its `crop`, `scales` and `seed`.
        step: Training step.

    Returns:
        Height and width, multiples of `STRIDE`, pixels.
    """
    rng = np.random.default_rng([config.seed, step, _SIZE_STREAM])
    factor = config.scales[rng.integers(len(config.scales))]
    height, width = (max(round(side * factor / STRIDE), 1) * STRIDE for side in config.crop)
    return height, width


def sample_clip(
    source: ClipSource, suitable: Callable[[RawClip], bool], rng: np.random.Generator
) -> RawClip:
    """Samples clips until one is suitable, within `MAX_ATTEMPTS`."""
    for _ in range(MAX_ATTEMPTS):
        raw = source.sample(rng)
        if suitable(raw):
            break
    return raw


def stack_examples(examples: list[Example]) -> Batch:
    """Stacks examples of one size to inputs and targets."""
    arrays = {name: np.stack([e[name] for e in examples]) for name in examples[0]}
    return arrays, arrays.pop("mask")[..., None]
