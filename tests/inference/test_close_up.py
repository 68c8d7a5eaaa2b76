"""Close-ups: the second look at every frame, in a window around the objects."""

import numpy as np
import pytest

from deeplab_gygo.inference import initializer
from deeplab_gygo.inference.config import OnlineConfig
from deeplab_gygo.inference.propagation import Propagation
from deeplab_gygo.inference.segmenter import DeepLabSegmenter
from deeplab_gygo.inference.zoom import CLOSE_MARGIN, CLOSE_SCALE, Window
from deeplab_gygo.io.array_sequence import ArraySequence
from deeplab_gygo.io.sequence import Frame

FRAME, VIEW = (240, 320), (192, 256)


def _box(left, top, width, height, value=1):
    mask = np.zeros(FRAME, np.uint8)
    mask[top : top + height, left : left + width] = value
    return mask


def _frame(index, *masks):
    image = np.random.default_rng(0).integers(60, 120, (*FRAME, 3)).astype(np.uint8)
    for mask in masks:
        image[mask > 0] = (230, 210, 40)
    return Frame(index, f"{index:05d}", decode=lambda: image)


def _segmenter(parent, **options):
    config = {"mode": "one-shot", "size": VIEW[0], "num_views": 4, "memory_frames": 0, **options}
    return DeepLabSegmenter(parent, OnlineConfig(**config))


def test_the_window_has_a_margin_around_the_objects_and_a_limit():
    whole = Window(FRAME, VIEW)
    near = whole.close_to(_box(100, 80, 60, 110))
    assert near.zoom == pytest.approx(FRAME[0] / 110 / CLOSE_MARGIN)
    middle = near.top + FRAME[0] / near.zoom / 2, near.left + FRAME[1] / near.zoom / 2
    assert middle == pytest.approx((135, 130), abs=1)
    corner = whole.close_to(_box(300, 200, 20, 40))
    assert corner.left + FRAME[1] / corner.zoom == pytest.approx(FRAME[1])
    assert corner.zoom == pytest.approx(CLOSE_SCALE * FRAME[0] / VIEW[0])
    # The nearer window does not depend on where the one before was.
    assert near.close_to(_box(300, 200, 20, 40)) == corner


@pytest.mark.parametrize("mask", [_box(20, 10, 280, 220), _box(0, 0, 0, 0)])
def test_there_is_no_window_where_nothing_would_be_enlarged(mask):
    whole = Window(FRAME, VIEW)
    assert whole.close_to(mask) == whole


def test_the_network_sees_the_window_with_what_was_found_in_the_whole_frame(parent, monkeypatch):
    mask = _box(100, 80, 60, 110)
    segmenter = _segmenter(parent)
    segmenter.begin(_frame(0, mask), mask)
    close, given = segmenter._close_up, []
    found = np.where(mask, 0.9, 0.1).astype(np.float32)
    monkeypatch.setattr(segmenter._propagation, "probability", lambda *_, **__: found)

    def probability(features, tracked):
        given.append(tracked)
        return np.full(tracked.probability.shape, 0.7, np.float32)

    monkeypatch.setattr(close._propagation, "probability", probability)
    prediction = segmenter.step(_frame(1, mask))
    (seen,) = given
    assert seen.probability.shape == VIEW
    assert (seen.probability > 0.5).mean() == pytest.approx(
        60 / 110 * 240 / 320 / CLOSE_MARGIN**2, rel=0.05
    )
    assert seen.memory is segmenter._objects[0].close_memory
    assert seen.target_model is segmenter._objects[0].target_model
    # What the close-up found counts, inside its window; the next frame starts from it.
    window = Window(FRAME, VIEW).close_to(mask)
    assert (prediction.mask > 0).mean() == pytest.approx(1 / window.zoom**2, rel=0.05)
    assert prediction.probability.max() == pytest.approx(0.7, abs=1e-3)
    assert segmenter._objects[0].probability is not found


