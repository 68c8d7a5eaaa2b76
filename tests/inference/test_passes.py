"""Annotations of several frames: both directions, merging, joining objects, resuming."""

import numpy as np
import pytest

from deeplab_gygo.errors import InputError
from deeplab_gygo.inference import passes
from deeplab_gygo.inference.frame_store import FrameStore
from deeplab_gygo.inference.passes import resolved, reversed_frames
from deeplab_gygo.inference.prediction import Adaptation, Prediction
from deeplab_gygo.inference.segmenter_base import SegmenterBase
from deeplab_gygo.inference.tracked_object import TrackedObject
from deeplab_gygo.io.array_sequence import ArraySequence
from deeplab_gygo.io.sequence import Sequence
from deeplab_gygo.io.writers import as_bytes

SIZE = (8, 12)
LENGTH = 9


class _Copying(SegmenterBase):
    """Copies the mask of the frame before, at a probability that falls with every step."""

    batch_size = 2

    def __init__(self):
        super().__init__()
        self.seen, self.frames, self.begun = {}, [], 0

    def _start(self, image):
        self.frames, self.begun = [], self.begun + 1

    def _add_object(self, seen, label, progress):
        self.seen[label] = len(seen)
        return TrackedObject(label, (seen[0][1] == 1).astype(np.float32)), Adaptation(1, [0.5], 0.5)

    def _encode(self, images):
        return [int(image[0, 0, 0]) for image in images]

    def _predict_object(self, features, position, tracked):
        self.frames.append((features[position], tracked.label))
        return np.maximum(tracked.probability - np.float32(0.04), 0)


def _mask(*labels, left=1):
    mask = np.zeros(SIZE, np.uint8)
    for label in labels:
        mask[2:6, left + 4 * (label - 1) : left + 3 + 4 * (label - 1)] = label
    return mask


def _sequence(annotations):
    frames = [np.full((*SIZE, 3), index, np.uint8) for index in range(LENGTH)]
    return ArraySequence(frames, annotations=annotations)


def _run(annotations, segmenter=None, **options):
    segmenter = segmenter or _Copying()
    options = {"backwards": True} | options
    return list(segmenter.run(_sequence(annotations), **options)), segmenter


def test_a_mask_is_propagated_to_both_ends_in_the_order_of_the_frames():
    predictions, segmenter = _run({3: _mask(1)})
    assert [p.index for p in predictions] == list(range(LENGTH))
    assert [p.name for p in predictions] == [f"{k:05d}" for k in range(LENGTH)]
    assert [frame for frame, _ in segmenter.frames] == [2, 1, 0, 4, 5, 6, 7, 8]
    for prediction in predictions:
        np.testing.assert_array_equal(prediction.mask, _mask(1))
        expected = 1 - 0.04 * abs(prediction.index - 3)
        assert prediction.probability.max() == pytest.approx(expected, abs=0.003)


def test_without_backwards_the_frames_before_the_mask_are_left_out():
    predictions, segmenter = _run({3: _mask(1)}, backwards=False)
    assert [p.index for p in predictions] == [3, 4, 5, 6, 7, 8]
    assert len(segmenter.frames) == 5


def test_frames_between_two_masks_take_the_surer_side():
    predictions, segmenter = _run({1: _mask(1), 7: _mask(1, left=6)})
    assert segmenter.seen == {1: 2} and segmenter.begun == 1
    for index in (
        0,
        1,
        2,
        3,
        4,
    ):  # the probability falls with the distance; of equal ones the first
        np.testing.assert_array_equal(predictions[index].mask, _mask(1))
    for index in (5, 6, 7, 8):
        np.testing.assert_array_equal(predictions[index].mask, _mask(1, left=6))

    class Unsure(_Copying):
        def _predict_object(self, features, position, tracked):
            plane = super()._predict_object(features, position, tracked)
            return np.where(plane > 0, 0.51, 0.4).astype(np.float32) if plane[3, 7] else plane

    predictions = _run({1: _mask(1), 7: _mask(1, left=6)}, Unsure())[0]
    for index in range(1, 7):
        np.testing.assert_array_equal(predictions[index].mask, _mask(1))


def test_an_object_joins_at_its_first_mask():
    annotations = {0: _mask(1), 4: _mask(2)}
    predictions, segmenter = _run(annotations, backwards=False)
    assert segmenter.seen == {1: 1, 2: 1}
    for prediction in predictions:
        assert prediction.probability.shape == (2, *SIZE)
        expected = _mask(1) if prediction.index < 4 else _mask(1, 2)
        np.testing.assert_array_equal(prediction.mask, expected)
    # Backwards it is known before as well; the object that the mask does not show stays.
    for prediction in _run(annotations)[0]:
        np.testing.assert_array_equal(
            prediction.mask, _mask(1, 2) if prediction.index else _mask(1)
        )


