"""The network as it is trained: each moment of a clip is remembered by the other one."""

import keras
import numpy as np
import pytest

from deeplab_gygo import backend
from deeplab_gygo.models.memory import MemoryRead, remember
from deeplab_gygo.training.config import TrainConfig
from deeplab_gygo.training.network import Places, SwapMoments, build_training_network, clip_loss
from deeplab_gygo.training.steps import ParentStep

HEIGHT, WIDTH = 64, 96


def _inputs(batch: int = 4, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    coded = (batch, HEIGHT // 4, WIDTH // 4, 1)
    return {
        "image": rng.integers(0, 256, (batch, HEIGHT, WIDTH, 3)).astype(np.uint8),
        "guide": rng.choice([-1.0, 0.0, 1.0], coded).astype(np.float32),
        "reference": rng.choice([-1.0, 1.0], coded).astype(np.float32),
    }


def _listen(parent) -> None:
    """Lets a network that was never trained make something of its memory and refinement."""
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
    swapped = backend.to_numpy(SwapMoments()(values))
    np.testing.assert_array_equal(swapped, values[[1, 0, 3, 2, 5, 4]])


def test_places_are_laid_row_by_row():
    values = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)
    rows = backend.to_numpy(Places()(values))
    assert rows.shape == (2, 12, 5)
    np.testing.assert_array_equal(rows[1, 2 * 4 + 1], values[1, 2, 1])


@pytest.fixture(scope="module")
def parent(small_parent):
    parent = small_parent(seed=7)
    _listen(parent)
    return parent


@pytest.fixture(scope="module")
def recall(parent):
    """Function from inputs to what every item of a batch is told by its memory."""
    network = build_training_network(parent)
    return keras.Model(network.inputs, network.get_layer("memory_read").output)


def _told(recall, inputs) -> np.ndarray:
    return backend.to_numpy(recall(inputs))


def test_an_item_recalls_the_mask_of_its_other_moment_and_not_its_own(recall):
    inputs = _inputs()
    before = _told(recall, inputs)
    assert before.shape == (4, HEIGHT // 16, WIDTH // 16, 18)
    changed = {}
    for item in range(4):
        reference = inputs["reference"].copy()
        reference[item] *= -1.0
        after = _told(recall, {**inputs, "reference": reference})
        changed[item] = [
            other for other in range(4) if not np.allclose(after[other], before[other])
        ]
    assert changed == {0: [1], 1: [0], 2: [3], 3: [2]}


def test_an_item_recalls_by_the_looks_of_both_moments_and_of_no_other_clip(recall):
    inputs = _inputs()
    before = _told(recall, inputs)
    image = inputs["image"].copy()
    image[1] = 255 - image[1]
    after = _told(recall, {**inputs, "image": image})
    moved = [float(np.abs(a - b).max()) for a, b in zip(after, before, strict=True)]
    assert moved[0] > 1e-3 and moved[1] > 1e-3 and max(moved[2:]) < 1e-5


def test_where_nothing_is_offered_nothing_is_recalled(recall):
    inputs = _inputs()
    inputs["reference"][1] = 0.0
    told = _told(recall, inputs)
    assert not told[0].any() and all(told[item].any() for item in (1, 2, 3))


def test_training_computes_what_propagation_does(parent):
    """The batch-wise memory of training and a `remember`ed frame tell the head the same."""
    inputs = _inputs()
    outputs = backend.to_numpy(build_training_network(parent)(inputs, training=False))
    features = parent.encoder(inputs["image"], training=False)
    for item, other in ((0, 1), (3, 2)):
        keys, values = remember(
            features["key"][other : other + 1], inputs["reference"][other], parent.cell
        )
        mine = {name: value[item : item + 1] for name, value in features.items()}
        recall = MemoryRead()([mine["key"], keys, values])
        told = parent.head_inputs(mine, inputs["guide"][item : item + 1], recall)
        coarse = parent.head(told, training=False)
        np.testing.assert_allclose(outputs["coarse"][item], coarse[0], atol=1e-4)
        np.testing.assert_allclose(
            outputs["finest"][item], parent.finest(mine, coarse)[0], atol=1e-4
        )
    assert outputs["finest"].shape == (4, HEIGHT, WIDTH, 1)


def test_a_parent_without_memory_and_refinement_takes_the_same_inputs(small_parent):
    parent = small_parent(guide=False, memory=False, refine=False)
    network = build_training_network(parent)
    outputs = backend.to_numpy(network(_inputs(2), training=False))
    np.testing.assert_array_equal(outputs["coarse"], outputs["finest"])
    alone = parent.network({"image": _inputs(2)["image"]}, training=False)
    np.testing.assert_allclose(outputs["coarse"], alone, atol=1e-5)


def test_its_weights_are_the_parents_own(parent):
    network = build_training_network(parent)
    own = {id(v) for part in parent.parts for v in part.variables}
    assert {id(v) for v in network.variables} == own


def test_the_loss_weighs_the_coarse_logits():
    def loss(logits, targets):
        return logits - targets

    outputs = {"coarse": 10.0, "finest": 3.0}
    assert clip_loss(loss, 0.5)(outputs, 1.0) == 2.0 + 0.5 * 9.0
    assert clip_loss(loss, 0.0)({"coarse": None, "finest": 3.0}, 1.0) == 2.0


# === A memory is learned where only it can tell ===


def _two_squares(clips: int, rng, *, swapped: bool = False):
    """Pictures of a red and a blue square; which is meant, only the other moment says.

    `swapped` means the other square of the same pictures.
    """
    image = rng.integers(90, 150, (2 * clips, HEIGHT, WIDTH, 3)).astype(np.uint8)
    mask = np.zeros((2 * clips, HEIGHT, WIDTH, 1), np.uint8)
    for clip in range(clips):
        meant = rng.integers(2) ^ swapped
        for item in (2 * clip, 2 * clip + 1):
            top, sides = 16 * int(rng.integers(3)), rng.permutation([0, WIDTH - 32])
            for color, left in enumerate(sides):
                place = (item, slice(top, top + 32), slice(left, left + 32))
                image[place] = (220, 40, 40) if color else (40, 60, 220)
                mask[place] = color == meant
    coded = mask.reshape(2 * clips, HEIGHT // 4, 4, WIDTH // 4, 4, 1).mean((2, 4)) * 2.0 - 1.0
    inputs = {
        "image": image,
        "guide": np.zeros_like(coded, np.float32),
        "reference": coded.astype(np.float32),
    }
    return inputs, mask


def _overlap(network, inputs, mask) -> float:
    logits = backend.to_numpy(network(inputs, training=False))["finest"]
    found = logits.repeat(4, axis=1).repeat(4, axis=2) > 0
    return np.count_nonzero(found & (mask > 0)) / np.count_nonzero(found | (mask > 0))


def test_a_memory_is_learned_where_only_it_can_tell(small_parent):
    parent = small_parent(seed=1, guide=False, refine=False, batch_norm_momentum=0.8)
    step = ParentStep(parent, TrainConfig(head_rate=1e-2, backbone_rate=3e-3))
    rng = np.random.default_rng(0)
    for _ in range(160):
        step(*_two_squares(4, rng), 1.0)
    network = build_training_network(parent)
    for swapped in (False, True):
        inputs, mask = _two_squares(8, np.random.default_rng(1), swapped=swapped)
        assert _overlap(network, inputs, mask) > 0.75
        nothing = np.zeros_like(inputs["reference"])
        assert _overlap(network, {**inputs, "reference": nothing}, mask) < 0.6
