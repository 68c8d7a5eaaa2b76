"""Class-balanced losses on worked examples."""

import numpy as np
import pytest

from deeplab_gygo.baselines.shared.losses import named_loss
from deeplab_gygo.models.losses import segmentation_loss


def _planes(values) -> np.ndarray:
    return np.array(values, np.float32).reshape(1, 2, 2, 1)


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
    value = named_loss("balanced-sum")(_planes(logits), _planes(targets))
    np.testing.assert_allclose(float(value), _by_hand(logits, targets), rtol=1e-5)
    # Even odds: 3/4 of one object pixel and 1/4 of three others, each log 2.
    even = named_loss("balanced-sum")(_planes([0] * 4), _planes(targets))
    np.testing.assert_allclose(float(even), 1.5 * np.log(2), rtol=1e-5)


def test_the_mean_does_not_depend_on_the_size():
    small = named_loss("balanced-mean")(_planes([0] * 4), _planes([1, 0, 0, 0]))
    targets = np.tile(_planes([1, 0, 0, 0]), (1, 3, 5, 1))
    large = named_loss("balanced-mean")(np.zeros_like(targets), targets)
    np.testing.assert_allclose([float(small), float(large)], 1.5 / 4 * np.log(2), rtol=1e-5)


def test_classes_are_counted_over_the_batch():
    logits, targets = np.zeros((2, 1, 2, 1), np.float32), np.zeros((2, 1, 2, 1), np.uint8)
    targets[0, 0, 0] = 1
    value = named_loss("balanced-sum")(logits, targets)
    np.testing.assert_allclose(float(value), 1.5 * np.log(2), rtol=1e-5)


def test_void_is_neither_counted_nor_lost():
    logits, targets = [2.0, -1.0, 50.0, -50.0], [1, 0, 255, 255]
    value = named_loss("balanced-sum")(_planes(logits), _planes(targets))
    np.testing.assert_allclose(float(value), _by_hand(logits[:2], targets[:2]), rtol=1e-5)


@pytest.mark.parametrize("label", [0, 1, 255])
def test_a_batch_of_one_class_costs_nothing(label):
    value = named_loss("balanced-mean")(_planes([9, -9, 3, 0]), _planes([label] * 4))
    assert float(value) == 0.0


def test_dice_joins_the_balanced_mean():
    logits, targets = _planes([50, -50, -50, -50]), _planes([1, 1, 0, 0])
    plain, joined = (
        float(named_loss("balanced-mean", dice)(logits, targets)) for dice in (0.0, 2.0)
    )
    np.testing.assert_allclose(joined - plain, 2 * 0.25, atol=1e-5)


def test_losses_by_name():
    logits, targets = _planes([2.0, -1.0, 0.5, -3.0]), _planes([1, 0, 0, 0])
    summed = float(named_loss("balanced-sum")(logits, targets))
    np.testing.assert_allclose(float(named_loss("balanced-mean")(logits, targets)), summed / 4)
    np.testing.assert_allclose(
        float(named_loss("cross-entropy", 1.0)(logits, targets)),
        float(segmentation_loss(1.0)(logits, targets)),
    )
