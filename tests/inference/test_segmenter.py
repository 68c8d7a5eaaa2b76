"""Adapting, propagating, and putting the parent back."""

import cv2
import numpy as np
import pytest
from PIL import Image

from deeplab_gygo.evaluation.measures import jaccard
from deeplab_gygo.inference.config import OnlineConfig
from deeplab_gygo.inference.segmenter import DeepLabSegmenter
from deeplab_gygo.inference.tracked_object import soft_aggregate
from deeplab_gygo.io.frame_folder import sequence_from_folder
from deeplab_gygo.io.masks import write_mask
from deeplab_gygo.io.sequence import Frame
from deeplab_gygo.models.deeplab import DeepLabV3Plus
from deeplab_gygo.models.weight_file import load_parent, variables_by_name

FRAMES, SIZE = 5, (64, 96)


def _truth(index: int, left: int = 20) -> np.ndarray:
    mask = np.zeros(SIZE, np.uint8)
    mask[18:46, left + 3 * index : left + 24 + 3 * index] = 1
    return mask


@pytest.fixture
def clip(tmp_path):
    """A bright square that moves over noise, with a second, darker one beside it."""
    rng = np.random.default_rng(1)
    for index in range(FRAMES):
        image = rng.integers(60, 120, (*SIZE, 3)).astype(np.uint8)
        image[_truth(index, 58) > 0] = (30, 40, 160)
        image[_truth(index) > 0] = (230, 210, 40)
        (tmp_path / "frames").mkdir(exist_ok=True)
        Image.fromarray(image).save(tmp_path / "frames" / f"{index:05d}.png")
    return tmp_path


def _sequence(clip, mask):
    write_mask(clip / "first.png", mask)
    return sequence_from_folder(clip / "frames", annotations={0: clip / "first.png"})


@pytest.fixture(scope="module")
def parent(small_parent) -> DeepLabV3Plus:
    return small_parent(separable=False)


@pytest.fixture(autouse=True)
def _restored(parent):
    """Restores the weights that a test fine-tuned."""
    before = _values(parent)
    yield
    for name, variable in variables_by_name(parent).items():
        variable.assign(before[name])


@pytest.fixture(scope="module")
def shared_segmenter(parent) -> DeepLabSegmenter:
    return DeepLabSegmenter(parent, _config())


@pytest.fixture
def segmenter(shared_segmenter):
    """A segmenter that fine-tunes, built once; the parent is put back after every test."""
    yield shared_segmenter
    shared_segmenter._tuner.reset()


def _config(**changes) -> OnlineConfig:
    return OnlineConfig(**{"steps": 3, "num_views": 3, "size": 64, **changes})


def _values(parent) -> dict[str, np.ndarray]:
    return {n: np.array(v.numpy()) for n, v in variables_by_name(parent).items()}


def test_every_frame_gets_a_mask_of_its_size_and_name(segmenter, clip):
    predictions = list(segmenter.run(_sequence(clip, _truth(0))))
    assert [p.name for p in predictions] == [f"{i:05d}" for i in range(FRAMES)]
    np.testing.assert_array_equal(predictions[0].mask, _truth(0))
    for prediction in predictions:
        assert prediction.mask.shape == SIZE and prediction.mask.dtype == np.uint8
        assert prediction.probability.shape == SIZE
        assert prediction.probability.dtype == np.float32


@pytest.mark.parametrize("adapt", ["decoder", "full"])
def test_reset_is_exact_and_sequences_are_independent(parent, clip, adapt, monkeypatch):
    monkeypatch.setattr(OnlineConfig, "FROZEN_STAGES", 6)
    before = _values(parent)
    segmenter = DeepLabSegmenter(parent, _config(adapt=adapt))
    first = list(segmenter.run(_sequence(clip, _truth(0))))
    assert any(not np.array_equal(before[n], v) for n, v in _values(parent).items())
    list(segmenter.run(_sequence(clip, _truth(0, 58))))
    again = list(segmenter.run(_sequence(clip, _truth(0))))
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.probability, other.probability)
    segmenter.release()
    for name, value in _values(parent).items():
        np.testing.assert_array_equal(value, before[name])


def test_decoder_adaptation_leaves_encoder_and_statistics(segmenter, parent, clip):
    before = _values(parent)
    segmenter.begin(next(iter(_sequence(clip, _truth(0)))), _truth(0))
    for name, value in _values(parent).items():
        if name.startswith(("encoder", "refiner")) or "norm" in name:
            np.testing.assert_array_equal(value, before[name], err_msg=name)


def test_fine_tuning_follows_the_marked_of_two_objects(clip):
    parent, _ = load_parent()  # what a user gets
    segmenter = DeepLabSegmenter(parent, _config(steps=40, num_views=6))
    predictions = list(segmenter.run(_sequence(clip, _truth(0))))
    losses = segmenter.adaptation.losses
    assert segmenter.adaptation.steps == 40 and np.mean(losses[-5:]) < np.mean(losses[:5])
    truth, mask = _truth(FRAMES - 1) > 0, predictions[-1].mask > 0
    assert np.count_nonzero(truth & mask) / np.count_nonzero(truth | mask) > 0.7


