"""Losses of OSVOS and OSMN on logits of one foreground object, in float32."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from keras import ops

from deeplab_gygo.baselines.shared.config import Loss
from deeplab_gygo.models.losses import (
    add_dice,
    pixel_entropies,
    resize_to_targets,
    segmentation_loss,
)


def named_loss(name: Loss, dice_weight: float = 0.0) -> Callable[[Any, Any], Any]:
    r"""Returns the loss that a configuration names.

    `balanced-sum` is $\frac{N_-}{N}\sum_+ \ell + \frac{N_+}{N}\sum_- \ell$ of the cross-entropy
    $\ell$ of every pixel, as in the published code of OSVOS (Caelles et al., CVPR 2017; `osvos.py`)
    and OSMN (Yang et al., CVPR 2018; `osmn.py:19-44`): pixels are counted over the whole batch, and
    the loss is their *sum*, which is why the published learning rates are small. Where the batch
    has no pixel of one class, the loss is zero. `balanced-mean` divides it by the number of pixels
    that are not void.

    Args:
        name: `balanced-sum`, `balanced-mean`, or `cross-entropy` (the plain mean).
        dice_weight: Weight of the soft Dice loss, in 0..1, which is negligible beside a sum; the
            originals have none.

    Returns:
        `loss(logits, targets)`, as that of `models.losses.segmentation_loss`.
    """
    if name == "cross-entropy":
        return segmentation_loss(dice_weight)

    def loss(logits: Any, targets: Any) -> Any:
        logits, targets, weights = resize_to_targets(logits, targets)
        binary = ops.cast(targets > 0.5, "float32")
        positive, negative = binary * weights, (1.0 - binary) * weights
        entropies = pixel_entropies(logits, binary)
        objects, backgrounds = ops.sum(positive), ops.sum(negative)
        pixels = ops.maximum(objects + backgrounds, 1.0)
        total = (
            backgrounds * ops.sum(entropies * positive) + objects * ops.sum(entropies * negative)
        ) / pixels
        total = total / pixels if name == "balanced-mean" else total
        return add_dice(total, logits, targets, weights, dice_weight)

    return loss
