"""Run by test_in_a_network.py in a process of its own, on JAX: folded convolutions with kernels.

Prints the largest difference from the backend's own operations, and how the kernels were called.
"""

import json
from unittest import mock

import numpy as np
from keras import ops

from deeplab_gygo.backend.kernels import depthwise as kernels
from deeplab_gygo.models.inference_encoder import convolution

CASES = [(1, 1, "relu6"), (2, 1, "relu6"), (1, 2, "relu6"), (1, 1, None)]
"""Stride, dilation and activation."""

rng = np.random.default_rng(0)
images = rng.normal(0, 2, (2, 13, 18, 5)).astype(np.float32)
weights = rng.uniform(0.3, 1.3, (3, 3, 5, 1)).astype(np.float32), rng.normal(size=5).astype("f4")
calls, gaps = [], []
original = kernels.depthwise
with mock.patch.object(kernels, "depthwise", lambda *a, **k: calls.append(k) or original(*a, **k)):
    for stride, rate, activation in CASES:
        sizes = {"strides": (stride, stride), "padding": "same"}
        call = convolution(
            **sizes, rates=(rate, rate), depthwise=True, activation=activation, dtype="float32"
        )
        expected = ops.depthwise_conv(images, weights[0], **sizes, dilation_rate=rate) + weights[1]
        expected = ops.relu6(expected) if activation else expected
        gaps.append(float(np.abs(np.asarray(call(weights, images)) - np.asarray(expected)).max()))
print(json.dumps({"gap": max(gaps), "calls": calls}))
