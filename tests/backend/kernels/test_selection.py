"""Kernels are in use where they work, and elsewhere the operations of the backend are."""

from types import SimpleNamespace

import pytest

jax = pytest.importorskip("jax")

from deeplab_gygo.backend import calls  # noqa: E402
from deeplab_gygo.backend.kernels import probe  # noqa: E402


@pytest.fixture(autouse=True)
def _untried(monkeypatch):
    monkeypatch.delenv(calls.KERNELS_VARIABLE, raising=False)
    monkeypatch.setattr(calls, "name", lambda: "jax")
    calls._tried_kernels.cache_clear()
    yield
    calls._tried_kernels.cache_clear()


def _gpus(monkeypatch, count=1, kind="NVIDIA H200"):
    devices = [SimpleNamespace(device_kind=kind) for _ in range(count)]
    monkeypatch.setattr(jax, "devices", lambda: devices)


def test_a_gpu_on_which_they_work_uses_them_and_tries_once(monkeypatch):
    tried = []
    _gpus(monkeypatch)
    monkeypatch.setattr(probe, "failure", lambda: tried.append(1))
    for _ in range(3):
        assert calls.fused_depthwise().keywords == {"interpret": False}
    assert tried == [1]


def test_kernels_are_tried_while_a_program_is_traced(monkeypatch):
    _gpus(monkeypatch)
    failure = probe.failure
    monkeypatch.setattr(probe, "failure", lambda: failure(interpret=True))

    @jax.jit
    def program(x):
        assert calls.fused_depthwise() is not None
        return x + 1

    assert program(1.0) == 2.0


def test_a_failure_is_reported_once_and_the_backend_is_used(monkeypatch, caplog):
    _gpus(monkeypatch)
    monkeypatch.setattr(probe, "failure", lambda: "no Triton")
    assert calls.fused_depthwise() is None and calls.fused_depthwise() is None
    assert [r.getMessage() for r in caplog.records] == ["the GPU kernels are not used: no Triton"]


@pytest.mark.parametrize(("count", "kind"), [(1, "cpu"), (2, "NVIDIA H200"), (1, "AMD MI300")])
def test_other_machines_use_the_backend(monkeypatch, count, kind):
    _gpus(monkeypatch, count, kind)
    monkeypatch.setattr(probe, "failure", lambda: pytest.fail("tried"))
    assert calls.fused_depthwise() is None


def test_they_can_be_switched_off(monkeypatch):
    _gpus(monkeypatch)
    monkeypatch.setenv(calls.KERNELS_VARIABLE, "off")
    monkeypatch.setattr(probe, "failure", lambda: pytest.fail("tried"))
    assert calls.fused_depthwise() is None
