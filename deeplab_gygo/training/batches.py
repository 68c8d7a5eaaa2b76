"""Batches of training examples, made ahead of time by threads.

The batch of a step is a pure function of the seed and the step, whatever the number of threads, so
that a training that was killed and resumed sees exactly what an undisturbed one would have seen.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from deeplab_gygo.data.augment import VOID
from deeplab_gygo.models.deeplab import DECODER_STRIDE, guide_at_stride

Example = dict[str, np.ndarray]


def batches(
    make_example: Callable[[int, int], Example],
    *,
    first_step: int,
    last_step: int,
    batch: int,
    workers: int,
    ahead: int = 4,
) -> Iterator[tuple[dict[str, np.ndarray], np.ndarray]]:
    """Yields the batches of the steps `first_step` to `last_step - 1`, in order.

    Args:
        make_example: `(step, item) -> {"image" uint8 [h, w, 3], "mask" uint8 [h, w], "guide"
            float32 [h, w, 1]}`, safe to call from several threads.
        first_step: First step to make.
        last_step: Step to stop before.
        batch: Examples a step.
        workers: Threads.
        ahead: Batches that may wait to be used; bounds the memory.

    Yields:
        Inputs {"image": uint8 [B, h, w, 3], "guide": float32 [B, h/4, w/4, 1]} and targets uint8
        [B, h, w, 1]: 0, 1, or 255 where the annotation is void.
    """
    waiting: deque[list[Future[Example]]] = deque()
    with ThreadPoolExecutor(max(1, workers), thread_name_prefix="examples") as pool:
        try:
            upcoming = first_step
            for _ in range(first_step, last_step):
                while upcoming < last_step and len(waiting) < ahead:
                    waiting.append(
                        [pool.submit(make_example, upcoming, item) for item in range(batch)]
                    )
                    upcoming += 1
                yield stack([future.result() for future in waiting.popleft()])
        finally:
            for futures in waiting:
                for future in futures:
                    future.cancel()


def stack(examples: list[Example]) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Joins examples of one size to the inputs and targets of a step; see `batches`."""
    guides = np.stack([guide_at_stride(e["guide"], DECODER_STRIDE) for e in examples])
    inputs = {"image": np.stack([e["image"] for e in examples]), "guide": guides}
    targets = [np.where(e["valid"] > 0, e["mask"], VOID).astype(np.uint8) for e in examples]
    return inputs, np.stack(targets)[..., None]
