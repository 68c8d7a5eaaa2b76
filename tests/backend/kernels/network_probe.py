"""Run by test_in_a_network.py in a process of its own, on JAX: a folded network with kernels.

Prints how far its features are from those of the network, and how many kernels were called.
"""

import json
from unittest import mock

import keras
import numpy as np
from keras import layers

from deeplab_gygo import backend
from deeplab_gygo.backend.kernels import depthwise as kernels
from deeplab_gygo.models.folding import folded


def block(features, name: str, activation: bool = True, **options):
    features = layers.DepthwiseConv2D(
        3, padding="same", use_bias=False, name=f"{name}_depthwise", **options
    )(features)
    features = layers.BatchNormalization(name=f"{name}_norm")(features)
    return layers.ReLU(max_value=6, name=f"{name}_relu")(features) if activation else features


image = keras.Input((None, None, 5), name="image")
features = block(image, "plain")
features = block(features, "strided", strides=2)
features = block(features, "atrous", dilation_rate=2)
model = keras.Model(image, block(features, "linear", activation=False))
rng = np.random.default_rng(0)
for variable in model.variables:
    variable.assign(rng.uniform(0.3, 1.3, variable.shape) * rng.choice([1.0], variable.shape))
images = rng.normal(0, 2, (2, 13, 18, 5)).astype(np.float32)
expected = backend.to_numpy(backend.compiled(model)(images))
calls = []
original = kernels.depthwise
with mock.patch.object(kernels, "depthwise", lambda *a, **k: calls.append(k) or original(*a, **k)):
    call, weights = folded(model)
    found = backend.to_numpy(backend.compiled_function(call)(weights, images))
print(json.dumps({"gap": float(np.abs(found - expected).max()), "calls": calls}))
