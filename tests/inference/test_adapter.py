"""Fine-tuning: samples, learning rates, regularization, time limit, exact reset."""

import itertools
import math
import time

import keras
import numpy as np
import pytest
from keras import ops

from deeplab_gygo import backend
from deeplab_gygo.inference.adapter import DecoderTuner
from deeplab_gygo.inference.config import OnlineConfig
from deeplab_gygo.inference.fine_tuner import FineTuner
from deeplab_gygo.inference.network import ForwardPass
from deeplab_gygo.inference.views import View
from deeplab_gygo.models.weight_file import variables_by_name

SIZE = (32, 48)


@pytest.fixture(scope="module")
def parent(small_parent):
    return small_parent(refine=False, separable=False)


@pytest.fixture(scope="module")
def network(parent):
    return ForwardPass(parent)


def _views(count: int = 3) -> list[View]:
    rng = np.random.default_rng(0)
    views = []
    for _ in range(count):
        mask = np.zeros(SIZE, np.uint8)
        mask[8:24, 8:32] = 1
        image = rng.integers(0, 256, (*SIZE, 3)).astype(np.uint8)
        views.append(View(image, mask, np.zeros((8, 12, 1), np.float32)))
    return views


def _tuner(parent, network, **changes) -> DecoderTuner:
    return DecoderTuner(parent, OnlineConfig(**{"steps": 0, **changes}), network, "target")


def _adapt(tuner, views, **options):
    return tuner.adapt(views, np.random.default_rng(0), started=time.monotonic(), **options)


def _readouts(tuner, views) -> list[np.ndarray]:
    samples = tuner._samples(views, np.random.default_rng(0))
    assert not any(np.array(inputs["guide"])[..., 1].any() for inputs, _ in samples)  # the score
    (name,) = set(samples[0][0]) - {"low", "high", "guide"}
    return [np.array(inputs[name]) for inputs, _ in samples]


def test_views_are_conditioned_on_the_memory_of_the_annotated_frame(parent, network, monkeypatch):
    monkeypatch.setattr(OnlineConfig, "MEMORY_DROPOUT", 0.0)
    views = _views()
    for index, readout in enumerate(_readouts(_tuner(parent, network), views)):
        other = 0 if index else 1
        features = [network.encode(views[i].image[None]) for i in (index, other)]
        keys = np.array(features[1]["key"]).reshape(1, -1, parent.config.key_channels)
        coded = views[other].coded_mask
        values = coded.reshape(2, 4, 3, 4).transpose(0, 2, 1, 3).reshape(1, 6, 16)
        expected = np.array(network.read(features[0], keys, values))
        np.testing.assert_allclose(readout, expected, atol=1e-5)
        assert readout.any()


@pytest.mark.parametrize(("dropout", "count"), [(1.0, 3), (0.0, 1)])
def test_a_view_may_have_no_memory(parent, network, monkeypatch, dropout, count):
    monkeypatch.setattr(OnlineConfig, "MEMORY_DROPOUT", dropout)
    readouts = _readouts(_tuner(parent, network), _views(count))
    assert not any(readout.any() for readout in readouts)


def test_full_adaptation_trains_the_last_stages_on_images(parent, network, monkeypatch):
    monkeypatch.setattr(OnlineConfig, "FROZEN_STAGES", 6)
    tuner = _tuner(parent, network, adapt="full")
    (inputs, targets), *_ = tuner._samples(_views(1), np.random.default_rng(0))
    assert "image" in inputs and "low" not in inputs
    np.testing.assert_array_equal(np.array(inputs["image"])[0], _views(1)[0].image)
    assert targets.shape == (1, *SIZE, 1)
    adapted = {variable.path for variable in tuner.variables}
    assert any("stage7" in path for path in adapted)
    assert not any("stage6" in path or "memory_key" in path for path in adapted)


