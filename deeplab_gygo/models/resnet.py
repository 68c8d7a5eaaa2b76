"""ResNet-50 as a backbone, with the arithmetic of keras.applications.

https://arxiv.org/abs/1512.03385, table 1. As there (and in the original Caffe release), the first
1x1 convolution of the first block of a stage has its stride, and convolutions have a bias.
"""

from __future__ import annotations

import keras
from keras import layers

from deeplab_gygo.models.inverted_residual import StridePlan

# Blocks, width inside a block, and stride of the first block of the stages 2 to 5.
_STAGES = {2: (3, 64, 1), 3: (4, 128, 2), 4: (6, 256, 2), 5: (3, 512, 2)}
# Mean of ImageNet, red, green, blue, in 0..255: keras.applications, preprocessing mode "caffe".
_IMAGE_MEAN = (123.68, 116.779, 103.939)
_NORM_EPSILON = 1.001e-5
_NORM_MOMENTUM = 0.99


def build_resnet50(
    name: str, output_stride: int, input_shape: tuple[int | None, int | None, int]
) -> keras.Model:
    """Builds ResNet-50 with random weights; see `backbones.build_backbone` for its interface."""
    plan = StridePlan(output_stride)
    image = keras.Input(input_shape, name="image", dtype="float32")
    # In float32 under every precision policy: 8-bit mantissas lose fractions of 0..255.
    features = layers.Rescaling(
        1.0, [-mean for mean in _IMAGE_MEAN], dtype="float32", name="normalization"
    )(image)
    features = layers.ZeroPadding2D(3, data_format="channels_last", name="stem_pad")(features)
    features = _convolve(features, 64, "stem_conv", kernel=7, stride=plan.advance(2))
    fine = features
    features = layers.ZeroPadding2D(1, data_format="channels_last", name="stem_pool_pad")(features)
    features = layers.MaxPooling2D(
        3, strides=plan.advance(2), data_format="channels_last", name="stem_pool"
    )(features)
    ends = {}
    for stage, (blocks, width, first_stride) in _STAGES.items():
        for block in range(1, blocks + 1):
            stride = plan.advance(first_stride) if block == 1 else 1
            block_name = f"stage{stage}_block{block}"
            features = _block(features, width, stride, plan.rate, block == 1, block_name)
        ends[stage] = features
    outputs = {"fine": fine, "low": ends[2], "mid": ends[3], "high": ends[5]}
    return keras.Model(image, outputs, name=name)


def _block(inputs, width: int, stride: int, rate: int, widens: bool, name: str):
    """Adds a bottleneck block: 1x1 to `width`, 3x3, 1x1 to four times `width`, plus a shortcut.

    The 3x3 convolution follows the stride: it takes the dilation rate after a stride left out.
    """
    features = _convolve(inputs, width, f"{name}_reduce", stride=stride)
    features = _convolve(features, width, f"{name}_conv", kernel=3, rate=rate, padding="same")
    features = _convolve(features, 4 * width, f"{name}_expand", activation=False)
    shortcut = inputs
    if widens:
        shortcut = _convolve(inputs, 4 * width, f"{name}_shortcut", stride=stride, activation=False)
    features = layers.Add(name=f"{name}_add")([shortcut, features])
    return layers.ReLU(name=f"{name}_relu")(features)


def _convolve(
    features,
    channels: int,
    name: str,
    *,
    kernel: int = 1,
    stride: int = 1,
    rate: int = 1,
    padding: str = "valid",
    activation: bool = True,
):
    features = layers.Conv2D(
        channels,
        kernel,
        strides=stride,
        dilation_rate=rate,
        padding=padding,
        data_format="channels_last",
        name=name,
    )(features)
    features = layers.BatchNormalization(
        axis=-1, epsilon=_NORM_EPSILON, momentum=_NORM_MOMENTUM, name=f"{name}_bn"
    )(features)
    return layers.ReLU(name=f"{name}_relu")(features) if activation else features
