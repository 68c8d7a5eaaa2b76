"""Run by test_in_a_network.py in a process of its own, on JAX: folded convolutions with kernels.

Prints the largest difference from the backend's own operations, and how the kernels were called.
"""

import json
from unittest import mock

import numpy as np
from keras import ops

from deeplab_gygo.backend.kernels import depthwise as kernels
from deeplab_gygo.models.inference_encoder import FoldedBuilder
from deeplab_gygo.models.inverted_residual import MOBILENET_V2

CASES = [(1, 1, True), (2, 1, True), (1, 2, True), (1, 1, False)]
"""Stride, dilation and whether ReLU6 follows."""

rng = np.random.default_rng(0)
images = rng.normal(0, 2, (2, 13, 18, 5)).astype(np.float32)
weights = rng.uniform(0.3, 1.3, (3, 3, 5, 1)).astype(np.float32), rng.normal(size=5).astype("f4")
calls, gaps = [], []
original = kernels.depthwise
with mock.patch.object(kernels, "depthwise", lambda *a, **k: calls.append(k) or original(*a, **k)):
    for stride, rate, relu6 in CASES:
        sizes = {"stride": stride, "rate": rate, "activation": relu6}
        builder = FoldedBuilder(MOBILENET_V2, 16, [weights], "float32")
        features = builder.convolve(images, None, "depthwise", kernel=3, **sizes)
        expected = weights[1] + ops.depthwise_conv(
            images, weights[0], stride, padding="same", dilation_rate=rate
        )
        expected = ops.relu6(expected) if relu6 else expected
        gaps.append(float(np.abs(np.asarray(features) - np.asarray(expected)).max()))
print(json.dumps({"gap": max(gaps), "calls": calls}))
