"""Zero-shot in two passes: anchors, chunks, main component."""

from contextlib import suppress
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from deeplab_gygo.inference.config import OnlineConfig
from deeplab_gygo.inference.frame_store import FrameStore
from deeplab_gygo.inference.geometry import Geometry
from deeplab_gygo.inference.prediction import Prediction
from deeplab_gygo.inference.zero_shot import (
    ANCHOR_SPACING,
    TwoPassSegmenter,
    select_anchors,
)
from deeplab_gygo.io.sequence import Frame
from deeplab_gygo.models.memory import DepthToSpace, remember

SIZE = (48, 64)
CONFIG = OnlineConfig(mode="zero-shot", zero_shot_anchor_frames=2, zero_shot_tta_scale=0.0)


class _Network:
    """Returns the red channel as logits (128 is 0), plus twice the memory read-out."""

    parent = SimpleNamespace(stride=16)
    block, fused = 4, False

    def __init__(self):
        self.encoded, self.remembered, self.seen = 0, [], []

    def encode(self, images):
        self.encoded += len(images)
        red = (images[..., 0].astype(np.float32) - 128.0) / 16.0
        plane = np.stack([cv2.resize(r, None, fx=0.25, fy=0.25) for r in red])
        key = np.zeros((len(images), *(side // 4 for side in plane.shape[1:]), 3), np.float32)
        return {"plane": plane, "key": key}

    def read(self, features, keys, values):
        _, height, width, _ = features["key"].shape
        frames = values.reshape(-1, height, width, values.shape[-1])
        self.remembered.append(len(frames))
        return frames.mean(0, keepdims=True)

    def remember(self, features, coded, position):
        return remember(features["key"][position : position + 1], coded, self.block)

    def guide(self, features, model, previous):
        return previous

    def logits(self, features, guide, readout):
        plane = features["plane"][0]
        if readout is None:
            return plane
        return plane + 2.0 * np.asarray(DepthToSpace(4)(readout))[0, ..., 0]


def _frames(levels: list[int]) -> list[Frame]:
    """Frames with a square of a red level on a background that is surely none."""
    frames = []
    for index, level in enumerate(levels):
        image = np.zeros((*SIZE, 3), np.uint8)
        image[16:32, 16:48, 0] = level
        frames.append(Frame(index, f"{index:05d}", decode=lambda image=image: image))
    return frames


def _run(levels: list[int], store=None, close_up=None) -> tuple[list[Prediction], _Network]:
    network, frames = _Network(), _frames(levels)
    segmenter = TwoPassSegmenter(network, CONFIG, Geometry.fit(SIZE, 480, 16), close_up)

    def read(frame: Frame) -> np.ndarray:
        network.seen.append(frame.index)
        return frame.image

    return list(segmenter.run(frames, frames, read, store)), network


SURE, DOUBTFUL = 220, 116
"""Levels at which the square alone is surely an object, and rather not one."""


@pytest.mark.parametrize("sure", [0, 3, 6])
def test_a_doubtful_frame_is_helped_by_sure_ones_before_and_after_it(sure):
    levels = [DOUBTFUL] * 7
    levels[sure] = SURE
    predictions, _ = _run(levels)
    assert [p.index for p in predictions] == list(range(7))
    for prediction in predictions:
        assert prediction.mask[20:28, 20:44].all() and not prediction.mask[:10].any()
        np.testing.assert_array_equal(prediction.mask, prediction.probability > 0.5)


def test_without_any_sure_frame_every_frame_stands_for_itself():
    predictions, network = _run([0] * 5)
    assert not any(p.mask.any() for p in predictions)
    assert not network.remembered


def test_a_long_clip_is_segmented_in_chunks_that_remember_the_first(monkeypatch):
    monkeypatch.setattr(OnlineConfig, "CHUNK_SIZE", 3)
    levels = [DOUBTFUL] * 9
    levels[1] = SURE
    predictions, network = _run(levels)
    assert [p.index for p in predictions] == list(range(9))
    assert all(p.mask[20:28, 20:44].all() for p in predictions)
    # Later chunks have an anchor of their own and that of the first chunk.
    assert max(network.remembered) == 2


@pytest.mark.parametrize("interrupted", ["put", "begin"])
@pytest.mark.parametrize("stop", range(10))
def test_a_stopped_run_goes_on_where_it_was(tmp_path, monkeypatch, interrupted, stop):
    monkeypatch.setattr(OnlineConfig, "CHUNK_SIZE", 4)
    levels = [DOUBTFUL, DOUBTFUL, SURE, *[DOUBTFUL] * 6, SURE]
    expected, undisturbed = _run(levels)
    kept = _stop(monkeypatch, interrupted, stop, lambda: _run(levels, FrameStore(tmp_path)))
    predictions, network = _run(levels, FrameStore(tmp_path))
    for prediction, whole in zip(predictions, expected, strict=True):
        assert (prediction.name, prediction.confidence) == (whole.name, whole.confidence)
        np.testing.assert_array_equal(prediction.mask, whole.mask)
        if prediction.index not in kept:
            np.testing.assert_array_equal(prediction.probability, whole.probability)
    assert not set(network.seen) & set(kept)
    begun = 4 * -(-len(kept) // 4)  # frames of chunks that were looked at
    assert network.encoded <= undisturbed.encoded - begun - len(kept) / 2


def _stop(monkeypatch, name, count, run) -> list[int]:
    """Ends a run where it writes by a method of the store, after a number of frames."""
    put, write, kept = FrameStore.put, getattr(FrameStore, name), []

    def counting(store, prediction, state):
        put(store, prediction, state)
        kept.append(prediction.index)

    def stopping(*values):
        if len(kept) >= count:
            raise KeyboardInterrupt
        return (counting if name == "put" else write)(*values)

    with monkeypatch.context() as patched, suppress(KeyboardInterrupt):
        patched.setattr(FrameStore, "put", counting)
        patched.setattr(FrameStore, name, stopping)
        run()
    return kept


class _CloseUp:
    """Finds the left half of what was found, and records it."""

    def __init__(self):
        self.found, self.images = [], []

    def refine(self, image, planes, objects, activate):
        ((plane,), (tracked,)) = planes, objects
        assert tracked.close_memory is None and tracked.target_model is None
        self.found.append(plane)
        self.images.append(image)
        refined = plane.copy()
        refined[:, 32:] = 0
        return [refined]


@pytest.mark.parametrize("levels", [[118, 200, 118, 118], [240, 110, 118, 100, 120, 240]])
def test_the_close_up_is_the_result_and_the_next_frame_does_not_start_from_it(levels):
    whole, close_up = _run(levels)[0], _CloseUp()
    predictions, _ = _run(levels, close_up=close_up)
    assert len(close_up.found) == len(levels)
    for index, (one, other) in enumerate(zip(whole, predictions, strict=True)):
        np.testing.assert_array_equal(close_up.found[index], one.probability)
        np.testing.assert_array_equal(close_up.images[index], _frames(levels)[index].image)
        np.testing.assert_array_equal(other.mask[:, :32], one.mask[:, :32])
        assert not other.mask[:, 32:].any()
    assert any(one.mask[:, 32:].any() for one in whole)
    assert [p.confidence for p in whole] != [p.confidence for p in predictions]


def test_anchors_are_the_most_confident_frames_at_a_distance():
    confidence = [0.5, 0.9, 0.95, 0.94, 0.6, 0.7, 0.8, 0.2]
    area = [0.1] * 8
    assert select_anchors(confidence, area, 3) == [2, 6]
    assert abs(2 - 6) >= ANCHOR_SPACING
    area[2] = 0.0001
    assert select_anchors(confidence, area, 1) == [3]
    assert select_anchors(confidence, [0.0] * 8, 3) == []
    assert select_anchors(confidence, area, 0) == []


def test_frames_that_show_a_second_object_separately_are_preferred():
    confidence, area = [0.98, 0.6, 0.94, 0.5, 0.96, 0.6, 0.7, 0.8], [0.1] * 8
    beside = [0.0, 0.0, 0.0, 0.0, 0.4, 0.0, 0.0, 0.05]
    assert select_anchors(confidence, area, 2, beside) == [4, 0]
    beside[4] = 0.09  # specks say nothing
    assert select_anchors(confidence, area, 2, beside) == [0, 4]
    beside[4], confidence[4] = 0.4, 0.945  # nor do scattered parts of a doubtful frame
    assert select_anchors(confidence, area, 2, beside) == [0, 4]


def test_the_first_pass_is_averaged_into_the_second():
    """A frame that the anchors contradict keeps half of its own logits."""
    levels = [DOUBTFUL] * 6 + [SURE]
    (first, *_), _ = _run(levels)
    alone, _ = _run([DOUBTFUL] * 7)
    own = alone[0].probability[24, 32]
    guided = first.probability[24, 32]
    logit = lambda p: np.log(p / (1 - p))  # noqa: E731
    # Mean of the first pass, and of the second with and without the guide (`blend`), whose logits
    # are the own ones plus 2 from the memory.
    expected = (2 * (logit(own) + 2.0) + logit(own)) / 3
    assert logit(guided) == pytest.approx(expected, abs=0.1)