@pytest.mark.parametrize("anchors", [0, 2])
def test_zero_shot_has_close_ups_guided_by_what_was_found(parent, monkeypatch, anchors):
    mask = _box(100, 80, 60, 110)
    segmenter = _segmenter(parent, mode="zero-shot", zero_shot_anchor_frames=anchors)
    found = np.where(mask, 0.9, 0.1).astype(np.float32)
    guided, whole = [], Propagation.probability

    def probability(self, features, tracked, *arguments, **options):
        if self.geometry.frame == FRAME:
            return found
        guided.append((self._guide, tracked))
        return whole(self, features, tracked, *arguments, **options)

    monkeypatch.setattr(Propagation, "probability", probability)
    clip = ArraySequence([_frame(index, mask).image for index in range(3)])
    predictions = list(segmenter.run(clip))
    assert len(guided) == 3
    for guide, seen in guided:
        assert guide == "previous" and seen.memory is None and seen.target_model is None
        assert (seen.probability > 0.5).mean() == pytest.approx(
            60 / 110 * 240 / 320 / CLOSE_MARGIN**2, rel=0.05
        )
    window = Window(FRAME, VIEW).close_to(mask)
    outside = window.paste(np.ones(VIEW, np.float32)) == 0
    for prediction in predictions:
        assert not prediction.probability[outside].any()


def test_an_object_that_fills_the_frame_is_segmented_once(parent):
    mask = _box(10, 5, 300, 230)
    frames = [_frame(i, mask) for i in range(2)]
    probabilities = []
    for enlarges in (False, True):
        segmenter = _segmenter(parent, guide="none")
        segmenter.enlarges = enlarges
        segmenter.begin(frames[0], mask)
        probability = np.where(mask, 0.9, 0.1).astype(np.float32)
        segmenter._propagation.probability = lambda *_, value=probability, **__: value
        probabilities.append(segmenter.step(frames[1]).probability)
    np.testing.assert_array_equal(*probabilities)


def test_several_objects_share_a_window_and_its_features(parent, monkeypatch):
    one, two = _box(100, 80, 50, 80, 3), _box(150, 90, 60, 80, 7)
    segmenter = _segmenter(parent)
    segmenter.begin(_frame(0, one, two), one + two)
    assert [len(t.close_memory.annotated) for t in segmenter._objects] == [1, 1]
    planes = [np.where(mask, 0.9, 0.1).astype(np.float32) for mask in (one, two)]
    encoded = []
    encode = segmenter._network.encode
    monkeypatch.setattr(segmenter._network, "encode", lambda x: encoded.append(len(x)) or encode(x))
    image = _frame(1, one, two).image
    refined = segmenter._close_up.refine(image, planes, segmenter._objects, lambda tracked: None)
    assert encoded == [1] and len(refined) == 2
    window = Window(FRAME, VIEW).close_to(one + two)
    outside = window.paste(np.ones(window.view, np.float32)) == 0
    assert outside.any() and not any(plane[outside].any() for plane in refined)


def test_half_of_the_views_of_fine_tuning_are_of_the_close_up(parent, monkeypatch):
    counts, augmented = [], initializer.augmented_views

    def recorded(image, mask, geometry, rng, **options):
        counts.append((float((mask > 0).mean()), options["count"]))
        return augmented(image, mask, geometry, rng, **options)

    monkeypatch.setattr(initializer, "augmented_views", recorded)
    mask = _box(100, 80, 60, 110)
    for enlarges, expected in ((True, [2, 2]), (False, [4])):
        segmenter = _segmenter(parent, mode="fine-tune", steps=1)
        segmenter.enlarges = enlarges
        segmenter.begin(_frame(0, mask), mask)
        assert [count for _, count in counts] == expected
        if enlarges:
            assert counts[1][0] > 2 * counts[0][0]
        counts.clear()
        segmenter.release()


def test_a_resumed_run_has_the_memory_of_the_close_up(parent):
    mask = _box(100, 80, 60, 110)
    segmenter = _segmenter(parent)
    segmenter.begin(_frame(0, mask), mask)
    after = segmenter.step(_frame(1, mask)).probability
    state = segmenter.initial_state()
    assert any("close" in name for name in state)
    other = _segmenter(parent)
    other.resume(state)
    other.begin(_frame(0, mask), mask)
    np.testing.assert_array_equal(other.step(_frame(1, mask)).probability, after)
