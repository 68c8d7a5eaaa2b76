"""Depthwise convolution with bias and ReLU6 in one pass over memory, and its gradient.

    features = depthwise(features, kernel, bias, stride=1, rate=2)

BatchNorm is folded into the kernel and the bias by the caller.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from deeplab_gygo.backend.kernels.correlation import correlation
from deeplab_gygo.backend.kernels.depthwise_gradients import input_gradient, kernel_gradient
from deeplab_gygo.backend.kernels.launch import FLOATS, LARGEST
from deeplab_gygo.backend.kernels.window import Window
from deeplab_gygo.errors import UsageError


def depthwise(
    x: jax.Array,
    kernel: jax.Array,
    bias: jax.Array,
    *,
    stride: int = 1,
    rate: int = 1,
    relu6: bool = True,
    interpret: bool = False,
) -> jax.Array:
    """Filters every channel by a kernel of its own, adds a bias, and cuts to 0..6; a GPU kernel.

    Sums are float32 whatever the types. Reverse-mode gradients, of all three arguments and at every
    stride, are kernels too, whose order of summation is fixed; the gradient has no gradient of its
    own, and there is no forward mode. The gradient of ReLU6 is 0 where the rounded output is 0 or
    6; in bfloat16 6 begins at 5.984.

    Args:
        x: bfloat16, float16 or float32 [B, H, W, C], any sizes.
        kernel: [k, k, C], of any of these types; float32 keeps the precision of folded weights.
        bias: [C], likewise.
        stride: Input pixels for each output pixel, 1 or more.
        rate: Input pixels from tap to tap, 1 or more; 1 where the stride is not.
        relu6: Whether the result is cut to 0..6.
        interpret: Whether the interpreter of Pallas runs it: on any device, slowly.

    Returns:
        [B, ceil(H / stride), ceil(W / stride), C] in the dtype of x. The padding is TensorFlow's
        "same": zeros, of which the odd one lies below and to the right.

    Raises:
        UsageError: shapes, types, stride or rate are none of these.
    """
    window = _window(x, kernel, bias, stride, rate)
    return _depthwise(x, kernel, bias, window, bool(relu6), bool(interpret))


def plain_depthwise(
    x: jax.Array,
    kernel: jax.Array,
    bias: jax.Array,
    *,
    stride: int = 1,
    rate: int = 1,
    relu6: bool = True,
    shifted: bool = False,
) -> jax.Array:
    """Computes what `depthwise` does in plain operations, on any device.

    The kernel is rounded to the dtype of x, and so is the convolution before the bias is added:
    this is what Keras asks of cuDNN. With `shifted` it is a sum of shifted products in float32
    instead of a convolution, for which XLA makes loops of its own, on a CPU ten times faster and
    more. Other arguments, result and errors are those of `depthwise`.
    """
    window = _window(x, kernel, bias, stride, rate)
    form = _shifted if shifted else _convolved
    sums = form(x, kernel, window).astype(jnp.float32) + bias.astype(jnp.float32)
    return (jnp.clip(sums, 0.0, 6.0) if relu6 else sums).astype(x.dtype)


def _convolved(x: jax.Array, kernel: jax.Array, window: Window) -> jax.Array:
    return lax.conv_general_dilated(
        x,
        kernel.astype(x.dtype)[:, :, None, :],
        (window.stride, window.stride),
        window.padding,
        rhs_dilation=(window.rate, window.rate),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=window.channels,
    )


def _shifted(x: jax.Array, kernel: jax.Array, window: Window) -> jax.Array:
    padded = jnp.pad(x, ((0, 0), *window.padding, (0, 0)))
    steps = (1, window.stride, window.stride, 1)
    reach = [(size - 1) * window.stride + 1 for size in window.output]
    sums = jnp.zeros((window.batch, *window.output, window.channels), jnp.float32)
    for i in range(window.side):
        for j in range(window.side):
            start = (0, i * window.rate, j * window.rate, 0)
            end = (window.batch, start[1] + reach[0], start[2] + reach[1], window.channels)
            values = lax.slice(padded, start, end, steps).astype(jnp.float32)
            sums = sums + values * kernel[i, j].astype(jnp.float32)
    return sums


def _window(x: jax.Array, kernel: jax.Array, bias: jax.Array, stride: int, rate: int) -> Window:
    """Describes a convolution, or raises a UsageError where there is none of this kind."""
    if x.ndim != 4 or 0 in x.shape or x.size > LARGEST:
        raise UsageError("x must be [B, H, W, C], not empty, under 2^31 elements", met=x.shape)
    channels = x.shape[3]
    square = kernel.ndim == 3 and kernel.shape[0] == kernel.shape[1] and kernel.shape[0] > 0
    if not square or kernel.shape[2] != channels or bias.shape != (channels,):
        raise UsageError(
            f"The kernel must be [k, k, {channels}] and the bias [{channels}]",
            met=f"{kernel.shape} and {bias.shape}",
        )
    for values in (x, kernel, bias):
        if values.dtype.name not in FLOATS:
            raise UsageError(f"The dtype must be one of {', '.join(FLOATS)}", met=values.dtype)
    if stride < 1 or rate < 1 or (stride > 1 and rate > 1):
        raise UsageError(
            "Stride and rate must be 1 or more, and one of them 1", met=f"{stride} and {rate}"
        )
    return Window(x.shape[0], x.shape[1:3], channels, kernel.shape[0], int(stride), int(rate))


@partial(jax.jit, static_argnums=(3, 4, 5))
def _output(
    x: jax.Array, kernel: jax.Array, bias: jax.Array, window: Window, relu6: bool, interpret: bool
) -> jax.Array:
    return correlation(
        x, None, kernel, bias, window=window, before=window.before, relu6=relu6, name="depthwise",
        interpret=interpret,
    )  # fmt: skip


def _forward(x, kernel, bias, window: Window, relu6: bool, interpret: bool) -> tuple[Any, Any]:
    out = _output(x, kernel, bias, window, relu6, interpret)
    # The output, which the next layer keeps anyway, tells where ReLU6 was flat.
    return out, (x, kernel, bias, out if relu6 else None)


def _backward(window: Window, relu6: bool, interpret: bool, kept: Any, gradient: jax.Array) -> Any:
    x, kernel, bias, reached = kept
    options = {"window": window, "interpret": interpret}
    of_x = input_gradient(gradient, kernel, reached, **options)
    of_kernel, of_bias = kernel_gradient(gradient, x, reached, **options)
    return of_x, of_kernel.astype(kernel.dtype), of_bias.astype(bias.dtype)


_depthwise = jax.custom_vjp(_output, nondiff_argnums=(3, 4, 5))
_depthwise.defvjp(_forward, _backward)
