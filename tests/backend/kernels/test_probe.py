"""The probe tells whether kernels run and compute what they should."""

import pytest

pytest.importorskip("jax")

from deeplab_gygo.backend.kernels import probe  # noqa: E402


def test_kernels_that_run_are_right():
    assert probe.failure(interpret=True) is None


def test_kernels_that_do_not_compile_are_reported():
    import jax

    if any(device.platform != "cpu" for device in jax.devices()):
        pytest.skip("there is a GPU")
    assert "Only interpret mode is supported on CPU" in probe.failure()


@pytest.mark.parametrize("factor", [1.001, float("nan")])
def test_kernels_that_compute_something_else_are_reported(monkeypatch, factor):
    right = probe.depthwise
    monkeypatch.setattr(probe, "depthwise", lambda *a, **k: right(*a, **k) * factor)
    assert "result 0 of a depthwise convolution is off by" in probe.failure(interpret=True)
