"""Losses on logits of one foreground object, all in float32."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import keras
from keras import ops

from deeplab_gygo import backend
from deeplab_gygo.errors import UsageError

Reduction = Literal["sum", "mean"]

EDGE = 6
"""Pixels from an edge within which the boundary measure of DAVIS-2016 takes a contour for found, at
the 640x360 that the training pictures have (0.008 of the diagonal)."""


def cross_entropy(logits: Any, targets: Any, weights: Any) -> Any:
    r"""Weighted mean of the binary cross-entropy, $\max(x, 0) - x t + \log(1 + e^{-|x|})$.

    Args:
        logits: float32 [B, H, W, 1].
        targets: float32 [B, H, W, 1] in 0..1.
        weights: float32 [B, H, W, 1], 0 where a pixel does not count.

    Returns:
        Scalar.
    """
    return ops.sum(_entropies(logits, targets) * weights) / (ops.sum(weights) + 1e-6)


def balanced_cross_entropy(
    logits: Any, targets: Any, weights: Any, reduction: Reduction = "sum"
) -> Any:
    r"""Class-balanced cross-entropy, $\frac{N_-}{N}\sum_+ \ell + \frac{N_+}{N}\sum_- \ell$.

    As in the published code of OSVOS (Caelles et al., CVPR 2017; `osvos.py`) and OSMN (Yang et
    al., CVPR 2018; `osmn.py:19-44`): pixels are counted over the whole batch, and the loss is
    their *sum*, which is why the published rates are as small as they are. Where the batch has
    no pixel of one class, the loss is zero.

    Args:
        logits: float32 [B, H, W, 1].
        targets: float32 [B, H, W, 1], 0 or 1; anything above one half counts as object.
        weights: float32 [B, H, W, 1], 0 where a pixel does not count, else 1.
        reduction: `sum`, or `mean`: the sum divided by the pixels that count.

    Returns:
        Scalar.
    """
    positive = ops.cast(targets > 0.5, "float32") * weights
    negative = weights - positive
    losses = _entropies(logits, ops.cast(targets > 0.5, "float32"))
    objects, backgrounds = ops.sum(positive), ops.sum(negative)
    pixels = ops.maximum(objects + backgrounds, 1.0)
    total = (
        backgrounds * ops.sum(losses * positive) + objects * ops.sum(losses * negative)
    ) / pixels
    return total / pixels if reduction == "mean" else total


def _entropies(logits: Any, targets: Any) -> Any:
    """Binary cross-entropy of every pixel, without overflow."""
    return ops.relu(logits) - logits * targets + ops.log1p(ops.exp(-ops.abs(logits)))


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


def segmentation_loss(dice: float = 1.0, edge: float = 0.0) -> Callable[[Any, Any], Any]:
    """Cross-entropy plus weighted soft Dice at the size of the targets.

    Args:
        dice: Weight of the Dice part.
        edge: What a pixel by an edge of the targets counts in the cross-entropy beyond others.

    Returns:
        `loss(logits, targets)`: logits [B, h, w, 1] are resized bilinearly to the targets' size;
        targets are uint8 or float [B, H, W, 1]: 0..1, and anything above (255) is void.
    """

    def loss(logits: Any, targets: Any) -> Any:
        logits, targets, weights = _at_targets(logits, targets)
        near = weights * (1.0 + edge * edges(targets)) if edge else weights
        total = cross_entropy(logits, targets, near)
        return total + dice * soft_dice(logits, targets, weights) if dice else total

    return loss


def edges(targets: Any) -> Any:
    """Marks what lies within `EDGE` pixels of an edge, diagonals not longer than sides.

    Args:
        targets: float32 [B, H, W, 1], 0 or 1.

    Returns:
        float32 [B, H, W, 1], 1 by an edge, 0 elsewhere.
    """

    def largest(values: Any) -> Any:
        for size in ((2 * EDGE + 1, 1), (1, 2 * EDGE + 1)):
            values = ops.max_pool(values, size, strides=(1, 1), padding="same")
        return values

    return largest(targets) + largest(1.0 - targets) - 1.0


def balanced_loss(reduction: Reduction = "sum", dice: float = 0.0) -> Callable[[Any, Any], Any]:
    """Class-balanced cross-entropy plus weighted soft Dice at the size of the targets.

    Args:
        reduction: Of the cross-entropy; see `balanced_cross_entropy`. The Dice part lies in 0..1
            and is nothing beside a sum over pixels.
        dice: Weight of the Dice part; the originals have none.

    Returns:
        `loss(logits, targets)`, as that of `segmentation_loss`.

    Raises:
        UsageError: The reduction is neither.
    """
    if reduction not in ("sum", "mean"):
        raise UsageError("A reduction is sum or mean", met=reduction)

    def loss(logits: Any, targets: Any) -> Any:
        logits, targets, weights = _at_targets(logits, targets)
        total = balanced_cross_entropy(logits, targets, weights, reduction)
        return total + dice * soft_dice(logits, targets, weights) if dice else total

    return loss


def named_loss(name: str, dice: float = 0.0) -> Callable[[Any, Any], Any]:
    """Returns the loss that a configuration names.

    Args:
        name: `balanced-sum`, `balanced-mean`, or `cross-entropy` (the plain mean).
        dice: Weight of the soft Dice part.

    Returns:
        `loss(logits, targets)`, as that of `segmentation_loss`.

    Raises:
        UsageError: There is no loss of this name.
    """
    if name == "cross-entropy":
        return segmentation_loss(dice)
    if name not in ("balanced-sum", "balanced-mean"):
        raise UsageError(
            "A loss is balanced-sum, balanced-mean or cross-entropy", met=name, where="loss"
        )
    return balanced_loss(name.removeprefix("balanced-"), dice)


def _at_targets(logits: Any, targets: Any) -> tuple[Any, Any, Any]:
    """Resizes logits to the targets, and makes void targets 0 with weight 0."""
    targets = ops.cast(targets, "float32")
    weights = ops.cast(targets <= 1.0, "float32")
    targets = targets * weights
    shape = ops.shape(targets)
    logits = backend.resize(ops.cast(logits, "float32"), shape[1], shape[2])
    return logits, targets, weights


def l2_sp(variables: list[keras.Variable], weight: float) -> Callable[[list[Any]], Any] | None:
    """Makes L2-SP: half the squared distance to the values of now, weighted.

    Li et al., "Explicit Inductive Bias for Transfer Learning with Convolutional Networks", ICML
    2018.

    Args:
        variables: What is held to its values of now.
        weight: Factor; 0 holds nothing.

    Returns:
        `regularizer(values) -> scalar`, values in the order of the variables; None for weight 0.
    """
    if not weight:
        return None
    start = [ops.convert_to_tensor(v.numpy()) for v in variables]

    def regularizer(values: list[Any]) -> Any:
        distances = [
            ops.sum(ops.square(ops.cast(v, "float32") - ops.cast(s, "float32")))
            for v, s in zip(values, start, strict=True)
        ]
        return 0.5 * weight * sum(distances[1:], distances[0])

    return regularizer
