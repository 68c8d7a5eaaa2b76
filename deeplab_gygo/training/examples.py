"""Clips as a training takes them: made by threads, or by processes that open the material anew.

Nothing here needs Keras, so that a process that makes examples starts quickly and stays small.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from deeplab_gygo.errors import UsageError
from deeplab_gygo.models.guide import guide_at_stride
from deeplab_gygo.synthesis.augment import VOID
from deeplab_gygo.synthesis.clips import ClipSource, ConditioningDropout, training_clip
from deeplab_gygo.synthesis.sources import build_source
from deeplab_gygo.training.config import TrainConfig

Example = dict[str, np.ndarray]
Batch = tuple[dict[str, np.ndarray], np.ndarray]
"""Inputs {"image": uint8 [B, h, w, 3], "guide" and "reference": float32 [B, h/stride, w/stride, 1]}
and targets uint8 [B, h, w, 1]: 0, 1, or 255 where the annotation is void."""


class ClipMaker:
    """Makes the examples of one clip, a pure function of the step and the clip.

    Args:
        source: Where clips are drawn from.
        config: Crop, augmentation and seed.
        stride: Stride of guide and reference, pixels.
    """

    def __init__(self, source: ClipSource, config: TrainConfig, stride: int):
        self._source, self._config, self._stride = source, config, stride
        self._telling = ConditioningDropout(config.guide_dropout, config.memory_dropout)

    def __call__(self, step: int, clip: int) -> Batch:
        """Makes the examples of a clip; safe to call from several threads."""
        config = self._config
        examples = training_clip(
            self._source, step, clip, config.seed, config.crop, config.augment, self._telling
        )
        return stack(examples, self._stride)


def stack(examples: list[Example], stride: int) -> Batch:
    """Joins examples of one size, as `training_clip` makes them.

    Args:
        examples: Examples.
        stride: Stride of guide and reference, pixels; sizes are multiples of it.

    Returns:
        Inputs and targets.
    """
    inputs = {"image": np.stack([e["image"] for e in examples])}
    for name in ("guide", "reference"):
        inputs[name] = guide_at_stride(np.stack([e[name] for e in examples]), stride)
    targets = [np.where(e["valid"] > 0, e["mask"], VOID).astype(np.uint8) for e in examples]
    return inputs, np.stack(targets)[..., None]


def join(parts: list[Batch]) -> Batch:
    """Joins batches of one size to a larger one."""
    inputs = {name: np.concatenate([part[0][name] for part in parts]) for name in parts[0][0]}
    return inputs, np.concatenate([part[1] for part in parts])


# === Threads and processes ===

Work = tuple[Executor, Callable[[int, int], Batch]]
"""A pool, and what is submitted to it: `(step, clip) -> Batch`."""


def open_pool(config: TrainConfig, source: ClipSource, root: Path, stride: int) -> Work:
    """Starts what makes the examples of a parent's training.

    Args:
        config: As for `start_pool`.
        source: As for `start_pool`.
        root: As for `start_pool`.
        stride: Stride of guide and reference, pixels.

    Returns:
        The pool, which the caller shuts down, and what to submit.

    Raises:
        UsageError: The number of processes is negative.
    """
    return start_pool(config, source, root, partial(ClipMaker, config=config, stride=stride))


def start_pool(
    config: TrainConfig,
    source: ClipSource,
    root: Path,
    maker: Callable[[ClipSource], Callable[[int, int], Batch]],
    open_source: Callable[..., ClipSource] = build_source,
) -> Work:
    """Starts what makes the examples of a training.

    Args:
        config: Its `worker_processes` make examples, or its `workers` threads where there are
            none; both make the same ones.
        source: What threads draw from; a process opens a source of its own.
        root: Folder that relative roots of the material start at.
        maker: Makes `(step, clip) -> Batch` of a source; sent to the processes.
        open_source: `(sources, root, cache_gb) -> source`; sent to the processes.

    Returns:
        The pool, which the caller shuts down, and what to submit.

    Raises:
        UsageError: The number of processes is negative.
    """
    if config.worker_processes < 0:
        raise UsageError(
            "A number of processes is zero or more",
            met=config.worker_processes,
            where="worker_processes",
        )
    if config.worker_processes == 0:
        pool = ThreadPoolExecutor(max(1, config.workers), thread_name_prefix="examples")
        return pool, maker(source)
    pool = ProcessPoolExecutor(
        config.worker_processes,
        # Not by fork: the backend has threads, which a fork would leave in an unknown state.
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start_process,
        initargs=(config, str(root), maker, open_source),
    )
    return pool, _make_in_process


_maker: Callable[[int, int], Batch] | None = (
    None  # of this process, where it is one that makes examples
)


def _start_process(
    config: TrainConfig,
    root: str,
    maker: Callable[[ClipSource], Callable[[int, int], Batch]],
    open_source: Callable[..., ClipSource],
) -> None:
    """Opens the material in a process that makes examples."""
    global _maker
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the trainer's, who ends its processes
    threading.Thread(target=_end_with_trainer, daemon=True).start()
    cv2.setNumThreads(1)
    _maker = maker(open_source(config.sources, root, config.cache_gb / config.worker_processes))


def _end_with_trainer() -> None:
    """Ends this process when the trainer was killed, for nobody else would."""
    multiprocessing.parent_process().join()
    os._exit(1)


def _make_in_process(step: int, clip: int) -> Batch:
    return _maker(step, clip)
