"""The training network of strokes: clicks are added where its own prediction is wrong."""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

from deeplab_gygo.models.deeplab import DeepLabV3Plus
from deeplab_gygo.models.memory import readout_channels
from deeplab_gygo.models.stroke_marks import MARK_WIDTH, Stroke, draw
from deeplab_gygo.synthesis.strokes import MAX_ROLLOUT

MIN_ERROR = 0.02
"""Share of wrong positions around a click, twice averaged, below which none is made."""

_REACH = 9  # side of the averages by which the middle of an error is found, positions


@keras.saving.register_keras_serializable("deeplab_gygo")
class AddClick(keras.layers.Layer):
    """Adds a click in the middle of the largest error of a prediction, which becomes the prior.

    No gradient passes through the prediction.

    Inputs: guide [B, h, w, 2] (prior, strokes), logits [B, h, w, 1], coded target [B, h, w, 1], and
    the rollout [B, 1, 1, 1]. Output: the guide, float32 [B, h, w, 2], changed where the rollout is
    above `stage`.

    Args:
        stage: Clicks that were added before.
        **options: Options of every layer.
    """

    def __init__(self, stage: int, **options):
        super().__init__(**options)
        self.stage = stage
        side = 2 * int(MARK_WIDTH) + 1
        middle = float(side // 2)
        disc = draw([Stroke(True, ((middle, middle),), MARK_WIDTH)], (side, side))
        self._disc = disc.astype(np.float32)[..., None, None]

    def call(self, inputs):
        guide, logits, truth, rollout = (ops.cast(part, "float32") for part in inputs)
        found = ops.cast(ops.stop_gradient(logits) > 0, "float32")
        error = ops.cast(truth > 0, "float32") - found
        errors = depth = ops.concatenate([ops.relu(error), ops.relu(-error)], axis=-1)
        beside = (_REACH // 2, _REACH // 2)
        for _ in range(2):  # beyond the border nothing is wrong
            depth = ops.pad(depth, ((0, 0), beside, beside, (0, 0)))
            depth = ops.average_pool(depth, _REACH, 1, "valid")
        depth = ops.transpose(depth * errors, (0, 3, 1, 2))
        shape = ops.shape(depth)
        flat = ops.reshape(depth, (-1, shape[1] * shape[2] * shape[3]))
        chosen = ops.one_hot(ops.argmax(flat, axis=-1), shape[1] * shape[2] * shape[3])
        chosen = chosen * ops.cast(ops.max(flat, axis=-1, keepdims=True) > MIN_ERROR, "float32")
        clicks = ops.transpose(ops.reshape(chosen, shape), (0, 2, 3, 1))
        click = ops.conv(clicks[..., :1] - clicks[..., 1:], self._disc, padding="same")
        strokes = ops.where(click != 0, ops.sign(click), guide[..., 1:])
        clicked = ops.concatenate([2 * found - 1, strokes], axis=-1)
        return ops.where(rollout > self.stage, clicked, guide)

    def get_config(self):
        return {**super().get_config(), "stage": self.stage}

    def compute_output_shape(self, input_shape):
        return input_shape[0]


def build_stroke_network(parent: DeepLabV3Plus) -> keras.Model:
    """Builds the training network of strokes, on the parent's own weights.

    Inputs: "image" [B, H, W, 3], "guide" [B, H/4, W/4, 2] (mask to correct, strokes), "truth"
    [B, H/4, W/4, 1], "rollout" [B, 1, 1, 1], the clicks to add; see `synthesis.strokes`.

    Args:
        parent: Network with a guide.

    Returns:
        The inputs -> {"coarse", "refined"} logits, as of `training.network.build_training_network`.
    """
    inputs = {
        "image": keras.Input((None, None, 3), name="image"),
        "guide": keras.Input((None, None, 2), name="guide"),
        "truth": keras.Input((None, None, 1), name="truth"),
        "rollout": keras.Input((1, 1, 1), name="rollout"),
    }
    features = parent.encoder(inputs["image"], training=False)
    head = parent.head_features(features)
    if parent.config.memory:
        channels = readout_channels(parent.config.block_size)
        head["readout"] = Blank(channels, name="no_memory")(features["high"])
    head["guide"] = inputs["guide"]
    for stage in range(MAX_ROLLOUT):
        clicked = [head["guide"], parent.head(head), inputs["truth"], inputs["rollout"]]
        head["guide"] = AddClick(stage, name=f"click{stage}")(clicked)
    coarse = parent.head(head)
    outputs = {"coarse": coarse, "refined": parent.refine(features, coarse)}
    return keras.Model(inputs, outputs, name="strokes")


@keras.saving.register_keras_serializable("deeplab_gygo")
class Blank(keras.layers.Layer):
    """Zeros at the positions of features: [B, h, w, C] -> [B, h, w, channels].

    Args:
        channels: Channels of the zeros.
        **options: Options of every layer.
    """

    def __init__(self, channels: int, **options):
        super().__init__(**options)
        self.channels = channels

    def call(self, inputs):
        return ops.repeat(ops.zeros_like(inputs[..., :1]), self.channels, axis=-1)

    def get_config(self):
        return {**super().get_config(), "channels": self.channels}

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.channels)
