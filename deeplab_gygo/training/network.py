"""The training network: clips of two frames, each of which is the memory frame of the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from deeplab_gygo.models.deeplab import DeepLabV3Plus
from deeplab_gygo.models.guide import encode_probability, guide_at_stride
from deeplab_gygo.models.memory import MemoryRead, SpaceToDepth
from deeplab_gygo.models.target_model import normal_equations, ridge_solution, target_guide
from deeplab_gygo.synthesis.clips import FRAMES_PER_CLIP


def swap_pairs(values: Any) -> Any:
    """Swaps the two frames of every clip: [B, ...] -> [B, ...], B even."""
    pairs = ops.reshape(values, (-1, FRAMES_PER_CLIP, *ops.shape(values)[1:]))
    return ops.reshape(ops.flip(pairs, axis=1), ops.shape(values))


@keras.saving.register_keras_serializable("deeplab_gygo")
class SwapPairs(keras.layers.Layer):
    """Swaps the two frames of every clip: [B, ...] -> [B, ...], B even."""

    def call(self, inputs):
        return swap_pairs(inputs)

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


RIDGE = 1e-3
"""Weight of the squared coefficients of target models in training: more than online, where they are
fitted to twelve views in place of one (`experiments/results/parent_scenes_choices.json`)."""


def _solve_positive(matrices: Any, right: Any) -> Any:
    """Solves systems with symmetric positive definite matrices: [B, n, n], [B, n, m] -> [B, n, m].

    By Cholesky factors, in half of the operations of `ops.solve` and in one batch on a GPU.
    """
    lower = ops.cholesky(matrices)
    halfway = ops.solve_triangular(lower, right, lower=True)
    return ops.solve_triangular(ops.transpose(lower, (0, 2, 1)), halfway, lower=False)


@keras.saving.register_keras_serializable("deeplab_gygo")
class TargetScore(keras.layers.Layer):
    """Scores every frame by the target model of the other frame of its clip.

    The model is that of `TargetModel.fit` for one view, in float32. No gradient passes through the
    score.

    Inputs: features [B, h, w, C] at the output stride, coded masks [B, H/4, W/4, 1]. Output:
    float32 [B, H/4, W/4, 1] in -1..1; 0 where the other frame has no mask.

    Args:
        block_size: Side of the block of guide positions that one position of the features covers.
        **options: Options of every layer.
    """

    def __init__(self, block_size: int, **options):
        super().__init__(**options)
        self.block_size = block_size

    def call(self, inputs):
        features, coded = (ops.stop_gradient(ops.cast(part, "float32")) for part in inputs)
        shape = ops.shape(features)
        positions = ops.reshape(features, (shape[0], -1, features.shape[-1]))
        masks = guide_at_stride(coded, self.block_size, ops)
        masks = ops.reshape(masks, (shape[0], -1))
        mean = ops.mean(positions, axis=1, keepdims=True)
        spread = ops.std(positions, axis=1, keepdims=True) + 1e-3
        equations = normal_equations(positions, masks, mean, spread, ops)
        models = ridge_solution(equations, mean[:, 0], spread[:, 0], RIDGE, _solve_positive, ops)
        known = ops.any(coded != 0, axis=(1, 2, 3))[:, None]
        models = swap_pairs(models * ops.cast(known, "float32"))
        return target_guide(features, models, self.block_size)

    def get_config(self):
        return {**super().get_config(), "block_size": self.block_size}

    def compute_output_shape(self, input_shape):
        return input_shape[1]


@keras.saving.register_keras_serializable("deeplab_gygo")
class AddErrors(keras.layers.Layer):
    """Adds the errors of a prediction to the previous mask of a guide.

    Online the previous mask is a prediction: parts that are missed once are missing in it. Where it
    is unknown it stays so. No gradient passes through the prediction.

    Inputs: guide [B, H, W, 2], logits, coded target [B, H, W, 1] and switch [B, 1, 1, 1]. Output:
    float32 [B, H, W, 2].
    """

    def call(self, inputs):
        guide, logits, truth, switch = (ops.cast(part, "float32") for part in inputs)
        previous, score = guide[..., :1], guide[..., 1:]
        known = ops.cast(ops.any(previous != 0, axis=(1, 2, 3), keepdims=True), "float32")
        errors = encode_probability(ops.sigmoid(ops.stop_gradient(logits))) - truth
        previous = ops.clip(previous + known * switch * errors, -1.0, 1.0)
        return ops.concatenate([previous, score], axis=-1)

    def compute_output_shape(self, input_shape):
        return input_shape[0]


def build_training_network(parent: DeepLabV3Plus) -> keras.Model:
    """Builds the training network of a parent, on the parent's own weights.

    Inputs, of which those that the architecture does not use are ignored:

    - "image": [B, H, W, 3];
    - "guide": [B, H/4, W/4, 1], the coded previous mask; 0 is unknown;
    - "reference": [B, H/4, W/4, 1], the coded mask of the item itself in the memory of the other
      frame of its clip, and for its target model; 0 is none;
    - "has_score": [B, 1, 1, 1], 0 or 1, whether the item is guided by the target model;
    - "rollout": [B, 1, 1, 1], 0 or 1, whether the errors of a first prediction are added to the
      previous mask;
    - "truth": [B, H/4, W/4, 1], the coded target, by which these errors are known.

    Args:
        parent: Network.

    Returns:
        The inputs -> {"coarse": logits [B, H/4, W/4, 1], "refined": logits after the refinement,
        the same without one}.
    """
    config = parent.config
    inputs = {
        "image": keras.Input((None, None, 3), name="image"),
        **{
            name: keras.Input((None, None, 1), name=name)
            for name in ("guide", "reference", "has_score", "rollout", "truth")
        },
    }
    features = parent.encoder(inputs["image"], training=False)
    head = parent.head_features(features)
    if config.memory:
        blocks = SpaceToDepth(config.block_size, name="reference_blocks")(inputs["reference"])
        key = SwapPairs(name="swap_key")(FlattenSpatial(name="flat_key")(features["key"]))
        value = SwapPairs(name="swap_value")(FlattenSpatial(name="flat_value")(blocks))
        head["readout"] = MemoryRead(name="memory_read")([features["key"], key, value])
    if config.guide:
        score = TargetScore(config.block_size, name="score")([head["high"], inputs["reference"]])
        score = keras.layers.Multiply(name="known_score")([score, inputs["has_score"]])
        head["guide"] = keras.layers.Concatenate(name="guides")([inputs["guide"], score])
        first = parent.head(head)
        head["guide"] = AddErrors(name="rolled_out")(
            [head["guide"], first, inputs["truth"], inputs["rollout"]]
        )
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
