"""Counts of operations and bytes by hand, and the time of every stage of a clip."""

import json
import math
import sys

import numpy as np
import pytest

keras = pytest.importorskip("keras")


@pytest.fixture
def roofline(tool):
    return tool("roofline")


def test_operations_of_layers_by_hand(roofline):
    values = np.zeros((1, 8, 10, 3), np.float32)
    plain = keras.layers.Conv2D(5, 3, padding="same", use_bias=False)
    depthwise = keras.layers.DepthwiseConv2D(3, padding="same", use_bias=False)
    dense = keras.layers.Dense(7, use_bias=False)
    for layer in (plain, depthwise, dense):
        layer.build(values.shape)
    assert roofline.work_of(plain, values).operations == 2 * 8 * 10 * 5 * 3 * 9
    assert roofline.work_of(depthwise, values).operations == 2 * 8 * 10 * 3 * 9
    assert roofline.work_of(dense, values).operations == 2 * 8 * 10 * 3 * 7
    moved = 4 * (8 * 10 * 3 + 3 * 5 * 9 + 8 * 10 * 5)
    assert roofline.work_of(plain, values).bytes == moved


def test_a_gradient_costs_two_more_forward_passes(roofline):
    import tensorflow as tf

    values = np.zeros((1, 8, 10, 3), np.float32)
    layer = keras.layers.Conv2D(5, 3, padding="same", use_bias=False)
    layer.build(values.shape)

    def gradient(inputs):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            total = tf.reduce_sum(layer(inputs) ** 2)
        return tape.gradient(total, [inputs, layer.kernel.value])

    forward = roofline.work_of(layer, values).operations
    assert roofline.work_of(gradient, values).operations == 3 * forward


def test_work_is_additive(roofline):
    one, other = roofline.Work(operations=1.0, bytes=2.0), roofline.Work(operations=3.0, bytes=5.0)
    assert roofline.Work.total([one, other]) == (4.0, 7.0) and other.times(2) == (6.0, 10.0)


def test_the_peak_is_at_least_that_of_float32(roofline, monkeypatch):
    seconds = {"float32": 2.0, "bfloat16": 1.0, "float16": 8.0}
    kind = lambda values: str(getattr(values.dtype, "name", values.dtype))  # noqa: E731
    monkeypatch.setattr(roofline, "_seconds", lambda call, values: seconds[kind(values)])
    plain, quick, slow = (roofline.measure_machine(name).operations for name in seconds)
    assert quick == 2 * plain and slow == plain


def test_the_roofline_is_the_slower_limit(roofline):
    work = roofline.Work(operations=10.0, bytes=8.0)
    assert work.seconds(roofline.Machine(operations=5.0, bytes=8.0)) == 2.0
    assert work.seconds(roofline.Machine(operations=10.0, bytes=2.0)) == 4.0


@pytest.mark.slow
def test_every_stage_of_a_clip_is_timed(tool, make_clip, tiny_parent, tmp_path, monkeypatch):
    frames, mask = tmp_path / "clip", tmp_path / "first.png"
    make_clip(frames, 6, 0)
    from PIL import Image

    plane = np.zeros((64, 96), np.uint8)
    plane[20:44, 30:60] = 255
    Image.fromarray(plane).save(mask)
    module, out = tool("measure_speed"), tmp_path / "speed.json"
    words = ["--frames", frames, "--mask", mask, "--weights", tiny_parent, "--lengths", 8]
    words += ["--repeats", 2, "--out", out]
    monkeypatch.setattr(module, "start_of_a_process", lambda options: {})
    monkeypatch.setattr(sys, "argv", ["measure_speed.py", *map(str, words)])
    module.main()
    report = json.loads(out.read_text())
    (run,) = report["runs"]
    assert run["clips"][0]["frames"] == 8 and run["clips"][0]["fps"] > 0
    for name, stage in run["stages"].items():
        assert stage["seconds"] > 0 and math.isfinite(stage["seconds"]), name
    assert run["stages"]["step"]["operations"] > run["stages"]["decode_head"]["operations"]


@pytest.mark.slow
def test_the_start_of_the_command_is_timed_to_its_first_step(
    tool, make_clip, tiny_parent, tmp_path, monkeypatch
):
    frames, out = tmp_path / "clip", tmp_path / "startup.json"
    make_clip(frames, 3, 0)
    plane = np.zeros((64, 96), np.uint8)
    plane[20:44, 30:60] = 255
    from PIL import Image

    Image.fromarray(plane).save(tmp_path / "first.png")
    words = ["--frames", frames, "--mask", tmp_path / "first.png", "--repeats", 1, "--out", out]
    words += ["--weights", tiny_parent, "--preset", "fast"]
    monkeypatch.setattr(sys, "argv", ["measure_startup.py", *map(str, words)])
    tool("measure_startup").main()
    seconds = json.loads(out.read_text())["median_seconds"]
    assert 0 < seconds["input_read"] < seconds["network_loaded"] < seconds["first_step"]
