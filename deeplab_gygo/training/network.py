"""The training network: clips of two frames, each of which is the memory frame of the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from deeplab_gygo.models.deeplab import DeepLabV3Plus
from deeplab_gygo.models.memory import MemoryRead, SpaceToDepth
from deeplab_gygo.synthesis.clips import FRAMES_PER_CLIP


@keras.saving.register_keras_serializable("deeplab_gygo")
class SwapPairs(keras.layers.Layer):
    """Swaps the two frames of every clip: [B, ...] -> [B, ...], B even."""

    def call(self, inputs):
        pairs = ops.reshape(inputs, (-1, FRAMES_PER_CLIP, *ops.shape(inputs)[1:]))
        return ops.reshape(ops.flip(pairs, axis=1), ops.shape(inputs))

    def compute_output_shape(self, input_shape):
        return input_shape


@keras.saving.register_keras_serializable("deeplab_gygo")
class FlattenSpatial(keras.layers.Layer):
    """Flattens the spatial axes, row by row: [B, h, w, C] -> [B, h * w, C]."""

    def call(self, inputs):
        shape = ops.shape(inputs)
        return ops.reshape(inputs, (-1, shape[1] * shape[2], inputs.shape[-1]))

    def compute_output_shape(self, input_shape):
        height, width = input_shape[1:3]
        positions = None if height is None or width is None else height * width
        return (input_shape[0], positions, input_shape[3])

    def compute_output_spec(self, inputs):
        return keras.KerasTensor(self.compute_output_shape(inputs.shape), dtype=inputs.dtype)


def build_training_network(parent: DeepLabV3Plus) -> keras.Model:
    """Builds the training network of a parent, on the parent's own weights.

    Args:
        parent: Network.

    Returns:
        {"image" [B, H, W, 3], "guide" [B, H/4, W/4, 1], "reference" [B, H/4, W/4, 1]} -> {"coarse":
        logits [B, H/4, W/4, 1], "refined": logits after the refinement, the same without one}.
        "reference" is the coded mask of the item itself, in the memory of the other frame of its
        clip; 0 is no memory. Inputs that the architecture does not use are ignored.
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
        blocks = SpaceToDepth(config.block_size, name="reference_blocks")(inputs["reference"])
        key = SwapPairs(name="swap_key")(FlattenSpatial(name="flat_key")(features["key"]))
        value = SwapPairs(name="swap_value")(FlattenSpatial(name="flat_value")(blocks))
        head["readout"] = MemoryRead(name="memory_read")([features["key"], key, value])
    coarse = parent.head(head)
    outputs = {"coarse": coarse, "refined": parent.refine(features, coarse)}
    return keras.Model(inputs, outputs, name="training")


def clip_loss(loss: Callable[[Any, Any], Any], coarse_weight: float) -> Callable[[Any, Any], Any]:
    """Returns the loss of the outputs of `build_training_network`.

    Args:
        loss: `loss(logits, targets) -> scalar`.
        coarse_weight: Weight of the loss of the coarse logits, beside 1 for the refined ones.
    """

    def total(outputs: dict[str, Any], targets: Any) -> Any:
        refined = loss(outputs["refined"], targets)
        if not coarse_weight:
            return refined
        return refined + coarse_weight * loss(outputs["coarse"], targets)

    return total
