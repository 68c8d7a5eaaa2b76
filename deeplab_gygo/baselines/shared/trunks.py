"""Trunks: networks for classification, opened up so that every unit of theirs can be modulated.

OSVOS and OSMN stand on VGG-16 in the original, and here on EfficientNet-Lite0 as well, which costs
a small part of it. A trunk is applied to an image tensor inside a larger functional model; its
layers have the names that they have in `models.vgg` and `models.backbones`, by which weights are
put into them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import keras

from deeplab_gygo.baselines.shared.vgg import VGG16, After, VggSpec, apply_vgg
from deeplab_gygo.models.inverted_residual import (
    Builder,
    InvertedResidualSpec,
    apply_inverted_residual,
    efficientnet_lite,
)
from deeplab_gygo.models.stride import StridePlan

STRIDE = 16
"""Stride of a trunk's last features in a segmentation network. VGG-16 has it without its pool5; in
EfficientNet-Lite0 the last stride becomes dilation."""

SPECS: dict[str, VggSpec | InvertedResidualSpec] = {
    "vgg16": VGG16,
    "efficientnet_lite0": efficientnet_lite(1.0, 1.0),
}
"""Sizes by trunk."""

SIDE_STAGES: dict[str, tuple[int, ...]] = {
    "vgg16": (2, 3, 4, 5),
    "efficientnet_lite0": (1, 2, 3, 5, 7),
}
"""Stages from whose ends sides leave. VGG-16: conv2 to conv5, as OSVOS and OSMN have it.
EfficientNet-Lite0: the ends of strides 2, 4, 8 and 16 of the classifier, which answer to these, and
a fifth from its last stage, whose stride became dilation."""

MODULATED_FROM = 3
"""First stage that OSMN modulates unless told to begin early: conv3 of VGG-16 (model_func.py:
286-418) and, in EfficientNet-Lite0, stage 3. Both begin where the strides of the sides pass 2."""


@dataclass(frozen=True)
class Unit:
    """What is modulated as one: a convolution of VGG-16, a block of EfficientNet-Lite0.

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
    """Returns the units of a trunk in their order."""
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
    """Returns the units of a trunk that OSMN modulates.

    Args:
        trunk: A key of `SPECS`.
        early: Whether the first stages are among them.

    Returns:
        The units in their order: VGG-16 has 9 (3840 channels) or 13 (4224), EfficientNet-Lite0
        13 (1744) or 16 (1808).
    """
    return tuple(unit for unit in trunk_units(trunk) if early or unit.stage >= MODULATED_FROM)


def build_trunk(
    trunk: str,
    image: Any,
    after: After | None = None,
    *,
    visible: Any = None,
    output_stride: int = STRIDE,
) -> dict[str, Any]:
    """Applies a trunk with random weights to an image; normalisation is part of it.

    Args:
        trunk: A key of `SPECS`.
        image: float32 [B, H, W, 3], RGB in 0..255; in a segmentation network H and W are multiples
            of `STRIDE`.
        after: `after(features, unit name, stage) -> features`: what becomes of the output of every
            unit, before the next one sees it.
        visible: float32 [B, H, W, 1]; the normalised image is multiplied by it. None shows all.
        output_stride: Stride of the last features, 16, or 32 as in the classifier. VGG-16 has
            stride 16 without its last pool, which belongs to its classifier.

    Returns:
        The ends of the stages, `stage1` and so on: [B, H / s, W / s, C].
    """
    spec = SPECS[trunk]
    if isinstance(spec, VggSpec):
        ends = apply_vgg(image, spec, after=after, visible=visible)
    else:
        builder = Builder(spec, output_stride)
        ends = apply_inverted_residual(image, builder, after=after, visible=visible)
    return {f"stage{number}": end for number, end in enumerate(ends, start=1)}


def trunk_stage(layer: str) -> int | None:
    """Returns the stage that a layer belongs to by its name: 0 for a stem, None outside a trunk."""
    match = re.fullmatch(
        r"(?:conv(\d)_\d|stage(\d)_block\d+_(?:expand|depthwise|project)(?:_bn)?|stem_conv(?:_bn)?)",
        layer,
    )
    return match and int(match.group(1) or match.group(2) or 0)


def freeze_statistics(model: keras.Model) -> None:
    """Has the trunk in a model run on its moving statistics, and not learn its normalisation.

    As in the parents of this package: a batch is too small to estimate them.
    """
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization) and (
            trunk_stage(layer.name) is not None
        ):
            layer.trainable = False
