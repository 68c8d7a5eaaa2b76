"""Trunks: classification networks as encoders with a hook after every unit, for modulation.

OSVOS and OSMN use VGG-16 in the original, here also EfficientNet-Lite0, which is much cheaper. A
trunk is applied to an image tensor inside a larger functional model; its layers are named as in
`shared.vgg` and `models.backbones`, and weights are assigned by these names.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import keras

from deeplab_gygo.baselines.shared.config import STRIDE
from deeplab_gygo.baselines.shared.vgg import VGG16, UnitHook, VggSpec, apply_vgg
from deeplab_gygo.models.inverted_residual import (
    Builder,
    InvertedResidualSpec,
    StridePlan,
    apply_inverted_residual,
    efficientnet_lite,
    normalize_image,
)

SPECS: dict[str, VggSpec | InvertedResidualSpec] = {
    "vgg16": VGG16,
    "efficientnet_lite0": efficientnet_lite(1.0, 1.0),
}
"""Sizes by trunk."""

SIDE_STAGES: dict[str, tuple[int, ...]] = {
    "vgg16": (2, 3, 4, 5),
    "efficientnet_lite0": (1, 2, 3, 5, 7),
}
"""Stages with a side output. VGG-16: conv2 to conv5, as in OSVOS and OSMN. EfficientNet-Lite0: the
last stages of strides 2, 4, 8 and 16 of the classifier, which correspond to these, and the last
stage, whose stride is replaced by dilation."""

FIRST_MODULATED_STAGE = 3
"""First stage that OSMN modulates without `modulate_early`: conv3 of VGG-16 (model_func.py:286-418)
and stage 3 of EfficientNet-Lite0, the first ones of more than stride 2."""


@dataclass(frozen=True)
class Unit:
    """Unit of modulation: a convolution of VGG-16, a block of EfficientNet-Lite0.

    Attributes:
        name: `conv3_1`, or `stage3_block1`.
        stage: Number of its stage, from 1.
        channels: Channels of its output.
        stride: Stride of its output in a segmentation network.
    """

    name: str
    stage: int
    channels: int
    stride: int


def trunk_units(trunk: str) -> tuple[Unit, ...]:
    """Returns the units of a trunk in order."""
    spec = SPECS[trunk]
    if isinstance(spec, VggSpec):
        return tuple(
            Unit(f"conv{stage}_{number}", stage, channels, 2 ** (stage - 1))
            for stage, (depth, channels) in enumerate(spec.stages, start=1)
            for number in range(1, depth + 1)
        )
    plan = StridePlan(STRIDE)
    plan.advance(2)  # of the stem
    units = []
    for stage, row in enumerate(spec.stages, start=1):
        plan.advance(row.stride)
        for block in range(1, row.blocks + 1):
            units.append(Unit(f"stage{stage}_block{block}", stage, row.channels, plan.stride))
    return tuple(units)


def modulated_units(trunk: str, early: bool) -> tuple[Unit, ...]:
    """Returns the units of a trunk that OSMN modulates, in order.

    VGG-16 has 9 (3840 channels) or, with early stages, 13 (4224); EfficientNet-Lite0 has 13 (1744)
    or 16 (1808).

    Args:
        trunk: A key of `SPECS`.
        early: Whether the first stages are included.
    """
    units = trunk_units(trunk)
    return tuple(unit for unit in units if early or unit.stage >= FIRST_MODULATED_STAGE)


def build_trunk(
    trunk: str,
    image: Any,
    hook: UnitHook | None = None,
    *,
    visible: Any = None,
    output_stride: int = STRIDE,
) -> dict[str, Any]:
    """Applies a trunk with random weights to an image; it includes the normalization.

    Args:
        trunk: A key of `SPECS`.
        image: float32 [B, H, W, 3], RGB in 0..255; in a segmentation network H and W are multiples
            of `STRIDE`.
        hook: Applied to the output of every unit.
        visible: float32 [B, H, W, 1], multiplied with the normalized image; None: all is visible.
        output_stride: Stride of the last features, 16, or 32 as in the classifier. VGG-16 has
            stride 16 in both, since its last pool is part of its classifier.

    Returns:
        Last features of every stage, `stage1` and so on: [B, H / s, W / s, C].
    """
    spec = SPECS[trunk]
    if isinstance(spec, VggSpec):
        stages = apply_vgg(image, spec, hook=hook, visible=visible)
    else:
        image = normalize_image(image, spec)
        if visible is not None:
            image = keras.layers.Multiply(dtype="float32", name="visible")([image, visible])
        stages = apply_inverted_residual(image, Builder(spec, output_stride), after=hook)
    return {f"stage{number}": features for number, features in enumerate(stages, start=1)}


def trunk_stage(layer: str) -> int | None:
    """Returns the stage of a layer by its name: 0 for a stem, None outside a trunk."""
    match = re.fullmatch(
        r"(?:conv(\d)_\d|stage(\d)_block\d+_(?:expand|depthwise|project)(?:_bn)?|stem_conv(?:_bn)?)",
        layer,
    )
    return match and int(match.group(1) or match.group(2) or 0)


def freeze_statistics(model: keras.Model) -> None:
    """Freezes the BatchNorm of the trunk in a model: batches are too small to estimate it."""
    for layer in model.layers:
        in_trunk = trunk_stage(layer.name) is not None
        if in_trunk and isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False
