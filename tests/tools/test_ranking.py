"""Rank correlation, against values worked by hand."""

import numpy as np
import pytest
from ranking import detection, found_early, rank_correlation, ranks


def test_ties_share_their_mean_rank():
    np.testing.assert_array_equal(ranks([10.0, 30.0, 20.0, 30.0]), [1.0, 3.5, 2.0, 3.5])


def test_any_increasing_map_correlates_fully():
    values = np.random.default_rng(0).random(50)
    assert rank_correlation(values, np.exp(5 * values)) == pytest.approx(1.0)
    assert rank_correlation(values, -(values**3)) == pytest.approx(-1.0)


def test_rank_correlation_by_hand():
    # Differences of ranks 1, 1, 1, 1, 0: 1 - 6 * 4 / (5 * 24).
    assert rank_correlation([1, 2, 3, 4, 5], [2, 1, 4, 3, 5]) == pytest.approx(0.8)


def test_a_constant_ranks_nothing():
    assert np.isnan(rank_correlation([1, 1, 1], [1, 2, 3]))


def test_the_worst_frames_are_found_where_confidence_is_low():
    quality = np.array([0.9, 0.1, 0.8, 0.2, 0.95, 0.7, 0.85, 0.6, 0.99, 0.65])
    assert found_early(quality, quality, 0.2) == 1.0
    assert found_early(-quality, quality, 0.2) == 0.0
    half = quality.copy()
    half[1] = 1.0
    assert found_early(half, quality, 0.2) == 0.5


def test_detection_counts_called_frames_and_frames_to_be_called():
    found = detection([0.1, 0.5, 0.9, 0.95], [0.2, 0.9, 0.7, 0.99], below=0.6, wanted=0.8)
    assert found == {
        "below": 0.6, "wanted_J": 0.8, "share": 0.5, "precision": 0.5, "recall": 0.5
    }  # fmt: skip
    assert np.isnan(detection([0.9], [0.9], 0.6, 0.8)["precision"])
