"""Counted frames and objects of a stream of masks; errors of unusable masks."""

from __future__ import annotations

import math
import weakref

import numpy as np
import pytest

from deeplab_gygo.errors import InputError, UsageError
from deeplab_gygo.evaluation import evaluate_sequence


@pytest.mark.parametrize(
    ("count", "official"),
    [(1, []), (2, []), (3, [1]), (4, [1, 2]), (5, [1, 2, 3]), (6, [1, 2, 3, 4])],
)
def test_frames_that_count_in_short_clips(count, official, clip):
    predictions, truths = clip([1.0] * count)
    score = evaluate_sequence(predictions, truths)
    assert list(score.counted) == official
    assert list(score.with_last_frame().counted) == list(range(1, count))
    everything = evaluate_sequence(predictions, truths, frames="all")
    assert list(everything.counted) == list(range(count))


def test_statistics_of_a_clip_of_six_frames(clip):
    # First and last frame are perfect and must not lift the mean.
    shares = [1.0, 0.8, 0.6, 0.5, 0.1, 1.0]
    score = evaluate_sequence(*clip(shares))
    (row,) = score.objects()
    assert row.frame_count == 4
    assert row.region.mean == pytest.approx(0.5)
    assert row.region.recall == 0.5
    assert row.region.decay == pytest.approx(0.4)
    (with_last,) = score.with_last_frame().objects()
    assert with_last.region.mean == pytest.approx(0.6)
    assert with_last.region.decay == pytest.approx(0.7 - 0.55)
    np.testing.assert_allclose(score.region[0], shares)


def test_a_clip_of_which_no_frame_counts_has_no_score(clip):
    (row,) = evaluate_sequence(*clip([1.0, 1.0])).objects()
    assert row.frame_count == 0
    assert math.isnan(row.region.mean) and math.isnan(row.contour.decay)


def test_frames_that_do_not_count_need_no_prediction(clip):
    predictions, truths = clip([1.0, 0.5, 0.7, 1.0])
    score = evaluate_sequence([None, *predictions[1:3], None], truths)
    assert score.objects()[0].region.mean == pytest.approx(0.6)
    assert np.isnan(score.region[0, [0, 3]]).all()
    assert score.with_last_frame() is None


@pytest.mark.parametrize(("frames", "absent"), [("official", 1), ("drop-first", 3), ("all", 0)])
def test_a_frame_that_counts_needs_a_prediction(frames, absent, clip):
    predictions, truths = clip([1.0] * 4)
    predictions[absent] = None
    with pytest.raises(InputError, match=f"frame 0000{absent}"):
        evaluate_sequence(predictions, truths, frames=frames)


def test_unequal_lengths_are_refused(clip):
    predictions, truths = clip([1.0] * 4)
    with pytest.raises(InputError, match="too few predictions"):
        evaluate_sequence(predictions[:3], truths)
    with pytest.raises(InputError, match="too few annotations"):
        evaluate_sequence(predictions, truths[:3])
    with pytest.raises(InputError, match="3 names for 4 frames"):
        evaluate_sequence(predictions, truths, frame_names=["a", "b", "c"])
    with pytest.raises(InputError, match="none"):
        evaluate_sequence([], [])


def test_an_unknown_policy_is_refused(clip):
    with pytest.raises(UsageError, match="official"):
        evaluate_sequence(*clip([1.0]), frames="most")


def test_memory_does_not_grow_with_the_stream(clip):
    references: list[weakref.ref] = []
    most = 0

    def stream(count):
        nonlocal most
        for _ in range(count):
            mask = clip([0.5])[1][0]
            references.append(weakref.ref(mask))
            most = max(most, sum(reference() is not None for reference in references))
            yield mask
            del mask

    evaluate_sequence(stream(50), stream(50))
    assert len(references) == 100
    assert 2 <= most <= 6


def test_one_object_is_everything_that_is_not_background(two_objects):
    truth = two_objects(255)
    score = evaluate_sequence([truth] * 3, [(truth > 0).astype(np.uint8)] * 3)
    assert score.object_ids == (1,)
    assert score.objects()[0].region.mean == 1.0


