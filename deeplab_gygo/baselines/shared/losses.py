"""Losses of OSVOS and OSMN on logits of one foreground object, in float32."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from keras import ops

from deeplab_gygo.errors import UsageError
from deeplab_gygo.models.losses import (
    add_dice,
    pixel_entropies,
    resize_to_targets,
    segmentation_loss,
)


def balanced_cross_entropy(
    logits: Any, targets: Any, weights: Any, reduction: Literal["sum", "mean"] = "sum"
) -> Any:
    r"""Class-balanced cross-entropy, $\frac{N_-}{N}\sum_+ \ell + \frac{N_+}{N}\sum_- \ell$.

    As in the published code of OSVOS (Caelles et al., CVPR 2017; `osvos.py`) and OSMN (Yang et
    al., CVPR 2018; `osmn.py:19-44`): pixels are counted over the whole batch, and the loss is
    their *sum*, which is why the published learning rates are small. Where the batch has no pixel
    of one class, the loss is zero.

    Args:
        logits: float32 [B, H, W, 1].
        targets: float32 [B, H, W, 1], 0 or 1; anything above one half counts as object.
        weights: float32 [B, H, W, 1], 0 for void pixels, else 1.
        reduction: `sum`, or `mean`: the sum divided by the number of pixels that are not void.

    Returns:
        Scalar.
    """
    positive = ops.cast(targets > 0.5, "float32") * weights
    negative = weights - positive
    losses = pixel_entropies(logits, ops.cast(targets > 0.5, "float32"))
    objects, backgrounds = ops.sum(positive), ops.sum(negative)
    pixels = ops.maximum(objects + backgrounds, 1.0)
    total = (
        backgrounds * ops.sum(losses * positive) + objects * ops.sum(losses * negative)
    ) / pixels
    return total / pixels if reduction == "mean" else total


def named_loss(name: str, dice_weight: float = 0.0) -> Callable[[Any, Any], Any]:
    """Returns the loss that a configuration names.

    Args:
        name: `balanced-sum`, `balanced-mean`, or `cross-entropy` (the plain mean).
        dice_weight: Weight of the soft Dice loss, in 0..1, which is negligible beside a sum; the
            originals have none.

    Returns:
        `loss(logits, targets)`, as that of `models.losses.segmentation_loss`.

    Raises:
        UsageError: There is no loss of this name.
    """
    if name == "cross-entropy":
        return segmentation_loss(dice_weight)
    if name not in ("balanced-sum", "balanced-mean"):
        raise UsageError(
            "A loss is balanced-sum, balanced-mean or cross-entropy", met=name, where="loss"
        )
    reduction = name.removeprefix("balanced-")

    def loss(logits: Any, targets: Any) -> Any:
        logits, targets, weights = resize_to_targets(logits, targets)
        total = balanced_cross_entropy(logits, targets, weights, reduction)
        return add_dice(total, logits, targets, weights, dice_weight)

    return loss
