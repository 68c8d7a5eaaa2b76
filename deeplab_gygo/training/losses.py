"""Losses on logits of one foreground object, all in float32."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from keras import ops

from deeplab_gygo import backend


def cross_entropy(logits: Any, targets: Any, weights: Any) -> Any:
    r"""Weighted mean of the binary cross-entropy, $\max(x, 0) - x t + \log(1 + e^{-|x|})$.

    Args:
        logits: float32 [B, H, W, 1].
        targets: float32 [B, H, W, 1] in 0..1.
        weights: float32 [B, H, W, 1], 0 where a pixel does not count.

    Returns:
        Scalar.
    """
    losses = ops.relu(logits) - logits * targets + ops.log1p(ops.exp(-ops.abs(logits)))
    return ops.sum(losses * weights) / (ops.sum(weights) + 1e-6)


def soft_dice(logits: Any, targets: Any, weights: Any, smooth: float = 1.0) -> Any:
    r"""Mean over the batch of $1 - \frac{2\sum w p t + s}{\sum w p + \sum w t + s}$.

    Args:
        logits: float32 [B, H, W, 1].
        targets: float32 [B, H, W, 1] in 0..1.
        weights: float32 [B, H, W, 1], 0 where a pixel does not count.
        smooth: Pixels added to both parts, so that an empty target with an empty prediction
            costs nothing.

    Returns:
        Scalar in 0..1.
    """
    probability = ops.sigmoid(logits) * weights
    shared = ops.sum(probability * targets, axis=(1, 2, 3))
    total = ops.sum(probability, axis=(1, 2, 3)) + ops.sum(targets * weights, axis=(1, 2, 3))
    return ops.mean(1.0 - (2.0 * shared + smooth) / (total + smooth))


def segmentation_loss(dice: float = 1.0) -> Callable[[Any, Any], Any]:
    """Cross-entropy plus weighted soft Dice at the size of the targets.

    Args:
        dice: Weight of the Dice part.

    Returns:
        `loss(logits, targets)`: logits [B, h, w, 1] are resized bilinearly to the targets' size;
        targets are uint8 or float [B, H, W, 1]: 0..1, and anything above (255) is void.
    """

    def loss(logits: Any, targets: Any) -> Any:
        targets = ops.cast(targets, "float32")
        weights = ops.cast(targets <= 1.0, "float32")
        targets = targets * weights
        shape = ops.shape(targets)
        logits = backend.resize(ops.cast(logits, "float32"), shape[1], shape[2])
        total = cross_entropy(logits, targets, weights)
        return total + dice * soft_dice(logits, targets, weights) if dice else total

    return loss
