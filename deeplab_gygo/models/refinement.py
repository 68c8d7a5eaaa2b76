"""Refinement of logits: thin parts and edges that the decoder's stride-4 grid loses.

It sees the logits and the encoder's early features, nothing that knows one object from another:
it learns where edges run, not whose they are, and is left as it is by online fine-tuning. Guided
filters fit, around every place of every frame, what the object looks like beside what is around
it; convolutions say how far their answer is to be trusted, and what they do not see.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops

from deeplab_gygo import backend
from deeplab_gygo.models.config import ModelConfig
from deeplab_gygo.models.guided_filter import GuidedFilter, channels

REFINED_STRIDE = 1
"""Stride of the refined logits. What the refinement changes is found at stride 2; the decoder's
logits are resized once, in one step, for a resize at every stage smooths off what is thin."""

RADII = (1, 2, 4)
"""Of the guided filters, in places of stride 4."""

GUIDE_SCALE = 0.04
"""Brings the early features to a spread of about one half, that of a picture in -1..1."""

CHANGE_SCALE = 4.0
"""Brings what a filter changes of squashed logits to the spread of the features beside it."""

SQUASH = 0.125
"""Factor of logits before `tanh`: those near an edge stay in proportion, sure ones are alike."""


@keras.saving.register_keras_serializable("deeplab_gygo")
class Enlarge(keras.layers.Layer):
    """Bilinear resize, [B, h, w, C] -> [B, factor * h, factor * w, C].

    Args:
        factor: Of height and width.
        **options: Of every layer.
    """

    def __init__(self, factor: int, **options: Any):
        super().__init__(**options)
        self.factor = factor

    def call(self, inputs):
        shape = ops.shape(inputs)
        return backend.resize(inputs, self.factor * shape[1], self.factor * shape[2])

    def compute_output_shape(self, input_shape):
        sizes = [None if side is None else self.factor * side for side in input_shape[1:3]]
        return (input_shape[0], *sizes, input_shape[3])

    def compute_output_spec(self, inputs):
        return keras.KerasTensor(self.compute_output_shape(inputs.shape), dtype=inputs.dtype)

    def get_config(self):
        return {**super().get_config(), "factor": self.factor}


@keras.saving.register_keras_serializable("deeplab_gygo")
class Squash(keras.layers.Layer):
    """Brings logits to -1..1, so that how sure the decoder is does not drown the features."""

    def call(self, inputs):
        return ops.tanh(SQUASH * inputs)

    def compute_output_shape(self, input_shape):
        return input_shape


@keras.saving.register_keras_serializable("deeplab_gygo")
class Trust(keras.layers.Layer):
    """Adds what several sources would change, each as far as it is trusted.

    Inputs: trust [B, h, w, S + 1], whose last channel is a change by itself, and S changes
    [B, h, w, 1] in units of `Squash`; output: the change of the logits, [B, h, w, 1].
    """

    def call(self, inputs):
        trust, *changes = inputs
        *factors, change = channels(trust)
        for factor, other in zip(factors, changes, strict=True):
            change = change + factor * other / SQUASH
        return change

    def compute_output_shape(self, input_shape):
        return (*input_shape[0][:3], 1)


def build_refiner(config: ModelConfig, low_channels: int, fine_channels: int) -> keras.Model:
    """Builds the refinement.

    Args:
        config: Architecture.
        low_channels: Channels of the stride-4 features.
        fine_channels: Channels of the stride-2 features.

    Returns:
        {"logits" [B, H/4, W/4, 1], "low", "fine"} -> logits float32 [B, H, W, 1]. With its first
        weights it is a bilinear resize.
    """
    width = config.refine_channels
    logits = keras.Input((None, None, 1), name="logits")
    low = keras.Input((None, None, low_channels), name="low")
    fine = keras.Input((None, None, fine_channels), name="fine")
    squashed = Squash(name="refine_squash", dtype="float32")(logits)
    fine_squashed = Squash(name="refine_fine", dtype="float32")(
        Enlarge(2, name="refine_double", dtype="float32")(logits)
    )
    filtered = _filtered(config, squashed, fine_squashed, fine)
    coarse = layers.Concatenate(name="refine_coarse")(
        [layers.Conv2D(width - 1, 1, activation="relu", name="refine_low")(low), squashed]
    )
    coarse = layers.Conv2D(width, 3, padding="same", activation="relu", name="refine_mix")(coarse)
    features = layers.Concatenate(name="refine_concat")(
        [Enlarge(2, name="refine_double_features")(coarse), fine, fine_squashed]
        + [
            layers.Rescaling(CHANGE_SCALE, name=f"refine_scaled{radius}")(change)
            for radius, change in zip(RADII, filtered, strict=True)
        ]
    )
    for number in (1, 2):
        features = layers.DepthwiseConv2D(
            3, padding="same", use_bias=False, name=f"refine{number}_depthwise"
        )(features)
        features = layers.Conv2D(width, 1, activation="relu", name=f"refine{number}_pointwise")(
            features
        )
    trust = layers.Conv2D(
        len(filtered) + 1, 1, kernel_initializer="zeros", dtype="float32", name="refine_change"
    )(features)
    change = Trust(name="refine_trust", dtype="float32")([trust, *filtered])
    refined = layers.Add(name="refine_add", dtype="float32")(
        [
            Enlarge(4, name="refine_logits", dtype="float32")(logits),
            Enlarge(2, name="refine_enlarge", dtype="float32")(change),
        ]
    )
    return keras.Model({"logits": logits, "low": low, "fine": fine}, refined, name="refiner")


def _filtered(config: ModelConfig, coarse: Any, plain: Any, fine: Any) -> list[Any]:
    """What guided filters would change of squashed logits, at stride 2, by radius."""
    guide = layers.Rescaling(GUIDE_SCALE, name="refine_guide_scale", dtype="float32")(fine)
    guide = layers.Conv2D(
        config.refine_guides,
        1,
        use_bias=False,
        kernel_initializer="orthogonal",
        dtype="float32",
        name="refine_guide",
    )(guide)
    changes = []
    for radius in RADII:
        filtered = GuidedFilter(radius, name=f"refine_filter{radius}", dtype="float32")(
            [guide, coarse]
        )
        changes.append(
            layers.Subtract(name=f"refine_by{radius}", dtype="float32")([filtered, plain])
        )
    return changes
