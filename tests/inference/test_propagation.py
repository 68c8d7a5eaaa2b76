"""Propagation: what the network is asked, and what is made of its answers."""

from types import SimpleNamespace

import numpy as np
import pytest

from deeplab_gygo.inference.confidence import expected_overlap
from deeplab_gygo.inference.config import OnlineConfig
from deeplab_gygo.inference.geometry import Geometry, sigmoid
from deeplab_gygo.inference.memory_bank import FrameMemory
from deeplab_gygo.inference.object_state import Target
from deeplab_gygo.inference.policies import FirstFrame, OneShot, ZeroShot
from deeplab_gygo.inference.propagation import Propagation
from deeplab_gygo.models.target_model import TargetModel

SIZE = (32, 48)
GEOMETRY = Geometry.fit(SIZE, 480, 16)


class _Network:
    """Answers with a map that depends on the guide alone, and notes what it was asked."""

    parent = SimpleNamespace(cell=4)

    def guide(self, features, model, previous):
        """What a target model says is what the features show."""
        said = features["said"]
        return said if previous is None else 0.5 * (said + previous)

    def __init__(self, plain: np.ndarray | None = None):
        self.guides, self.recalls, self.reads = [], [], []
        self._plain = np.full((8, 12), -1.0, np.float32) if plain is None else plain
        self.recall = np.zeros((1, 2, 3, 18), np.float32)

    def read(self, features, keys, values):
        self.reads.append(values)
        return self.recall

    def logits(self, features, guides, recall):
        self.guides += guides
        self.recalls.append(recall)
        ways = [self._plain if guide is None else 4.0 * guide[..., 0] for guide in guides]
        return np.mean(ways, axis=0)


def _target(side: int = 16, usual: int | None = None) -> Target:
    plane = np.zeros(SIZE, np.float32)
    plane[:side, :side] = 1.0
    memory = FrameMemory(2, 4)
    memory.begin(np.zeros((1, 2, 3, 5), np.float32), GEOMETRY.guide(plane))
    return Target(1, None, plane, memory, usual_area=float((usual or side) ** 2))


def _propagation(network, policy=None, **config) -> Propagation:
    policy = policy or OneShot(guide="previous")
    return Propagation(network, OnlineConfig(mode="one-shot", **config), policy, GEOMETRY)


def _features() -> dict[str, np.ndarray]:
    return {"key": np.ones((1, 2, 3, 5), np.float32)}


def _two_parts() -> np.ndarray:
    """Logits of two parts: one where the object was, one far from it."""
    plain = np.full((8, 12), -4.0, np.float32)
    plain[6:, 9:] = plain[:2, :2] = 4.0
    return plain


@pytest.mark.parametrize(
    ("use", "told"), [("none", [False]), ("previous", [True]), ("blend", [True, False])]
)
def test_the_guide_is_used_as_the_policy_says(use, told):
    network = _Network()
    propagation = _propagation(network, OneShot(guide=use))
    propagation.probability([_features()], _target())
    assert [guide is not None for guide in network.guides] == told
    for guide in network.guides:
        if guide is not None:
            np.testing.assert_array_equal(guide, GEOMETRY.guide(_target().previous))


def _told(target: Target) -> Target:
    """The object with a target model, of which the network's stand-in asks nothing."""
    target.model = TargetModel(np.zeros(5, np.float32), 0.0)
    return target


def test_a_target_model_and_the_previous_mask_make_one_guide():
    network, said = _Network(), np.full((8, 12, 1), 0.5, np.float32)
    propagation = _propagation(network, OneShot(guide="target"))
    propagation.probability([{**_features(), "said": said}], _told(_target()))
    (guide,) = network.guides
    np.testing.assert_allclose(guide, 0.5 * (said + GEOMETRY.guide(_target().previous)))


def test_a_lost_object_is_looked_for_by_its_target_model():
    network, said = _Network(), np.full((8, 12, 1), 0.5, np.float32)
    propagation = _propagation(network, OneShot(guide="target"))
    propagation.probability([{**_features(), "said": said}], _told(_target(8, usual=30)))
    assert network.guides[0] is said and len(network.guides) == 1