def test_several_objects_are_measured_separately(two_objects):
    truth = two_objects()
    prediction = truth.copy()
    prediction[12:18, 12:15] = 0
    score = evaluate_sequence([prediction] * 4, [truth] * 4, multi_object=True, name="pair")
    first, second = score.objects()
    assert (first.label, second.label) == ("pair_1", "pair_2")
    assert (first.region.mean, second.region.mean) == (1.0, 0.5)


def test_exchanged_ids_are_wrong(two_objects):
    truth = two_objects()
    exchanged = np.choose(truth, [0, 2, 1]).astype(np.uint8)
    score = evaluate_sequence([exchanged] * 3, [truth] * 3, multi_object=True)
    assert [row.region.mean for row in score.objects()] == [0.0, 0.0]


def test_void_is_background_unless_left_out(two_objects):
    truth = two_objects()
    truth[2:8, 8:10] = 255
    prediction = two_objects()
    prediction[2:8, 8:10] = 1
    pair = [prediction] * 3, [truth] * 3
    official = evaluate_sequence(*pair, multi_object=True)
    assert official.object_ids == (1, 2)
    assert official.objects()[0].region.mean == pytest.approx(36 / 48)
    without = evaluate_sequence(*pair, multi_object=True, void_label=255)
    assert without.objects()[0].region.mean == 1.0


def test_with_given_ids_an_object_that_joins_later_is_background(two_objects):
    first = two_objects()
    first[first == 2] = 0
    truths = [first, two_objects(), first]
    score = evaluate_sequence([first] * 3, truths, multi_object=True, object_ids=[1])
    assert score.object_ids == (1,)
    assert score.objects()[0].region.mean == 1.0
    with pytest.raises(InputError, match=r"first annotation, \[1\]; met: extra ids \[2\]"):
        evaluate_sequence(truths, truths, multi_object=True, object_ids=[1])


@pytest.mark.parametrize(
    ("frames", "counts"), [("official", (4, 2)), ("drop-first", (5, 3)), ("all", (6, 4))]
)
def test_an_object_that_joins_later_counts_after_its_first_mask(frames, counts, two_objects):
    first = two_objects()
    first[first == 2] = 0
    truths = [first, first, two_objects(), first, two_objects(), two_objects()]
    predictions = [mask.copy() for mask in truths]
    predictions[1] = two_objects()  # not asked for: the object is not there yet
    predictions[2] = first  # its mask was given
    predictions[4] = first
    score = evaluate_sequence(predictions, truths, multi_object=True, frames=frames)
    assert (score.object_ids, score.first_frames) == ((1, 2), (0, 2))
    one, two = score.objects()
    assert (one.frame_count, two.frame_count) == counts
    found = {"official": [1, 0], "drop-first": [1, 0, 1], "all": [0, 1, 0, 1]}[frames]
    assert (one.region.mean, two.region.mean) == (1.0, pytest.approx(np.mean(found)))
    assert np.isnan(score.region[1, :2]).all()


def test_ids_that_no_annotation_shows_are_refused_where_they_are(two_objects):
    prediction = two_objects(3)
    with pytest.raises(InputError, match=r"extra ids \[3\] \(sequence, frame 00001\)"):
        evaluate_sequence([None, prediction, prediction], [two_objects()] * 3, multi_object=True)


@pytest.mark.parametrize("extra", [3, 255])
def test_extra_ids_are_refused(extra, two_objects):
    prediction = two_objects()
    prediction[0, 0] = extra
    with pytest.raises(InputError, match=rf"extra ids \[{extra}\]"):
        evaluate_sequence([prediction] * 3, [two_objects()] * 3, multi_object=True)


def test_several_objects_need_one_in_an_annotation():
    empty = np.zeros((20, 20), dtype=np.uint8)
    with pytest.raises(InputError, match="show an object"):
        evaluate_sequence([empty] * 3, [empty] * 3, multi_object=True)
