"""Gradient steps and the moving average of the weights."""

import keras
import numpy as np
import pytest

from deeplab_gygo.models.losses import segmentation_loss
from deeplab_gygo.models.weight_file import assign, variables_by_name
from deeplab_gygo.training.config import TrainConfig
from deeplab_gygo.training.steps import UPDATE_EVERY, MovingAverage, ParentStep


@pytest.fixture
def batch() -> tuple[dict[str, np.ndarray], np.ndarray]:
    rng = np.random.default_rng(0)
    inputs = {
        "image": rng.integers(0, 256, (2, 32, 48, 3)).astype(np.uint8),
        "guide": rng.choice([-1.0, 1.0], (2, 8, 12, 1)).astype(np.float32),
        "reference": rng.choice([-1.0, 1.0], (2, 8, 12, 1)).astype(np.float32),
        "truth": rng.choice([-1.0, 1.0], (2, 8, 12, 1)).astype(np.float32),
        "has_score": np.ones((2, 1, 1, 1), np.float32),
        "rollout": np.ones((2, 1, 1, 1), np.float32),
    }
    return inputs, rng.integers(0, 2, (2, 32, 48, 1)).astype(np.uint8)


def _values(parent) -> dict[str, np.ndarray]:
    return {n: np.array(v.numpy()) for n, v in variables_by_name(parent).items()}


def _changed(parent, before) -> set[str]:
    return {n for n, v in _values(parent).items() if not np.array_equal(v, before[n])}


def _config(**changes) -> TrainConfig:
    return TrainConfig(**{"freeze_batch_norm": True, **changes})


def test_memory_keys_are_in_the_head_group(small_parent, batch):
    parent = small_parent()
    before = _values(parent)
    step = ParentStep(parent, _config(backbone_learning_rate=0.0))
    for _ in range(3):  # at first the memory has no weight, and its keys no gradient
        step(*batch, 1.0)
    changed = _changed(parent, before)
    assert {"encoder/memory_key/kernel", "encoder/memory_key/bias"} <= changed
    assert {n.split("/")[0] for n in changed} == {"encoder", "head", "refiner"}
    assert not [n for n in changed if n.startswith("encoder") and "memory_key" not in n]


def test_the_encoder_has_its_own_learning_rate(small_parent, batch):
    parent = small_parent(guide=False, refine=False)
    before = _values(parent)
    ParentStep(parent, _config(head_learning_rate=0.0))(*batch, 1.0)
    changed = _changed(parent, before)
    assert "encoder/stage7_conv/kernel" in changed
    assert all(n.startswith("encoder") and "memory_key" not in n for n in changed)


def test_only_the_refinement_is_trained(small_parent, batch):
    parent = small_parent()
    before = _values(parent)
    step = ParentStep(
        parent, _config(trainable="refinement", edge_weight=2.0, freeze_batch_norm=False)
    )
    losses = [float(step(*batch, 1.0)) for _ in range(3)]
    changed = _changed(parent, before)
    assert changed and all(name.startswith("refiner/") for name in changed)
    assert len(set(losses)) == 3


@pytest.mark.parametrize(("trainable", "coarse_weight"), [("all", 0.5), ("refinement", 0.0)])
def test_coarse_logits_have_half_the_weight_of_refined_ones(small_parent, trainable, coarse_weight):
    config = _config(trainable=trainable, dice_weight=0.3, edge_weight=1.5)
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 2, (2, 32, 48, 1)).astype(np.uint8)
    coarse = rng.normal(size=(2, 8, 12, 1)).astype(np.float32)
    refined = rng.normal(size=(2, 32, 48, 1)).astype(np.float32)
    loss = segmentation_loss(0.3, 1.5)
    expected = float(loss(refined, targets)) + coarse_weight * float(loss(coarse, targets))
    step = ParentStep(small_parent(), config)._step
    total = float(step.loss({"coarse": coarse, "refined": refined}, targets))
    assert total == pytest.approx(expected, rel=1e-5)


def test_a_restored_state_continues_equally(small_parent, batch):
    parent = small_parent(guide=False)
    step = ParentStep(parent, _config())
    step(*batch, 1.0)
    weights, state = _values(parent), step.state()
    step(*batch, 0.0)
    assert not _changed(parent, weights), "a factor of zero changes nothing"
    step.set_state(state)
    expected = float(step(*batch, 1.0)), _values(parent)
    assign(parent, weights, "memory")
    step.set_state(state)
    assert float(step(*batch, 1.0)) == pytest.approx(expected[0], rel=1e-5)
    for name, value in _values(parent).items():
        np.testing.assert_allclose(value, expected[1][name], atol=1e-6, err_msg=name)


def _averaged(on_device: bool, momentum: float = 0.99, steps: int = 60):
    rng = np.random.default_rng(0)
    variables = {
        "kernel": keras.Variable(rng.normal(size=(3, 4)).astype(np.float32)),
        "bias": keras.Variable(np.zeros(4, np.float32)),
    }
    average = MovingAverage(variables, momentum, on_device)
    first = average.values()
    for step in range(1, steps + 1):
        for variable in variables.values():
            variable.assign(rng.normal(1.0, 0.1, variable.shape).astype(np.float32))
        average.update(step)
    return first, average, variables


def test_host_and_device_agree():
    (_, host, _), (_, device, _) = _averaged(False), _averaged(True)
    for name, values in host.values().items():
        np.testing.assert_allclose(device.values()[name], values, rtol=1e-6)


def test_the_average_is_smooth_and_forgets_the_initial_weights():
    first, average, variables = _averaged(False, momentum=0.9, steps=300)
    values = average.values()
    assert np.abs(values["kernel"] - 1.0).max() < 0.2
    assert np.abs(first["kernel"] - 1.0).max() > 0.5
    # A copy: later updates of the variable do not change it.
    variables["bias"].assign(np.full(4, 9.0, np.float32))
    assert average.values()["bias"].max() < 2


def test_updates_are_due_at_multiples_of_the_interval():
    _, average, variables = _averaged(False, steps=UPDATE_EVERY)
    before = average.values()
    variables["bias"].assign(np.full(4, 9.0, np.float32))
    average.update(UPDATE_EVERY + 1)
    np.testing.assert_array_equal(average.values()["bias"], before["bias"])
    average.update(2 * UPDATE_EVERY)
    assert not np.array_equal(average.values()["bias"], before["bias"])


def test_values_round_trip():
    _, average, variables = _averaged(True)
    kept = average.values()
    other = MovingAverage(variables, 0.99, on_device=True)
    other.set_values(kept)
    for name, values in kept.items():
        np.testing.assert_array_equal(other.values()[name], values)


def test_without_momentum_nothing_is_averaged():
    _, average, _ = _averaged(False, momentum=0.0)
    assert average.values() == {}