def test_an_object_without_a_target_model_is_guided_by_a_blend():
    network = _Network()
    _propagation(network, OneShot(guide="target")).probability([_features()], _target())
    np.testing.assert_array_equal(network.guides[0], GEOMETRY.guide(_target().previous))
    assert network.guides[1:] == [None]


def test_a_target_model_sees_the_mirrored_frame_as_it_is():
    network = _Network()
    propagation = _propagation(network, OneShot(guide="target"), flip=True, filter_components=False)
    said = np.random.default_rng(0).uniform(-1, 1, (8, 12, 1)).astype(np.float32)
    seen = [{**_features(), "said": said}, {**_features(), "said": said[:, ::-1]}]
    probability = propagation.probability(seen, _told(_target()))
    np.testing.assert_array_equal(network.guides[1], network.guides[0][:, ::-1])
    alone = _propagation(_Network(), OneShot(guide="target"), filter_components=False)
    expected = alone.probability(seen[:1], _told(_target()))
    np.testing.assert_allclose(probability, expected, atol=1e-6)


def test_blending_takes_the_mean_of_the_logits():
    blended = _propagation(_Network(), OneShot(guide="blend"), filter_components=False)
    probability = blended.probability([_features()], _target())
    mean = 0.5 * (4.0 * GEOMETRY.guide(_target().previous)[..., 0] - 1.0)
    np.testing.assert_allclose(probability, sigmoid(GEOMETRY.logits(mean)), atol=1e-6)


def test_a_lost_object_is_looked_for_without_guide_and_filter():
    plain = _two_parts()
    found = {}
    for usual in (8, 30):
        network = _Network(plain)
        propagation = _propagation(network, OneShot(guide="none"), recognize=-1.0)
        found[usual] = propagation.probability([_features()], _target(8, usual))[-1, -1]
        guided = _Network(plain)
        _propagation(guided).probability([_features()], _target(8, usual))
        assert (guided.guides[0] is None) == (usual == 30)
    assert found[8] == 0.0 and found[30] > 0.9


def test_a_lost_object_is_believed_only_where_it_looks_like_what_is_remembered():
    network = _Network(_two_parts())
    network.recall[:] = -1.0
    network.recall[0, 1, 2] = 1.0  # the far part is like the object, the near one like background
    propagation = _propagation(network, OneShot(guide="none"), recognize=0.0)
    probability = propagation.probability([_features()], _target(8, usual=30))
    assert probability[-1, -1] > 0.9 and probability[0, 0] == 0.0


def test_confidence_is_that_of_the_probability():
    target = _target()
    propagation = _propagation(_Network(), filter_components=False)
    probability = propagation.probability([_features()], target)
    assert target.confidence == pytest.approx(expected_overlap(probability))


def test_a_memory_is_read_only_where_the_policy_wants_it():
    network = _Network()
    bare = _target()
    bare.memory = None
    shot, forgetful = OneShot(guide="previous"), FirstFrame(guide="previous", recall=False)
    for policy, target in ((shot, _target()), (forgetful, _target()), (ZeroShot(), bare)):
        _propagation(network, policy).probability([_features()], target)
    assert network.recalls[0] is network.recall and network.recalls[1:] == [None, None]
    np.testing.assert_array_equal(network.reads[0], _target().memory.first[1])


def test_a_mirrored_frame_is_shown_a_mirrored_guide_and_turned_back():
    network = _Network()
    propagation = _propagation(network, flip=True, filter_components=False)
    frames = [np.random.default_rng(0).integers(0, 256, (*SIZE, 3)).astype(np.uint8)]
    upright, mirrored = propagation.images(frames)
    np.testing.assert_array_equal(mirrored[0], upright[0][:, ::-1])
    target = _target()
    probability = propagation.probability([_features(), _features()], target)
    np.testing.assert_array_equal(network.guides[1], network.guides[0][:, ::-1])
    alone = _propagation(_Network(), filter_components=False)
    np.testing.assert_allclose(probability, alone.probability([_features()], target), atol=1e-6)


# === What is remembered ===


def _frames_remembered(target: Target) -> int:
    return target.memory.contents()[0].shape[1] // 6


