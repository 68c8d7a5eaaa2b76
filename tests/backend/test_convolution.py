"""Convolutions that are computed differently on JAX are those of Keras, and so are gradients."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from keras import ops

from deeplab_gygo import backend
from deeplab_gygo.models.layers import DepthwiseConvolution2D, PointwiseConv2D

PROBE = Path(__file__).with_name("convolution_probe.py")


@pytest.fixture(scope="module")
def report():
    pytest.importorskip("jax")
    environment = {
        **os.environ,
        "KERAS_BACKEND": "jax",
        "JAX_PLATFORMS": "cpu",
        # The compiler's optimization would take longer than what it compiles.
        "XLA_FLAGS": "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true",
    }
    done = subprocess.run(
        [sys.executable, str(PROBE)], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


def test_outputs_and_gradients_are_those_of_keras(report):
    assert max(*report["depthwise"], report["pointwise"]) < 1e-5


def test_a_prepared_step_compiles_nothing_more_and_tells_its_memory(report):
    assert report["compiled_later"] == 0
    assert report["memory"]["arguments"] > 2 * 8 * 8 * 4 * 4
    assert report["losses"][0] > report["losses"][-1]


def test_layers_are_made_again_from_their_configuration(report):
    assert report["copied"] < 1e-6


def test_layers_on_tensorflow_are_those_of_keras():
    rng = np.random.default_rng(2)
    features = rng.normal(size=(1, 6, 9, 4)).astype(np.float32)
    depthwise = DepthwiseConvolution2D(3, strides=2)
    pointwise = PointwiseConv2D(5, activation="relu")
    found = pointwise(depthwise(features))
    expected = ops.depthwise_conv(features, depthwise.kernel, 2, "same", "channels_last")
    expected = ops.relu(ops.conv(expected, pointwise.kernel) + pointwise.bias)
    np.testing.assert_allclose(backend.to_numpy(found), backend.to_numpy(expected), atol=1e-5)
