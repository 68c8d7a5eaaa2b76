"""Zero-shot on a clip: the surest frames tell what to look for on the others."""

from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from deeplab_gygo.inference.config import OnlineConfig
from deeplab_gygo.inference.geometry import Geometry
from deeplab_gygo.inference.prediction import Prediction
from deeplab_gygo.inference.zero_shot import APART, SalientObject, surest
from deeplab_gygo.io.sequence import Frame
from deeplab_gygo.models.memory import from_cells

SIZE = (48, 64)
CONFIG = OnlineConfig(mode="zero-shot", agree=2, second=0.0, window=2)


class _Network:
    """Sees logits in the red channel (128 is 0), and believes what a memory says as well."""

    parent = SimpleNamespace(cell=4, stride=16)

    def __init__(self):
        self.encoded, self.remembered = 0, []

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

    def logits(self, features, guide, recall):
        plane = features["plane"][0]
        told = 0.0 if recall is None else 2.0 * from_cells(np.asarray(recall)[0], 4)
        return plane + told


def _frames(levels: list[int]) -> list[Frame]:
    """Frames with a square of a red level on a background that is surely none."""
    frames = []
    for index, level in enumerate(levels):
        image = np.zeros((*SIZE, 3), np.uint8)
        image[16:32, 16:48, 0] = level
        frames.append(Frame(index, f"{index:05d}", decode=lambda image=image: image))
    return frames


def _run(levels: list[int], config: OnlineConfig = CONFIG) -> tuple[list[Prediction], _Network]:
    network, frames = _Network(), _frames(levels)
    salient = SalientObject(network, config, Geometry.fit(SIZE, 480, 16))
    return list(salient.run(frames, frames, lambda frame: frame.image)), network


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


def test_a_long_clip_goes_by_in_passages_that_remember_the_first():
    levels = [DOUBTFUL] * 9
    levels[1] = SURE
    predictions, network = _run(levels, replace(CONFIG, passage=3))
    assert [p.index for p in predictions] == list(range(9))
    assert all(p.mask[20:28, 20:44].all() for p in predictions)
    # Later passages choose one frame at least and know that of the first passage beside it.
    assert max(network.remembered) == 2


def test_the_surest_frames_are_chosen_apart_from_each_other():
    confidence = [0.5, 0.9, 0.95, 0.94, 0.6, 0.7, 0.8, 0.2]
    area = [0.1] * 8
    assert surest(confidence, area, 3) == [2, 6]
    assert abs(2 - 6) >= APART
    area[2] = 0.0001
    assert surest(confidence, area, 1) == [3]
    assert surest(confidence, [0.0] * 8, 3) == []
    assert surest(confidence, area, 0) == []


def test_frames_are_preferred_that_show_the_object_apart_from_something():
    confidence, area = [0.98, 0.6, 0.94, 0.5, 0.96, 0.6, 0.7, 0.8], [0.1] * 8
    beside = [0.0, 0.0, 0.0, 0.0, 0.4, 0.0, 0.0, 0.05]
    assert surest(confidence, area, 2, beside) == [4, 0]
    beside[4] = 0.09  # specks say nothing
    assert surest(confidence, area, 2, beside) == [0, 4]
    beside[4], confidence[4] = 0.4, 0.945  # nor do scattered parts of a doubtful frame
    assert surest(confidence, area, 2, beside) == [0, 4]


def test_of_two_things_the_larger_is_the_object_also_where_they_touch():
    size, rng = (96, 160), np.random.default_rng(0)
    grain = rng.integers(0, 60, size).astype(np.uint8)
    object_ = np.zeros(size, bool)
    object_[24:80, 12:60] = True
    frames, others = [], []
    for index, left in enumerate((124, 116, 108, 100, 92, 84, 76, 68, 61)):
        image, thing = np.zeros((*size, 3), np.uint8), np.zeros(size, bool)
        thing[32:56, left : left + 24] = True
        image[..., 0][object_ | thing] = SURE
        image[..., 1][object_] = 20 + grain[object_]
        image[..., 1][thing] = 180 + np.roll(grain, left, axis=1)[thing]
        frames.append(Frame(index, f"{index:05d}", decode=lambda image=image: image))
        others.append(thing)
    shares = {}
    for track in (True, False):
        config = replace(CONFIG, track_distractors=track)
        salient = SalientObject(_Network(), config, Geometry.fit(size, 480, 16))
        masks = [p.mask for p in salient.run(frames, frames, lambda frame: frame.image)]
        assert min(mask[object_].mean() for mask in masks) > 0.85
        shares[track] = masks[-1][others[-1]].mean()
    assert shares[True] < 0.2 < 0.8 < shares[False]
