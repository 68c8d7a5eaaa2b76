"""Losses on logits of one foreground object, all in float32."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from deeplab_gygo import backend

EDGE_RADIUS = 6
"""Matching tolerance of the boundary measure of DAVIS-2016 (.008 of the diagonal), pixels, at the
640x360 of the training images."""


def cross_entropy(logits: Any, targets: Any, weights: Any) -> Any:
    r"""Weighted mean of the binary cross-entropy, $\max(x, 0) - x t + \log(1 + e^{-|x|})$.

    Args:
        logits: float32 [B, H, W, 1].
        targets: float32 [B, H, W, 1] in 0..1.
        weights: float32 [B, H, W, 1], 0 for void pixels.

    Returns:
        Scalar.
    """
    return ops.sum(pixel_entropies(logits, targets) * weights) / (ops.sum(weights) + 1e-6)


def pixel_entropies(logits: Any, targets: Any) -> Any:
    """Returns the binary cross-entropy of every pixel, without overflow."""
    return ops.relu(logits) - logits * targets + ops.log1p(ops.exp(-ops.abs(logits)))


def soft_dice(logits: Any, targets: Any, weights: Any, smooth: float = 1.0) -> Any:
    r"""Mean over the batch of $1 - \frac{2\sum w p t + s}{\sum w p + \sum w t + s}$.

    Args:
        logits: float32 [B, H, W, 1].
        targets: float32 [B, H, W, 1] in 0..1.
        weights: float32 [B, H, W, 1], 0 for void pixels.
        smooth: Pixels added to numerator and denominator: the loss of an empty prediction for
            an empty target is 0.

    Returns:
        Scalar in 0..1.
    """
    probability = ops.sigmoid(logits) * weights
    shared = ops.sum(probability * targets, axis=(1, 2, 3))
    total = ops.sum(probability, axis=(1, 2, 3)) + ops.sum(targets * weights, axis=(1, 2, 3))
    return ops.mean(1.0 - (2.0 * shared + smooth) / (total + smooth))


def segmentation_loss(
    dice_weight: float = 1.0, edge_weight: float = 0.0
) -> Callable[[Any, Any], Any]:
    """Returns the loss cross-entropy plus weighted soft Dice, at the size of the targets.

    Args:
        dice_weight: Weight of the Dice loss.
        edge_weight: Additional weight of pixels near an edge in the cross-entropy.

    Returns:
        `loss(logits, targets)`: logits [B, h, w, 1] are resized bilinearly to the targets' size;
        targets are uint8 or float [B, H, W, 1]: 0..1, and anything above (255) is void.
    """

    def loss(logits: Any, targets: Any) -> Any:
        logits, targets, weights = resize_to_targets(logits, targets)
        pixel_weights = weights * (1.0 + edge_weight * edges(targets)) if edge_weight else weights
        total = cross_entropy(logits, targets, pixel_weights)
        return add_dice(total, logits, targets, weights, dice_weight)

    return loss


def add_dice(total: Any, logits: Any, targets: Any, weights: Any, dice_weight: float) -> Any:
    """Adds weighted soft Dice to a loss; without weight the loss is returned."""
    return total + dice_weight * soft_dice(logits, targets, weights) if dice_weight else total


def edges(targets: Any) -> Any:
    """Marks pixels within `EDGE_RADIUS` of an edge, in the maximum norm.

    Args:
        targets: float32 [B, H, W, 1], 0 or 1.

    Returns:
        float32 [B, H, W, 1], 1 near an edge, 0 elsewhere.
    """

    def largest(values: Any) -> Any:
        for size in ((2 * EDGE_RADIUS + 1, 1), (1, 2 * EDGE_RADIUS + 1)):
            values = ops.max_pool(values, size, strides=(1, 1), padding="same")
        return values

    return largest(targets) + largest(1.0 - targets) - 1.0


def resize_to_targets(logits: Any, targets: Any) -> tuple[Any, Any, Any]:
    """Returns logits at the size of the targets, targets without void, and weights, 0 for void."""
    targets = ops.cast(targets, "float32")
    weights = ops.cast(targets <= 1.0, "float32")
    targets = targets * weights
    shape = ops.shape(targets)
    logits = backend.resize(ops.cast(logits, "float32"), shape[1], shape[2])
    return logits, targets, weights


def l2_sp(variables: list[keras.Variable], weight: float) -> Callable[[list[Any]], Any] | None:
    """Returns L2-SP, the weighted half squared distance to the current values.

    Li et al., "Explicit Inductive Bias for Transfer Learning with Convolutional Networks", ICML
    2018.

    Args:
        variables: Regularized variables; their current values are copied.
        weight: Factor of the penalty.

    Returns:
        `regularizer(values) -> scalar`, values in the order of the variables; None for weight 0.
    """
    if not weight:
        return None
    start = backend.put([v.numpy() for v in variables])

    def regularizer(values: list[Any]) -> Any:
        distances = [
            ops.sum(ops.square(ops.cast(v, "float32") - ops.cast(s, "float32")))
            for v, s in zip(values, start, strict=True)
        ]
        return 0.5 * weight * sum(distances[1:], distances[0])

    return regularizer
