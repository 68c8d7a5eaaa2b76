"""Kernels are measured on the layers of the network, and only on a GPU."""

from __future__ import annotations

import json
import sys
from functools import partial

import pytest

jax = pytest.importorskip("jax")


@pytest.mark.parametrize("output_stride", [8, 16])
@pytest.mark.parametrize("backbone", ["efficientnet_lite2", "efficientnet_lite0", "mobilenet_v2"])
def test_layers_equal_those_of_the_network(backbone, output_stride, tool):
    from keras import layers

    from deeplab_gygo.models.backbones import build_backbone
    from deeplab_gygo.models.inverted_residual import MOBILENET_V2, efficientnet_lite

    module = tool("kernel_tasks")
    assert set(module.SPECS) == {"efficientnet_lite2", "efficientnet_lite0", "mobilenet_v2"}
    model = build_backbone(backbone, output_stride=output_stride, input_shape=(64, 96, 3))
    built = {}
    for layer in model.layers:
        if isinstance(layer, layers.DepthwiseConv2D):
            _, height, width, channels = layer.input.shape
            side, stride, rate = layer.kernel_size[0], layer.strides[0], layer.dilation_rate[0]
            found = module.Layer(height, width, channels, side, stride, rate)
            built[found] = built.get(found, 0) + 1
    spec = {
        "efficientnet_lite2": efficientnet_lite(1.1, 1.2),
        "efficientnet_lite0": efficientnet_lite(1.0, 1.0),
        "mobilenet_v2": MOBILENET_V2,
    }[backbone]
    assert module.depthwise_layers(spec, output_stride, (64, 96)) == built


def test_a_missing_gpu_is_reported(tool, monkeypatch, tmp_path, capsys):
    if any(device.platform != "cpu" for device in jax.devices()):
        pytest.skip("there is a GPU")
    monkeypatch.setattr(sys, "argv", ["measure_kernels.py", "--out", str(tmp_path / "k.json")])
    with pytest.raises(SystemExit) as stopped:
        tool("measure_kernels").main()
    assert stopped.value.code == 2
    assert "GPU" in capsys.readouterr().err and not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_rehearsal_measures_every_kernel(tool, monkeypatch, tmp_path, capsys):
    out = tmp_path / "k.json"
    monkeypatch.setattr(sys, "argv", ["measure_kernels.py", "--interpret", "--out", str(out)])
    tool("measure_kernels").main()
    assert "meaningless" in capsys.readouterr().out
    report = json.loads(out.read_text())
    assert report["rehearsal"] and len(report["rows"]) == 4
    for row in report["rows"]:
        assert not row["failed"] and row["ratio"] > 0
        assert max(row["relative_errors"].values()) < 0.01  # bfloat16


@pytest.mark.slow
def test_a_sweep_times_every_candidate_and_prints_the_fastest(tool, monkeypatch, tmp_path, capsys):
    from deeplab_gygo.backend.kernels.tilings import CANDIDATES

    out = tmp_path / "k.json"
    words = ["measure_kernels.py", "--interpret", "--sweep", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", words)
    tool("measure_kernels").main()
    rows = json.loads(out.read_text())["rows"]
    assert {row["task"] for row in rows} == set(CANDIDATES)
    for row in rows:
        assert not row["failed"] and len(row["seconds"]) == len(CANDIDATES[row["task"]])
        assert row["seconds"][row["fastest"]] == min(row["seconds"].values())
    assert "MEASURED = {" in capsys.readouterr().out


def test_entries_name_what_beats_the_default(tool):
    from deeplab_gygo.backend.kernels.window import Window

    window = Window(4, (30, 54), 480, 5, 1, 1)
    rows = [
        {"task": "forward", "shape": "a", "fastest": "2", "ratio": 1.5},
        {"task": "kernel_gradient", "shape": "a", "fastest": "1", "ratio": 1.001},
        {"task": "forward", "shape": "b"},
    ]
    text = tool("measure_kernels").entries(rows, {"a": window, "b": window})
    expected = "MEASURED = {\n    ('forward', 5, 1, 480): Tiling(rows=5),\n}"
    assert text == expected


@pytest.mark.parametrize("broken", [None, "output", "input", "kernel", "bias"])
def test_the_error_is_that_of_the_broken_end_alone(tool, broken):
    import jax.numpy as jnp

    from deeplab_gygo.backend.kernels.depthwise import plain_depthwise
    from deeplab_gygo.backend.kernels.window import Window

    plain = partial(plain_depthwise, shifted=True, relu6=False)

    def value(*arguments):
        return plain(*arguments) * (1.01 if broken == "output" else 1.0)

    def forward(*arguments):
        return value(*arguments), arguments

    def backward(arguments, gradient):
        pulled = jax.vjp(plain, *arguments)[1](gradient)
        named = zip(("input", "kernel", "bias"), pulled, strict=True)
        return tuple(v * 1.01 if name == broken else v for name, v in named)

    form = jax.custom_vjp(value)
    form.defvjp(forward, backward)
    window = Window(2, (9, 11), 8, 3, 1, 1)
    errors = tool("kernel_errors").relative_errors(form, window, "float32", relu6=False, seed=3)
    limit = tool("kernel_errors").LIMITS["float32"]
    assert [name for name, error in errors.items() if not error <= limit] == [broken] * bool(broken)
    assert jnp.zeros(()).dtype == jnp.float32  # 64 bits were left again


def test_gates_at_the_ends_of_relu6_are_no_error(tool):
    """Some of these sums are within a rounding of 0 or 6."""
    from deeplab_gygo.backend.kernels.depthwise import depthwise
    from deeplab_gygo.backend.kernels.window import Window

    form, window = partial(depthwise, interpret=True), Window(1, (30, 54), 32, 3, 1, 1)
    for dtype, limit in tool("kernel_errors").LIMITS.items():
        errors = tool("kernel_errors").relative_errors(form, window, dtype, relu6=True, seed=5)
        assert max(errors.values()) <= limit


def test_what_is_not_a_number_is_an_error(tool):
    import numpy as np

    module = tool("kernel_errors")
    assert not module.relative_error(np.float32([1, np.nan]), np.ones(2)) <= 1e-2
    assert module.relative_error(np.float32([3, 4]), np.float64([3, 5])) == 1 / 34**0.5


def test_a_compiler_without_the_option_of_graphs_compiles_all_the_same(tool, monkeypatch):
    import jax.numpy as jnp

    module = tool("measure_kernels")
    for options in (module._NO_GRAPHS, {"xla_no_such_option": 1}):
        monkeypatch.setattr(module, "_NO_GRAPHS", options)
        loop = module.compiled_loop(jnp.sin, (jnp.ones(3),), 12)
        assert len(loop(((jnp.ones(3),),) * 5)) == 5
        assert loop.as_text().count(" sine(") == 5  # every call is computed
        assert module.seconds_of_call(loop, (jnp.ones(3),), 12, 2) > 0
