"""Propagation: conditioning of the decoder, test-time augmentation, memory."""

from types import SimpleNamespace

import numpy as np
import pytest

from deeplab_gygo.inference.config import OnlineConfig
from deeplab_gygo.inference.geometry import Geometry, sigmoid
from deeplab_gygo.inference.object_state import MemoryBank, ObjectState
from deeplab_gygo.inference.propagation import Propagation
from deeplab_gygo.models.memory import remember
from deeplab_gygo.models.target_model import TargetModel, joined_guide

SIZE = (32, 48)
GEOMETRY = Geometry.fit(SIZE, 480, 16)


class _Network:
    """Returns logits that depend on the guide alone, and records its inputs."""

    parent = SimpleNamespace(stride=16)
    block, fused = 4, False

    def __init__(self, plain: np.ndarray | None = None):
        self.guides, self.readouts, self.reads = [], [], []
        self._plain = np.full((8, 12), -1.0, np.float32) if plain is None else plain
        self.readout = np.zeros((1, 2, 3, 18), np.float32)

    def guide(self, features, model, previous):
        """The score of the target model is a part of the features here."""
        return joined_guide(previous, None if model is None else features["score"][0])

    def remember(self, features, coded, position):
        return remember(features["key"][position : position + 1], coded, self.block)

    def read(self, features, keys, values):
        self.reads.append(values)
        return self.readout

    def logits(self, features, guides, readout):
        guides = [guide if guide is None else np.array(guide) for guide in guides]
        self.guides += guides
        self.readouts.append(readout)
        planes = [self._plain if guide is None else 4.0 * guide[..., 0] for guide in guides]
        return np.mean(planes, axis=0)


def _object(side: int = 16, usual: int | None = None, target_model: bool = False) -> ObjectState:
    plane = np.zeros(SIZE, np.float32)
    plane[:side, :side] = 1.0
    first = remember(np.zeros((1, 2, 3, 5), np.float32), GEOMETRY.guide(plane), 4)
    memory = MemoryBank([first], 2)
    model = TargetModel(np.zeros(5, np.float32), 0.0) if target_model else None
    area = float((usual or side) ** 2)
    return ObjectState(1, plane, memory=memory, target_model=model, usual_area=area)


def _propagation(network, guide="previous", tta_scale=0.0, **config) -> Propagation:
    options = OnlineConfig(mode="one-shot", **config)
    return Propagation(network, options, GEOMETRY, guide, tta_scale)


def _features(**more) -> dict[str, np.ndarray]:
    return {"key": np.ones((1, 2, 3, 5), np.float32), **more}


@pytest.mark.parametrize(
    ("guide", "guided"), [("none", [False]), ("previous", [True]), ("blend", [True, False])]
)
def test_the_decoder_gets_the_guide_that_is_asked_for(guide, guided):
    network = _Network()
    _propagation(network, guide).probability([_features()], _object())
    assert [found is not None for found in network.guides] == guided
    for found in network.guides:
        if found is not None:
            np.testing.assert_array_equal(found[..., :1], GEOMETRY.guide(_object().probability))
            assert not found[..., 1].any()


def test_target_model_and_previous_mask_make_one_guide():
    network, score = _Network(), np.full((1, 8, 12, 1), 0.5, np.float32)
    propagation = _propagation(network, "target")
    propagation.probability([_features(score=score)], _object(target_model=True))
    (guide,) = network.guides
    np.testing.assert_array_equal(guide[..., :1], GEOMETRY.guide(_object().probability))
    np.testing.assert_array_equal(guide[..., 1:], score[0])


def test_a_lost_object_is_guided_by_its_target_model_alone():
    network, score = _Network(), np.full((1, 8, 12, 1), 0.5, np.float32)
    propagation = _propagation(network, "target")
    propagation.probability([_features(score=score)], _object(8, usual=30, target_model=True))
    (guide,) = network.guides
    assert not guide[..., 0].any()
    np.testing.assert_array_equal(guide[..., 1:], score[0])


@pytest.mark.parametrize("guide", ["previous", "blend", "target"])
def test_a_lost_object_without_a_target_model_has_no_guide(guide):
    network = _Network()
    _propagation(network, guide).probability([_features()], _object(8, usual=30))
    assert network.guides == [None]


def test_without_a_target_model_the_guide_is_a_blend():
    network = _Network()
    _propagation(network, "target").probability([_features()], _object())
    np.testing.assert_array_equal(network.guides[0][..., :1], GEOMETRY.guide(_object().probability))
    assert network.guides[1:] == [None]


