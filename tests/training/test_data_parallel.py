"""Training on JAX: data parallelism, donated memory, half precision."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from deeplab_gygo.errors import UsageError
from deeplab_gygo.training.steps import distribute

PROBE = Path(__file__).with_name("jax_probe.py")


def _probe(precision: str) -> dict:
    environment = {
        **os.environ,
        "KERAS_BACKEND": "jax",
        "JAX_PLATFORMS": "cpu",
        # The compiler's optimization would take longer than the few steps.
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2 "
        "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true",
    }
    done = subprocess.run(
        [sys.executable, str(PROBE), precision], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


@pytest.fixture(scope="module")
def report() -> dict:
    return _probe("float32")


def test_two_devices_compute_the_step_of_one(report):
    assert report["count"] == 2
    assert report["together"]["devices"] == report["together"]["input_devices"] == 2
    assert report["alone"]["devices"] == 1
    assert report["last"] < 1e-5 < report["moved"]
    assert report["average"] < 1e-5
    for loss, other in zip(report["alone"]["losses"], report["together"]["losses"], strict=True):
        assert loss == pytest.approx(other, abs=1e-5)


def test_a_step_donates_the_memory_of_the_weights_only(report):
    for run in ("alone", "together"):
        assert report[run]["donated"] and report[run]["numpy_view_unharmed"]


@pytest.mark.slow
def test_weights_and_loss_stay_float32_in_half_precision(report):
    half, whole = _probe("bfloat16")["alone"], report["alone"]
    assert half["dtypes"] == ["float32"] and half["loss_dtype"] == "float32"
    assert half["losses"] == pytest.approx(whole["losses"], rel=0.05)
    assert half["losses"] != whole["losses"]


def test_a_batch_that_is_not_divisible_into_clips_is_refused(report):
    assert "multiple of 4" in report["refused"]


def test_tensorflow_is_refused():
    with pytest.raises(UsageError, match="KERAS_BACKEND=jax"):
        distribute(4)
