"""A backbone of seven thin stages, for tests of what is built around a backbone.

It has the strides, the outputs and the names of a real one, and takes a small part of its time.
"""

from unittest import mock

import keras
from keras import layers

from deeplab_gygo.models import deeplab
from deeplab_gygo.models.config import ModelConfig

WIDTHS = (8, 8, 8, 12, 16, 16, 16, 24)  # of the stem and the stages 1 to 7
STRIDED = (0, 2, 3, 4)  # the stages where strides 2, 4, 8 and 16 begin

THIN = {
    "aspp_channels": 16,
    "low_level_channels": 8,
    "decoder_channels": 16,
    # The operations of a guided filter, which are traced and compiled, grow with the cube of its
    # maps; three need every line of the solver.
    "refine_guides": 3,
}
"""Options of a `ModelConfig`."""


def build_small_backbone(name, *, output_stride=16, weights=None) -> keras.Model:
    """Stands for `models.backbones.build_backbone`; its weights are always random."""
    image = keras.Input((None, None, 3), name="image", dtype="float32")
    features = layers.Rescaling(1 / 127.5, -1.0, dtype="float32", name="normalization")(image)
    ends, reached = [], 1
    for stage, width in enumerate(WIDTHS):
        prefix = f"stage{stage}" if stage else "stem"
        stride = 2 if stage in STRIDED and reached < output_stride else 1
        reached *= stride
        features = layers.Conv2D(
            width, 3, stride, padding="same", kernel_initializer="he_normal", name=f"{prefix}_conv"
        )(features)
        features = layers.BatchNormalization(name=f"{prefix}_norm")(features)
        features = layers.ReLU(name=f"{prefix}_relu")(features)
        ends.append(features)
    outputs = {"fine": ends[1], "low": ends[2], "mid": ends[3], "high": ends[7]}
    return keras.Model(image, outputs, name=name)


def build_small_parent(seed: int = 5, **architecture) -> deeplab.DeepLabV3Plus:
    """Builds a thin network with random weights on the thin backbone."""
    keras.utils.set_random_seed(seed)
    with mock.patch.object(deeplab, "build_backbone", build_small_backbone):
        return deeplab.DeepLabV3Plus(ModelConfig(**{**THIN, **architecture}))