def test_a_frame_is_remembered_when_it_is_its_turn():
    propagation = _propagation(_Network(), memory_every=3, memory=2)
    target = _target()
    counts = []
    for _ in range(7):
        target.update(target.previous, 0.5)
        propagation.remember(_features(), target)
        counts.append(_frames_remembered(target))
    assert counts == [1, 1, 2, 2, 2, 3, 3]
    remembered = target.memory.contents()[1][0, 6:12]
    np.testing.assert_array_equal(remembered, target.memory.first[1][0])


@pytest.mark.parametrize(
    "change", [{"confidence": 0.5}, {"usual_area": 4000.0}, {"memory": None}, {}]
)
def test_a_doubtful_frame_or_a_lost_object_is_not_remembered(change):
    propagation = _propagation(_Network(), memory_every=1, trust=0.8)
    target = _target()
    target.update(target.previous, 0.5)
    for name, value in change.items():
        setattr(target, name, value)
    propagation.remember(_features(), target)
    if target.memory is not None:
        assert _frames_remembered(target) == (1 if change else 2)


def test_a_second_look_is_smaller_and_averaged_at_the_size_of_the_frames():
    class Sizes(_Network):
        """Answers with a constant that tells the looks apart."""

        parent = SimpleNamespace(cell=4, stride=16)

        def logits(self, features, guide, recall):
            side = 8 if features["key"].shape[1] == 2 else 4
            return np.full((side, side), 1.0 if side == 8 else 3.0, np.float32)

    propagation = _propagation(Sizes(), OneShot(guide="none"), second=0.5, filter_components=False)
    frames = [np.zeros((*SIZE, 3), np.uint8)]
    first, second = propagation.images(frames)
    assert first.shape[1:3] == (32, 48) and second.shape[1:3] == (16, 32)
    small = {"key": np.ones((1, 1, 2, 5), np.float32)}
    probability = propagation.probability([_features(), small], _target())
    assert probability.shape == SIZE
    np.testing.assert_allclose(probability, sigmoid(np.float32(2.0)), atol=1e-6)


def _beside(left: int, size=(96, 160)) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A picture of an object and of a lighter thing at a column, and where they are."""
    rng = np.random.default_rng(1)
    image = rng.integers(90, 130, (*size, 3)).astype(np.uint8)
    box, thing = np.zeros(size, bool), np.zeros(size, bool)
    box[32:80, 16:72] = True
    thing[40:64, left : left + 24] = True
    image[box] = rng.integers(20, 60, (int(box.sum()), 3))
    image[40:64, left : left + 24] = rng.integers(180, 250, (24, 24, 3))
    return image, box, thing


@pytest.mark.parametrize("track", [True, False])
def test_what_was_dropped_stays_apart_when_it_touches_the_object(track):
    geometry, target = Geometry.fit((96, 160), 480, 16), None
    for left in (120, 114, 108, 102, 96, 90, 84, 78, 73):
        image, box, thing = _beside(left)
        logits = np.where((box | thing)[2::4, 2::4], np.float32(4), np.float32(-4))
        config = OnlineConfig(mode="one-shot", track_distractors=track)
        network = _Network(logits)
        propagation = Propagation(network, config, OneShot(guide="none"), geometry)
        if target is None:
            target = Target(1, None, box.astype(np.float32), usual_area=float(box.sum()))
        probability = propagation.probability([_features()], target, image=image)
        target.update(probability, 0.5)
    found = probability > 0.5
    assert found[box].mean() > 0.9
    assert (found[thing].mean() < 0.1) == track


def test_a_distractor_that_is_nearly_all_there_is_was_the_object():
    geometry = Geometry.fit((96, 160), 480, 16)
    image, box, thing = _beside(100)
    config = OnlineConfig(mode="one-shot")
    target = Target(1, None, box.astype(np.float32), usual_area=float(box.sum()))
    both = np.where((box | thing)[2::4, 2::4], np.float32(4), np.float32(-4))
    alone = np.where(thing[2::4, 2::4], np.float32(4), np.float32(-4))
    for logits in (both, alone):
        propagation = Propagation(_Network(logits), config, OneShot(guide="none"), geometry)
        probability = propagation.probability([_features()], target, image=image)
        target.update(probability, 0.5)
    assert (probability > 0.5)[thing].mean() > 0.9
    assert target.distractors.mask is None
