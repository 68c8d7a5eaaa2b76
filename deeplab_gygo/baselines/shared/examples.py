"""Clips as the trainings of OSMN and OSVOS take them; nothing here needs Keras."""

from __future__ import annotations

from functools import partial

import numpy as np

from deeplab_gygo.baselines.osmn.config import TrainOsmn
from deeplab_gygo.baselines.osmn.guided_clips import Example, Guiding, guided_clip, plain_clip
from deeplab_gygo.baselines.osvos.config import TrainOsvos
from deeplab_gygo.baselines.shared.config import BaselineTrainConfig
from deeplab_gygo.synthesis.clips import FRAMES_PER_CLIP, ClipSource
from deeplab_gygo.synthesis.sources import build_source
from deeplab_gygo.synthesis.sources import SHORT_SIDE
from deeplab_gygo.training.examples import Batch

STRIDE = 16
"""Pixels: sizes of training pictures are multiples of it, as both networks want."""

_SIZES = 2**31  # tells the draw of a step's size from those of its clips
_WHOLE_SEQUENCE = 10**6  # frames, more than a video has


def step_size(config: BaselineTrainConfig, step: int) -> tuple[int, int]:
    """Draws the size of a step's pictures, a pure function of (seed, step).

    Args:
        config: Its `crop`, `scales` and `seed`.
        step: Step of the training.

    Returns:
        Height and width, multiples of `STRIDE`, pixels.
    """
    rng = np.random.default_rng([config.seed, step, _SIZES])
    factor = config.scales[rng.integers(len(config.scales))]
    height, width = (max(round(side * factor / STRIDE), 1) * STRIDE for side in config.crop)
    return height, width


def examples_per_clip(config: BaselineTrainConfig) -> int:
    """Returns how many examples a clip gives: two moments, or one where the batch is odd."""
    return 1 if config.batch % FRAMES_PER_CLIP else FRAMES_PER_CLIP


class GuidedClipMaker:
    """Makes OSMN's examples of one clip, a pure function of the step and the clip.

    Args:
        source: Where clips are drawn from.
        config: Sizes, augmentation, guides and seed.
    """

    def __init__(self, source: ClipSource, config: TrainOsmn):
        self._source, self._config = source, config
        self._guiding = Guiding(
            config.guide_dropout, config.center_perturbation, config.spread_perturbation
        )

    def __call__(self, step: int, clip: int) -> Batch:
        """Makes the examples of a clip; safe to call from several threads."""
        config, size = self._config, step_size(self._config, step)
        return _stacked(
            guided_clip(self._source, step, clip, config.seed, size, config.augment, self._guiding)
        )


class PlainClipMaker:
    """Makes OSVOS's examples of one clip, a pure function of the step and the clip.

    Args:
        source: Where clips are drawn from.
        config: Sizes, batch, augmentation and seed.
    """

    def __init__(self, source: ClipSource, config: TrainOsvos):
        self._source, self._config = source, config
        self._moments = examples_per_clip(config)

    def __call__(self, step: int, clip: int) -> Batch:
        """Makes the examples of a clip; safe to call from several threads."""
        config, size = self._config, step_size(self._config, step)
        return _stacked(
            plain_clip(self._source, step, clip, config.seed, size, config.augment, self._moments)
        )


def source_opener(config: BaselineTrainConfig) -> partial:
    """Returns what opens the material of a training, `(sources, root, cache_gb) -> source`."""
    # Training at the full size must not enlarge what was reduced before.
    opener = partial(build_source, short_side=max(SHORT_SIDE, min(config.crop)))
    if isinstance(config, TrainOsmn):
        return partial(opener, max_frame_distance=config.guide_span or _WHOLE_SEQUENCE)
    return opener


def _stacked(examples: list[Example]) -> Batch:
    """Joins examples of one size to inputs and targets."""
    arrays = {name: np.stack([e[name] for e in examples]) for name in examples[0]}
    return arrays, arrays.pop("mask")[..., None]
