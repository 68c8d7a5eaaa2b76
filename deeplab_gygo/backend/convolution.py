"""Convolutions whose gradients compile quickly on JAX.

XLA compiles a grouped convolution, its two gradients and every 1x1 convolution by trying algorithms
of cuDNN for each shape, and on a CPU it has no fast grouped convolution. Matrix products, and this
package's kernels or sums of shifted products, compile sooner and run faster.
"""

from __future__ import annotations

from typing import Any

from keras import ops

from deeplab_gygo.backend.calls import fused_depthwise
from deeplab_gygo.backend.running import name


def pointwise_conv(features: Any, kernel: Any) -> Any:
    """Convolves with a kernel of one position.

    Args:
        features: float [B, H, W, C].
        kernel: float [1, 1, C, D].

    Returns:
        float [B, H, W, D].
    """
    if name() == "jax":
        return ops.matmul(features, ops.convert_to_tensor(kernel)[0, 0])
    return ops.conv(features, kernel, data_format="channels_last")


def depthwise_conv(features: Any, kernel: Any, *, stride: int = 1, rate: int = 1) -> Any:
    """Convolves every channel with its own kernel, zero-padded as by TensorFlow's "same".

    Args:
        features: float [B, H, W, C].
        kernel: float [k, k, C, 1].
        stride: Stride; 1 where `rate` is larger.
        rate: Dilation.

    Returns:
        float [B, ceil(H / stride), ceil(W / stride), C].
    """
    if name() == "tensorflow":
        return ops.depthwise_conv(
            features, kernel, strides=stride, padding="same", data_format="channels_last",
            dilation_rate=rate,
        )  # fmt: skip
    from deeplab_gygo.backend.kernels.depthwise import plain_depthwise

    kernel = kernel[..., 0]
    bias = ops.zeros((kernel.shape[-1],), "float32")
    options = {"stride": stride, "rate": rate, "relu6": False}
    if fused := fused_depthwise():
        return fused(features, kernel, bias, **options)
    return plain_depthwise(features, kernel, bias, shifted=True, **options)