@pytest.mark.parametrize("seconds", [0.0, 30.0])
def test_the_check_of_the_result_is_compiled_within_the_time_limit(
    parent, clip, monkeypatch, seconds
):
    segmenter, calls = DeepLabSegmenter(parent, _config(steps=1, seconds=seconds)), []
    initializer = segmenter._initializer
    learn, look = segmenter._tuner.adapt, initializer._first_jaccard
    monkeypatch.setattr(
        segmenter._tuner, "adapt", lambda *a, **k: (calls.append("learn"), learn(*a, **k))[1]
    )
    monkeypatch.setattr(
        initializer, "_first_jaccard", lambda *a: (calls.append("look"), look(*a))[1]
    )
    for _ in range(2):
        segmenter.begin(next(iter(_sequence(clip, _truth(0)))), _truth(0))
        calls.append("end")
    first, second = " ".join(calls).split(" end")[:2]
    assert first.startswith("look learn look" if seconds else "learn look")
    assert second.strip().startswith("learn"), "compiled once for the process"


def test_a_low_or_lower_jaccard_on_the_first_frame_is_warned_about(parent, clip, monkeypatch):
    segmenter = DeepLabSegmenter(parent, _config(learning_rate=1e-8))
    frame = next(iter(_sequence(clip, _truth(0))))
    segmenter.begin(frame, _truth(0))
    assert any("first frame" in note for note in segmenter.warnings)
    tuned = segmenter._tuner.state()

    def judge(before: float, after: float) -> list[str]:
        values = iter((after, before))  # the fine-tuned network is measured first
        monkeypatch.setattr(segmenter._initializer, "_first_jaccard", lambda *_: next(values))
        return segmenter._initializer._warnings_of_low_jaccard(
            segmenter._tuner, frame.image, _truth(0), segmenter._objects[0]
        )

    assert "worse" in judge(0.9, 0.7)[0]
    assert not judge(0.7, 0.9) and not judge(0.99, 0.96)
    for value, same in zip(tuned, segmenter._tuner.state(), strict=True):
        np.testing.assert_array_equal(value, same)


def test_every_object_is_segmented_with_its_own_weights(parent, clip):
    """Two objects at once are the merged results of each alone, but for their common close-up."""
    both = _truth(0) * 3 + _truth(0, 58) * 7
    frames = list(_sequence(clip, both))
    segmenter = DeepLabSegmenter(parent, _config(memory_frames=0))
    segmenter.enlarges = False
    segmenter.begin(frames[0], both)
    merged = segmenter.step(frames[1]).probability
    segmenter.release()
    planes = []
    for label, left in ((3, 20), (7, 58)):
        alone = DeepLabSegmenter(parent, _config(memory_frames=0))
        alone.enlarges = False
        alone.begin(frames[0], _truth(0, left) * label)
        planes.append(alone.step(frames[1]).probability)
        alone.release()
    np.testing.assert_allclose(merged, soft_aggregate(np.stack(planes))[1:], atol=1e-4)


def test_components_away_from_the_object_are_removed_unless_it_is_lost(parent, clip, monkeypatch):
    segmenter = DeepLabSegmenter(parent, _config(mode="one-shot"))
    segmenter.enlarges = False
    frames = list(_sequence(clip, _truth(0)))
    segmenter.begin(frames[0], _truth(0))
    near = _truth(0).astype(np.float32)
    far = np.zeros_like(near)
    far[-6:, -6:] = 0.9
    monkeypatch.setattr(segmenter._propagation, "probability", lambda *_, **__: near + far)
    np.testing.assert_array_equal(segmenter.step(frames[1]).probability, near)
    segmenter._objects[0].usual_area = 1e6
    np.testing.assert_array_equal(segmenter.step(frames[2]).probability, near + far)


@pytest.mark.parametrize("guide", ["target", "none"])
def test_the_previous_mask_is_moved_with_the_object(parent, guide, monkeypatch):
    noise = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
    image = cv2.GaussianBlur(noise, (0, 0), 3)
    frames = [
        Frame(i, f"{i:05d}", decode=lambda i=i: np.roll(image, 5 * i, axis=1)) for i in range(4)
    ]
    segmenter = DeepLabSegmenter(parent, _config(mode="one-shot", guide=guide))
    segmenter.enlarges = False
    segmenter.begin(frames[0], _truth(0))
    seen = []

    def keep(features, tracked, position):
        seen.append(tracked.probability)
        return tracked.probability

    monkeypatch.setattr(segmenter._propagation, "probability", keep)
    for frame in frames[1:]:
        segmenter.step(frame)
    expected = np.roll(_truth(0), 15, axis=1) if guide == "target" else _truth(0)
    assert jaccard(seen[-1] > 0.5, expected) > 0.8
