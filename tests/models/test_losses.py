"""Losses on worked examples."""

import numpy as np
import pytest

from deeplab_gygo.models.losses import (
    cross_entropy,
    edges,
    segmentation_loss,
    soft_dice,
)


def _planes(values) -> np.ndarray:
    return np.array(values, np.float32).reshape(1, 2, 2, 1)


ONES = _planes([1, 1, 1, 1])


def test_cross_entropy_of_even_odds_is_log_two():
    value = cross_entropy(_planes([0, 0, 0, 0]), _planes([1, 0, 1, 0]), ONES)
    np.testing.assert_allclose(float(value), np.log(2), rtol=1e-5)


def test_cross_entropy_is_finite_for_certain_mistakes():
    value = cross_entropy(_planes([1e4, -1e4, 0, 0]), _planes([0, 1, 0, 0]), ONES)
    np.testing.assert_allclose(float(value), (1e4 + 1e4 + 2 * np.log(2)) / 4, rtol=1e-5)


def test_void_pixels_do_not_count():
    weights = _planes([1, 0, 1, 0])
    value = cross_entropy(_planes([0, 99, 0, -99]), _planes([1, 0, 1, 1]), weights)
    np.testing.assert_allclose(float(value), np.log(2), rtol=1e-5)


def test_dice_by_hand():
    # Half of the object is found, nothing else: 1 - (2 * 1 + 1) / (1 + 2 + 1).
    value = soft_dice(_planes([50, -50, -50, -50]), _planes([1, 1, 0, 0]), ONES)
    np.testing.assert_allclose(float(value), 0.25, atol=1e-6)


def test_dice_of_nothing_predicted_and_nothing_there_is_zero():
    assert float(soft_dice(_planes([-50] * 4), _planes([0] * 4), ONES)) < 1e-6


def test_logits_are_brought_to_the_size_of_the_targets():
    logits = np.full((1, 2, 2, 1), 50, np.float32)
    targets = np.ones((1, 8, 8, 1), np.uint8)
    assert float(segmentation_loss()(logits, targets)) < 1e-5
    targets[0, :4] = 255  # void: still nothing is wrong
    assert float(segmentation_loss()(logits, targets)) < 1e-5
    targets[0, :4] = 0
    assert float(segmentation_loss()(logits, targets)) > 10


def test_edges_count_more():
    targets = np.zeros((1, 40, 40, 1), np.float32)
    targets[0, :, 20:] = 1.0
    near = np.asarray(edges(targets))[0, 5, :, 0]
    np.testing.assert_array_equal(np.flatnonzero(near), np.arange(14, 26))
    wrong_at_edge, wrong_far = (np.where(targets > 0, 9.0, -9.0) for _ in range(2))
    wrong_at_edge[0, :, 17:20] = 9.0
    wrong_far[0, :, 2:5] = 9.0
    plain, weighted = segmentation_loss(0.0), segmentation_loss(0.0, edge_weight=3.0)
    assert float(plain(wrong_at_edge, targets)) == pytest.approx(float(plain(wrong_far, targets)))
    at_edge, far = (float(weighted(wrong, targets)) for wrong in (wrong_at_edge, wrong_far))
    assert at_edge == pytest.approx(4 * far, rel=1e-3)
