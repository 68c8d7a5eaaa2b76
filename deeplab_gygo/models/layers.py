"""Layers: convolutions that compile quickly, resizing, broadcasting, and the use of a guide."""

from __future__ import annotations

import keras
from keras import ops

from deeplab_gygo import backend
from deeplab_gygo.models.memory import unit


@keras.saving.register_keras_serializable("deeplab_gygo")
class PointwiseConv2D(keras.layers.Conv2D):
    """A `Conv2D` of one position: a matrix product on JAX, see `backend.pointwise_conv`.

    Args:
        filters: Output channels.
        **options: Options of `keras.layers.Conv2D` but kernel size, strides and padding.
    """

    def __init__(self, filters: int, **options):
        super().__init__(filters, 1, **{**options, "data_format": "channels_last"})

    def convolution_op(self, inputs, kernel):
        return backend.pointwise_conv(inputs, kernel)

    def get_config(self):
        config = super().get_config()
        for name in ("kernel_size", "strides", "padding", "dilation_rate", "groups", "data_format"):
            config.pop(name)
        return config


@keras.saving.register_keras_serializable("deeplab_gygo")
class DepthwiseConvolution2D(keras.layers.DepthwiseConv2D):
    """A `DepthwiseConv2D` with "same" padding, without bias or activation.

    On JAX it is computed by `backend.depthwise_conv`.

    Args:
        kernel_size: Side of the kernel, pixels.
        strides: Stride; 1 where `dilation_rate` is larger.
        dilation_rate: Dilation.
        **options: Other options of `keras.layers.DepthwiseConv2D`.
    """

    def __init__(self, kernel_size: int, *, strides: int = 1, dilation_rate: int = 1, **options):
        fixed = {"padding": "same", "use_bias": False, "data_format": "channels_last"}
        super().__init__(
            kernel_size, strides=strides, dilation_rate=dilation_rate, **{**options, **fixed}
        )

    def call(self, inputs):
        return backend.depthwise_conv(
            inputs,
            ops.convert_to_tensor(self.kernel),
            stride=self.strides[0],
            rate=self.dilation_rate[0],
        )


@keras.saving.register_keras_serializable("deeplab_gygo")
class ResizeToFeatures(keras.layers.Layer):
    """Bilinear resize of the first input to the height and width of the second.

    Inputs: [B, h, w, C] and [B, H, W, D]; output: [B, H, W, C].
    """

    def call(self, inputs):
        features, reference = inputs
        shape = ops.shape(reference)
        return backend.resize(features, shape[1], shape[2])


@keras.saving.register_keras_serializable("deeplab_gygo")
class BroadcastLike(keras.layers.Layer):
    """Repeats pooled features over the positions of a reference.

    Inputs: [B, 1, 1, C] and [B, H, W, D]; output: [B, H, W, C].
    """

    def call(self, inputs):
        pooled, reference = inputs
        return pooled * ops.ones_like(reference[..., :1])


@keras.saving.register_keras_serializable("deeplab_gygo")
class GuideMean(keras.layers.Layer):
    """Averages the planes of a guide that are known: [B, H, W, 2] -> [B, H, W, 1].

    A plane of zeros is unknown; the mean is 0 where no plane is known. Planes that disagree give a
    mean near 0: little is known there.
    """

    def call(self, inputs):
        known = ops.any(inputs != 0, axis=(1, 2), keepdims=True)
        count = ops.sum(ops.cast(known, inputs.dtype), axis=-1, keepdims=True)
        return ops.sum(inputs, axis=-1, keepdims=True) / ops.maximum(count, 1)


@keras.saving.register_keras_serializable("deeplab_gygo")
class GuideMatching(keras.layers.Layer):
    r"""Cosine similarity of every position to the object and background prototypes of a guide.

    With embeddings $e_p$ and guide $g_p \in [-1, 1]$, the object's prototype is
    $\sum_p \max(g_p, 0)\, e_p$, the background's $\sum_p \max(-g_p, 0)\, e_p$, each scaled to
    length one. Both similarities are 0 where the guide is unknown everywhere, so that the same
    network runs without a guide. Computed in float32.

    Inputs: [B, H, W, C] and guide [B, H, W, 1]; output: [B, H, W, 2].
    """

    def call(self, inputs):
        embedding, guide = (ops.cast(value, "float32") for value in inputs)
        embedding = unit(embedding)
        similarities = []
        for weight in (ops.relu(guide), ops.relu(-guide)):
            prototype = ops.sum(weight * embedding, axis=(1, 2), keepdims=True)
            similarities.append(ops.sum(unit(prototype) * embedding, axis=-1, keepdims=True))
        return ops.cast(ops.concatenate(similarities, axis=-1), self.compute_dtype)
