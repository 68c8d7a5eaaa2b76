"""Batches of training examples, made ahead of time.

The batch of a step is a pure function of the seed and the step, whatever the number of threads or
processes, so that a training that was killed and resumed sees exactly what an undisturbed one
would have seen.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool

from deeplab_gygo.errors import DeepLabGygoError
from deeplab_gygo.synthesis.clips import FRAMES_PER_CLIP
from deeplab_gygo.training.examples import Batch, Work, join


def batches(
    work: Work,
    *,
    first_step: int,
    last_step: int,
    batch: int,
    per_clip: int = FRAMES_PER_CLIP,
    ahead: int = 4,
) -> Iterator[Batch]:
    """Yields the batches of the steps `first_step` to `last_step - 1`, in order.

    Args:
        work: Of `open_pool`: what makes the clips of a step. The pool is shut down at the end.
        first_step: First step to make.
        last_step: Step to stop before.
        batch: Examples a step, a multiple of `per_clip`.
        per_clip: Examples that a clip gives.
        ahead: Batches that may wait to be used; bounds the memory.

    Yields:
        Inputs and targets; see `Batch`.

    Raises:
        DeepLabGygoError: A process that makes examples was killed.
    """
    pool, make_clip = work
    waiting: deque[list[Future[Batch]]] = deque()
    clips = batch // per_clip
    try:
        upcoming = first_step
        for _ in range(first_step, last_step):
            while upcoming < last_step and len(waiting) < ahead:
                waiting.append([pool.submit(make_clip, upcoming, clip) for clip in range(clips)])
                upcoming += 1
            yield join([future.result() for future in waiting.popleft()])
    except BrokenProcessPool as error:
        raise DeepLabGygoError(
            "The processes that make examples run as long as the training",
            met="one of them was killed, for want of memory perhaps",
            where="worker_processes",
            remedy="Take fewer of them or a smaller cache_gb; the last checkpoint is whole",
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)
