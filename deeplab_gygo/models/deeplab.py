"""DeepLabV3+ for one foreground object: encoder, head with guide and memory, refinement.

Chen et al., "Encoder-Decoder with Atrous Separable Convolution for Semantic Image Segmentation",
ECCV 2018. The division is what makes online fine-tuning fast: the encoder's features of a frame do
not depend on the previous mask, so they are computed in windows and cached, and only the head
(ASPP and decoder) is adapted.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from deeplab_gygo.config import ModelConfig
from deeplab_gygo.models.backbones import build_backbone
from deeplab_gygo.models.frozen import frozen_encoder
from deeplab_gygo.models.layers import BroadcastLike, GuideMatching, ResizeToFeatures
from deeplab_gygo.models.memory import FromCells, recall_channels
from deeplab_gygo.models.refinement import REFINED_STRIDE, build_refiner
from deeplab_gygo.models.weights import named_variables

ASPP_RATES = {16: (6, 12, 18), 8: (12, 24, 36)}
"""Atrous rates by output stride (section 4 of the paper)."""

DECODER_STRIDE = 4
"""Stride of the low-level features, of the guide and of the logits."""

KEY_LAYER = "memory_key"
"""Layer of the encoder that makes the keys of the memory; no part of the backbone."""


class DeepLabV3Plus:
    """The parent network: encoder, head, and both joined.

    Attributes:
        config: Architecture.
        encoder: image float32 [B, H, W, 3], RGB in 0..255, H and W multiples of the output stride
            -> {"low": [B, H/4, W/4, C], "high": [B, H/s, W/s, D]} and, as far as the architecture
            has them, "key" [B, H/s, W/s, K] (memory) and "fine" [B, H/2, W/2, E] (refinement).
        head: {"low", "high"} and, as far as the architecture has them, "guide" float32
            [B, H/4, W/4, 1] (+1 object, -1 background, 0 unknown) and "recall" float32
            [B, H/s, W/s, R] (what `models.memory.MemoryRead` gives; 0 unknown) -> logits float32
            [B, H/4, W/4, 1]. `head_inputs` puts them together.
        refiner: {"logits", "low", "fine"} -> logits float32 [B, H/2, W/2, 1]; None where the
            architecture has none.
        network: {"image"} and the head's "guide" and "recall" -> the finest logits.
        frozen: The encoder as it will be, until somebody asks for `encoder`; None from then on.

    Args:
        config: Architecture.
        backbone_weights: None for random ones, `imagenet`, or the path of a weights file of the
            backbone. A parent's own weights are loaded by `models.weights.load_parent`.
        arrays: Values of the encoder's variables by name. It is built only where it is asked for,
            if its backbone can be computed without.
    """

    def __init__(
        self,
        config: ModelConfig,
        backbone_weights: str | None = None,
        *,
        arrays: dict[str, np.ndarray] | None = None,
    ):
        self.config = config
        self._backbone_weights, self._arrays = backbone_weights, arrays
        self.frozen = None if arrays is None else frozen_encoder(config, arrays, KEY_LAYER)
        if self.frozen is None:
            widths = {name: output.shape[-1] for name, output in self.encoder.output.items()}
        else:
            widths = self.frozen.widths
        self.head = build_head(config, widths["low"], widths["high"])
        self.refiner = (
            build_refiner(config, widths["low"], widths["fine"]) if config.refine else None
        )

    @cached_property
    def encoder(self) -> keras.Model:  # noqa: D102 - described at the class
        encoder = _encoder(self.config, self._backbone_weights)
        if self.frozen is not None:
            for name, variable in named_variables(encoder).items():
                variable.assign(self._arrays[name])
        # From now on its weights may change.
        self.frozen, self._arrays = None, None
        return encoder

    @cached_property
    def network(self) -> keras.Model:  # noqa: D102 - described at the class
        image = keras.Input((None, None, 3), name="image")
        inputs = {"image": image, **_known_inputs(self.config)}
        # Frozen statistics: a batch is too small to estimate the encoder's (official FAQ: under
        # 12), and fine-tuning sees one picture only.
        features = self.encoder(image, training=False)
        known = {name: inputs[name] for name in inputs if name != "image"}
        logits = self.finest(features, self.head({**self.head_features(features), **known}))
        return keras.Model(inputs, logits, name="deeplab_v3_plus")

    @property
    def built_parts(self) -> list[keras.Model]:
        """Returns those of `parts` that are there without asking for them."""
        waiting = self.frozen is not None
        parts = (None if waiting else self.encoder, self.head, self.refiner)
        return [part for part in parts if part is not None]

    @property
    def parts(self) -> list[keras.Model]:
        """Returns the models that hold the weights."""
        return [part for part in (self.encoder, self.head, self.refiner) if part is not None]

    @property
    def logits_stride(self) -> int:
        """Stride of the finest logits."""
        return REFINED_STRIDE if self.config.refine else DECODER_STRIDE

    @staticmethod
    def head_features(features: dict[str, Any]) -> dict[str, Any]:
        """Returns those of the encoder's features that the head takes."""
        return {name: features[name] for name in ("low", "high")}

    def head_inputs(
        self, features: dict[str, Any], guide: Any = None, recall: Any = None
    ) -> dict[str, Any]:
        """Puts together the inputs of the head; what is not known is 0.

        Args:
            features: Of the encoder, for one or more frames.
            guide: float32 [B, H/4, W/4, 1]; None for unknown.
            recall: float32 [B, H/s, W/s, R]; None for unknown.

        Returns:
            The inputs.
        """
        inputs = self.head_features(features)
        if self.config.guide:
            blank = ops.zeros_like(inputs["low"][..., :1], dtype="float32")
            inputs["guide"] = blank if guide is None else ops.convert_to_tensor(guide)
        if self.config.memory:
            channels = recall_channels(self.cell)
            blank = ops.zeros_like(inputs["high"][..., :channels], dtype="float32")
            inputs["recall"] = blank if recall is None else ops.convert_to_tensor(recall)
        return inputs

    def finest(self, features: dict[str, Any], logits: Any) -> Any:
        """Refines logits where the architecture has a refinement.

        Args:
            features: Of the encoder.
            logits: float32 [B, H/4, W/4, 1] of the head.

        Returns:
            float32 logits at `logits_stride`.
        """
        if self.refiner is None:
            return logits
        return self.refiner(
            {"logits": logits, "low": features["low"], "fine": features["fine"]}, training=False
        )

    @property
    def cell(self) -> int:
        """Side of the mask cells that lie in one place at the output stride, at stride 4."""
        return self.config.output_stride // DECODER_STRIDE

    @property
    def stride(self) -> int:
        """Multiple that height and width of the encoder's input must have."""
        return max(self.config.output_stride, 16)


