"""BatchNorm folded into convolutions, for inference with weights that stay as they are.

In inference BatchNorm multiplies every channel by a number and adds another; the convolution before
it can do the same with its kernel and a bias. What is left has half as many operations, and as no
layer is called any more, it is quicker to trace too.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
from keras import layers, ops

from deeplab_gygo import backend

Weights = list[tuple[Any, Any]]
"""Kernel and bias of every folded convolution, in the order of the network."""

Call = Callable[[tuple[Any, Any] | None, Any], Any]
"""What stands for layers: kernel and bias, where it has them, and a tensor or a list of them."""

_KINDS = (layers.Conv2D, layers.DepthwiseConv2D)
"""Convolutions whose kernel has the channels of the output as its last axes."""


@dataclass(frozen=True)
class _Step:
    """A call in the order of the network: of which values, and under which name its result goes."""

    name: str
    sources: list[str]
    call: Call
    folded: bool


def folded(model: keras.Model) -> tuple[Callable[[Weights, Any], Any], Weights]:
    """Makes a function of a model that does what the model does in inference now.

    Args:
        model: Functional model whose layers are called once each.

    Returns:
        `call(weights, inputs) -> outputs`, structured as the model's inputs and outputs, and the
        weights. They are copies: later changes of the model do not show in them.
    """
    graph = model.get_config()
    sources = {entry["name"]: _sources(entry["inbound_nodes"]) for entry in graph["layers"]}
    outputs = graph["output_layers"]
    single = not isinstance(outputs, dict)
    ends = {name: history[0] for name, history in ({"": outputs} if single else outputs).items()}
    steps, weights, done = [], [], set()
    for name in sources:
        if name in done or not sources[name]:
            continue
        chain = _chain(model, name, sources, set(ends.values()))
        done |= set(chain)
        found = [model.get_layer(part) for part in chain]
        folds = len(found) > 1
        if folds:
            weights.append(_folded_weights(*found[:2]))
        call = _convolution(found[0], *found[2:]) if folds else _inference(found[0])
        steps.append(_Step(chain[-1], sources[name], call, folds))
    entrances = [name for name in sources if not sources[name]]

    def run(weights: Weights, inputs: Any) -> Any:
        given = inputs if isinstance(inputs, dict) else {entrances[0]: inputs}
        values, rest = {name: given[name] for name in entrances}, iter(weights)
        for step in steps:
            needed = [values[source] for source in step.sources]
            own = next(rest) if step.folded else None
            values[step.name] = step.call(own, needed[0] if len(needed) == 1 else needed)
        return values[ends[""]] if single else {name: values[end] for name, end in ends.items()}

    return run, weights


def _sources(nodes: Any) -> list[str]:
    """Returns the names of the layers that a serialized layer is called on."""
    return [history[0] for history in _histories(nodes)]


def _histories(value: Any) -> list[list[Any]]:
    """Finds all places in a network that a serialized structure names: [layer, node, tensor]."""
    if isinstance(value, dict):
        if "keras_history" in value:
            return [value["keras_history"]]
        return [found for item in value.values() for found in _histories(item)]
    if isinstance(value, (list, tuple)):
        if len(value) == 3 and isinstance(value[0], str):
            return [list(value)]
        return [found for item in value for found in _histories(item)]
    return []


def _chain(
    model: keras.Model, name: str, sources: dict[str, list[str]], ends: set[str]
) -> list[str]:
    """Returns a layer with the BatchNorm and the ReLU behind it, where nothing else needs it."""
    chain = [name]
    if not isinstance(model.get_layer(name), _KINDS):
        return chain
    for fits in (_scales, _rectifies):
        users = [user for user, needed in sources.items() if chain[-1] in needed]
        if chain[-1] in ends or len(users) != 1:
            break
        if not fits(model.get_layer(users[0])):
            break
        chain.append(users[0])
    return chain


def _scales(layer: keras.layers.Layer) -> bool:
    return isinstance(layer, layers.BatchNormalization) and layer.center and layer.scale


def _rectifies(layer: keras.layers.Layer) -> bool:
    plain = isinstance(layer, layers.ReLU) and not layer.negative_slope and not layer.threshold
    return plain and layer.max_value in (None, 6)


def _inference(layer: keras.layers.Layer) -> Call:
    takes_training = "training" in inspect.signature(layer.call).parameters
    given = {"training": False} if takes_training else {}
    return lambda _, inputs: layer(inputs, **given)


def _convolution(layer: keras.layers.Layer, activation: layers.ReLU | None = None) -> Call:
    """Makes one call of a convolution, its BatchNorm and its ReLU."""
    rectifiers = {None: "relu", 6: "relu6"}
    return convolution(
        strides=layer.strides,
        rates=layer.dilation_rate,
        padding=layer.padding,
        depthwise=isinstance(layer, layers.DepthwiseConv2D),
        activation=None if activation is None else rectifiers[activation.max_value],
        dtype=layer.compute_dtype,
    )


def convolution(
    *,
    strides: tuple[int, int],
    rates: tuple[int, int],
    padding: str,
    depthwise: bool,
    activation: str | None,
    dtype: str,
) -> Call:
    """Makes one call of a convolution with a bias and an activation, channels last.

    Args:
        strides: Down and across.
        rates: Dilation, likewise.
        padding: `same` or `valid`.
        depthwise: Whether every channel is filtered by itself.
        activation: A function of `keras.ops`; None for none.
        dtype: Of the images, the kernel and the bias.

    Returns:
        `call((kernel, bias), images)`.
    """
    fused = _fused(strides, rates, padding, activation, dtype) if depthwise else None
    if fused is not None:
        return fused
    convolve = ops.depthwise_conv if depthwise else ops.conv
    activate = getattr(ops, activation) if activation else lambda found: found

    def call(weights: tuple[Any, Any], images: Any) -> Any:
        kernel, bias = weights
        found = convolve(
            ops.cast(images, dtype),
            kernel,
            strides=strides,
            padding=padding,
            data_format="channels_last",
            dilation_rate=rates,
        )
        return activate(found + bias)

    return call


def _fused(
    strides: tuple[int, int],
    rates: tuple[int, int],
    padding: str,
    activation: str | None,
    dtype: str,
) -> Call | None:
    """Makes one kernel of it all, where the backend has one in force that fits."""
    kernel_of = backend.fused_depthwise()
    fits = len(set(strides)) == len(set(rates)) == 1 and padding == "same"
    if kernel_of is None or not fits or activation not in (None, "relu6"):
        return None
    options = {"stride": strides[0], "rate": rates[0], "relu6": activation is not None}

    def call(weights: tuple[Any, Any], images: Any) -> Any:
        kernel, bias = weights
        return kernel_of(ops.cast(images, dtype), kernel[..., 0], bias, **options)

    return call


def _folded_weights(layer: keras.layers.Layer, norm: layers.BatchNormalization) -> tuple[Any, Any]:
    """Returns kernel and bias of a convolution and its BatchNorm, in the convolution's dtype."""
    # Statistics are float32 whatever the policy: halves would lose them.
    full = partial(ops.cast, dtype="float32")
    factor = full(norm.gamma) * ops.rsqrt(full(norm.moving_variance) + norm.epsilon)
    bias = full(norm.beta) - factor * full(norm.moving_mean)
    if layer.use_bias:
        bias = bias + factor * full(layer.bias)
    # The kernel of a depthwise convolution has its channels before the multiplier, which is 1.
    depthwise = isinstance(layer, layers.DepthwiseConv2D)
    kernel = full(layer.kernel) * (factor[:, None] if depthwise else factor)
    return ops.cast(kernel, layer.compute_dtype), ops.cast(bias, layer.compute_dtype)
