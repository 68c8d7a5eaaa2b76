"""Learning from later frames: weights move while the sequence runs, and are put back."""

import numpy as np
import pytest

from deeplab_gygo.config import OnlineConfig
from deeplab_gygo.data.sequence import Frame
from deeplab_gygo.models.weights import variables_by_name
from deeplab_gygo.online.segmenter import DeepLabSegmenter

FRAMES, SIZE = 4, (48, 64)


def _truth(index: int, left: int = 6) -> np.ndarray:
    mask = np.zeros(SIZE, np.uint8)
    mask[12:32, left + 2 * index : left + 20 + 2 * index] = 1
    return mask


class _Frame:
    """A frame in memory: two squares on noise."""

    def __init__(self, index: int):
        rng = np.random.default_rng(index)
        self.index, self.name = index, f"{index:05d}"
        self.image = rng.integers(60, 120, (*SIZE, 3)).astype(np.uint8)
        self.image[_truth(index, 36) > 0] = (30, 40, 160)
        self.image[_truth(index) > 0] = (230, 210, 40)


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    return [_Frame(index) for index in range(FRAMES)]


@pytest.fixture(scope="module")
def parent(small_parent):
    return small_parent(guide=False, refine=False, separable=False)


def _segmenter(parent, **changes) -> DeepLabSegmenter:
    learns = {"online_steps": 3, "online_every": 1, "trust": 0.0, "lost": 0.0}
    config = {"steps": 30, "views": 3, "rate": 1e-2, **learns, **changes}
    return DeepLabSegmenter(parent, OnlineConfig(**config))


def _values(parent) -> dict[str, np.ndarray]:
    return {n: np.array(v.numpy()) for n, v in variables_by_name(parent).items()}


def _differ(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    return any(not np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("adapt", ["decoder", "full"])
def test_weights_move_between_frames_and_the_reset_is_exact(parent, frames, adapt):
    before = _values(parent)
    segmenter = _segmenter(parent, adapt=adapt, frozen_stages=6)
    segmenter.begin(frames[0], _truth(0))
    seen = [segmenter._adapter.weights()]
    first = []
    for frame in frames[1:]:
        first.append(segmenter.step(frame).probability)
        seen.append(segmenter._adapter.weights())
    assert _differ(seen[0], seen[1]) and _differ(seen[1], seen[2])
    segmenter.begin(frames[0], _truth(0))
    for expected, frame in zip(first, frames[1:], strict=True):
        np.testing.assert_array_equal(segmenter.step(frame).probability, expected)
    segmenter._adapter.reset()
    for name, value in _values(parent).items():
        np.testing.assert_array_equal(value, before[name], err_msg=name)


def test_what_is_doubtful_is_not_learned_from(parent, frames):
    segmenter = _segmenter(parent, trust=1.01, steps=1)
    segmenter.begin(frames[0], _truth(0))
    before = segmenter._adapter.weights()
    for frame in frames[1:]:
        segmenter.step(frame)
    assert not _differ(before, segmenter._adapter.weights())
    segmenter._adapter.reset()


@pytest.mark.parametrize("adapt", ["decoder", "full"])
def test_each_of_several_objects_keeps_weights_of_its_own(parent, frames, adapt):
    segmenter = _segmenter(parent, adapt=adapt, frozen_stages=6)
    mask = _truth(0) * 3 + _truth(0, 36) * 7
    segmenter.begin(frames[0], mask)
    before = [list(target.weights) for target in segmenter._targets]
    assert _differ(*before)
    predictions = [segmenter.step(frame) for frame in frames[1:]]
    for old, target in zip(before, segmenter._targets, strict=True):
        assert _differ(old, target.weights), f"object {target.label} did not learn"
    assert _differ(*(target.weights for target in segmenter._targets))
    for prediction in predictions:
        assert prediction.probability.shape == (2, *SIZE)
        assert set(np.unique(prediction.mask)) <= {0, 3, 7}
    # An object does not learn from what another one was shown: alone it starts the same.
    segmenter.begin(frames[0], _truth(0) * 3)
    assert not _differ(segmenter._targets[0].weights, before[0])
    segmenter._adapter.reset()