def test_what_takes_guide_and_memory_stays_as_it_is(parent, network):
    before = {name: np.array(v) for name, v in variables_by_name(parent).items()}
    tuner = _tuner(parent, network, steps=2)
    _adapt(tuner, _views())
    changed = {
        name
        for name, variable in variables_by_name(parent).items()
        if (np.array(variable) != before[name]).any()
    }
    tuner.reset()
    layers = {name.split("/")[-2] for name in changed}
    assert {"aspp_point_conv", "decoder2_conv", "logit"} <= layers
    assert not any(layer.startswith(("guide_", "recall_")) for layer in layers)


def test_reset_restores_weights_and_optimizers_bit_by_bit(parent, network):
    tuner = _tuner(parent, network, steps=3)
    before = {n: np.array(v.numpy()) for n, v in variables_by_name(parent).items()}
    first = _adapt(tuner, _views()).losses
    tuned = tuner.weights()
    assert any(
        not np.array_equal(variable.numpy(), before[name])
        for name, variable in variables_by_name(parent).items()
    )
    tuner.reset()
    for name, variable in variables_by_name(parent).items():
        np.testing.assert_array_equal(variable.numpy(), before[name], err_msg=name)
    assert _adapt(tuner, _views()).losses == first
    for value, again in zip(tuned, tuner.weights(), strict=True):
        np.testing.assert_array_equal(value, again)
    tuner.reset()


def _linear_tuner(**options) -> tuple[FineTuner, keras.Variable]:
    """A model of one weight w and the loss (w x - y)^2, fine-tuned by plain gradient descent."""
    inputs = keras.Input((1,), name="x")
    layer = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")
    model = keras.Model(inputs, layer(inputs))
    defaults = {"steps": 5, "optimizer": keras.optimizers.SGD}
    tuner = FineTuner(
        model,
        [(0.1, [layer.kernel])],
        lambda outputs, targets: ops.sum((outputs - targets) ** 2),
        **{**defaults, **options},
    )
    return tuner, layer.kernel


def _draw():
    return np.ones((1, 1), np.float32), np.full((1, 1), 3.0, np.float32)


def test_the_learning_rate_decays_as_a_cosine_to_its_final_fraction():
    tuner, kernel = _linear_tuner(final_rate=0.1)
    weights = [1.0]
    tuner.tune(
        _draw, started=time.monotonic(), progress=lambda *_: weights.append(float(kernel[0, 0]))
    )
    for step in range(5):
        rate = 0.1 * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * step / 5)))
        gradient = 2 * (weights[step] - 3.0)
        assert weights[step + 1] == pytest.approx(weights[step] - rate * gradient, rel=1e-5)


def test_a_final_fraction_of_one_keeps_the_rate():
    tuner, kernel = _linear_tuner(steps=2)
    tuner.tune(_draw, started=time.monotonic())
    assert float(kernel[0, 0]) == pytest.approx(3.0 - 2.0 * 0.8**2)


def test_the_regularizer_is_part_of_the_loss():
    tuner, kernel = _linear_tuner(steps=200)
    tuner.reset()
    anchored, held = _linear_tuner(
        steps=200, regularizer=lambda values: ops.sum((values[0] - 1.0) ** 2)
    )
    tuner.tune(_draw, started=time.monotonic())
    anchored.tune(_draw, started=time.monotonic())
    assert float(kernel[0, 0]) == pytest.approx(3.0, abs=1e-3)
    assert float(held[0, 0]) == pytest.approx(2.0, abs=1e-3), "half way to the parent"


def test_fine_tuning_stays_nearer_to_the_parent_with_l2_sp(parent, network, monkeypatch):
    moved = {}
    for weight in (0.0, 10.0):
        monkeypatch.setattr(OnlineConfig, "L2_SP_WEIGHT", weight)
        tuner = _tuner(parent, network, steps=8)
        start = tuner.weights()
        _adapt(tuner, _views())
        pairs = zip(start, tuner.weights(), strict=True)
        moved[weight] = sum(float(np.square(a - b).sum()) for a, b in pairs)
        tuner.reset()
    assert moved[10.0] < 0.7 * moved[0.0]


