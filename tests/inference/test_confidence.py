"""Confidence of masks, and the frames to review."""

import numpy as np
import pytest

from deeplab_gygo.inference.confidence import EMPTY, doubtful_frames, expected_jaccard


def test_expected_jaccard_is_expected_intersection_over_expected_union():
    probability = np.array([[0.9, 0.7, 0.4, 0.0]], np.float32)
    # Intersection .9 + .7 expected, union 2 pixels of the mask and .4 beside it.
    assert expected_jaccard(probability) == pytest.approx(1.6 / 2.4)


def test_doubt_inside_and_suspicion_outside_lower_it():
    sure = np.zeros((20, 20), np.float32)
    sure[5:15, 5:15] = 0.99
    inside, outside = sure.copy(), sure.copy()
    inside[5:15, 5:10] = 0.6
    outside[0:4] = 0.4
    assert expected_jaccard(inside) < expected_jaccard(sure)
    assert expected_jaccard(outside) < expected_jaccard(sure)


def test_an_empty_mask_has_the_confidence_of_an_absent_object():
    assert expected_jaccard(np.zeros((8, 8), np.float32)) == EMPTY


def test_runs_of_doubtful_frames_are_named():
    values = dict(zip("abcdefg", [0.9, 0.5, 0.4, 0.9, 0.9, 0.3, 0.9], strict=True))
    assert doubtful_frames(values, below=0.75) == ["3 of 7 masks are doubtful, review b to c, f"]
    assert doubtful_frames({"a": 0.9}, below=0.75) == []
