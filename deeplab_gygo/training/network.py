"""The network as it is trained: clips of two moments, each the memory of the other."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from deeplab_gygo.models.deeplab import DeepLabV3Plus
from deeplab_gygo.models.memory import MemoryRead, ToCells
from deeplab_gygo.synthesis.clips import FRAMES_PER_CLIP


@keras.saving.register_keras_serializable("deeplab_gygo")
class SwapMoments(keras.layers.Layer):
    """Gives every item what belongs to the other moment of its clip; [B, ...], B even."""

    def call(self, inputs):
        pairs = ops.reshape(inputs, (-1, FRAMES_PER_CLIP, *ops.shape(inputs)[1:]))
        return ops.reshape(ops.flip(pairs, axis=1), ops.shape(inputs))

    def compute_output_shape(self, input_shape):
        return input_shape


@keras.saving.register_keras_serializable("deeplab_gygo")
class Places(keras.layers.Layer):
    """Lays the places of a map in a row: [B, h, w, C] -> [B, h * w, C]."""

    def call(self, inputs):
        shape = ops.shape(inputs)
        return ops.reshape(inputs, (-1, shape[1] * shape[2], inputs.shape[-1]))

    def compute_output_shape(self, input_shape):
        height, width = input_shape[1:3]
        places = None if height is None or width is None else height * width
        return (input_shape[0], places, input_shape[3])

    def compute_output_spec(self, inputs):
        return keras.KerasTensor(self.compute_output_shape(inputs.shape), dtype=inputs.dtype)


def build_training_network(parent: DeepLabV3Plus) -> keras.Model:
    """Builds the network that a parent is trained as; its weights are the parent's own.

    Args:
        parent: Network.

    Returns:
        {"image" [B, H, W, 3], "guide" [B, H/4, W/4, 1], "reference" [B, H/4, W/4, 1]} -> {"coarse":
        logits at stride 4, "finest": at `logits_stride`}. "reference" is the coded mask of the item
        itself, offered to the other moment of its clip; 0 offers nothing. Inputs that the
        architecture has no use for are taken and left.
    """
    config = parent.config
    inputs = {
        "image": keras.Input((None, None, 3), name="image"),
        "guide": keras.Input((None, None, 1), name="guide"),
        "reference": keras.Input((None, None, 1), name="reference"),
    }
    features = parent.encoder(inputs["image"], training=False)
    head = parent.head_features(features)
    if config.guide:
        head["guide"] = inputs["guide"]
    if config.memory:
        cells = ToCells(parent.cell, name="reference_cells")(inputs["reference"])
        key = SwapMoments(name="swap_key")(Places(name="key_places")(features["key"]))
        value = SwapMoments(name="swap_value")(Places(name="value_places")(cells))
        head["recall"] = MemoryRead(name="memory_read")([features["key"], key, value])
    coarse = parent.head(head)
    outputs = {"coarse": coarse, "finest": parent.finest(features, coarse)}
    return keras.Model(inputs, outputs, name="training")


def clip_loss(loss: Any, coarse: float) -> Any:
    """Makes a loss of `build_training_network`'s outputs.

    Args:
        loss: `loss(logits, targets) -> scalar`.
        coarse: Weight of the logits before refinement, beside the finest with weight one; where
            both are the same, it counts once.

    Returns:
        `loss(outputs, targets) -> scalar`.
    """

    def joined(outputs: dict[str, Any], targets: Any) -> Any:
        total = loss(outputs["finest"], targets)
        return total + coarse * loss(outputs["coarse"], targets) if coarse else total

    return joined
