"""J on held-out sequences, with and without conditioning."""

import numpy as np
import pytest

from deeplab_gygo.datasets.registry import open_dataset
from deeplab_gygo.inference.geometry import Geometry
from deeplab_gygo.models.memory import MemoryRead, remember
from deeplab_gygo.models.target_model import joined_guide
from deeplab_gygo.training.config import ValidationConfig
from deeplab_gygo.training.validation import ParentValidation, displaced

SIDE = 64


@pytest.fixture(scope="module")
def root(make_dataset, tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("data") / "small", {"one": 3, "two": 3})


def _run(parent, root, **options) -> dict[str, float]:
    sets = [ValidationConfig(kind="gygo", root=root.name, stride=2, **options)]
    return ParentValidation(parent, sets, root.parent, short_side=SIDE).run()


def _jaccard(mask, truth) -> float:
    return np.count_nonzero(mask & truth) / np.count_nonzero(mask | truth)


def _direct_scores(parent, root) -> dict[str, float]:
    """J by the models of the parent, without compiled calls or a forward pass of inference."""
    dataset = open_dataset("gygo", root)
    scores = {mode: [] for mode in ("zero-shot", "guided", "remembered")}
    for name in ("one", "two"):
        sequence, memory = dataset.sequence(name), None
        geometry = Geometry.fit(sequence.size, SIDE, parent.stride)
        rows = {mode: [] for mode in scores}
        for index in (0, 2):
            truth = dataset.annotation(name, index)
            image = geometry.image(sequence.frame(index).image)
            features = parent.encoder(image[None], training=False)
            if memory is None:
                memory = remember(features["key"], geometry.guide(truth), parent.config.block_size)
            conditioning = {
                "zero-shot": {},
                "guided": {"guide": joined_guide(geometry.guide(displaced(truth))[None], None)},
                "remembered": {"readout": MemoryRead()([features["key"], *memory])},
            }
            for mode, inputs in conditioning.items():
                logits = np.asarray(parent.decode(features, **inputs))[0, ..., 0]
                rows[mode].append(_jaccard(geometry.logits(logits) > 0, truth == 1))
        for mode, values in rows.items():
            scores[mode].append(np.mean(values))
    return {f"small/{mode}": float(np.mean(values)) for mode, values in scores.items()}


def test_scores_are_those_of_a_direct_forward_pass(small_parent, root):
    parent = small_parent(seed=4)
    rng = np.random.default_rng(0)
    for part, name in (
        (parent.head, "recall_join"),
        (parent.head, "recall_sharp_join"),
        (parent.refiner, "refine_change"),
    ):
        kernel = part.get_layer(name).kernel
        kernel.assign(rng.normal(0, 0.5, kernel.shape).astype(np.float32))
    expected = _direct_scores(parent, root)
    assert len(set(expected.values())) == 3, "every conditioning has an effect"
    assert _run(parent, root) == pytest.approx(expected, abs=2e-3)


def test_current_weights_are_measured_and_an_untrained_memory_has_no_effect(small_parent, root):
    parent = small_parent()
    sets = [ValidationConfig(kind="gygo", root=root.name, stride=2)]
    validation = ParentValidation(parent, sets, root.parent, short_side=SIDE)
    scores = validation.run()
    assert list(scores) == [f"small/{m}" for m in ("zero-shot", "guided", "remembered")]
    assert scores["small/remembered"] == scores["small/zero-shot"]
    kernel = parent.head.get_layer("recall_sharp_join").kernel
    kernel.assign(np.random.default_rng(0).normal(0, 3, kernel.shape).astype(np.float32))
    changed = validation.run()
    assert changed["small/remembered"] != changed["small/zero-shot"]
    assert changed["small/zero-shot"] == scores["small/zero-shot"]


def test_modes_follow_the_architecture(small_parent, root):
    parent = small_parent(guide=False, memory=False, refine=False)
    assert list(_run(parent, root, sequences=["two"])) == ["small/zero-shot"]


def test_constant_predictions_have_known_scores(small_parent, root):
    parent = small_parent(memory=False, refine=False)
    for layer in parent.head.layers:
        for variable in layer.trainable_variables:
            variable.assign(np.zeros(variable.shape, np.float32))
    scores = _run(parent, root)
    assert scores["small/zero-shot"] == scores["small/guided"] == 0.0  # a logit of 0 is background
    parent.head.get_layer("logit").bias.assign([9.0])
    fraction = 28 * 28 / (64 * 96)
    assert _run(parent, root)["small/zero-shot"] == pytest.approx(fraction, abs=1e-6)


def test_displacement_is_relative_to_the_root_of_the_area():
    mask = np.zeros((60, 80), np.uint8)
    mask[10:30, 40:60] = 1
    moved = displaced(mask, 0.25)
    np.testing.assert_array_equal(np.argwhere(moved)[0], [15, 45])
    assert moved.sum() == 400
    assert not displaced(mask, 3.0).any()  # cropped at the border
    np.testing.assert_array_equal(displaced(np.zeros_like(mask)), np.zeros_like(mask))