def test_a_given_mask_is_never_overwritten():
    annotations = {0: _mask(1, 2), 5: _mask(2, left=0)}
    predictions = _run(annotations)[0]
    np.testing.assert_array_equal(predictions[0].mask, _mask(1, 2))
    shown = predictions[5].mask
    np.testing.assert_array_equal(shown == 2, _mask(2, left=0) == 2)
    assert (shown[_mask(1) == 1] == 1).sum() >= 8


def test_an_empty_mask_says_that_all_objects_are_absent():
    predictions = _run({0: _mask(1), 4: _mask()}, backwards=False)[0]
    assert predictions[3].mask.any()
    assert not any(p.mask.any() for p in predictions[4:])


def test_probabilities_of_several_objects_are_normalized():
    planes = np.stack([np.full(SIZE, 0.8), np.full(SIZE, 0.6)]).astype(np.float32)
    probability, mask = resolved(planes, [3, 5], 0.5)
    assert probability.sum(axis=0).max() == pytest.approx(1) and (mask == 3).all()
    probability, mask = resolved(planes[:1] * 0.5, [3], 0.5)
    assert probability.shape == SIZE and not mask.any()


@pytest.mark.parametrize("annotated", [(0,), (4,), (2, 6)])
@pytest.mark.parametrize("stop", range(1, 9))
def test_a_stopped_run_goes_on_where_it_was(tmp_path, monkeypatch, annotated, stop):
    annotations = {index: _mask(1, left=1 + index) for index in annotated}
    expected, first = _run(annotations)
    put, kept = FrameStore.put, []

    def stopping(store, prediction, state):
        if len(kept) == stop:
            raise KeyboardInterrupt
        kept.append(prediction.index)
        put(store, prediction, state)

    with monkeypatch.context() as patched:
        patched.setattr(FrameStore, "put", stopping)
        with pytest.raises(KeyboardInterrupt):
            _run(annotations, store=FrameStore(tmp_path))
    predictions, segmenter = _run(annotations, store=FrameStore(tmp_path))
    for a, b in zip(expected, predictions, strict=True):
        assert (a.index, a.name, a.confidence) == (b.index, b.name, b.confidence)
        np.testing.assert_array_equal(a.mask, b.mask)
        np.testing.assert_array_equal(
            as_bytes(a.probability, tmp_path), as_bytes(b.probability, tmp_path)
        )
    given = sum(index in annotated for index in kept)
    assert len(segmenter.frames) == len(first.frames) - len(kept) + given


def test_a_frame_whose_state_was_not_written_is_segmented_again(tmp_path):
    store = FrameStore(tmp_path)
    prediction = Prediction(3, "3", np.full(SIZE, 0.3, np.float32), _mask(1), 0.5, 0.9)
    store.put(prediction, {"a": np.zeros(1)})
    assert store.indices() == {3}
    (tmp_path / "000004.npz").write_bytes((tmp_path / "000003.npz").read_bytes())
    assert store.indices() == {3} and store.holds(4)
    found = store.prediction(3, "3")
    assert (found.confidence, found.seconds) == (0.9, 0.5)
    assert np.abs(found.probability - 0.3).max() < 0.002
    np.testing.assert_array_equal(found.mask, _mask(1))


def test_a_damaged_state_is_an_error(tmp_path):
    store = FrameStore(tmp_path)
    (tmp_path / "000003.npz").write_bytes(b"PK nothing")
    with pytest.raises(InputError, match="interrupted run"):
        store.prediction(3, "3")


def test_a_video_is_reversed_in_parts(monkeypatch):
    frames = list(_sequence(None))

    class Video(Sequence):
        """Frames that are read from the first one only."""

        def __iter__(self):
            return iter(frames)

        def frame(self, index):
            raise AssertionError

    monkeypatch.setattr(passes, "MIN_BACKWARD_FRAMES", 4)
    monkeypatch.setattr(passes, "BACKWARD_BYTES", 1)
    video = Video("clip", "clip.mp4", SIZE, [f.name for f in frames])
    assert [f.index for f in reversed_frames(video, 6)] == [6, 5, 4, 3, 2, 1, 0]
    assert [f.index for f in reversed_frames(video, 7, 2)] == [7, 6, 5, 4, 3, 2]
