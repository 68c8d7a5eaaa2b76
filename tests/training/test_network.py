"""The training network: each frame of a clip is the memory frame of the other."""

import keras
import numpy as np
import pytest

from deeplab_gygo import backend
from deeplab_gygo.models import target_model
from deeplab_gygo.models.memory import MemoryRead, remember
from deeplab_gygo.models.target_model import TargetModel, joined_guide, target_guide
from deeplab_gygo.training.config import TrainConfig
from deeplab_gygo.training.network import (
    RIDGE,
    AddErrors,
    FlattenSpatial,
    SwapPairs,
    TargetScore,
    build_training_network,
    clip_loss,
)
from deeplab_gygo.training.steps import ParentStep

HEIGHT, WIDTH = 64, 96


def _inputs(batch: int = 4, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    coded = (batch, HEIGHT // 4, WIDTH // 4, 1)
    return {
        "image": rng.integers(0, 256, (batch, HEIGHT, WIDTH, 3)).astype(np.uint8),
        "guide": rng.choice([-1.0, 0.0, 1.0], coded).astype(np.float32),
        "reference": rng.choice([-1.0, 1.0], coded).astype(np.float32),
        "truth": rng.choice([-1.0, 1.0], coded).astype(np.float32),
        "has_score": np.ones((batch, 1, 1, 1), np.float32),
        "rollout": np.zeros((batch, 1, 1, 1), np.float32),
    }


def _activate(parent) -> None:
    """Sets the initially zero weights of memory and refinement."""
    rng = np.random.default_rng(9)
    for part, name in (
        (parent.head, "recall_join"),
        (parent.head, "recall_sharp_join"),
        (parent.refiner, "refine_change"),
    ):
        kernel = part.get_layer(name).kernel
        kernel.assign(rng.normal(0, 0.3, kernel.shape).astype(np.float32))


def test_swapping_stays_within_pairs():
    values = np.arange(6 * 2 * 3, dtype=np.float32).reshape(6, 2, 3)
    swapped = backend.to_numpy(SwapPairs()(values))
    np.testing.assert_array_equal(swapped, values[[1, 0, 3, 2, 5, 4]])


def test_flattening_is_row_by_row():
    values = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)
    rows = backend.to_numpy(FlattenSpatial()(values))
    assert rows.shape == (2, 12, 5)
    np.testing.assert_array_equal(rows[1, 2 * 4 + 1], values[1, 2, 1])


@pytest.fixture(scope="module")
def parent(small_parent):
    parent = small_parent(seed=7)
    _activate(parent)
    return parent


@pytest.fixture(scope="module")
def readout_of(parent):
    """Function from inputs to the memory read-out of every item."""
    network = build_training_network(parent)
    model = keras.Model(network.inputs, network.get_layer("memory_read").output)
    return lambda inputs: backend.to_numpy(model(inputs))


def test_an_item_reads_the_mask_of_the_other_frame_and_not_its_own(readout_of):
    inputs = _inputs()
    before = readout_of(inputs)
    assert before.shape == (4, HEIGHT // 16, WIDTH // 16, 18)
    changed = {}
    for item in range(4):
        reference = inputs["reference"].copy()
        reference[item] *= -1.0
        after = readout_of({**inputs, "reference": reference})
        changed[item] = [
            other for other in range(4) if not np.allclose(after[other], before[other])
        ]
    assert changed == {0: [1], 1: [0], 2: [3], 3: [2]}


def test_a_readout_depends_on_both_frames_of_its_clip_only(readout_of):
    inputs = _inputs()
    before = readout_of(inputs)
    image = inputs["image"].copy()
    image[1] = 255 - image[1]
    after = readout_of({**inputs, "image": image})
    change = [float(np.abs(a - b).max()) for a, b in zip(after, before, strict=True)]
    assert change[0] > 1e-3 and change[1] > 1e-3 and max(change[2:]) < 1e-5


def test_without_a_reference_the_readout_is_zero(readout_of):
    inputs = _inputs()
    inputs["reference"][1] = 0.0
    readout = readout_of(inputs)
    assert not readout[0].any() and all(readout[item].any() for item in (1, 2, 3))


def test_training_network_equals_the_forward_pass_of_inference(parent):
    inputs = {**_inputs(), "has_score": np.zeros((4, 1, 1, 1), np.float32)}
    outputs = backend.to_numpy(build_training_network(parent)(inputs, training=False))
    features = parent.encoder(inputs["image"], training=False)
    for item, other in ((0, 1), (3, 2)):
        keys, values = remember(
            features["key"][other : other + 1], inputs["reference"][other], parent.config.block_size
        )
        mine = {name: value[item : item + 1] for name, value in features.items()}
        readout = MemoryRead()([mine["key"], keys, values])
        guide = joined_guide(inputs["guide"][item : item + 1], None)
        head = parent.head_inputs(mine, guide, readout)
        coarse = parent.head(head, training=False)
        np.testing.assert_allclose(outputs["coarse"][item], coarse[0], atol=1e-4)
        np.testing.assert_allclose(
            outputs["refined"][item], parent.refine(mine, coarse)[0], atol=1e-4
        )
    assert outputs["refined"].shape == (4, HEIGHT, WIDTH, 1)


def test_the_score_is_that_of_the_target_model_of_the_other_frame(monkeypatch):
    monkeypatch.setattr(target_model, "RIDGE", RIDGE)
    rng = np.random.default_rng(0)
    features = rng.normal(size=(2, 6, 8, 5)).astype(np.float32)
    coded = rng.choice([-1.0, 1.0], (2, 6, 8, 1)).repeat(4, 1).repeat(4, 2).astype(np.float32)
    features[..., :1] += coded[:, ::4, ::4]
    scores = backend.to_numpy(TargetScore(4)([features, coded]))
    for item, other in ((0, 1), (1, 0)):
        model = TargetModel.fit([features[other : other + 1]], [coded[other]])
        expected = target_guide(features[item : item + 1], model.values, 4)
        np.testing.assert_allclose(scores[item : item + 1], expected, atol=1e-4)


def test_without_a_mask_of_the_other_frame_the_score_is_zero(parent):
    inputs = _inputs()
    inputs["reference"][1] = 0.0
    inputs["has_score"][3] = 0.0
    network = build_training_network(parent)
    guides = keras.Model(network.inputs, network.get_layer("guides").output)
    known = [bool(guide[..., 1].any()) for guide in backend.to_numpy(guides(inputs))]
    assert known == [False, True, True, False]


def test_errors_of_the_first_prediction_enter_a_known_previous_mask():
    truth = np.array([1.0, 1.0, -1.0, -1.0], np.float32).reshape(1, 1, 4, 1).repeat(3, axis=0)
    logits = np.array([50.0, -50.0, 50.0, -50.0], np.float32).reshape(1, 1, 4, 1).repeat(3, axis=0)
    guide = np.concatenate([truth, np.full_like(truth, 0.25)], axis=-1)
    guide[2, ..., 0] = 0.0
    switch = np.array([1.0, 0.0, 1.0], np.float32).reshape(3, 1, 1, 1)
    found = backend.to_numpy(AddErrors()([guide, logits, truth, switch]))
    np.testing.assert_allclose(found[0, 0, :, 0], [1.0, -1.0, 1.0, -1.0], atol=1e-6)
    np.testing.assert_array_equal(found[1:], guide[1:])
    np.testing.assert_array_equal(found[..., 1], guide[..., 1])


def test_a_parent_without_memory_and_refinement_ignores_their_inputs(small_parent):
    parent = small_parent(guide=False, memory=False, refine=False)
    network = build_training_network(parent)
    outputs = backend.to_numpy(network(_inputs(2), training=False))
    np.testing.assert_array_equal(outputs["coarse"], outputs["refined"])
    alone = parent.network({"image": _inputs(2)["image"]}, training=False)
    np.testing.assert_allclose(outputs["coarse"], alone, atol=1e-5)


def test_weights_are_shared_with_the_parent(parent):
    network = build_training_network(parent)
    own = {id(v) for part in parent.parts for v in part.variables}
    assert {id(v) for v in network.variables} == own


def test_loss_of_coarse_and_refined_logits():
    def loss(logits, targets):
        return logits - targets

    outputs = {"coarse": 10.0, "refined": 3.0}
    assert clip_loss(loss, 0.5)(outputs, 1.0) == 2.0 + 0.5 * 9.0
    assert clip_loss(loss, 0.0)({"coarse": None, "refined": 3.0}, 1.0) == 2.0


def _two_squares(clips: int, rng, *, swapped: bool = False):
    """Images of a red and a blue square; only the other frame identifies the target.

    `swapped` makes the other square of the same images the target.
    """
    image = rng.integers(90, 150, (2 * clips, HEIGHT, WIDTH, 3)).astype(np.uint8)
    mask = np.zeros((2 * clips, HEIGHT, WIDTH, 1), np.uint8)
    for clip in range(clips):
        target = rng.integers(2) ^ swapped
        for item in (2 * clip, 2 * clip + 1):
            top, sides = 16 * int(rng.integers(3)), rng.permutation([0, WIDTH - 32])
            for color, left in enumerate(sides):
                place = (item, slice(top, top + 32), slice(left, left + 32))
                image[place] = (220, 40, 40) if color else (40, 60, 220)
                mask[place] = color == target
    coded = mask.reshape(2 * clips, HEIGHT // 4, 4, WIDTH // 4, 4, 1).mean((2, 4)) * 2.0 - 1.0
    inputs = {
        "image": image,
        "guide": np.zeros_like(coded, np.float32),
        "reference": coded.astype(np.float32),
        "truth": coded.astype(np.float32),
        "has_score": np.ones((2 * clips, 1, 1, 1), np.float32),
        "rollout": np.zeros((2 * clips, 1, 1, 1), np.float32),
    }
    return inputs, mask


def _iou(network, inputs, mask) -> float:
    logits = backend.to_numpy(network(inputs, training=False))["refined"]
    found = logits.repeat(4, axis=1).repeat(4, axis=2) > 0
    return np.count_nonzero(found & (mask > 0)) / np.count_nonzero(found | (mask > 0))


def test_the_memory_is_learned_where_only_it_identifies_the_target(small_parent):
    parent = small_parent(seed=1, guide=False, refine=False, batch_norm_momentum=0.8)
    step = ParentStep(parent, TrainConfig(head_learning_rate=1e-2, backbone_learning_rate=3e-3))
    rng = np.random.default_rng(0)
    for _ in range(160):
        step(*_two_squares(4, rng), 1.0)
    network = build_training_network(parent)
    for swapped in (False, True):
        inputs, mask = _two_squares(8, np.random.default_rng(1), swapped=swapped)
        assert _iou(network, inputs, mask) > 0.75
        nothing = np.zeros_like(inputs["reference"])
        assert _iou(network, {**inputs, "reference": nothing}, mask) < 0.6
