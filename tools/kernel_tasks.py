"""Tasks of tools/measure_kernels.py: the kernels on the shapes of the encoder."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from kernel_errors import noise

SPECS = ("efficientnet_lite2", "efficientnet_lite0", "mobilenet_v2")


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
        window: `Window` of the layer.
        forms: Functions of the same arguments by name, such as `kernel` and `plain`, or the place
            of a tiling among the candidates.
        arguments: Arrays.
        bytes: Bytes that a call must move.
    """

    name: str
    window: Any
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


def windows(options: argparse.Namespace) -> Iterator[Any]:
    """Yields the `Window` of every shape; with `--interpret` two tiny ones."""
    from deeplab_gygo.backend.kernels.window import Window
    from deeplab_gygo.models.inverted_residual import MOBILENET_V2, efficientnet_lite

    if options.interpret:
        yield Window(1, (5, 6), 8, 3, 1, 1)
        yield Window(1, (5, 6), 8, 3, 2, 1)
        return
    specs = {
        "efficientnet_lite2": efficientnet_lite(1.1, 1.2),
        "efficientnet_lite0": efficientnet_lite(1.0, 1.0),
        "mobilenet_v2": MOBILENET_V2,
    }
    size = tuple(options.size)
    for batch in options.batches:
        for layer in depthwise_layers(specs[options.backbone], options.output_stride, size):
            yield Window(batch, layer[:2], *layer[2:])


def tasks(window: Any, options: argparse.Namespace) -> list[Task]:
    """Returns the forward pass of a layer, and the forward pass with the gradients."""
    import jax

    from deeplab_gygo.backend.kernels.depthwise import depthwise, plain_depthwise

    x, kernel, bias, gradient, _ = _arrays(window, options).values()
    steps = {"stride": window.stride, "rate": window.rate}
    forms = {
        "kernel": partial(depthwise, **steps, interpret=options.interpret),
        "plain": partial(plain_depthwise, **steps),
        "shifted": partial(plain_depthwise, **steps, shifted=True),
    }

    def training(form: Callable[..., Any], x: Any, kernel: Any, bias: Any, gradient: Any) -> Any:
        features, pull = jax.vjp(form, x, kernel, bias)
        return features, *pull(gradient)

    sizes = [values.nbytes for values in (x, kernel, bias, gradient)]
    both = {name: partial(training, form) for name, form in forms.items()}
    forward = sum(sizes)  # the output is as large as its gradient
    # Backward: input, output and its gradient are read, with the kernel; three are written.
    backward = 2 * sizes[0] + 2 * sizes[3] + 2 * sizes[1] + sizes[2]
    return [
        Task("forward", window, forms, (x, kernel, bias), forward),
        Task("training", window, both, (x, kernel, bias, gradient), forward + backward),
    ]


def sweeps(window: Any, options: argparse.Namespace) -> Iterator[Task]:
    """Yields every kernel of a layer, with its candidates of a tiling as forms."""
    from deeplab_gygo.backend.kernels.correlation import correlation
    from deeplab_gygo.backend.kernels.depthwise_gradients import input_gradient, kernel_gradient
    from deeplab_gygo.backend.kernels.tilings import CANDIDATES

    x, kernel, bias, gradient, output = _arrays(window, options).values()

    def forward(x: Any, kernel: Any, bias: Any, window: Any) -> Any:
        return correlation(
            x, None, kernel, bias, window=window, before=window.before, relu6=True, name="forward",
            interpret=options.interpret,
        )  # fmt: skip

    calls = {
        "forward": (forward, (x, kernel, bias), (x, gradient)),
        "strided_gradient": (input_gradient, (gradient, kernel, output), (x, gradient, gradient)),
        "kernel_gradient": (kernel_gradient, (gradient, x, output), (x, gradient, gradient)),
    }
    if window.stride == 1:
        del calls["strided_gradient"]  # it is the forward kernel, turned around
    for name, (function, arguments, moved) in calls.items():
        given = {} if name == "forward" else {"interpret": options.interpret}
        forms = {
            str(place): partial(function, window=replace(window, tiling=tiling), **given)
            for place, tiling in enumerate(CANDIDATES[name])
        }
        yield Task(name, window, forms, arguments, sum(v.nbytes for v in moved))


def described(window: Any, dtype: str) -> str:
    """Describes a layer in a few characters."""
    shape = "x".join(map(str, window.inputs))
    return f"{shape} k{window.side} s{window.stride} r{window.rate} {dtype}"


def _arrays(window: Any, options: argparse.Namespace) -> dict[str, Any]:
    shapes = {"x": window.inputs, "kernel": window.weights, "bias": (window.channels,)}
    shapes |= {"gradient": window.outputs, "output": window.outputs}
    return noise(shapes, options.dtype, 0)
