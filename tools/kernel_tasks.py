"""Tasks of tools/measure_kernels.py: the kernels on the shapes of the encoder."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

SIZE = (480, 864)
SPECS = ("efficientnet_lite0", "mobilenet_v2")


class Layer(NamedTuple):
    """A depthwise convolution of the network.

    Attributes:
        height: Input rows, pixels.
        width: Input columns, pixels.
        channels: Number of channels.
        side: Side of the kernel.
        stride: Input pixels for each output pixel.
        rate: Input pixels from tap to tap.
    """

    height: int
    width: int
    channels: int
    side: int
    stride: int
    rate: int


class Task(NamedTuple):
    """One measurement.

    Attributes:
        name: Kernel and pass.
        shape: Shape of the input, with the parameters of the layer.
        forms: Functions of the same arguments by name, such as `kernel` and `plain`.
        arguments: Arrays.
        bytes: Bytes that a call must move.
    """

    name: str
    shape: str
    forms: dict[str, Callable[..., Any]]
    arguments: tuple[Any, ...]
    bytes: int


def depthwise_layers(spec: Any, output_stride: int, size: tuple[int, int]) -> dict[Layer, int]:
    """Counts the depthwise convolutions of a network.

    Args:
        spec: `InvertedResidualSpec` of the network.
        output_stride: Stride of its last features.
        size: Height and width of the image.

    Returns:
        Number of layers by shape, in the order of the network.
    """
    from deeplab_gygo.models.inverted_residual import StridePlan

    plan, found = StridePlan(output_stride), {}
    stride = plan.advance(2)
    (height, width), channels = (math.ceil(side / stride) for side in size), spec.stem_channels
    for stage in spec.stages:
        for block in range(stage.blocks):
            rate, inner = plan.rate, channels * stage.expansion
            stride = plan.advance(stage.stride if block == 0 else 1)
            layer = Layer(height, width, inner, stage.kernel, stride, rate)
            found[layer] = found.get(layer, 0) + 1
            height, width = math.ceil(height / stride), math.ceil(width / stride)
            channels = stage.channels
    return found


def tasks(options: argparse.Namespace) -> Iterator[Task]:
    """Yields the tasks; with `--interpret` one tiny shape."""
    if options.interpret:
        yield from depthwise_tasks(Layer(5, 6, 8, 3, 1, 1), 1, options)
        return
    from deeplab_gygo.models.inverted_residual import MOBILENET_V2, efficientnet_lite

    specs = {"efficientnet_lite0": efficientnet_lite(1.0, 1.0), "mobilenet_v2": MOBILENET_V2}
    for batch in options.batches:
        for layer in depthwise_layers(specs[options.backbone], options.output_stride, SIZE):
            yield from depthwise_tasks(layer, batch, options)


def depthwise_tasks(layer: Layer, batch: int, options: argparse.Namespace) -> list[Task]:
    """Returns the forward pass of a layer, and the forward pass with the gradients."""
    import jax
    import jax.numpy as jnp

    from deeplab_gygo.backend.kernels.depthwise import depthwise, plain_depthwise

    keys = jax.random.split(jax.random.key(0), 4)
    out = (math.ceil(layer.height / layer.stride), math.ceil(layer.width / layer.stride))
    x = _noise(keys[0], (batch, layer.height, layer.width, layer.channels), options.dtype)
    kernel = _noise(keys[1], (layer.side, layer.side, layer.channels), "float32")
    bias = _noise(keys[2], (layer.channels,), "float32")
    gradient = _noise(keys[3], (batch, *out, layer.channels), options.dtype)
    steps = {"stride": layer.stride, "rate": layer.rate}
    forms = {
        "kernel": partial(depthwise, **steps, interpret=options.interpret),
        "plain": partial(plain_depthwise, **steps),
        "shifted": partial(plain_depthwise, **steps, shifted=True),
    }

    def training(form: Callable[..., Any], x: Any, kernel: Any, bias: Any, gradient: Any) -> Any:
        features, pull = jax.vjp(form, x, kernel, bias)
        return features, *pull(gradient)

    sizes = [values.nbytes for values in (x, kernel, bias, gradient)]
    shape = f"{batch}x{layer.height}x{layer.width}x{layer.channels}"
    shape += f" k{layer.side} s{layer.stride} r{layer.rate} {jnp.dtype(options.dtype).name}"
    both = {name: partial(training, form) for name, form in forms.items()}
    forward = sum(sizes)  # the output is as large as its gradient
    # Backward: input, output and its gradient are read, with the kernel; three are written.
    backward = 2 * sizes[0] + 2 * sizes[3] + 2 * sizes[1] + sizes[2]
    return [
        Task("depthwise forward", shape, forms, (x, kernel, bias), forward),
        Task("depthwise training", shape, both, (x, kernel, bias, gradient), forward + backward),
    ]


def _noise(key: Any, shape: tuple[int, ...], dtype: str) -> Any:
    import jax

    return jax.random.normal(key, shape, "float32").astype(dtype)
