"""Convolutions of `backend.convolution` on JAX against those of Keras; run by test_convolution.py.

Prints the largest relative differences of outputs and gradients, and what a training step compiles.
"""

import json
from functools import partial

import jax
import keras
import numpy as np
from keras import layers, ops

from deeplab_gygo import backend
from deeplab_gygo.models.layers import DepthwiseConvolution2D, PointwiseConv2D

rng = np.random.default_rng(5)
compilations = []
jax.monitoring.register_event_duration_secs_listener(
    lambda event, _, **__: compilations.append(event) if "backend_compile" in event else None
)


def gap(first, second):
    # As arrays of NumPy: every operation on one of JAX is a program to compile.
    pairs = zip(
        *(map(np.asarray, jax.tree.leaves(found)) for found in (first, second)), strict=True
    )
    return max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in pairs)


@partial(jax.jit, static_argnums=0)
def with_gradients(function, *arrays):
    outputs, backward = jax.vjp(function, *arrays)
    return outputs, backward(ops.cos(outputs))


def depthwise_gap(stride, rate, side):
    features = rng.normal(size=(2, 11, 14, 6)).astype(np.float32)
    kernel = rng.normal(size=(side, side, 6, 1)).astype(np.float32)

    def ours(features, kernel):
        return backend.depthwise_conv(features, kernel, stride=stride, rate=rate)

    def theirs(features, kernel):
        return ops.depthwise_conv(features, kernel, stride, "same", "channels_last", rate)

    return gap(with_gradients(ours, features, kernel), with_gradients(theirs, features, kernel))


def pointwise_gap():
    features = rng.normal(size=(2, 5, 7, 6)).astype(np.float32)
    kernel = rng.normal(size=(1, 1, 6, 3)).astype(np.float32)
    return gap(
        with_gradients(backend.pointwise_conv, features, kernel),
        with_gradients(lambda f, k: ops.conv(f, k, 1, "valid", "channels_last"), features, kernel),
    )


def step_report():
    image = keras.Input((8, 8, 4))
    features = DepthwiseConvolution2D(3, strides=2, name="depthwise")(image)
    model = keras.Model(image, PointwiseConv2D(2, name="pointwise")(features))
    groups = [(keras.optimizers.Adam(1e-2), model.trainable_variables)]
    step = backend.GradientStep(model, lambda outputs, _: ops.mean(outputs**2), groups)
    inputs, targets = np.ones((2, 8, 8, 4), np.float32), np.zeros(2, np.float32)
    memory = step.prepare(inputs, targets)
    before = len(compilations)
    losses = [float(step.launch(inputs, targets)) for _ in range(3)]
    parts = [layer.__class__.from_config(layer.get_config()) for layer in model.layers[1:]]
    copied = keras.Sequential([keras.Input((8, 8, 4)), *parts])
    copied.set_weights(model.get_weights())
    return {
        "memory": memory,
        "compiled_later": len(compilations) - before,
        "losses": losses,
        "copied": gap(copied(inputs), model(inputs)),
    }


assert layers.Conv2D in PointwiseConv2D.__mro__
cases = [(1, 1, 3), (2, 1, 5), (1, 2, 3), (1, 6, 3)]
print(
    json.dumps(
        {
            "depthwise": [depthwise_gap(*case) for case in cases],
            "pointwise": pointwise_gap(),
            **step_report(),
        }
    )
)
