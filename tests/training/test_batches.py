"""Batches are a pure function of the step."""

import numpy as np
import pytest

from deeplab_gygo.training.batches import batches


def _example(step: int, item: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng([step, item])
    return {
        "image": rng.integers(0, 256, (16, 16, 3)).astype(np.uint8),
        "mask": rng.integers(0, 2, (16, 16)).astype(np.uint8),
        "valid": np.ones((16, 16), np.uint8),
        "guide": np.ones((16, 16, 1), np.float32),
    }


def _collect(first: int, workers: int):
    return list(batches(_example, first_step=first, last_step=6, batch=2, workers=workers))


def test_number_of_threads_and_first_step_do_not_matter():
    alone, many = _collect(0, 1), _collect(3, 3)
    assert len(alone) == 6 and len(many) == 3
    for (inputs, targets), (others, other_targets) in zip(alone[3:], many, strict=True):
        np.testing.assert_array_equal(inputs["image"], others["image"])
        np.testing.assert_array_equal(targets, other_targets)
    assert inputs["guide"].shape == (2, 4, 4, 1) and targets.shape == (2, 16, 16, 1)


def test_an_error_of_a_thread_reaches_the_trainer():
    def broken(step, item):
        raise ValueError("unreadable picture")

    with pytest.raises(ValueError, match="unreadable picture"):
        next(batches(broken, first_step=0, last_step=2, batch=2, workers=2))


def test_void_becomes_255_in_the_targets():
    def with_void(step, item):
        return {**_example(step, item), "valid": np.zeros((16, 16), np.uint8)}

    _, targets = next(batches(with_void, first_step=0, last_step=1, batch=1, workers=1))
    assert (targets == 255).all()
