"""Batches of training examples, made ahead of time by threads or processes.

The batch of a step is a pure function of the seed and the step, whatever the number of threads or
processes, so that a resumed training sees exactly the data of an uninterrupted one. This module
needs no Keras, so that the processes start quickly and stay small.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from deeplab_gygo.errors import DeepLabGygoError
from deeplab_gygo.io.scratch import Scratch, configure_scratch, scratch
from deeplab_gygo.models.guide import encode_guide, guide_at_stride
from deeplab_gygo.synthesis.augment import VOID
from deeplab_gygo.synthesis.clips import (
    FRAMES_PER_CLIP,
    ClipSource,
    ConditioningDropout,
    training_clip,
)
from deeplab_gygo.synthesis.config import SourceConfig
from deeplab_gygo.synthesis.sources import build_source
from deeplab_gygo.synthesis.strokes import stroke_clip
from deeplab_gygo.training.config import TrainConfig

Batch = tuple[dict[str, np.ndarray], np.ndarray]
"""Inputs of the training network, and targets uint8 [B, h, w, 1]: 0, 1, or 255 where the annotation
is void."""

MakeClip = Callable[[int, int], Batch]
"""Makes the examples of a clip from the step and the position of the clip in the batch."""

_BATCHES_AHEAD = 4  # bounds the memory


class LoaderConfig(Protocol):
    """Options of `start_pool`, in the training configuration of every method."""

    sources: list[SourceConfig]
    workers: int
    worker_processes: int
    cache_gb: float


class ClipMaker:
    """Makes the examples of one clip, a pure function of the step and the clip.

    Args:
        source: Source of the clips.
        config: Crop, augmentation, conditioning dropout and seed.
    """

    def __init__(self, source: ClipSource, config: TrainConfig):
        self._source, self._config = source, config
        self._dropout = ConditioningDropout(
            config.guide_dropout, config.memory_dropout, config.score_dropout, config.rollout
        )

    def __call__(self, step: int, clip: int) -> Batch:
        """Makes the examples of a clip; safe to call from several threads."""
        config = self._config
        return stack(
            training_clip(
                self._source, step, clip, config.seed, config.crop, config.augment, self._dropout
            )
        )


class StrokeMaker:
    """Makes the examples of strokes of one clip, a pure function of the step and the clip.

    Args:
        source: Source of the clips.
        config: Crop, augmentation and seed.
    """

    def __init__(self, source: ClipSource, config: TrainConfig):
        self._source, self._config = source, config

    def __call__(self, step: int, clip: int) -> Batch:
        """Makes the examples of a clip; safe to call from several threads."""
        config = self._config
        made = stroke_clip(self._source, step, clip, config.seed, config.crop, config.augment)
        inputs = {n: np.stack([e[n] for e in made]) for n in ("image", "guide", "truth")}
        inputs["rollout"] = np.stack([e["rollout"] for e in made]).reshape(-1, 1, 1, 1)
        return inputs, np.stack([e["mask"] for e in made])[..., None]


def stack(examples: list[dict[str, np.ndarray]]) -> Batch:
    """Stacks examples of `training_clip`, of one size, to inputs and targets."""
    inputs = {"image": np.stack([e["image"] for e in examples])}
    for name in ("guide", "reference"):
        inputs[name] = guide_at_stride(np.stack([e[name] for e in examples]))
    inputs["truth"] = guide_at_stride(
        np.stack([encode_guide(e["mask"], e["mask"].shape) for e in examples])
    )
    for name in ("has_score", "rollout"):
        inputs[name] = np.stack([e[name] for e in examples]).reshape(-1, 1, 1, 1)
    targets = [np.where(e["valid"] > 0, e["mask"], VOID).astype(np.uint8) for e in examples]
    return inputs, np.stack(targets)[..., None]


def start_pool(
    config: LoaderConfig,
    source: ClipSource,
    root: str | Path,
    make_maker: Callable[[ClipSource], MakeClip],
    open_source: Callable[..., ClipSource] = build_source,
) -> tuple[Executor, MakeClip]:
    """Starts the threads or processes that make the examples of a training.

    Args:
        config: Number of processes, or else of threads; both make the same examples.
        source: Source that threads sample from; a process opens a source of its own.
        root: Folder that relative roots of the sources start at.
        make_maker: Returns the `MakeClip` of a source; sent to the processes.
        open_source: `(sources, root, cache_gb) -> source`; sent to the processes.

    Returns:
        The pool, which `batches` shuts down, and the function to submit.
    """
    if config.worker_processes == 0:
        pool = ThreadPoolExecutor(max(1, config.workers), thread_name_prefix="examples")
        return pool, make_maker(source)
    cache_gb = config.cache_gb / config.worker_processes
    pool = ProcessPoolExecutor(
        config.worker_processes,
        # Not by fork: the backend has threads, which a fork would leave in an undefined state.
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start_process,
        initargs=(partial(open_source, config.sources, root, cache_gb), make_maker, scratch()),
    )
    return pool, _make_in_process


_process_maker: MakeClip | None = None  # of this process, if it makes examples


def _start_process(
    open_source: Callable[[], ClipSource],
    make_maker: Callable[[ClipSource], MakeClip],
    place: Scratch,
) -> None:
    """Opens the sources in a process that makes examples."""
    global _process_maker
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the trainer handles Ctrl-C and ends the process
    threading.Thread(target=_end_with_trainer, daemon=True).start()
    cv2.setNumThreads(1)
    configure_scratch(place.folder, place.max_bytes)
    _process_maker = make_maker(open_source())


def _end_with_trainer() -> None:
    """Ends this process when the trainer was killed."""
    multiprocessing.parent_process().join()
    os._exit(1)


def _make_in_process(step: int, clip: int) -> Batch:
    return _process_maker(step, clip)


def batches(
    work: tuple[Executor, MakeClip],
    *,
    first_step: int,
    last_step: int,
    batch: int,
    per_clip: int = FRAMES_PER_CLIP,
) -> Iterator[Batch]:
    """Yields the batches of the steps `first_step` to `last_step - 1`, in order.

    Args:
        work: Of `start_pool`. The pool is shut down at the end.
        first_step: First step to make.
        last_step: Step to stop before.
        batch: Examples per step, a multiple of `per_clip`.
        per_clip: Examples per clip.

    Yields:
        Inputs and targets; see `Batch`.

    Raises:
        DeepLabGygoError: A process that makes examples was killed.
    """
    pool, make_clip = work
    waiting: deque[list[Future[Batch]]] = deque()
    try:
        upcoming = first_step
        for _ in range(first_step, last_step):
            while upcoming < last_step and len(waiting) < _BATCHES_AHEAD:
                clips = range(batch // per_clip)
                waiting.append([pool.submit(make_clip, upcoming, clip) for clip in clips])
                upcoming += 1
            parts = [future.result() for future in waiting.popleft()]
            inputs = {n: np.concatenate([part[0][n] for part in parts]) for n in parts[0][0]}
            yield inputs, np.concatenate([part[1] for part in parts])
    except BrokenProcessPool as error:
        raise DeepLabGygoError(
            "The processes that make examples run as long as the training",
            met="one of them was killed, perhaps for lack of memory",
            where="worker_processes",
            remedy="Use fewer of them or a smaller cache_gb; the last checkpoint is complete",
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)
