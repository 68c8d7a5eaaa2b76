"""Colors of edges without the old background, and composition."""

import sys

import cv2
import numpy as np
import pytest

from deeplab_gygo.io.alpha_smoothing import AlphaSmoother
from deeplab_gygo.io.matte import (
    compose,
    cover,
    edge_alpha,
    estimate_foreground,
    hide_background,
)

SIZE = (120, 160)


def scene():
    """A red and yellow object with soft edges before a green wall: frame, colors, alpha."""
    rng = np.random.default_rng(0)
    columns = np.arange(SIZE[1])[None, :, None] * np.ones((*SIZE, 1))
    colors = np.where(columns < 80, (200.0, 30.0, 40.0), (220.0, 180.0, 30.0))
    alpha = np.zeros(SIZE, np.float32)
    cv2.circle(alpha, (80, 60), 40, 1, -1)
    levels = np.rint(cv2.GaussianBlur(alpha, (0, 0), 1.5) * 255).astype(np.uint8)
    wall = np.array((30.0, 160.0, 60.0)) + rng.normal(0, 8, (*SIZE, 3))
    weight = levels[..., None] / 255
    image = np.clip(np.rint(colors * weight + wall * (1 - weight)), 0, 255).astype(np.uint8)
    return image, colors, levels


def test_the_old_background_is_taken_out_of_edges():
    image, colors, alpha = scene()
    found = estimate_foreground(image, alpha)
    edge = (alpha > 13) & (alpha < 242)
    before = np.abs(image[edge] - colors[edge]).mean()
    assert before > 30
    assert np.abs(found[edge] - colors[edge]).mean() < before / 4
    np.testing.assert_array_equal(found[alpha == 255], image[alpha == 255])
    assert found.dtype == np.uint8 and found.shape == image.shape
    np.testing.assert_array_equal(found, estimate_foreground(image, alpha))
    assert "pymatting" not in sys.modules  # which compiles ten times as much when it is imported


@pytest.mark.parametrize("size", [(120, 160), (480, 640)])
def test_alpha_is_the_probability_at_edges_alone(size):
    mask = np.zeros(size, np.uint8)
    cv2.circle(mask, (size[1] // 2, size[0] // 2), size[0] // 3, 2, -1)
    rng = np.random.default_rng(0)
    levels = np.where(mask, rng.integers(150, 256, size), rng.integers(0, 60, size))
    levels = levels.astype(np.uint8)
    alpha = edge_alpha(levels, mask)
    inside = cv2.distanceTransform((mask > 0).astype(np.uint8), cv2.DIST_L2, 5)
    outside = cv2.distanceTransform((mask == 0).astype(np.uint8), cv2.DIST_L2, 5)
    reach = max(4, size[0] / 60)
    assert (alpha[inside > reach] == 255).all() and (alpha[outside > reach] == 0).all()
    near = (inside <= reach) & (outside <= reach)
    np.testing.assert_array_equal(alpha[near], levels[near])
    np.testing.assert_array_equal(edge_alpha(np.stack([levels, levels // 2]), mask), alpha)


def test_alpha_of_frames_without_background_or_without_object():
    levels = np.full(SIZE, 77, np.uint8)
    assert (edge_alpha(levels, np.zeros(SIZE, np.uint8)) == 0).all()
    assert (edge_alpha(levels, np.ones(SIZE, np.uint8)) == 255).all()


def test_a_hard_edge_has_nothing_to_estimate():
    image, _, alpha = scene()
    hard = np.where(alpha > 127, 255, 0).astype(np.uint8)
    np.testing.assert_array_equal(estimate_foreground(image, hard), image)


def test_composition_is_exact():
    image, _, alpha = scene()
    behind = np.full_like(image, 77)
    found = compose(image, alpha, behind)
    weight = alpha[..., None] / 255
    assert np.abs(found - (image * weight + 77 * (1 - weight))).max() <= 0.5 + 1e-9
    np.testing.assert_array_equal(found, compose(image, alpha, np.array([77, 77, 77], np.uint8)))


def test_what_is_hidden_is_far_from_the_object():
    image, _, alpha = scene()
    found = hide_background(image, alpha)
    near = cv2.dilate((alpha > 0).astype(np.uint8), np.ones((9, 9))) > 0
    np.testing.assert_array_equal(found[near], image[near])
    assert (found[:, 0] == 128).all()


@pytest.mark.parametrize("shape", [(30, 90), (200, 20), (120, 160), (7, 9)])
def test_a_picture_covers_with_its_middle(shape):
    picture = np.zeros((*shape, 3), np.uint8)
    picture[shape[0] // 2, shape[1] // 2] = 255
    found = cover(picture, SIZE)
    assert found.shape == (*SIZE, 3)
    rows, columns = np.nonzero(found[..., 0] == found.max())
    assert abs(rows.mean() - 60) < 12 and abs(columns.mean() - 80) < 14


def test_smoothing_follows_a_moving_edge():
    rng = np.random.default_rng(0)
    texture = cv2.GaussianBlur(rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8), (0, 0), 2)
    texture = cv2.normalize(texture, None, 0, 255, cv2.NORM_MINMAX)
    truth, noisy, smoother, found = [], [], AlphaSmoother(), []
    for index in range(8):
        alpha = np.zeros(SIZE, np.float32)
        cv2.circle(alpha, (50 + 5 * index, 60), 30, 255, -1)
        alpha = cv2.GaussianBlur(alpha, (0, 0), 2)
        truth.append(alpha)
        tremble = 60 * rng.standard_normal() * ((alpha > 10) & (alpha < 245))
        noisy.append(np.clip(alpha + tremble, 0, 255).astype(np.uint8))
        found.append(smoother.push(np.roll(texture, 5 * index, axis=1), noisy[-1]))
    assert found[0] is None
    found = [*found[1:], smoother.last()]
    error = {name: np.abs(np.array(values, float) - truth).mean() for name, values in
             (("noisy", noisy), ("found", found))}  # fmt: skip
    assert error["found"] < 0.8 * error["noisy"]


def test_smoothing_keeps_a_still_clip():
    image, _, alpha = scene()
    smoother = AlphaSmoother()
    found = [smoother.push(image, alpha) for _ in range(4)]
    for smoothed in [*found[1:], smoother.last()]:
        assert np.abs(smoothed.astype(int) - alpha).max() <= 1
