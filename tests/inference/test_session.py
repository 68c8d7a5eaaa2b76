"""Sessions in a folder: reopened, gone on with, corrected; with a segmenter that copies."""

import numpy as np
import pytest

from deeplab_gygo.inference.config import OnlineConfig
from deeplab_gygo.inference.prediction import Adaptation
from deeplab_gygo.inference.segmenter_base import SegmenterBase
from deeplab_gygo.inference.session import Session
from deeplab_gygo.inference.tracked_object import TrackedObject
from deeplab_gygo.io.array_sequence import ArraySequence

SIZE, LENGTH = (8, 12), 9


class _Copying(SegmenterBase):
    """Copies the mask of the frame before, at a probability that falls with every step."""

    def __init__(self):
        super().__init__()
        self.frames = []

    def _start(self, image):
        return

    def _add_object(self, seen, label, progress):
        return TrackedObject(label, (seen[0][1] == 1).astype(np.float32)), Adaptation()

    def _encode(self, images):
        return [int(image[0, 0, 0]) for image in images]

    def _predict_object(self, features, position, tracked):
        self.frames.append(features[position])
        return np.maximum(tracked.probability - np.float32(0.04), 0)


def _mask(left=1, label=1):
    mask = np.zeros(SIZE, np.uint8)
    mask[2:6, left : left + 3] = label
    return mask


@pytest.fixture
def open_session(tmp_path):
    """Function that opens the session of a folder, with the segmenter that it uses."""

    def opened(**options):
        segmenter = _Copying()
        frames = [np.full((*SIZE, 3), index, np.uint8) for index in range(LENGTH)]

        def run(sequence, progress, **given):
            yield from segmenter.run(sequence, progress, backwards=True, **given)

        config = OnlineConfig(mode="one-shot", **options)
        session = Session(
            ArraySequence(frames), config, run, lambda: segmenter.adaptation, tmp_path
        )
        return session, segmenter

    return opened


def test_a_session_is_opened_again_with_its_annotations_and_results(open_session):
    first, _ = open_session()
    first.annotate(3, _mask())
    predictions = list(first.propagate())
    again, segmenter = open_session()
    assert again.annotated == [3]
    assert not list(again.propagate())
    assert not segmenter.frames
    for prediction in predictions:
        np.testing.assert_array_equal(again.result(prediction.index).mask, prediction.mask)


def test_a_session_that_was_opened_again_segments_only_what_a_correction_changes(open_session):
    first, _ = open_session()
    for index in (0, 4):
        first.annotate(index, _mask())
    list(first.propagate())
    again, segmenter = open_session()
    again.annotate(6, _mask(5))
    assert again.span() == range(4, 9)
    assert [p.index for p in again.propagate()] == [5, 6, 7, 8]
    assert set(segmenter.frames) == {5, 7, 8}
    third, segmenter = open_session()
    third.annotate(6, None)
    assert [p.index for p in third.propagate()] == [5, 6, 7, 8]


def test_an_interrupted_propagation_goes_on_in_another_process(open_session):
    first, _ = open_session()
    first.annotate(2, _mask())
    running = first.propagate()
    for _ in range(6):  # frames 0 to 5
        next(running)
    first.close()
    again, segmenter = open_session()
    assert [p.index for p in again.propagate()] == list(range(LENGTH))
    assert segmenter.frames == [6, 7, 8]


def test_another_annotation_or_other_options_begin_a_propagation_anew(open_session):
    first, _ = open_session()
    first.annotate(0, _mask())
    next(first.propagate())
    first.close()
    other, segmenter = open_session(threshold=0.4)
    list(other.propagate())
    assert segmenter.frames == list(range(1, LENGTH))
    changed, segmenter = open_session()
    changed.annotate(0, _mask(4))
    list(changed.propagate())
    assert segmenter.frames == list(range(1, LENGTH))


def test_what_is_annotated_during_a_propagation_is_taken_by_the_next(open_session):
    session, _ = open_session()
    session.annotate(0, _mask())
    running = session.propagate()
    next(running)
    session.annotate(0, _mask(5))
    list(running)
    np.testing.assert_array_equal(session.result(1).mask, _mask())
    assert [p.index for p in session.propagate()] == list(range(LENGTH))
    np.testing.assert_array_equal(session.result(1).mask, _mask(5))


def test_annotations_are_never_overwritten_by_results(open_session):
    session, _ = open_session()
    session.annotate(0, _mask())
    session.annotate(4, _mask(6))
    list(session.propagate())
    session.annotate(2, _mask(3))
    list(session.propagate())
    for index, left in ((0, 1), (2, 3), (4, 6)):
        np.testing.assert_array_equal(session.result(index).mask, _mask(left))
        np.testing.assert_array_equal(session._folder.annotation(index), _mask(left))


def test_masks_of_the_propagation_backwards_are_results_as_they_are_made(open_session):
    session, _ = open_session()
    session.annotate(4, _mask())
    seen = []
    running = session.propagate(preview=lambda prediction: seen.append(prediction.index))
    next(running)
    assert seen == [4, 3, 2, 1, 0]
    np.testing.assert_array_equal(session.result(1).mask, _mask())
    session.close()
