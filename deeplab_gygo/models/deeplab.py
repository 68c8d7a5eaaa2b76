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

from deeplab_gygo.models.backbones import build_backbone
from deeplab_gygo.models.config import DECODER_STRIDE, ModelConfig
from deeplab_gygo.models.head import build_head, known_inputs
from deeplab_gygo.models.inference_encoder import frozen_encoder
from deeplab_gygo.models.memory import recall_channels
from deeplab_gygo.models.refinement import REFINED_STRIDE, build_refiner
from deeplab_gygo.models.weight_file import named_variables

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
        inputs = {"image": image, **known_inputs(self.config)}
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


def _encoder(config: ModelConfig, weights: str | None) -> keras.Model:
    backbone = build_backbone(config.backbone, output_stride=config.output_stride, weights=weights)
    outputs = {key: backbone.output[key] for key in ("low", "high")}
    if config.refine:
        outputs["fine"] = backbone.output["fine"]
    if config.memory:
        outputs["key"] = layers.Conv2D(config.key_channels, 1, name=KEY_LAYER)(outputs["high"])
    return keras.Model(backbone.input, outputs, name="encoder")
