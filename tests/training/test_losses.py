"""Losses on worked examples."""

import numpy as np

from deeplab_gygo.training.losses import cross_entropy, segmentation_loss, soft_dice


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
