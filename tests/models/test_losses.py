"""Losses on worked examples."""

import numpy as np
import pytest

from deeplab_gygo.errors import UsageError
from deeplab_gygo.models.losses import (
    balanced_loss,
    cross_entropy,
    edges,
    named_loss,
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
    plain, weighted = segmentation_loss(0.0), segmentation_loss(0.0, edge=3.0)
    assert float(plain(wrong_at_edge, targets)) == pytest.approx(float(plain(wrong_far, targets)))
    at_edge, far = (float(weighted(wrong, targets)) for wrong in (wrong_at_edge, wrong_far))
    assert at_edge == pytest.approx(4 * far, rel=1e-3)


# === Class-balanced ===


def _by_hand(logits, targets) -> float:
    """The sum as the papers write it, pixel by pixel."""
    probability = 1 / (1 + np.exp(-np.asarray(logits, np.float64)))
    targets = np.asarray(targets)
    share = targets.mean()
    return float(
        -(1 - share) * np.log(probability[targets == 1]).sum()
        - share * np.log(1 - probability[targets == 0]).sum()
    )


def test_balanced_loss_is_the_sum_of_the_papers():
    logits, targets = [2.0, -1.0, 0.5, -3.0], [1, 0, 0, 0]
    value = balanced_loss("sum")(_planes(logits), _planes(targets))
    np.testing.assert_allclose(float(value), _by_hand(logits, targets), rtol=1e-5)
    # Even odds: 3/4 of one object pixel and 1/4 of three others, each log 2.
    even = balanced_loss("sum")(_planes([0] * 4), _planes(targets))
    np.testing.assert_allclose(float(even), 1.5 * np.log(2), rtol=1e-5)


def test_the_mean_does_not_depend_on_the_size():
    small = balanced_loss("mean")(_planes([0] * 4), _planes([1, 0, 0, 0]))
    targets = np.tile(_planes([1, 0, 0, 0]), (1, 3, 5, 1))
    large = balanced_loss("mean")(np.zeros_like(targets), targets)
    np.testing.assert_allclose([float(small), float(large)], 1.5 / 4 * np.log(2), rtol=1e-5)


def test_classes_are_counted_over_the_batch():
    logits, targets = np.zeros((2, 1, 2, 1), np.float32), np.zeros((2, 1, 2, 1), np.uint8)
    targets[0, 0, 0] = 1
    value = balanced_loss("sum")(logits, targets)
    np.testing.assert_allclose(float(value), 1.5 * np.log(2), rtol=1e-5)


def test_void_is_neither_counted_nor_lost():
    logits, targets = [2.0, -1.0, 50.0, -50.0], [1, 0, 255, 255]
    value = balanced_loss("sum")(_planes(logits), _planes(targets))
    np.testing.assert_allclose(float(value), _by_hand(logits[:2], targets[:2]), rtol=1e-5)


@pytest.mark.parametrize("label", [0, 1, 255])
def test_a_batch_of_one_class_costs_nothing(label):
    value = balanced_loss("mean")(_planes([9, -9, 3, 0]), _planes([label] * 4))
    assert float(value) == 0.0


def test_dice_joins_the_balanced_mean():
    logits, targets = _planes([50, -50, -50, -50]), _planes([1, 1, 0, 0])
    plain, joined = (float(balanced_loss("mean", dice)(logits, targets)) for dice in (0.0, 2.0))
    np.testing.assert_allclose(joined - plain, 2 * 0.25, atol=1e-5)


def test_losses_by_name():
    logits, targets = _planes([2.0, -1.0, 0.5, -3.0]), _planes([1, 0, 0, 0])
    summed = float(named_loss("balanced-sum")(logits, targets))
    np.testing.assert_allclose(float(named_loss("balanced-mean")(logits, targets)), summed / 4)
    np.testing.assert_allclose(
        float(named_loss("cross-entropy", 1.0)(logits, targets)),
        float(segmentation_loss(1.0)(logits, targets)),
    )
    with pytest.raises(UsageError, match="balanced-sum"):
        named_loss("balanced")
    with pytest.raises(UsageError, match="sum or mean"):
        balanced_loss("none")