@pytest.mark.parametrize("seconds", [0.0, 60.0])
def test_steps_as_one_program_are_the_same_steps(parent, seconds):
    found = []
    for fused in (False, True):
        network = ForwardPass(parent, window=2, fused=fused)
        tuner = _tuner(parent, network, steps=12, seconds=seconds)
        tuner._sweep_steps = 10 if seconds else 12
        seen = []
        done = _adapt(tuner, _views(), progress=lambda i, n, _, seen=seen: seen.append((i, n)))
        assert done.steps == 12 and seen == [(step, 12) for step in range(1, 13)]
        found.append((done.losses, tuner.weights()))
        tuner.reset()
    (single, one), (swept, all_at_once) = found
    # With a time limit the rate follows the clock, which no two runs share.
    np.testing.assert_allclose(swept, single, rtol=1e-3 if not seconds else 5e-2)
    if not seconds:
        for first, second in zip(one, all_at_once, strict=True):
            np.testing.assert_allclose(second, first, atol=2e-3)


class _Clock:
    """A clock that advances a little at every reading."""

    def __init__(self):
        self.now = 100.0

    def __call__(self) -> float:
        self.now += 1e-4
        return self.now


@pytest.mark.parametrize("pace", [0.07, 0.3, 0.9])
@pytest.mark.parametrize("seconds", [3.0, 10.0])
def test_a_time_limit_is_kept_within_half_a_step(monkeypatch, pace, seconds):
    tuner, _ = _linear_tuner(steps=10_000, seconds=seconds)
    clock, drawn = _Clock(), itertools.count(1)

    def step(*sample):
        clock.now += pace
        return 1.0 / next(drawn)

    monkeypatch.setattr(time, "monotonic", clock)
    monkeypatch.setattr(tuner, "_step", step)
    done = tuner.tune(_draw, started=clock.now)
    assert abs(done.seconds - seconds) <= max(0.5 * pace, 0.01 * seconds) + 0.01
    assert done.steps == pytest.approx(seconds / pace, abs=1)


def test_the_loss_is_cross_entropy_plus_soft_dice(parent, network):
    tuner, views = _tuner(parent, network, steps=1), _views(1)
    (inputs, labels), *_ = tuner._samples(views, np.random.default_rng(0))
    logits = backend.to_numpy(backend.resize(parent.head(inputs, training=False), *SIZE))
    x, t = logits.astype(np.float64), labels.astype(np.float64)
    entropy = np.mean(np.maximum(x, 0) - x * t + np.log1p(np.exp(-np.abs(x))))
    p = 1 / (1 + np.exp(-x))
    dice = 1 - (2 * np.sum(p * t) + 1) / (np.sum(p) + np.sum(t) + 1)
    (loss,) = _adapt(tuner, views).losses
    assert loss == pytest.approx(entropy + dice, rel=1e-4)
    assert dice > 0.1
    tuner.reset()


def test_fine_tuned_weights_are_averaged_with_those_of_the_parent(parent, network, monkeypatch):
    results = {}
    for share in (0.0, 0.25, 1.0):
        monkeypatch.setattr(OnlineConfig, "TUNED_SHARE", share)
        tuner = _tuner(parent, network, steps=3)
        before = tuner.weights()
        _adapt(tuner, _views())
        results[share] = tuner.weights()
        tuner.reset()
        assert all(np.array_equal(a, b) for a, b in zip(tuner.weights(), before, strict=True))
    for start, quarter, whole in zip(results[0.0], results[0.25], results[1.0], strict=True):
        np.testing.assert_allclose(quarter, start + 0.25 * (whole - start), atol=1e-6)
    assert any(not np.array_equal(a, b) for a, b in zip(results[0.0], results[1.0], strict=True))