def test_the_score_of_a_mirrored_frame_stays_mirrored():
    network = _Network()
    propagation = _propagation(network, "target", tta_flip=True)
    score = np.random.default_rng(0).uniform(-1, 1, (1, 8, 12, 1)).astype(np.float32)
    seen = [_features(score=score), _features(score=score[:, :, ::-1])]
    probability = propagation.probability(seen, _object(target_model=True))
    np.testing.assert_array_equal(network.guides[1], network.guides[0][:, ::-1])
    alone = _propagation(_Network(), "target")
    expected = alone.probability(seen[:1], _object(target_model=True))
    np.testing.assert_allclose(probability, expected, atol=1e-6)


def test_blend_is_the_mean_of_the_logits():
    probability = _propagation(_Network(), "blend").probability([_features()], _object())
    mean = 0.5 * (4.0 * GEOMETRY.guide(_object().probability)[..., 0] - 1.0)
    np.testing.assert_allclose(probability, sigmoid(GEOMETRY.logits(mean)), atol=1e-6)


def test_unguided_logits_count_as_one_conditioning_variant():
    unguided = np.full(SIZE, 225, np.uint8)
    earlier = np.log(225.5 / 30.5)
    for guide, count in (("previous", 1), ("blend", 2)):
        propagation = _propagation(_Network(), guide)
        own = propagation.probability([_features()], _object())
        logits = np.log(own / (1 - own))
        mixed = propagation.probability([_features()], _object(), unguided)
        expected = sigmoid((count * logits + earlier) / (count + 1))
        np.testing.assert_allclose(mixed, expected, atol=1e-3)


def test_the_memory_is_read_where_the_object_has_one():
    network = _Network()
    bare = _object()
    bare.memory = None
    for tracked in (_object(), bare):
        _propagation(network).probability([_features()], tracked)
    assert network.readouts[0] is network.readout and network.readouts[1] is None
    np.testing.assert_array_equal(network.reads[0], _object().memory.annotated[0][1])


def test_a_mirrored_view_has_a_mirrored_guide_and_is_mirrored_back():
    network = _Network()
    propagation = _propagation(network, tta_flip=True)
    frames = [np.random.default_rng(0).integers(0, 256, (*SIZE, 3)).astype(np.uint8)]
    upright, mirrored = propagation.inputs(frames)
    np.testing.assert_array_equal(mirrored[0], upright[0][:, ::-1])
    probability = propagation.probability([_features(), _features()], _object())
    np.testing.assert_array_equal(network.guides[1], network.guides[0][:, ::-1])
    alone = _propagation(_Network())
    np.testing.assert_allclose(probability, alone.probability([_features()], _object()), atol=1e-6)


def test_a_second_view_is_smaller_and_averaged_at_the_size_of_the_frames():
    class Sizes(_Network):
        """Returns a constant per size of the view."""

        def logits(self, features, guides, readout):
            self.guides += guides
            side = 8 if features["key"].shape[1] == 2 else 4
            return np.full((side, side), 1.0 if side == 8 else 3.0, np.float32)

    propagation = _propagation(Sizes(), "none", tta_scale=0.5)
    first, second = propagation.inputs([np.zeros((*SIZE, 3), np.uint8)])
    assert first.shape[1:3] == (32, 48) and second.shape[1:3] == (16, 32)
    small = {"key": np.ones((1, 1, 2, 5), np.float32)}
    probability = propagation.probability([_features(), small], _object())
    assert probability.shape == SIZE
    np.testing.assert_allclose(probability, sigmoid(np.float32(2.0)), atol=1e-6)


def _frames_in_memory(tracked: ObjectState) -> int:
    return tracked.memory.contents()[0].shape[1] // 6


def test_a_frame_enters_the_memory_at_its_interval(monkeypatch):
    monkeypatch.setattr(OnlineConfig, "MEMORY_INTERVAL", 3)
    propagation, tracked, counts = _propagation(_Network(), memory_frames=2), _object(), []
    for _ in range(7):
        tracked.update(tracked.probability, 0.5)
        propagation.remember(_features(), tracked)
        counts.append(_frames_in_memory(tracked))
    assert counts == [1, 1, 2, 2, 2, 3, 3]
    stored = tracked.memory.contents()[1][0, 6:12]
    np.testing.assert_array_equal(stored, tracked.memory.annotated[0][1][0])


@pytest.mark.parametrize(
    "change", [{"confidence": 0.5}, {"usual_area": 4000.0}, {"memory": None}, {}]
)
def test_a_doubtful_frame_or_a_lost_object_does_not_enter_the_memory(change, monkeypatch):
    monkeypatch.setattr(OnlineConfig, "MEMORY_INTERVAL", 1)
    propagation, tracked = _propagation(_Network()), _object()
    tracked.update(tracked.probability, 0.5)
    for name, value in change.items():
        setattr(tracked, name, value)
    propagation.remember(_features(), tracked)
    if tracked.memory is not None:
        assert _frames_in_memory(tracked) == (1 if change else 2)
