"""The head of DeepLabV3+: atrous spatial pyramid pooling, guide, memory, decoder.

Chen et al., "Encoder-Decoder with Atrous Separable Convolution for Semantic Image Segmentation",
ECCV 2018; guide and memory are additions of this package. Online fine-tuning trains the head but
for the layers that take guide and memory.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from deeplab_gygo.models.config import GUIDE_PLANES, ModelConfig
from deeplab_gygo.models.layers import (
    BroadcastLike,
    DepthwiseConvolution2D,
    GuideMatching,
    GuideMean,
    PointwiseConv2D,
    ResizeToFeatures,
)
from deeplab_gygo.models.memory import DepthToSpace, readout_channels

ASPP_RATES = {16: (6, 12, 18), 8: (12, 24, 36)}
"""Atrous rates by output stride (section 4 of the paper)."""


def conditioning_inputs(config: ModelConfig) -> dict[str, Any]:
    """Returns the inputs beside the image that the architecture takes.

    Args:
        config: Architecture.

    Returns:
        "guide" float32 [B, H/4, W/4, 2], "readout" float32 [B, H/s, W/s, R], both or one of them.
    """
    inputs = {}
    if config.guide:
        inputs["guide"] = keras.Input((None, None, GUIDE_PLANES), name="guide")
    if config.memory:
        channels = readout_channels(config.block_size)
        inputs["readout"] = keras.Input((None, None, channels), name="readout")
    return inputs


def build_head(config: ModelConfig, low_channels: int, high_channels: int) -> keras.Model:
    """Builds ASPP and decoder as one functional model.

    Args:
        config: Architecture.
        low_channels: Channels of the stride-4 features.
        high_channels: Channels of the features at the output stride.

    Returns:
        The model described at `models.deeplab.DeepLabV3Plus.head`.
    """
    low = keras.Input((None, None, low_channels), name="low")
    high = keras.Input((None, None, high_channels), name="high")
    inputs = {"low": low, "high": high, **conditioning_inputs(config)}
    guide, readout = inputs.get("guide"), inputs.get("readout")
    context = _aspp(high, config)
    if config.guide:
        context = _fuse_guide(context, guide, config)
    if config.memory:
        context = _fuse_readout(context, readout, config)
    logits = _decoder(low, context, guide, readout, config)
    return keras.Model(inputs, logits, name="head")


def _batch_norm(config: ModelConfig, name: str) -> layers.BatchNormalization:
    return layers.BatchNormalization(
        momentum=config.batch_norm_momentum, epsilon=config.batch_norm_epsilon, name=name
    )


def _conv_block(features, config: ModelConfig, channels: int, name: str):
    """1x1 convolution, BatchNorm, ReLU."""
    features = PointwiseConv2D(channels, use_bias=False, name=f"{name}_conv")(features)
    return layers.ReLU(name=f"{name}_relu")(_batch_norm(config, f"{name}_norm")(features))


def _conv3x3(features, config: ModelConfig, channels: int, rate: int, name: str):
    """3x3 convolution as the configuration has it, BatchNorm and ReLU after every part.

    Initial standard deviations (.33 depthwise, .06 pointwise) are those of the official
    implementation.
    """
    if not config.separable:
        features = layers.Conv2D(
            channels, 3, padding="same", dilation_rate=rate, use_bias=False, name=f"{name}_conv"
        )(features)
        return layers.ReLU(name=f"{name}_relu")(_batch_norm(config, f"{name}_norm")(features))
    features = DepthwiseConvolution2D(
        3,
        dilation_rate=rate,
        depthwise_initializer=keras.initializers.TruncatedNormal(stddev=0.33),
        name=f"{name}_depthwise",
    )(features)
    features = _batch_norm(config, f"{name}_depthwise_norm")(features)
    features = layers.ReLU(name=f"{name}_depthwise_relu")(features)
    features = PointwiseConv2D(
        channels,
        use_bias=False,
        kernel_initializer=keras.initializers.TruncatedNormal(stddev=0.06),
        name=f"{name}_pointwise",
    )(features)
    features = _batch_norm(config, f"{name}_pointwise_norm")(features)
    return layers.ReLU(name=f"{name}_pointwise_relu")(features)


def _aspp(high, config: ModelConfig):
    """Atrous spatial pyramid pooling with image pooling over the whole input."""
    width = config.aspp_channels
    branches = [_conv_block(high, config, width, "aspp_point")]
    for rate in ASPP_RATES[config.output_stride]:
        branches.append(_conv3x3(high, config, width, rate, f"aspp_rate{rate}"))
    pooled = layers.GlobalAveragePooling2D(keepdims=True, name="aspp_pool")(high)
    pooled = _conv_block(pooled, config, width, "aspp_image")
    branches.append(BroadcastLike(name="aspp_broadcast")([pooled, branches[0]]))
    context = layers.Concatenate(name="aspp_concat")(branches)
    context = _conv_block(context, config, width, "aspp_project")
    return layers.Dropout(config.dropout, name="aspp_dropout")(context)


def _fuse_guide(context, guide, config: ModelConfig):
    """Fuses the guide with the context at the output stride: it selects the object.

    It adds an embedding of the shapes of the guide, and the similarity of every position to the
    prototypes of the object and the background in the mean of its planes.
    """
    factor = config.block_size
    coarse = layers.AveragePooling2D(factor, name="guide_pool")(guide) if factor > 1 else guide
    shape = layers.Conv2D(
        config.guide_channels, 3, padding="same", activation="relu", name="guide_shape1"
    )(coarse)
    shape = layers.Conv2D(
        config.guide_channels,
        3,
        padding="same",
        dilation_rate=2,
        activation="relu",
        name="guide_shape2",
    )(shape)
    embedding = PointwiseConv2D(64, name="guide_embedding")(context)
    mean = GuideMean(name="guide_mean")(coarse)
    matches = GuideMatching(name="guide_matching")([embedding, mean])
    fused = layers.Concatenate(name="guide_concat")([context, shape, matches])
    return _conv3x3(fused, config, config.aspp_channels, 1, "guide_fusion")


def _fuse_readout(context, readout, config: ModelConfig):
    """Adds a projection of the memory read-out to the context.

    The last convolution starts at zero, so that a parent that was trained without a memory gives
    the same logits with one. Layers are named `recall_*`, as in existing weight files.
    """
    fused = layers.Concatenate(name="recall_concat")([context, readout])
    fused = layers.Conv2D(64, 3, padding="same", activation="relu", name="recall_conv")(fused)
    fused = PointwiseConv2D(
        context.shape[-1], use_bias=False, kernel_initializer="zeros", name="recall_join"
    )(fused)
    return layers.Add(name="recall_add")([context, fused])


def _fuse_mask_readout(features, guide, readout, config: ModelConfig):
    """Adds a projection of the mask in the read-out, at stride 4; starts at zero as well."""
    parts = [DepthToSpace(config.block_size, name="recall_mask")(readout)]
    if guide is not None:
        parts.append(guide)
    sharp = layers.Concatenate(name="recall_sharp")(parts) if len(parts) > 1 else parts[0]
    sharp = layers.Conv2D(16, 3, padding="same", activation="relu", name="recall_sharp_conv")(sharp)
    sharp = PointwiseConv2D(
        config.decoder_channels,
        use_bias=False,
        kernel_initializer="zeros",
        name="recall_sharp_join",
    )(sharp)
    return layers.Add(name="recall_sharp_add")([features, sharp])


def _decoder(low, context, guide, readout, config: ModelConfig):
    """Low-level projection, two 3x3 convolutions and the logit."""
    low = _conv_block(low, config, config.low_level_channels, "decoder_low")
    parts = [ResizeToFeatures(name="decoder_upsample")([context, low]), low]
    if guide is not None:
        parts.append(GuideMean(name="decoder_guide")(guide))
    features = layers.Concatenate(name="decoder_concat")(parts)
    features = _conv3x3(features, config, config.decoder_channels, 1, "decoder1")
    if readout is not None:
        features = _fuse_mask_readout(features, guide, readout, config)
    features = _conv3x3(features, config, config.decoder_channels, 1, "decoder2")
    return PointwiseConv2D(
        1,
        kernel_initializer=keras.initializers.TruncatedNormal(stddev=0.01),
        dtype="float32",
        name="logit",
    )(features)
