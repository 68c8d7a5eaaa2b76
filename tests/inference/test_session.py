"""Sessions in a folder: reopened, gone on with, corrected; with a segmenter that copies."""

import os

import numpy as np
import pytest

from deeplab_gygo.inference import correction, session_folder
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
    assert again.count() == 5
    assert [p.index for p in again.propagate()] == [6, 5, 7, 8]
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


def _lefts(session):
    """The left edges of the masks of all frames."""
    masks = [session.result(index).mask for index in range(LENGTH)]
    return [int(np.flatnonzero(mask.any(axis=0))[0]) for mask in masks]


def test_a_correction_is_propagated_to_the_annotations_around_it_and_joined_with_the_rest(
    open_session,
):
    session, segmenter = open_session()
    for index, left in ((0, 1), (8, 1)):
        session.annotate(index, _mask(left))
    list(session.propagate())
    segmenter.frames.clear()
    session.annotate(4, _mask(8))
    list(session.propagate())
    assert segmenter.frames == [3, 2, 1, 5, 6, 7]
    # What was known from frames 0 and 8 missed the object in frame 4: it is trusted less.
    assert _lefts(session) == [1, 8, 8, 8, 8, 8, 8, 8, 1]
    session.annotate(4, _mask(5))
    list(session.propagate())
    assert _lefts(session)[3:6] == [5, 5, 5] and _lefts(session)[::8] == [1, 1]


def test_what_is_known_is_trusted_as_far_as_it_was_right_at_the_corrected_frame(open_session):
    session, _ = open_session()
    for index in (0, 8):
        session.annotate(index, _mask())
    list(session.propagate())
    mask = _mask()
    mask[5, 3] = 0  # 11 of 12 pixels were right
    session.annotate(4, mask)
    list(session.propagate())
    nearer = [session.result(index).mask[5, 3] for index in range(LENGTH)]
    assert nearer == [1, 1, 1, 0, 0, 0, 1, 1, 1]


def test_a_correction_ends_where_it_changes_nothing(open_session, monkeypatch):
    monkeypatch.setattr(correction, "SAME_FRAMES", 4)  # the clip is short
    session, segmenter = open_session()
    session.annotate(0, _mask())
    list(session.propagate())
    segmenter.frames.clear()
    session.annotate(1, _mask())  # as it was
    found = [prediction.index for prediction in session.propagate()]
    assert found == [1, *range(2, 6)] and segmenter.frames == found[1:]
    segmenter.frames.clear()
    session.annotate(2, _mask(5))
    list(session.propagate())
    assert segmenter.frames == list(range(3, LENGTH))
    assert _lefts(session) == [1, 1] + [5] * 7


def test_an_interrupted_correction_goes_on_and_ends_where_an_undisturbed_one_does(open_session):
    first, _ = open_session()
    first.annotate(0, _mask())
    list(first.propagate())
    first.annotate(4, _mask(6))
    running = first.propagate()
    seen = [next(running).index for _ in range(6)]
    assert seen == [4, 3, 2, 1, 5, 6]
    first.close()
    again, segmenter = open_session()
    assert [p.index for p in again.propagate()] == [4, 3, 2, 1, 5, 6, 7, 8]
    assert segmenter.frames == [7, 8]
    assert _lefts(again)[4:] == [6] * 5


@pytest.mark.parametrize("moved", [0, 3, 12])
def test_a_process_that_is_killed_at_the_end_of_a_correction_leaves_it_whole(
    open_session, monkeypatch, moved
):
    first, _ = open_session()
    first.annotate(0, _mask())
    list(first.propagate())
    first.annotate(4, _mask(6))
    done = []

    def replace(source, target):
        if len(done) == moved:
            raise KeyboardInterrupt
        done.append(source)
        os.rename(source, target)

    running = first.propagate()
    for _ in range(7):
        next(running)
    monkeypatch.setattr(session_folder.os, "replace", replace)
    with pytest.raises(KeyboardInterrupt):
        list(running)
    monkeypatch.undo()
    again, segmenter = open_session()
    list(again.propagate())
    lefts = _lefts(again)
    again.annotate(7, _mask(2))
    list(again.propagate())
    other, _ = open_session()
    assert lefts[4:] == [6] * 5 and _lefts(other)[4] == 6 and _lefts(other)[7:] == [2, 2]
    assert not (other._folder.folder / "run").exists()


def test_all_frames_are_segmented_anew_on_demand(open_session):
    session, segmenter = open_session()
    session.annotate(0, _mask())
    list(session.propagate())
    segmenter.frames.clear()
    running = session.propagate(anew=True)
    for _ in range(4):
        next(running)
    session.close()
    again, other = open_session()  # it was asked for, and goes on
    assert [p.index for p in again.propagate()] == list(range(LENGTH))
    assert segmenter.frames + other.frames == list(range(1, LENGTH))


def test_removed_annotations_and_other_objects_leave_nothing_of_before(open_session):
    session, segmenter = open_session()
    for index, left in ((0, 1), (8, 1)):
        session.annotate(index, _mask(left))
    list(session.propagate())
    session.annotate(8, None)
    list(session.propagate())
    assert not list((session._folder.known.folder / "backward").glob("00000[1-8].npz"))
    session.annotate(4, _mask(8, label=2))
    assert [p.index for p in session.propagate()] == list(range(1, LENGTH))
    assert set(np.unique(session.result(4).mask)) == {0, 1, 2}


def test_what_an_interrupted_correction_changed_is_as_before_when_another_is_made(open_session):
    session, _ = open_session()
    session.annotate(0, _mask())
    list(session.propagate())
    session.annotate(5, _mask(6))
    running = session.propagate()
    assert [next(running).index for _ in range(3)] == [5, 4, 3]
    session.close()
    again, segmenter = open_session()
    again.annotate(5, None)  # taken back
    assert [p.index for p in again.propagate()] == [3, 4, 5]
    assert _lefts(again) == [1] * LENGTH and not segmenter.frames
    again.annotate(5, _mask(6))
    next(again.propagate())
    again.annotate(5, None)
    again.annotate(8, _mask())
    found = [p.index for p in again.propagate()]
    assert found[:2] == [5, 8]
    assert _lefts(again) == [1] * LENGTH
