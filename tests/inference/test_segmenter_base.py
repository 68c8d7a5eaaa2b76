"""The base of all segmenters: ids, competition of objects, order of frames."""

import numpy as np
import pytest

from deeplab_gygo.errors import InputError, UsageError
from deeplab_gygo.inference.prediction import Adaptation
from deeplab_gygo.inference.segmenter_base import SegmenterBase
from deeplab_gygo.inference.tracked_object import TrackedObject, low_jaccard_warning, soft_aggregate
from deeplab_gygo.io.array_sequence import ArraySequence

SIZE = (6, 12)


class _Static(SegmenterBase):
    """Predicts for every object the probability of its first mask, scaled."""

    def __init__(self, scale: float = 0.9, **options):
        super().__init__(**options)
        self._scale, self.batches = scale, []

    def _start(self, image):
        pass

    def _add_object(self, seen, label, progress):
        mask = seen[0][1]
        plane = np.full(SIZE, 0.2, np.float32) if mask is None else (mask == 1).astype(np.float32)
        return TrackedObject(label, plane, state=plane), Adaptation(2, [0.5, 0.25], 1.0)

    def _encode(self, images):
        self.batches.append(len(images))
        return images

    def _predict_object(self, features, position, tracked):
        return self._scale * tracked.state


def _ids() -> np.ndarray:
    mask = np.zeros(SIZE, np.uint8)
    mask[1:4, 1:4], mask[1:4, 7:11] = 3, 7
    return mask


def _sequence(count: int = 4, **options) -> ArraySequence:
    return ArraySequence(np.zeros((count, *SIZE, 3), np.uint8), **options)


def test_every_object_keeps_its_own_id():
    predictions = list(_Static().run(_sequence(annotations={0: _ids()})))
    assert [p.index for p in predictions] == [0, 1, 2, 3]
    for prediction in predictions:
        np.testing.assert_array_equal(prediction.mask, _ids())
        assert prediction.probability.shape == (2, *SIZE)
    np.testing.assert_array_equal(predictions[1].probability[0] > 0.5, _ids() == 3)
    np.testing.assert_array_equal(predictions[1].probability[1] > 0.5, _ids() == 7)


def test_one_object_keeps_its_id_and_void_is_no_object():
    mask = np.where(_ids() == 7, 255, _ids()).astype(np.uint8)
    segmenter = _Static()
    frame = next(iter(_sequence()))
    adaptation = segmenter.begin(frame, mask)
    assert (adaptation.steps, adaptation.losses) == (2, [0.5, 0.25])
    prediction = segmenter.step(frame)
    np.testing.assert_array_equal(prediction.mask, np.where(_ids() == 3, 3, 0))
    assert prediction.probability.shape == SIZE
    assert prediction.confidence == pytest.approx(0.9)


def test_fine_tuning_is_summed_over_the_objects():
    segmenter = _Static()
    segmenter.begin(next(iter(_sequence())), _ids())
    assert segmenter.adaptation == Adaptation(4, [0.5, 0.25, 0.5, 0.25], 2.0)


def test_propagation_starts_at_the_annotated_frame():
    segmenter = _Static()
    predictions = list(segmenter.run(_sequence(annotations={2: _ids()})))
    assert [p.index for p in predictions] == [2, 3] and segmenter.batches == [1]


def test_without_a_mask_one_object_is_segmented_from_the_first_frame():
    predictions = list(_Static(needs_mask=False).run(_sequence(2)))
    assert [p.index for p in predictions] == [0, 1]
    assert not any(p.mask.any() for p in predictions)


def test_frames_are_encoded_in_batches(monkeypatch):
    monkeypatch.setattr(_Static, "batch_size", 3)
    segmenter = _Static()
    assert len(list(segmenter.run(_sequence(6, annotations={0: _ids()})))) == 6
    assert segmenter.batches == [3, 2]


def test_wrong_order_masks_and_sizes_are_refused():
    segmenter, frame = _Static(), next(iter(_sequence()))
    with pytest.raises(UsageError, match="begin"):
        segmenter.step(frame)
    with pytest.raises(UsageError, match="start from a mask"):
        segmenter.begin(frame, None)
    for mask in (np.zeros(SIZE, np.uint8), np.ones(SIZE, np.uint8), np.ones((3, 3), np.uint8)):
        with pytest.raises(InputError):
            segmenter.begin(frame, mask)
        with pytest.raises(UsageError, match="begin"):
            segmenter.step(frame)
    segmenter.begin(frame, _ids())
    with pytest.raises(InputError, match="6x12 pixels; met: 6x10"):
        segmenter.step(next(iter(ArraySequence(np.zeros((1, 6, 10, 3), np.uint8)))))


def test_soft_aggregation_keeps_order_and_sums_to_one():
    probability = np.linspace(0.01, 0.99, 25, dtype=np.float32).reshape(1, 5, 5)
    merged = soft_aggregate(probability)
    np.testing.assert_allclose(merged.sum(axis=0), 1, rtol=1e-5)
    assert (np.diff(merged[1].ravel()) > 0).all()
    np.testing.assert_array_equal(merged[1] > 0.5, probability[0] > 0.5)


def test_soft_aggregation_prefers_the_more_probable_object_without_overflow():
    merged = soft_aggregate(np.array([[[1.0, 0.9, 0.0]], [[1.0, 0.6, 0.0]]], np.float32))
    assert np.isfinite(merged).all()
    assert merged[1, 0, 1] > merged[2, 0, 1]
    np.testing.assert_allclose(merged[1, 0, 0], merged[2, 0, 0])
    assert merged[0, 0, 2] > 0.99
    # Odds 9 and 1.5 against .04 / .96 of the background (STM, equation 5).
    odds = np.array([0.04 / 0.96, 9.0, 1.5])
    np.testing.assert_allclose(merged[:, 0, 1], odds / odds.sum(), rtol=1e-5)


def test_a_low_jaccard_on_the_annotated_frame_is_warned_about():
    assert low_jaccard_warning(0.6, 1) == []
    assert "object 4: fine-tuning reached J 0.34" in low_jaccard_warning(0.34, 4)[0]
