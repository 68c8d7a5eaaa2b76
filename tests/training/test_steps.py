"""The gradient step: parameter groups, learning rates, state."""

import numpy as np
import pytest

from deeplab_gygo.models.weight_file import assign, variables_by_name
from deeplab_gygo.training.config import TrainConfig
from deeplab_gygo.training.steps import ParentStep


@pytest.fixture
def batch() -> tuple[dict[str, np.ndarray], np.ndarray]:
    rng = np.random.default_rng(0)
    inputs = {
        "image": rng.integers(0, 256, (2, 32, 48, 3)).astype(np.uint8),
        "guide": rng.choice([-1.0, 1.0], (2, 8, 12, 1)).astype(np.float32),
        "reference": rng.choice([-1.0, 1.0], (2, 8, 12, 1)).astype(np.float32),
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
