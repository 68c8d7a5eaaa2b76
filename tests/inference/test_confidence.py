"""Confidence of a mask, and the frames that a person is sent to."""

import numpy as np
import pytest

from deeplab_gygo.inference.confidence import EMPTY, expected_overlap, look_at


def test_a_worked_example():
    probability = np.array([[0.9, 0.7, 0.4, 0.0]], np.float32)
    # Intersection .9 + .7 expected, union 2 pixels of the mask and .4 beside it.
    assert expected_overlap(probability) == pytest.approx(1.6 / 2.4)


def test_doubt_inside_and_suspicion_outside_lower_it():
    sure = np.zeros((20, 20), np.float32)
    sure[5:15, 5:15] = 0.99
    inside, outside = sure.copy(), sure.copy()
    inside[5:15, 5:10] = 0.6
    outside[0:4] = 0.4
    assert expected_overlap(inside) < expected_overlap(sure)
    assert expected_overlap(outside) < expected_overlap(sure)


def test_an_empty_mask_is_neither_trusted_nor_doubted():
    assert expected_overlap(np.zeros((8, 8), np.float32)) == EMPTY


def test_runs_of_doubtful_frames_are_named():
    values = dict(zip("abcdefg", [0.9, 0.5, 0.4, 0.9, 0.9, 0.3, 0.9], strict=True))
    assert look_at(values, below=0.75) == ["3 of 7 masks are doubtful, look at b to c, f"]
    assert look_at({"a": 0.9}, below=0.75) == []
