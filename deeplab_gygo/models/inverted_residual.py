"""Backbones of inverted residual blocks: EfficientNet-Lite and MobileNetV2.

Both are a stem and seven stages of the same block: 1x1 expansion, depthwise convolution, 1x1
projection, and a residual connection where the size is the same. They differ in kernel sizes,
widths, depths, and image normalization. Strides beyond the output stride become dilation
(`StridePlan`), which ResNet-50 uses too.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import keras
from keras import layers

from deeplab_gygo.errors import UsageError
from deeplab_gygo.models.layers import DepthwiseConvolution2D, PointwiseConv2D

OUTPUT_STRIDES = (8, 16, 32)


class StridePlan:
    """Assigns strides and dilation rates to the layers of a network, in their order.

    A stride that would exceed the output stride is left out, and every later convolution with a
    kernel larger than 1x1 is dilated by it, so that each output sees the same input pixels through
    the same weights (DeepLabV3, https://arxiv.org/abs/1706.05587, section 3.1).

    Args:
        output_stride: Stride of the last features: 8, 16 or 32.

    Attributes:
        stride: Stride of the features so far.
        rate: Dilation of a convolution applied to the features so far.

    Raises:
        UsageError: Another output stride.
    """

    def __init__(self, output_stride: int):
        if output_stride not in OUTPUT_STRIDES:
            raise UsageError(
                "The output stride of a backbone must be 8, 16 or 32", met=output_stride
            )
        self._output_stride = output_stride
        self.stride = 1
        self.rate = 1

    def advance(self, stride: int) -> int:
        """Passes a layer with a stride in the original network.

        Args:
            stride: Its stride in the original network, 1 or 2.

        Returns:
            Its stride here. Where that is smaller, `rate` is larger for the layers behind it.
        """
        if self.stride * stride > self._output_stride:
            self.rate *= stride
            return 1
        self.stride *= stride
        return stride


@dataclass(frozen=True)
class StageSpec:
    """Stage of a network: blocks of the same kernel size, expansion and width.

    Attributes:
        kernel: Side of the depthwise kernel, pixels.
        blocks: Number of blocks.
        stride: Stride of the first block; the others have 1.
        expansion: Width inside a block over its input width; 1 leaves the expansion out.
        channels: Output width.
    """

    kernel: int
    blocks: int
    stride: int
    expansion: int
    channels: int


@dataclass(frozen=True)
class InvertedResidualSpec:
    """Network without its classifier.

    Attributes:
        stages: Stages in order; numbered from 1 in layer names.
        image_scale: Factor of the image in 0..255.
        image_offset: Offset after the factor.
        norm_epsilon: Epsilon of BatchNorm.
        norm_momentum: Momentum of BatchNorm.
        stem_channels: Width of the stem.
    """

    stages: tuple[StageSpec, ...]
    image_scale: float
    image_offset: float
    norm_epsilon: float
    norm_momentum: float
    stem_channels: int = 32


# EfficientNet-B0: https://arxiv.org/abs/1905.11946, table 1.
_EFFICIENTNET_STAGES = (
    StageSpec(kernel=3, blocks=1, stride=1, expansion=1, channels=16),
    StageSpec(kernel=3, blocks=2, stride=2, expansion=6, channels=24),
    StageSpec(kernel=5, blocks=2, stride=2, expansion=6, channels=40),
    StageSpec(kernel=3, blocks=3, stride=2, expansion=6, channels=80),
    StageSpec(kernel=5, blocks=3, stride=1, expansion=6, channels=112),
    StageSpec(kernel=5, blocks=4, stride=2, expansion=6, channels=192),
    StageSpec(kernel=3, blocks=1, stride=1, expansion=6, channels=320),
)

# MobileNetV2: https://arxiv.org/abs/1801.04381, table 2.
MOBILENET_V2 = InvertedResidualSpec(
    (
        StageSpec(kernel=3, blocks=1, stride=1, expansion=1, channels=16),
        StageSpec(kernel=3, blocks=2, stride=2, expansion=6, channels=24),
        StageSpec(kernel=3, blocks=3, stride=2, expansion=6, channels=32),
        StageSpec(kernel=3, blocks=4, stride=2, expansion=6, channels=64),
        StageSpec(kernel=3, blocks=3, stride=1, expansion=6, channels=96),
        StageSpec(kernel=3, blocks=3, stride=2, expansion=6, channels=160),
        StageSpec(kernel=3, blocks=1, stride=1, expansion=6, channels=320),
    ),
    image_scale=1 / 127.5,
    image_offset=-1.0,
    norm_epsilon=1e-3,
    norm_momentum=0.999,
)
"""MobileNetV2 of width 1, as in keras.applications."""


def efficientnet_lite(width: float, depth: float) -> InvertedResidualSpec:
    """Returns the specification of an EfficientNet-Lite.

    As in the official `efficientnet_lite_builder.py` (tensorflow/tpu), the stem keeps its width,
    and the first and the last stage keep their depth.

    Args:
        width: Factor of the widths.
        depth: Factor of the number of blocks of a stage.
    """
    stages = []
    for stage in _EFFICIENTNET_STAGES:
        scaled = stage.channels * width
        # A multiple of 8, never below nine tenths of the scaled width.
        rounded = max(8, int(scaled + 4) // 8 * 8)
        rounded += 8 if rounded < 0.9 * scaled else 0
        stages.append(replace(stage, channels=rounded))
    stages[1:-1] = [replace(s, blocks=math.ceil(s.blocks * depth)) for s in stages[1:-1]]
    # (x - 127) / 128, epsilon and momentum: efficientnet_lite_builder.py.
    return InvertedResidualSpec(
        tuple(stages),
        image_scale=1 / 128,
        image_offset=-127 / 128,
        norm_epsilon=1e-3,
        norm_momentum=0.99,
    )


class Builder:
    """Adds layers to a functional model and tracks stride and dilation.

    Subclasses override two methods to compute the same network differently
    (`models.inference_encoder`). Features are tensors [B, h, w, C], or what a subclass uses.

    Args:
        spec: The network.
        output_stride: Stride of its last features: 8, 16 or 32.
    """

    def __init__(self, spec: InvertedResidualSpec, output_stride: int):
        self.spec = spec
        self.plan = StridePlan(output_stride)

    def convolve(
        self,
        features: Any,
        channels: int | None,
        name: str,
        *,
        kernel: int = 1,
        stride: int = 1,
        rate: int = 1,
        activation: bool = True,
    ) -> Any:
        """Adds a convolution, BatchNorm and optionally ReLU6.

        Args:
            features: [B, h, w, C].
            channels: Output channels; None for a depthwise convolution.
            name: Name of the layer, and prefix of the names of those that follow.
            kernel: Side of the kernel, pixels.
            stride: Stride; 1 where `rate` is larger.
            rate: Dilation.
            activation: Whether a ReLU6 follows.

        Returns:
            [B, ceil(h/stride), ceil(w/stride), channels].
        """
        # Keeps gradient variances (official EfficientNet code). A new one for each layer: a Keras
        # initializer returns the same numbers at every call.
        initial = keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")
        if channels is None:
            layer = DepthwiseConvolution2D(
                kernel,
                strides=stride,
                dilation_rate=rate,
                depthwise_initializer=initial,
                name=name,
            )
        elif kernel == 1:
            layer = PointwiseConv2D(channels, use_bias=False, kernel_initializer=initial, name=name)
        else:
            layer = layers.Conv2D(
                channels,
                kernel,
                strides=stride,
                padding="same",
                dilation_rate=rate,
                use_bias=False,
                data_format="channels_last",
                kernel_initializer=initial,
                name=name,
            )
        features = layers.BatchNormalization(
            axis=-1,
            epsilon=self.spec.norm_epsilon,
            momentum=self.spec.norm_momentum,
            name=f"{name}_bn",
        )(layer(features))
        return layers.ReLU(max_value=6, name=f"{name}_relu")(features) if activation else features

    def add(self, inputs: Any, features: Any, name: str) -> Any:
        """Adds the input of a block to its output, [B, h, w, C] both."""
        return layers.Add(name=name)([inputs, features])

    def block(self, features: Any, stage: StageSpec, stride: int, name: str) -> Any:
        """Adds a block of a stage: expand, filter, project, and add the input where it fits.

        Args:
            features: [B, h, w, C].
            stage: Specification of the block.
            stride: Stride of the block in the published network; the plan may dilate instead.
            name: Name of the block, prefix of the names of its layers.

        Returns:
            [B, h', w', `stage.channels`], half the size where the plan keeps the stride.
        """
        inputs, width = features, features.shape[-1]
        if stage.expansion != 1:
            features = self.convolve(features, width * stage.expansion, f"{name}_expand")
        # The kernel acts before its own stride does: where that stride is left out, the kernel
        # keeps the rate from before, and only the layers behind it take the new one.
        rate = self.plan.rate
        here = self.plan.advance(stride)
        features = self.convolve(
            features, None, f"{name}_depthwise", kernel=stage.kernel, stride=here, rate=rate
        )
        features = self.convolve(features, stage.channels, f"{name}_project", activation=False)
        if stride == 1 and width == stage.channels:
            features = self.add(inputs, features, f"{name}_add")
        return features


def build_inverted_residual(
    name: str,
    spec: InvertedResidualSpec,
    output_stride: int,
    input_shape: tuple[int | None, int | None, int],
) -> keras.Model:
    """Builds the network with random weights; see `backbones.build_backbone` for its interface."""
    image = keras.Input(input_shape, name="image", dtype="float32")
    ends = apply_inverted_residual(normalize_image(image, spec), Builder(spec, output_stride))
    return keras.Model(image, named_ends(ends), name=name)


def normalize_image(image: Any, spec: InvertedResidualSpec) -> Any:
    """Adds the normalization of an image float32 [B, H, W, 3], RGB in 0..255."""
    # In float32 under every precision policy: 8-bit mantissas lose fractions of 0..255.
    return layers.Rescaling(
        spec.image_scale, spec.image_offset, dtype="float32", name="normalization"
    )(image)


def named_ends(ends: list[Any]) -> dict[str, Any]:
    """Names the outputs of the stages that a backbone returns."""
    return {"fine": ends[0], "low": ends[1], "mid": ends[2], "high": ends[-1]}


def apply_inverted_residual(
    image: Any,
    builder: Builder,
    *,
    after: Callable[[Any, str, int], Any] | None = None,
) -> list[Any]:
    """Applies the network to an image; the weights of a `Builder` are random.

    Args:
        image: float32 [B, H, W, 3], normalized.
        builder: Builder of the layers, used once.
        after: `after(features, unit, stage) -> features`, applied to the output of every block;
            units are named `stage3_block1` and so on.

    Returns:
        Outputs of the stages, in order.
    """
    spec = builder.spec
    features = builder.convolve(
        image, spec.stem_channels, "stem_conv", kernel=3, stride=builder.plan.advance(2)
    )
    ends = []
    for number, stage in enumerate(spec.stages, start=1):
        for block in range(1, stage.blocks + 1):
            stride = stage.stride if block == 1 else 1
            unit = f"stage{number}_block{block}"
            features = builder.block(features, stage, stride, unit)
            features = features if after is None else after(features, unit, number)
        ends.append(features)
    return ends
