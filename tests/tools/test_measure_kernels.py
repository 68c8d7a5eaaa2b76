"""Kernels are measured on the layers of the network, and only on a GPU."""

from __future__ import annotations

import json
import sys

import pytest

jax = pytest.importorskip("jax")


@pytest.mark.parametrize("output_stride", [8, 16])
@pytest.mark.parametrize("backbone", ["efficientnet_lite0", "mobilenet_v2"])
def test_layers_equal_those_of_the_network(backbone, output_stride, tool):
    from keras import layers

    from deeplab_gygo.models.backbones import build_backbone
    from deeplab_gygo.models.inverted_residual import MOBILENET_V2, efficientnet_lite

    module = tool("kernel_tasks")
    assert set(module.SPECS) == {"efficientnet_lite0", "mobilenet_v2"}
    model = build_backbone(backbone, output_stride=output_stride, input_shape=(64, 96, 3))
    built = {}
    for layer in model.layers:
        if isinstance(layer, layers.DepthwiseConv2D):
            _, height, width, channels = layer.input.shape
            side, stride, rate = layer.kernel_size[0], layer.strides[0], layer.dilation_rate[0]
            found = module.Layer(height, width, channels, side, stride, rate)
            built[found] = built.get(found, 0) + 1
    spec = MOBILENET_V2 if backbone == "mobilenet_v2" else efficientnet_lite(1.0, 1.0)
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
    assert report["rehearsal"] and len(report["rows"]) == 2
    for row in report["rows"]:
        assert not row["errors"] and row["ratio"] > 0
        assert row["difference"] < 0.02  # bfloat16, rounded twice
