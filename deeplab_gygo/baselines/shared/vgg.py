"""VGG-16: trunk of OSVOS and OSMN, and classifier of OSMN's visual modulator.

Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition",
ICLR 2015, configuration D. Layers are named as in the literature: `conv1_1` to `conv5_3`, `pool1`
to `pool5`, `fc6` to `fc8`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
from keras import layers

UnitHook = Callable[[Any, str, int], Any]
"""`hook(features, unit, stage) -> features`: applied to the output of every unit of a trunk."""

BGR_MEAN = (104.00699, 116.66877, 122.67892)
"""Mean of blue, green and red in 0..255 of the network's training images; OSVOS subtracts it
unchanged, OSMN rounded to (104, 117, 123)."""

CROP = 224
"""Side of the classifier's input, pixels."""

DROPOUT = 0.5
"""Rate after fc6 and fc7 (section 3.1 of the paper)."""


@dataclass(frozen=True)
class VggSpec:
    """Sizes of the network.

    Attributes:
        stages: Number of 3x3 convolutions and their width, by stage; a pool of stride 2 separates
            stages.
        dense: Width of fc6 and fc7.
    """

    stages: tuple[tuple[int, int], ...]
    dense: int


VGG16 = VggSpec(stages=((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)), dense=4096)


@keras.saving.register_keras_serializable("deeplab_gygo")
class SubtractMean(keras.layers.Layer):
    """Converts [B, H, W, 3] RGB in 0..255 to BGR minus `BGR_MEAN`."""

    def call(self, inputs):
        return inputs[..., ::-1] - keras.ops.convert_to_tensor(BGR_MEAN, inputs.dtype)

    def compute_output_shape(self, input_shape):
        return input_shape


def apply_vgg(
    image: Any, spec: VggSpec, *, hook: UnitHook | None = None, visible: Any = None
) -> list[Any]:
    """Applies the convolutions to an image; the weights are random.

    Args:
        image: float32 [B, H, W, 3], RGB in 0..255. Sides that are no multiple of 16 are padded by
            the pools as TensorFlow's "SAME" does.
        spec: Sizes.
        hook: Applied to the output of every convolution (after its ReLU).
        visible: float32 [B, H, W, 1], multiplied with the normalized image, so that hidden pixels
            have the mean color; None: all are visible.

    Returns:
        Last features of every stage, [B, H / 2^(n-1), W / 2^(n-1), C] for stage n.
    """
    # In float32 under every precision policy: bfloat16 rounds values up to 255 to integers.
    features = SubtractMean(dtype="float32", name="normalization")(image)
    if visible is not None:
        features = layers.Multiply(dtype="float32", name="visible")([features, visible])
    stages = []
    for stage, (depth, channels) in enumerate(spec.stages, start=1):
        if stage > 1:
            features = _pool(features, stage - 1)
        for number in range(1, depth + 1):
            name = f"conv{stage}_{number}"
            features = _convolution(channels, 3, "same", name)(features)
            features = features if hook is None else hook(features, name, stage)
        stages.append(features)
    return stages


def apply_classifier(features: Any, spec: VggSpec, outputs: int) -> Any:
    """Applies pool5, fc6, fc7 and a new fc8 whose initial output is 1.

    fc6 and fc7 are convolutions with the kernels of the dense layers, 7x7 without padding and 1x1
    (OSMN, model_func.py:127-168).

    Args:
        features: Last features of a `CROP` x `CROP` image.
        spec: Sizes.
        outputs: Width of fc8.

    Returns:
        float32 [B, outputs].
    """
    features = _pool(features, len(spec.stages))
    for name, kernel in (("fc6", features.shape[1]), ("fc7", 1)):
        features = _convolution(spec.dense, kernel, "valid", name)(features)
        features = layers.Dropout(DROPOUT, name=f"{name}_dropout")(features)
    features = layers.Flatten(name="fc7_flatten")(features)
    return identity_scales(features, outputs, "fc8")


def identity_scales(features: Any, outputs: int, name: str) -> Any:
    """Applies a dense layer with zero kernel and unit bias; float32 [B, outputs]."""
    return layers.Dense(
        outputs, kernel_initializer="zeros", bias_initializer="ones", dtype="float32", name=name
    )(features)


def _convolution(channels: int, size: int, padding: str, name: str) -> keras.layers.Layer:
    # A new initializer per layer: one instance returns the same numbers every time.
    he_normal = keras.initializers.HeNormal()
    return layers.Conv2D(
        channels, size, padding=padding, activation="relu", kernel_initializer=he_normal, name=name
    )


def _pool(features: Any, number: int) -> Any:
    return layers.MaxPooling2D(2, padding="same", name=f"pool{number}")(features)
