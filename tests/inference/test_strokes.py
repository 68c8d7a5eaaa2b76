"""Masks from strokes: what is marked is never contradicted; places, sizes, boxes."""

import cv2
import numpy as np
import pytest

from deeplab_gygo.inference import strokes as module
from deeplab_gygo.inference.strokes import StrokeSegmenter
from deeplab_gygo.models.stroke_marks import Stroke, draw


@pytest.fixture(scope="module")
def segmenter(small_parent):
    return StrokeSegmenter(small_parent(guide=True, memory=True))


@pytest.fixture(scope="module")
def frame(segmenter, squares):
    return segmenter.encode(squares.frame(0).image)


def _click(x, y, inside=True, width=3.0):
    return Stroke(inside, ((float(x), float(y)),), width)


def test_strokes_are_drawn_in_their_order():
    marks = draw([Stroke(True, ((2, 5), (20, 5)), 3), _click(10, 5, False, 1)], (12, 24))
    assert marks.dtype == np.int8
    assert marks[5, 10] == -1 and marks[5, 4] == 1 and marks[5, 18] == 1 and marks[10, 10] == 0
    assert (draw([_click(1e6, -1e6)], (8, 8)) == 0).all()


def test_marked_pixels_are_never_contradicted(segmenter, frame, squares):
    strokes = [
        Stroke(True, ((24.0, 22.0), (40.0, 40.0)), 4), _click(70, 30, False, 6),
        _click(10, 10, False), _click(32, 32, False, 3),
    ]  # fmt: skip
    mask = segmenter.segment(frame, strokes)
    marks = draw(strokes, squares.size)
    assert mask.shape == squares.size and set(np.unique(mask)) <= {0, 1}
    assert mask[marks > 0].all() and not mask[marks < 0].any()


def test_only_parts_that_a_stroke_touches_are_of_the_object(segmenter, frame):
    mask = segmenter.segment(frame, [_click(30, 30)])
    count, labels = cv2.connectedComponents(mask, connectivity=8)
    assert count == 2 and mask[30, 30]


def test_a_box_bounds_the_mask(segmenter, frame, squares):
    mask = segmenter.segment(frame, [], (18.0, 16.0, 46.0, 48.0))
    assert not mask[:, 48:].any() and not mask[:14].any()
    both = segmenter.segment(frame, [_click(30, 30)], (18.0, 16.0, 46.0, 48.0))
    assert both[30, 30] and not both[:, 48:].any()
    for box in ((-50.0, -50.0, 500.0, 500.0), (30.0, 30.0, 30.0, 30.0), (90.0, 60.0, 5.0, 5.0)):
        assert segmenter.segment(frame, [], box).shape == squares.size


@pytest.mark.parametrize("scale", [1, 12])
def test_the_strokes_of_a_box_are_outside_it(segmenter, squares, monkeypatch, scale):
    image = cv2.resize(squares.frame(0).image, (96 * scale, 64 * scale))
    frame, seen = segmenter.encode(image), []
    logits = segmenter._network.logits

    def kept(features, guides, readout):
        seen.extend(guides)
        return logits(features, guides, readout)

    monkeypatch.setattr(segmenter._network, "logits", kept)
    box = tuple(scale * side for side in (24.0, 20.0, 64.0, 44.0))
    segmenter.segment(frame, [], box)
    strokes = seen[0][..., 1]
    grid = frame.geometry.working[0] / (64 * scale) / 4  # positions per pixel
    left, top, right, bottom = (round(side * grid) for side in box)
    assert (strokes[top + 1 : bottom - 1, left + 1 : right - 1] >= 0).all()
    assert (strokes[(top + bottom) // 2, (left + right) // 2]) == 1
    assert (strokes[max(0, top - 4) : top] < 0).any() and (strokes[:, right : right + 4] < 0).any()


def test_a_mask_is_corrected_from_strokes_outside_alone(segmenter, frame, squares):
    start = squares.truth(0) > 0
    start[50:60, 70:80] = True  # another part, which is wrong
    mask = segmenter.segment(frame, [_click(75, 55, False)], start=start)
    assert not mask[50:60, 70:80].any()
    both = segmenter.segment(frame, [_click(75, 55, False), _click(32, 32)], start=start)
    assert both[32, 32] and not both[55, 75]


def test_components_are_kept_by_marks_and_by_the_mask_so_far():
    mask = np.zeros((8, 40), bool)
    for left in (1, 11, 21, 31):
        mask[2:6, left : left + 6] = True
    marks, start = np.zeros(mask.shape, np.int8), np.zeros(mask.shape, bool)
    marks[3, 2], marks[3, 12], start[:, :30] = 1, -1, True
    kept = module._touched(mask, marks, start)
    assert kept[3, 2] and not kept[:, 10:20].any() and kept[3, 22] and not kept[:, 30:].any()
    one, start = np.zeros(mask.shape, np.int8), np.zeros(mask.shape, bool)
    one[3, 12], start[:, 11:17] = -1, True
    rest = module._touched(mask, one, start)
    assert rest[:, 11:17].sum() == 23 and rest.sum() == 23, "the only part is not removed whole"
    alone = module._touched(mask, marks, None)
    assert alone[3, 2] and not alone[:, 10:].any()


def test_strokes_of_large_frames_are_in_their_pixels(segmenter, squares):
    large = cv2.resize(squares.frame(0).image, (96 * 12, 64 * 12), interpolation=cv2.INTER_NEAREST)
    frame = segmenter.encode(large)
    assert min(frame.geometry.working) == module.SIZE
    mask = segmenter.segment(frame, [_click(32 * 12, 30 * 12, width=20), _click(5, 5, False)])
    assert mask.shape == (64 * 12, 96 * 12)
    assert mask[30 * 12, 32 * 12] and not mask[5, 5]


def test_the_same_strokes_give_the_same_mask(segmenter, frame, squares):
    strokes = [_click(30, 30), _click(70, 30, False)]
    first = segmenter.segment(frame, strokes)
    segmenter.segment(frame, [_click(70, 30)])
    np.testing.assert_array_equal(segmenter.segment(frame, strokes), first)
    assert segmenter.propose(frame).shape == squares.size
