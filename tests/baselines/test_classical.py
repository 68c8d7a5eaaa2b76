"""Classical baselines: copied masks, masks warped by flow, masks found by color."""

import cv2
import numpy as np
import pytest

from deeplab_gygo.baselines.classical import (
    CopySegmenter,
    FlowOnline,
    FlowSegmenter,
    GrabCutOnline,
    GrabCutSegmenter,
)
from deeplab_gygo.errors import InputError, UsageError
from deeplab_gygo.io.sequence import Frame

SIZE, SIDE = (72, 112), 26
EVERY = [CopySegmenter, FlowSegmenter, GrabCutSegmenter]


def _truth(shift: int, left: int = 14) -> np.ndarray:
    mask = np.zeros(SIZE, np.uint8)
    mask[20 : 20 + SIDE, left + shift : left + shift + SIDE] = 1
    return mask


def _frame(index: int, shift: int, lefts: tuple[int, ...] = (14,)) -> Frame:
    """A textured scene with textured objects of other colors that move over it."""
    rng = np.random.default_rng(3)
    image = cv2.GaussianBlur(rng.integers(0, 255, (*SIZE, 3)).astype(np.uint8), (0, 0), 1.5)
    image = (image // 2 + np.array([0, 0, 90])).astype(np.uint8)
    for number, left in enumerate(lefts):
        patch = cv2.GaussianBlur(rng.integers(0, 255, (SIDE, SIDE, 3)).astype(np.uint8), (0, 0), 2)
        tint = [(150, 60, 0), (0, 140, 0)][number]
        image[20 : 20 + SIDE, left + shift : left + shift + SIDE] = patch // 3 + np.array(tint)
    return Frame(index, f"{index:05d}", decode=lambda: image)


def _overlap(one: np.ndarray, other: np.ndarray) -> float:
    return np.count_nonzero((one > 0) & (other > 0)) / np.count_nonzero((one > 0) | (other > 0))


def _propagated(segmenter, shifts: list[int]) -> list[np.ndarray]:
    segmenter.begin(_frame(0, 0), _truth(0))
    return [segmenter.step(_frame(i, s)).mask for i, s in enumerate(shifts, start=1)]


def test_the_copied_mask_does_not_move():
    for mask in _propagated(CopySegmenter(), [3, 6, 40]):
        np.testing.assert_array_equal(mask, _truth(0))


@pytest.mark.parametrize("kind", [FlowSegmenter, GrabCutSegmenter])
def test_a_moving_object_is_followed(kind):
    shifts = [3, 6, 9, 12, 15]
    masks = _propagated(kind(), shifts)
    assert _overlap(_truth(0), _truth(15)) < 0.3  # J of the copied mask
    for shift, mask in zip(shifts, masks, strict=True):
        assert _overlap(mask, _truth(shift)) > 0.8


@pytest.mark.parametrize("kind", EVERY)
def test_predictions_have_the_size_of_the_frame(kind):
    segmenter = kind()
    assert segmenter.begin(_frame(0, 0), _truth(0)).steps == 0
    prediction = segmenter.step(_frame(7, 2))
    assert (prediction.index, prediction.name) == (7, "00007")
    assert prediction.mask.shape == prediction.probability.shape == SIZE
    assert prediction.mask.dtype == np.uint8 and prediction.probability.dtype == np.float32
    assert 0 <= prediction.confidence <= 1 and prediction.seconds > 0


@pytest.mark.parametrize("kind", EVERY)
def test_sequences_are_independent(kind):
    segmenter = kind()
    first = _propagated(segmenter, [3, 6])
    segmenter.begin(_frame(0, 30), _truth(30))
    segmenter.step(_frame(1, 33))
    for one, other in zip(first, _propagated(segmenter, [3, 6]), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("kind", EVERY)
def test_objects_keep_their_ids(kind):
    mask = _truth(0) * 3 + _truth(0, left=70) * 7
    segmenter = kind()
    segmenter.begin(_frame(0, 0, (14, 70)), mask)
    prediction = segmenter.step(_frame(1, 1, (14, 70)))
    assert prediction.probability.shape == (2, *SIZE)
    assert _overlap(prediction.mask == 3, _truth(1)) > 0.8
    assert _overlap(prediction.mask == 7, _truth(1, left=70)) > 0.8
    assert set(np.unique(prediction.mask)) == {0, 3, 7}


@pytest.mark.parametrize("kind", EVERY)
def test_wrong_masks_sizes_and_order_are_refused(kind):
    segmenter, frame = kind(), _frame(0, 0)
    with pytest.raises(UsageError, match="begin"):
        segmenter.step(frame)
    for mask in (np.zeros(SIZE, np.uint8), np.ones(SIZE, np.uint8), np.ones((9, 9), np.uint8)):
        with pytest.raises(InputError):
            segmenter.begin(frame, mask)
    with pytest.raises(UsageError, match="mask"):
        segmenter.begin(frame, None)
    with pytest.raises(UsageError, match="begin"):
        segmenter.step(frame)  # a refused sequence has not begun
    segmenter.begin(frame, _truth(0))
    small = Frame(1, "00001", decode=lambda: np.zeros((20, 30, 3), np.uint8))
    with pytest.raises(InputError, match="72x112.*20x30.*00001"):
        segmenter.step(small)


def test_void_belongs_to_no_object():
    mask = _truth(0)
    mask[:5] = 255
    segmenter = CopySegmenter()
    segmenter.begin(_frame(0, 0), mask)
    np.testing.assert_array_equal(segmenter.step(_frame(1, 3)).mask, _truth(0))


def test_an_object_is_found_again_after_an_occlusion():
    segmenter = GrabCutSegmenter()
    segmenter.begin(_frame(0, 0), _truth(0))
    occluded = segmenter.step(_frame(1, 0, ()))
    assert _overlap(occluded.mask, _truth(0)) < 0.2
    assert _overlap(segmenter.step(_frame(2, 4)).mask, _truth(4)) > 0.8


def test_grabcut_searches_within_its_radius():
    near = _propagated(GrabCutSegmenter(GrabCutOnline(search_radius=2.0)), [10])[0]
    assert not near[:, 14 + SIDE + 4 :].any()
    assert _overlap(near, _truth(10)) < _overlap(
        _propagated(GrabCutSegmenter(), [10])[0], _truth(10)
    )


def test_flow_presets_differ():
    shifts = [3, 6, 9]
    fast = _propagated(FlowSegmenter(FlowOnline(flow_preset="ultrafast")), shifts)
    exact = _propagated(FlowSegmenter(), shifts)
    assert any((one != other).any() for one, other in zip(fast, exact, strict=True))
