"""VGG-16: the trunk of OSVOS and OSMN, and the classifier that OSMN's visual modulator is.

Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition",
ICLR 2015, configuration D. Layers have the names of the literature: `conv1_1` to `conv5_3`,
`pool1` to `pool5`, `fc6` to `fc8`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
from keras import layers

After = Callable[[Any, str, int], Any]
"""`after(features, unit, stage) -> features`: called with the output of every unit of a trunk."""

BGR_MEAN = (104.00699, 116.66877, 122.67892)
"""Mean of blue, green and red in 0..255 that the original network was trained with; OSVOS subtracts
it as it stands, OSMN rounded to (104, 117, 123)."""

CROP = 224
"""Side in pixels of the picture that the classifier takes."""

DROPOUT = 0.5
"""Rate behind fc6 and fc7 (section 3.1 of the paper)."""


@dataclass(frozen=True)
class VggSpec:
    """Sizes of the network.

    Attributes:
        stages: Number of 3x3 convolutions and their width, by stage; a pool of stride 2 stands
            between stages.
        dense: Width of fc6 and fc7.
    """

    stages: tuple[tuple[int, int], ...]
    dense: int


VGG16 = VggSpec(stages=((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)), dense=4096)


@keras.saving.register_keras_serializable("deeplab_gygo")
class SubtractMean(keras.layers.Layer):
    """RGB in 0..255 to BGR less `BGR_MEAN`; [B, H, W, 3]."""

    def call(self, inputs):
        return inputs[..., ::-1] - keras.ops.convert_to_tensor(BGR_MEAN, inputs.dtype)

    def compute_output_shape(self, input_shape):
        return input_shape


def apply_vgg(
    image: Any, spec: VggSpec, *, after: After | None = None, visible: Any = None
) -> list[Any]:
    """Applies the convolutions to an image; the weights are random.

    Args:
        image: float32 [B, H, W, 3], RGB in 0..255. Sides that are no multiple of 16 are padded by
            the pools as TensorFlow's "SAME" does.
        spec: Sizes.
        after: What becomes of the output of every convolution (behind its ReLU).
        visible: float32 [B, H, W, 1]; the normalised image is multiplied by it, so that hidden
            pixels have the mean colour. None shows all.

    Returns:
        The ends of the stages, [B, H / 2^(n-1), W / 2^(n-1), C] for stage n.
    """
    # In float32 under every precision policy: 0..255 with fractions does not fit 8 bits.
    features = SubtractMean(dtype="float32", name="normalization")(image)
    if visible is not None:
        features = layers.Multiply(dtype="float32", name="visible")([features, visible])
    ends = []
    for stage, (depth, channels) in enumerate(spec.stages, start=1):
        if stage > 1:
            features = _pool(features, stage - 1)
        for number in range(1, depth + 1):
            name = f"conv{stage}_{number}"
            features = layers.Conv2D(
                channels,
                3,
                padding="same",
                activation="relu",
                # New for each layer: one initializer gives the same numbers each time.
                kernel_initializer=keras.initializers.HeNormal(),
                name=name,
            )(features)
            features = features if after is None else after(features, name, stage)
        ends.append(features)
    return ends


def apply_classifier(features: Any, spec: VggSpec, outputs: int) -> Any:
    """Applies pool5, fc6, fc7 and an fc8 of our own that says 1 everywhere at first.

    The first two are convolutions with the kernels of the dense layers: 7x7 without padding, and
    1x1. The third starts with a zero kernel and biases of 1 (OSMN, model_func.py:127-168).

    Args:
        features: The end of the last stage of a `CROP` x `CROP` picture.
        spec: Sizes.
        outputs: Width of fc8.

    Returns:
        float32 [B, outputs].
    """
    features = _pool(features, len(spec.stages))
    for name, kernel in (("fc6", features.shape[1]), ("fc7", 1)):
        features = layers.Conv2D(
            spec.dense,
            kernel,
            padding="valid",
            activation="relu",
            kernel_initializer=keras.initializers.HeNormal(),
            name=name,
        )(features)
        features = layers.Dropout(DROPOUT, name=f"{name}_dropout")(features)
    features = layers.Flatten(name="fc7_flatten")(features)
    return identity_scales(features, outputs, "fc8")


def identity_scales(features: Any, outputs: int, name: str) -> Any:
    """Applies a dense layer whose first output is 1 whatever it is shown; float32 [B, outputs]."""
    return layers.Dense(
        outputs, kernel_initializer="zeros", bias_initializer="ones", dtype="float32", name=name
    )(features)


def _pool(features: Any, number: int) -> Any:
    return layers.MaxPooling2D(2, padding="same", name=f"pool{number}")(features)
