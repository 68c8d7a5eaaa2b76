"""The adapter: what a sample holds, what a memory tells it, and what is put back."""

import itertools
import time

import numpy as np
import pytest

from deeplab_gygo.inference.adapter import OnlineAdapter
from deeplab_gygo.inference.config import OnlineConfig
from deeplab_gygo.inference.network import OnlineNetwork
from deeplab_gygo.inference.views import View
from deeplab_gygo.models.weight_file import variables_by_name
from deeplab_gygo.synthesis.augment import VOID

SIZE = (32, 48)


@pytest.fixture(scope="module")
def parent(small_parent):
    return small_parent(refine=False, separable=False)


@pytest.fixture(scope="module")
def network(parent):
    return OnlineNetwork(parent)


def _views(count: int = 3) -> list[View]:
    rng = np.random.default_rng(0)
    views = []
    for _ in range(count):
        mask = np.zeros(SIZE, np.uint8)
        mask[8:24, 8:32] = 1
        image = rng.integers(0, 256, (*SIZE, 3)).astype(np.uint8)
        views.append(View(image, mask, np.zeros((8, 12, 1), np.float32)))
    return views


def _adapter(parent, network, **changes) -> OnlineAdapter:
    return OnlineAdapter(parent, OnlineConfig(**{"steps": 0, **changes}), network)


def _recalls(adapter, views) -> list[np.ndarray]:
    adapter.adapt(views, np.random.default_rng(0))
    return [np.array(inputs["recall"]) for inputs, _ in adapter.samples]


def test_the_views_are_matched_to_the_annotated_frame_and_it_to_another(parent, network):
    views = _views()
    recalls = _recalls(_adapter(parent, network, memory_dropout=0.0), views)
    for index, recall in enumerate(recalls):
        other = 0 if index else 1
        features = [network.encode(views[i].image[None]) for i in (index, other)]
        keys = np.array(features[1]["key"]).reshape(1, -1, parent.config.key_channels)
        values = views[other].coded.reshape(2, 4, 3, 4).transpose(0, 2, 1, 3).reshape(1, 6, 16)
        expected = np.array(network.read(features[0], keys, values))
        np.testing.assert_allclose(recall, expected, atol=1e-5)
        assert recall.any()


@pytest.mark.parametrize(
    ("changes", "count"), [({"memory_dropout": 1.0}, 3), ({"recall": False}, 3), ({}, 1)]
)
def test_a_view_may_be_told_nothing(parent, network, changes, count):
    recalls = _recalls(
        _adapter(parent, network, **{"memory_dropout": 0.0, **changes}), _views(count)
    )
    assert not any(recall.any() for recall in recalls)


def test_full_adaptation_learns_from_pictures(parent, network):
    adapter = _adapter(parent, network, adapt="full", frozen_stages=6)
    view = _views(1)[0]
    labels = np.full(SIZE, VOID, np.uint8)
    inputs, targets = adapter.sample(view.image, labels, view.guide)
    assert sorted(inputs) == ["guide", "image", "recall"]
    np.testing.assert_array_equal(np.array(inputs["image"])[0], view.image)
    assert targets.shape == (1, *SIZE, 1) and (targets == VOID).all()
    adapted = {variable.path for variable in adapter.variables}
    assert any("stage7" in path for path in adapted)
    assert not any("stage6" in path or "memory_key" in path for path in adapted)


def test_nothing_is_learned_where_labels_are_void(parent, network):
    adapter = _adapter(parent, network, online_steps=1, anchor=0.0, dice=0.0)
    view = _views(1)[0]
    sample = adapter.sample(view.image, np.full(SIZE, VOID, np.uint8), None)
    before = adapter.weights()
    adapter.adapt_to(sample, [], np.random.default_rng(0))
    for old, new in zip(before, adapter.weights(), strict=True):
        np.testing.assert_allclose(new, old, atol=1e-6)


def test_a_later_frame_counts_little(parent, network):
    config = {"rate": 2e-3, "online_rate": 0.3, "online_weight": 0.1}
    adapter = _adapter(parent, network, online_steps=1, anchor=0.0, **config)
    view = _views(1)[0]
    before = adapter.weights()
    adapter.adapt_to(adapter.sample(view.image, view.mask, None), [], np.random.default_rng(0))
    moved = [float(np.abs(a - b).max()) for a, b in zip(before, adapter.weights(), strict=True)]
    # The first step of Adam moves a weight by its rate, whatever the gradient.
    assert max(moved) == pytest.approx(2e-3 * 0.3 * 0.1, rel=0.02)
    adapter.reset()


def test_a_state_puts_back_weights_and_slots_bit_by_bit(parent, network):
    adapter = _adapter(parent, network, steps=2, online_steps=3)
    whole = {n: np.array(v.numpy()) for n, v in variables_by_name(parent).items()}
    views, rng = _views(), np.random.default_rng(0)
    adapter.adapt(views, rng)
    kept = adapter.state()
    samples = adapter.samples
    adapter.adapt_to(samples[1], samples, np.random.default_rng(3))
    expected = adapter.state()
    adapter.set_state(kept)
    adapter.adapt_to(samples[1], samples, np.random.default_rng(3))
    for again, value in zip(adapter.state(), expected, strict=True):
        np.testing.assert_array_equal(again, value)
    adapter.reset()
    for name, variable in variables_by_name(parent).items():
        np.testing.assert_array_equal(variable.numpy(), whole[name], err_msg=name)


@pytest.mark.parametrize("seconds", [0.0, 60.0])
def test_steps_as_one_program_are_the_same_steps(parent, network, seconds):
    views, found = _views(), []
    for whole in (False, True):
        config = {"steps": 12, "seconds": seconds, "whole": whole}
        adapter = _adapter(parent, network, **config)
        told = []
        done = adapter.adapt(
            views,
            np.random.default_rng(0),
            replay=_views(2),
            report=lambda step, steps, loss, told=told: told.append((step, steps)),
        )
        assert done.steps == 12 and told == [(step, 12) for step in range(1, 13)]
        found.append((done.losses, adapter.weights()))
        adapter.reset()
    (single, one), (swept, all_at_once) = found
    # With a limit of time the rate follows the clock, which no two runs share.
    np.testing.assert_allclose(swept, single, rtol=1e-3 if not seconds else 5e-2)
    if not seconds:
        for first, second in zip(one, all_at_once, strict=True):
            np.testing.assert_allclose(second, first, atol=2e-3)


class _Clock:
    """A clock that goes on by itself whenever it is asked, and by whole steps when told to."""

    def __init__(self):
        self.now = 100.0

    def __call__(self) -> float:
        self.now += 1e-4
        return self.now


@pytest.mark.parametrize("pace", [0.07, 0.3, 0.9])
@pytest.mark.parametrize("seconds", [3.0, 10.0])
def test_a_limit_of_time_is_kept_within_a_tenth_or_half_a_step(
    parent, network, monkeypatch, pace, seconds
):
    adapter = _adapter(parent, network, steps=10_000, seconds=seconds)
    clock, drawn = _Clock(), itertools.count(1)

    def learn(sources, stacks, picks, rates):
        clock.now += pace
        return [1.0 / next(drawn)]

    monkeypatch.setattr(time, "monotonic", clock)
    monkeypatch.setattr(adapter, "_learn", learn)
    done = adapter.adapt(_views(), np.random.default_rng(0))
    assert abs(done.seconds - seconds) <= max(0.5 * pace, 0.01 * seconds) + 0.01
    assert done.steps == pytest.approx(seconds / pace, abs=1)
