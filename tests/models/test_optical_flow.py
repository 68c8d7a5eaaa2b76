"""Masks that are moved by the motion between frames."""

import cv2
import numpy as np
import pytest

from deeplab_gygo.evaluation.measures import jaccard
from deeplab_gygo.models.optical_flow import SHORT_SIDE, OpticalFlow, moved


def _texture(size, seed=0):
    noise = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 3), None, 0, 255, cv2.NORM_MINMAX)


def _disk(size, center, radius):
    return cv2.circle(np.zeros(size, np.float32), center, radius, 1.0, -1)


@pytest.mark.parametrize("size", [(120, 200), (480, 854)])
def test_the_mask_follows_an_object_that_moves_on_its_own(size):
    background, surface = _texture(size), _texture(size, 1)
    radius = size[0] // 4
    shift = radius // 3
    first, second = (size[1] // 2, size[0] // 2), (size[1] // 2 + shift, size[0] // 2)
    before, after = _disk(size, first, radius), _disk(size, second, radius)
    frames = [
        np.where(mask[..., None] > 0, np.roll(surface, step, axis=1), background)
        for mask, step in ((before, 0), (after, shift))
    ]
    found = moved(before, OpticalFlow(frames[0]).advance(frames[1]))
    assert jaccard(before > 0.5, after > 0.5) < 0.8
    assert jaccard(found > 0.5, after > 0.5) > 0.85


def test_what_comes_into_view_is_background():
    columns, rows = np.meshgrid(np.arange(40, dtype=np.float32), np.arange(30, dtype=np.float32))
    found = moved(np.ones((60, 80), np.float32), np.stack([columns - 10, rows], axis=-1))
    assert found[:, :16].max() == 0
    assert found[:, 24:].min() == 1


def test_a_clip_is_followed_frame_by_frame():
    image = _texture((96, 128))
    flow = OpticalFlow(image)
    mask = _disk((96, 128), (40, 48), 12)
    for step in range(1, 6):
        mask = moved(mask, flow.advance(np.roll(image, 6 * step, axis=1)))
    assert jaccard(mask > 0.5, _disk((96, 128), (70, 48), 12) > 0.5) > 0.75


@pytest.mark.parametrize("size", [(1, 1), (3, 40), (15, 15), (17, 2)])
def test_frames_smaller_than_the_flow_can_read(size):
    image = _texture(size)
    found = moved(np.ones(size, np.float32), OpticalFlow(image).advance(image))
    assert found.shape == size
    assert found.max() > 0.99


def test_large_frames_are_shrunk():
    image = np.zeros((2 * SHORT_SIDE, 3 * SHORT_SIDE, 3), np.uint8)
    assert OpticalFlow(image).advance(image).shape == (SHORT_SIDE, 3 * SHORT_SIDE // 2, 2)
    assert OpticalFlow(image, 0).advance(image).shape == (*image.shape[:2], 2)


@pytest.mark.parametrize(
    "motion",
    [
        np.float32([[1, 0, 90], [0, 1, -40]]),
        cv2.getRotationMatrix2D((160, 120), 0, 1.4),
        cv2.getRotationMatrix2D((160, 120), 25, 1),
    ],
    ids=["translation", "zoom", "turn"],
)
def test_the_mask_follows_a_quick_camera(motion):
    size = (240, 320)
    before, mask = _texture(size), _disk(size, (110, 80), 40)
    after, truth = (
        cv2.warpAffine(plane, motion, size[::-1], borderMode=cv2.BORDER_REFLECT)
        for plane in (before, mask)
    )
    found = moved(mask, OpticalFlow(before).advance(after))
    single = OpticalFlow(before, preset=cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    assert jaccard(moved(mask, single.advance(after)) > 0.5, truth > 0.5) < 0.55
    assert jaccard(found > 0.5, truth > 0.5) > 0.75


def test_frames_of_one_color_do_not_move():
    image = np.full((64, 64, 3), 128, np.uint8)
    mask = _disk((64, 64), (32, 32), 12)
    np.testing.assert_allclose(moved(mask, OpticalFlow(image).advance(image)), mask, atol=1e-5)
