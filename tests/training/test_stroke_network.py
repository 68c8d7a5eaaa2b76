"""The training of strokes: clicks on errors, gradients of the decoder alone, its files."""

import numpy as np
import pytest

from deeplab_gygo import backend
from deeplab_gygo.errors import UsageError
from deeplab_gygo.training.config import TrainConfig
from deeplab_gygo.training.stroke_network import AddClick, build_stroke_network

GRID = (24, 32)


def _clicked(found, truth, stage=0, rollout=1):
    """Guide after a click, where the network found what `found` shows."""
    guide = np.zeros((1, *GRID, 2), np.float32)
    guide[0, 1, 1, 1] = 1
    logits, coded = ((np.where(m, 4.0, -4.0)[None, ..., None]) for m in (found, truth))
    switch = np.full((1, 1, 1, 1), rollout, np.float32)
    result = AddClick(stage)([guide, logits.astype(np.float32), np.sign(coded), switch])
    return guide[0], backend.to_numpy(result)[0]


def _masks():
    truth, found = np.zeros((2, *GRID), bool)
    truth[6:18, 4:28] = True
    found[6:18, 4:16] = True
    return found, truth


@pytest.mark.parametrize(("swap", "sign"), [(False, 1), (True, -1)])
def test_a_click_is_in_the_middle_of_the_largest_error(swap, sign):
    found, truth = _masks()
    if swap:
        found, truth = truth, found
    _, guide = _clicked(found, truth)
    rows, columns = np.nonzero(guide[4:, :, 1])
    assert set(np.unique(guide[4:, :, 1])) == {0, sign}
    assert abs(rows.mean() + 4 - 11.5) < 2 and abs(columns.mean() - 21.5) < 2
    assert 9 <= len(rows) <= 25
    np.testing.assert_array_equal(guide[..., 0], np.where(found, 1, -1))
    assert guide[1, 1, 1] == 1, "earlier strokes stay"


def test_a_click_is_not_drawn_to_the_border():
    truth = np.zeros(GRID, bool)
    truth[:, :20] = True
    _, guide = _clicked(np.zeros(GRID, bool), truth)
    rows, columns = np.nonzero(guide[4:, :, 1])
    assert 7 < rows.mean() + 4 < 16 and 5 < columns.mean() < 15


def test_no_click_without_an_error_or_beyond_the_rollout():
    found, truth = _masks()
    before, after = _clicked(truth, truth)
    np.testing.assert_array_equal(after[..., 1], before[..., 1])
    before, after = _clicked(found, truth, stage=1, rollout=1)
    np.testing.assert_array_equal(after, before)


def test_the_network_uses_strokes_and_not_the_memory(small_parent):
    parent = small_parent(guide=True, memory=True)
    rng = np.random.default_rng(0)
    inputs = {
        "image": rng.integers(0, 256, (2, 64, 96, 3)).astype(np.float32),
        "guide": np.zeros((2, 16, 24, 2), np.float32),
        "truth": np.ones((2, 16, 24, 1), np.float32),
        "rollout": np.zeros((2, 1, 1, 1), np.float32),
    }
    network = build_stroke_network(parent)
    plain = backend.to_numpy(network(inputs)["coarse"])
    inputs["guide"][:, 4:9, 4:9, 1] = 1
    assert not np.array_equal(backend.to_numpy(network(inputs)["coarse"]), plain)
    features = parent.encoder(inputs["image"], training=False)
    decoded = parent.head(parent.head_inputs(features, inputs["guide"]), training=False)
    coarse = backend.to_numpy(network(inputs)["coarse"])
    np.testing.assert_allclose(coarse, backend.to_numpy(decoded), atol=1e-5)


def test_strokes_are_trained_on_the_encoder_of_a_parent():
    with pytest.raises(UsageError, match="Strokes are trained on the encoder of a parent"):
        TrainConfig(trainable="strokes")