def guide_at_stride(guide: np.ndarray, stride: int = DECODER_STRIDE) -> np.ndarray:
    """Averages a guide over blocks, as the head takes it.

    Args:
        guide: float32 [H, W, 1] in -1..1; H and W are multiples of the stride.
        stride: Side of a block, pixels.

    Returns:
        float32 [H/stride, W/stride, 1].
    """
    height, width = guide.shape[0] // stride, guide.shape[1] // stride
    return guide.reshape(height, stride, width, stride, 1).mean((1, 3), dtype=np.float32)


def _encoder(config: ModelConfig, weights: str | None) -> keras.Model:
    backbone = build_backbone(config.backbone, output_stride=config.output_stride, weights=weights)
    outputs = {key: backbone.output[key] for key in ("low", "high")}
    if config.refine:
        outputs["fine"] = backbone.output["fine"]
    if config.memory:
        outputs["key"] = layers.Conv2D(config.key_channels, 1, name=KEY_LAYER)(outputs["high"])
    return keras.Model(backbone.input, outputs, name="encoder")


def _known_inputs(config: ModelConfig) -> dict[str, Any]:
    """New inputs of what is known beside the image, as far as the architecture takes it."""
    inputs = {}
    if config.guide:
        inputs["guide"] = keras.Input((None, None, 1), name="guide")
    if config.memory:
        channels = recall_channels(config.output_stride // DECODER_STRIDE)
        inputs["recall"] = keras.Input((None, None, channels), name="recall")
    return inputs


def build_head(config: ModelConfig, low_channels: int, high_channels: int) -> keras.Model:
    """Builds ASPP and decoder as one functional model.

    Args:
        config: Architecture.
        low_channels: Channels of the stride-4 features.
        high_channels: Channels of the features at the output stride.

    Returns:
        The model described at `DeepLabV3Plus.head`.
    """
    low = keras.Input((None, None, low_channels), name="low")
    high = keras.Input((None, None, high_channels), name="high")
    inputs = {"low": low, "high": high, **_known_inputs(config)}
    guide, recall = inputs.get("guide"), inputs.get("recall")
    context = _aspp(high, config)
    if config.guide:
        context = _fuse_guide(context, guide, config)
    if config.memory:
        context = _fuse_recall(context, recall, config)
    logits = _decoder(low, context, guide, recall, config)
    return keras.Model(inputs, logits, name="head")


def _batch_norm(config: ModelConfig, name: str) -> layers.BatchNormalization:
    return layers.BatchNormalization(
        momentum=config.batch_norm_momentum, epsilon=config.batch_norm_epsilon, name=name
    )


def _conv_block(features, config: ModelConfig, channels: int, name: str):
    """1x1 convolution, BatchNorm, ReLU."""
    features = layers.Conv2D(channels, 1, use_bias=False, name=f"{name}_conv")(features)
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
    features = layers.DepthwiseConv2D(
        3,
        padding="same",
        dilation_rate=rate,
        use_bias=False,
        depthwise_initializer=keras.initializers.TruncatedNormal(stddev=0.33),
        name=f"{name}_depthwise",
    )(features)
    features = _batch_norm(config, f"{name}_depthwise_norm")(features)
    features = layers.ReLU(name=f"{name}_depthwise_relu")(features)
    features = layers.Conv2D(
        channels,
        1,
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
    """Lets the previous mask choose, at the output stride, which object is meant.

    Two things are added to the context: an embedding of the guide's own shape, and how much every
    place looks like what lies under the guide's object and under its background.
    """
    factor = config.output_stride // DECODER_STRIDE
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
    embedding = layers.Conv2D(64, 1, name="guide_embedding")(context)
    matches = GuideMatching(name="guide_matching")([embedding, coarse])
    fused = layers.Concatenate(name="guide_concat")([context, shape, matches])
    return _conv3x3(fused, config, config.aspp_channels, 1, "guide_fusion")


def _fuse_recall(context, recall, config: ModelConfig):
    """Adds what the memory says to the context; nothing at first, and nothing where it is unknown.

    The last convolution starts at zero, so that a memory can be given to a parent that was trained
    without one and does no harm before it is understood.
    """
    fused = layers.Concatenate(name="recall_concat")([context, recall])
    fused = layers.Conv2D(64, 3, padding="same", activation="relu", name="recall_conv")(fused)
    fused = layers.Conv2D(
        context.shape[-1], 1, use_bias=False, kernel_initializer="zeros", name="recall_join"
    )(fused)
    return layers.Add(name="recall_add")([context, fused])


def _sharp_recall(features, guide, recall, config: ModelConfig):
    """Adds the remembered mask, at the stride of the decoder, to its features; zero at first."""
    cell = config.output_stride // DECODER_STRIDE
    parts = [FromCells(cell, name="recall_mask")(recall)]
    if guide is not None:
        parts.append(guide)
    sharp = layers.Concatenate(name="recall_sharp")(parts) if len(parts) > 1 else parts[0]
    sharp = layers.Conv2D(16, 3, padding="same", activation="relu", name="recall_sharp_conv")(sharp)
    sharp = layers.Conv2D(
        config.decoder_channels,
        1,
        use_bias=False,
        kernel_initializer="zeros",
        name="recall_sharp_join",
    )(sharp)
    return layers.Add(name="recall_sharp_add")([features, sharp])


def _decoder(low, context, guide, recall, config: ModelConfig):
    """Low-level projection, two 3x3 convolutions and the logit."""
    low = _conv_block(low, config, config.low_level_channels, "decoder_low")
    parts = [ResizeToFeatures(name="decoder_upsample")([context, low]), low]
    if guide is not None:
        parts.append(guide)
    features = layers.Concatenate(name="decoder_concat")(parts)
    features = _conv3x3(features, config, config.decoder_channels, 1, "decoder1")
    if recall is not None:
        features = _sharp_recall(features, guide, recall, config)
    features = _conv3x3(features, config, config.decoder_channels, 1, "decoder2")
    return layers.Conv2D(
        1,
        1,
        kernel_initializer=keras.initializers.TruncatedNormal(stddev=0.01),
        dtype="float32",
        name="logit",
    )(features)
