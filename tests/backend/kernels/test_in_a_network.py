"""Kernels replace the depthwise convolutions of the encoder where they are selected."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("jax")
PROBE = Path(__file__).with_name("network_probe.py")


def _run(kernels: str, backend: str = "jax") -> subprocess.CompletedProcess:
    environment = {
        **os.environ,
        "KERAS_BACKEND": backend,
        "JAX_PLATFORMS": "cpu",
        "DEEPLAB_GYGO_KERNELS": kernels,
    }
    return subprocess.run(
        [sys.executable, str(PROBE)], env=environment, capture_output=True, text=True
    )


@pytest.mark.parametrize(("kernels", "count"), [("interpret", 4), ("", 0)])
def test_features_are_the_same(kernels, count):
    done = _run(kernels)
    assert done.returncode == 0, done.stderr[-2000:]
    report = json.loads(done.stdout.strip().splitlines()[-1])
    assert report["gap"] < 1e-4
    assert len(report["calls"]) == count
    if count:
        assert [c["stride"] for c in report["calls"]] == [1, 2, 1, 1]
        assert [c["rate"] for c in report["calls"]] == [1, 1, 2, 1]
        assert [c["relu6"] for c in report["calls"]] == [True, True, True, False]


def test_kernels_are_refused_where_they_cannot_run():
    done = _run("pallas")
    assert done.returncode != 0
    assert "UsageError" in done.stderr and "Kernels run on a GPU" in done.stderr
    assert "interpret" in done.stderr
    assert "need the JAX backend" in _run("pallas", "tensorflow").stderr
