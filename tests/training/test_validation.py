"""J on sequences held back: told nothing, the displaced mask, the first frame."""

import numpy as np
import pytest

from deeplab_gygo.training.config import ValidationConfig
from deeplab_gygo.training.validation import Validation, displaced


@pytest.fixture(scope="module")
def root(make_dataset, tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("data") / "small", {"one": 3, "two": 3})


def _run(parent, root, **options) -> dict[str, float]:
    sets = [ValidationConfig(kind="gygo", root=root.name, stride=2, **options)]
    return Validation(parent, sets, str(root.parent), short_side=64).run()


def test_every_way_of_telling_is_measured(small_parent, root):
    parent = small_parent()
    scores = _run(parent, root)
    assert list(scores) == [f"small/{m}" for m in ("zero-shot", "guided", "remembered")]
    assert all(0.0 <= score <= 1.0 for score in scores.values())
    # A memory that was never trained says nothing; one that has a say is heard.
    assert scores["small/remembered"] == scores["small/zero-shot"]
    kernel = parent.head.get_layer("recall_sharp_join").kernel
    kernel.assign(np.random.default_rng(0).normal(0, 3, kernel.shape).astype(np.float32))
    heard = _run(parent, root)
    assert heard["small/remembered"] != heard["small/zero-shot"]
    assert heard["small/zero-shot"] == scores["small/zero-shot"]


def test_an_architecture_is_measured_by_what_it_can_be_told(small_parent, root):
    parent = small_parent(guide=False, memory=False, refine=False)
    assert list(_run(parent, root, sequences=["two"])) == ["small/zero-shot"]


def test_a_network_that_knows_scores_one(small_parent, root):
    """A parent that says what its guide says is right but for the displacement."""
    parent = small_parent(memory=False, refine=False)
    for layer in parent.head.layers:
        for variable in layer.trainable_variables:
            variable.assign(np.zeros(variable.shape, np.float32))
    scores = _run(parent, root)
    assert scores["small/zero-shot"] == scores["small/guided"] == 0.0  # a logit of 0 is no object
    parent.head.get_layer("logit").bias.assign([9.0])
    share = 28 * 28 / (64 * 96)
    assert _run(parent, root)["small/zero-shot"] == pytest.approx(share, abs=1e-6)


def test_displacing_moves_by_a_part_of_the_root_of_the_area():
    mask = np.zeros((60, 80), np.uint8)
    mask[10:30, 40:60] = 1
    moved = displaced(mask, part=0.25)
    np.testing.assert_array_equal(np.argwhere(moved)[0], [15, 45])
    assert moved.sum() == 400
    assert not displaced(mask, part=3.0).any()  # what leaves the picture is lost
    np.testing.assert_array_equal(displaced(np.zeros_like(mask)), np.zeros_like(mask))
