"""DeepLabV3+ for one foreground object: encoder, head with guide and memory, refinement.

Chen et al., "Encoder-Decoder with Atrous Separable Convolution for Semantic Image Segmentation",
ECCV 2018. Encoder features do not depend on the previous mask: online they are computed in windows
and cached, and only the head (ASPP and decoder) is fine-tuned, which makes fine-tuning fast.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cached_property, partial
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from deeplab_gygo import backend
from deeplab_gygo.errors import UsageError
from deeplab_gygo.models.backbones import build_backbone
from deeplab_gygo.models.config import GUIDE_PLANES, KEY_LAYER, ModelConfig
from deeplab_gygo.models.head import build_head, conditioning_inputs
from deeplab_gygo.models.inference_encoder import InferenceEncoder
from deeplab_gygo.models.memory import readout_channels
from deeplab_gygo.models.refinement import build_refiner
from deeplab_gygo.models.weight_file import (
    assign_variables,
    named_variables,
    reset_dropout,
    shapes_of,
)
from deeplab_gygo.models.weight_reader import WeightFile


class DeepLabV3Plus:
    """The parent network: encoder, head, refinement, and all of them joined.

    Attributes:
        config: Architecture.
        head: {"low", "high"} and, as the architecture has them, "guide" float32 [B, H/4, W/4, 2]
            (previous mask and score; +1 object, -1 background, 0 unknown) and "readout" float32
            [B, H/s, W/s, R] (of `models.memory.MemoryRead`; 0 unknown) -> logits float32
            [B, H/4, W/4, 1].
        refiner: {"logits", "low", "fine"} -> logits float32 [B, H, W, 1]; None where the
            architecture has none.
        stride: Number that divides height and width of the input.

    Args:
        config: Architecture.
        backbone_weights: None for random ones, `imagenet`, or the path of a weights file of the
            backbone. A parent's own weights are loaded by `models.weight_file.load_parent`.
        inference_encoder: Encoder to use in place of the Keras model, until `build_encoder`.
    """

    def __init__(
        self,
        config: ModelConfig,
        backbone_weights: str | None = None,
        *,
        inference_encoder: InferenceEncoder | None = None,
    ):
        self.config = config
        self._inference_encoder, self._encoder = inference_encoder, None
        if inference_encoder is None:
            self._encoder = _encoder(config, backbone_weights)
            widths = {name: output.shape[-1] for name, output in self._encoder.output.items()}
        else:
            widths = inference_encoder.widths
        self.stride, self._widths = max(config.output_stride, 16), widths
        self._build_decoder()

    def _build_decoder(self) -> None:
        config, widths = self.config, self._widths
        self.head = build_head(config, widths["low"], widths["high"])
        self.refiner = (
            build_refiner(config, widths["low"], widths["fine"]) if config.refine else None
        )

    @classmethod
    def from_file(cls, file: WeightFile) -> DeepLabV3Plus:
        """Builds a network from its weights, if possible with an encoder for inference only.

        Creating the variables of the encoder takes most of the time of building a network, and
        inference with a frozen encoder needs none of them: see `build_encoder`.

        Args:
            file: Weight file of this architecture; its arrays are read when their shapes are known.

        Raises:
            WeightsError: The arrays are damaged, or do not fit the architecture.
        """
        encoder, shapes = InferenceEncoder.without_weights(file.config) or (None, {})
        network = backend.without_values(partial(cls, file.config, inference_encoder=encoder))
        variables = named_variables(*(network.parts if encoder is None else network.decoder))
        arrays = file.read({**shapes, **shapes_of(variables)})
        if encoder is not None:
            network._inference_encoder = InferenceEncoder.from_arrays(file.config, arrays)
        others = {name: array for name, array in arrays.items() if name not in shapes}
        assign_variables(variables, others, file.config, file.path)
        reset_dropout(network.decoder)
        return network

    def with_decoder(self, file: WeightFile) -> DeepLabV3Plus:
        """Returns a network of the same encoder with another decoder.

        Args:
            file: Weights of head and refinement alone.

        Raises:
            WeightsError: They are damaged, or do not fit the architecture.
        """
        network = copy.copy(self)
        network.__dict__.pop("network", None)  # of this decoder
        backend.without_values(network._build_decoder)
        variables = named_variables(*network.decoder)
        arrays = file.read(shapes_of(variables))
        assign_variables(variables, arrays, self.config, file.path)
        reset_dropout(network.decoder)
        return network

    def build_encoder(self) -> keras.Model:
        """Builds the encoder as a Keras model, if it is not yet, and returns it.

        From then on its weights may change, and `inference_encoder` takes the current ones.
        """
        if self._encoder is None:
            self._encoder = backend.without_values(partial(_encoder, self.config, None))
            arrays = self._inference_encoder.arrays
            assign_variables(named_variables(self._encoder), arrays, self.config, "memory")
            self._inference_encoder = None
        return self._encoder

    @property
    def encoder(self) -> keras.Model:
        """Encoder as a Keras model.

        Image float32 [B, H, W, 3], RGB in 0..255, H and W multiples of `stride` -> {"low"
        [B, H/4, W/4, C], "high" [B, H/s, W/s, D]} and, as the architecture has them, "key"
        [B, H/s, W/s, K] (memory) and "fine" [B, H/2, W/2, E] (refinement).

        Raises:
            UsageError: The network was loaded for inference, and `build_encoder` not called.
        """
        if self._encoder is None:
            raise UsageError(
                "The encoder of a loaded network is built before it is used as a Keras model",
                remedy="Call build_encoder()",
            )
        return self._encoder

    def inference_encoder(self) -> Callable[[Any], dict[str, Any]]:
        """Returns the compiled encoder in inference, for weights that are constant from now on.

        BatchNorm is folded into the convolutions of backbones with inverted residual blocks.

        Returns:
            `encode(images) -> features` as `encoder` computes them.
        """
        encoder = self._inference_encoder
        if encoder is None:
            values = named_variables(self.encoder).items()
            arrays = {name: np.array(variable.numpy()) for name, variable in values}
            encoder = InferenceEncoder.from_arrays(self.config, arrays)
        if encoder is None:
            return backend.compiled(self.encoder)
        call, weights = encoder.function()
        return partial(backend.compiled_function(call), weights)

    @cached_property
    def network(self) -> keras.Model:
        """{"image"} and the head's "guide" and "readout" -> refined logits, as one Keras model."""
        image = keras.Input((None, None, 3), name="image")
        conditioning = conditioning_inputs(self.config)
        # Frozen statistics: a batch is too small to estimate the encoder's (official FAQ: under
        # 12), and fine-tuning has a batch of one.
        features = self.encoder(image, training=False)
        logits = self.refine(features, self.head({**self.head_features(features), **conditioning}))
        return keras.Model({"image": image, **conditioning}, logits, name="deeplab_v3_plus")

    @property
    def parts(self) -> list[keras.Model]:
        """Models that hold the variables."""
        return [self.encoder, *self.decoder]

    @property
    def decoder(self) -> list[keras.Model]:
        """Head, and refinement where the architecture has one."""
        return [self.head] if self.refiner is None else [self.head, self.refiner]

    @staticmethod
    def head_features(features: dict[str, Any]) -> dict[str, Any]:
        """Returns the encoder features that the head takes."""
        return {name: features[name] for name in ("low", "high")}

    def head_inputs(
        self, features: dict[str, Any], guide: Any = None, readout: Any = None
    ) -> dict[str, Any]:
        """Joins features and conditioning to the inputs of the head; unknown conditioning is 0.

        Args:
            features: Encoder features of one or more frames.
            guide: float32 [B, H/4, W/4, 2] of `models.target_model.joined_guide`; None for unknown.
            readout: Memory read-out, float32 [B, H/s, W/s, R]; None for unknown.

        Returns:
            The inputs.
        """
        inputs = self.head_features(features)
        if self.config.guide:
            blank = ops.zeros_like(inputs["low"][..., :GUIDE_PLANES], dtype="float32")
            inputs["guide"] = blank if guide is None else ops.convert_to_tensor(guide)
        if self.config.memory:
            channels = readout_channels(self.config.block_size)
            blank = ops.zeros_like(inputs["high"][..., :channels], dtype="float32")
            inputs["readout"] = blank if readout is None else ops.convert_to_tensor(readout)
        return inputs

    def refine(self, features: dict[str, Any], logits: Any) -> Any:
        """Refines logits of the head where the architecture has a refinement.

        Args:
            features: Encoder features.
            logits: float32 [B, H/4, W/4, 1].

        Returns:
            float32 [B, H, W, 1]; the logits unchanged without a refinement.
        """
        if self.refiner is None:
            return logits
        return self.refiner(
            {"logits": logits, "low": features["low"], "fine": features["fine"]}, training=False
        )

    def decode(self, features: dict[str, Any], guide: Any = None, readout: Any = None) -> Any:
        """Computes refined logits of encoder features in inference; arguments as `head_inputs`."""
        logits = self.head(self.head_inputs(features, guide, readout), training=False)
        return self.refine(features, logits)


def _encoder(config: ModelConfig, weights: str | None) -> keras.Model:
    backbone = build_backbone(config.backbone, output_stride=config.output_stride, weights=weights)
    outputs = {key: backbone.output[key] for key in ("low", "high")}
    if config.refine:
        outputs["fine"] = backbone.output["fine"]
    if config.memory:
        outputs["key"] = layers.Conv2D(config.key_channels, 1, name=KEY_LAYER)(outputs["high"])
    return keras.Model(backbone.input, outputs, name="encoder")
