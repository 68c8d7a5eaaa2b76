"""Warping, feathering, lighting and blurring of sprites."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from deeplab_gygo.synthesis.layers import (
    Pose,
    alpha_blend,
    apply_gains,
    feather,
    motion_blur,
    motion_blur_layer,
    warp_sprite,
)
from deeplab_gygo.synthesis.motion import Deformation, sample_deformation
from deeplab_gygo.synthesis.sprites import make_sprite

CANVAS = (96, 128)
COLOR = (200, 90, 30)


@pytest.fixture
def sprite():
    """An opaque box of 40 x 60 pixels."""
    return make_sprite(np.full((40, 60, 3), COLOR, np.uint8), np.full((40, 60), 255, np.uint8))


def _pose(center=(64.0, 48.0), scale=1.0, angle=0.0):
    return Pose(np.array(center), scale, angle, False, np.zeros((4, 2)))


def _placed(sprite, pose, **kwargs):
    return warp_sprite(sprite, pose.matrix(sprite.rgba.shape), CANVAS, **kwargs)


def _centroid(layer):
    rows, columns = np.nonzero(layer.alpha >= 128)
    return np.array([columns.mean() + layer.left, rows.mean() + layer.top])


@pytest.mark.parametrize("scale", [1.3, 0.7, 0.5, 0.29])
def test_size_and_position_follow_the_pose_at_every_reduction(sprite, scale):
    layer = _placed(sprite, _pose((60.0, 50.0), scale))
    assert np.count_nonzero(layer.alpha >= 128) == pytest.approx(2400 * scale**2, rel=0.12)
    # The center of pixel (0, 0) is at (0, 0), so that of a sprite is half a pixel before.
    np.testing.assert_allclose(_centroid(layer), [60.0 - scale / 2, 50.0 - scale / 2], atol=0.7)


def test_colors_are_premultiplied(sprite):
    layer = _placed(sprite, _pose(angle=0.3))
    assert (layer.colors <= layer.alpha[..., None]).all()
    np.testing.assert_array_equal(layer.colors[layer.alpha == 255][0], COLOR)


def test_alpha_only_equals_the_alpha_with_colors(sprite):
    deformation = sample_deformation(np.random.default_rng(2))
    for given in ({}, {"deformation": deformation, "time": 9.0}):
        whole = _placed(sprite, _pose(angle=0.4, scale=0.5), **given)
        outline = _placed(sprite, _pose(angle=0.4, scale=0.5), alpha_only=True, **given)
        assert outline.colors is None and outline.box == whole.box
        assert np.abs(outline.alpha.astype(int) - whole.alpha).max() <= 2


def test_deformation_at_time_0_changes_nothing(sprite):
    pose = _pose(angle=0.4)
    plain = _placed(sprite, pose)
    full = np.zeros((2, *CANVAS), int)
    for canvas, layer in zip(
        full,
        (plain, _placed(sprite, pose, deformation=sample_deformation(np.random.default_rng(0)))),
        strict=True,
    ):
        canvas[layer.box] = layer.alpha
    assert np.abs(full[0] - full[1]).max() < 16


def test_deformation_changes_the_shape(sprite):
    # The upper half of the sprite is taken from the left, the lower half from the right.
    deformation = Deformation(
        np.array([[0.2, 0.0]]), np.array([[0.0, 1.0]]), np.zeros(1), np.zeros(1), 5.0
    )
    layer = _placed(sprite, _pose(), deformation=deformation, time=60.0)
    rows = layer.alpha >= 128
    upper, lower = rows[: len(rows) // 2], rows[len(rows) // 2 :]
    assert np.nonzero(lower)[1].mean() - np.nonzero(upper)[1].mean() > 10


def test_a_sprite_outside_the_canvas_gives_no_layer(sprite):
    assert _placed(sprite, _pose((300.0, 40.0))) is None
    cut = _placed(sprite, _pose((0.0, 48.0)))
    assert cut.left == 0 and cut.extent[0] < -25


def test_feather_softens_inwards(sprite):
    layer = _placed(sprite, _pose())
    soft = feather(layer, 5, 0.3)
    assert (soft.alpha <= layer.alpha).all() and (
        soft.colors.max(axis=-1) <= cv2.add(soft.alpha, 1)
    ).all()
    partly = [np.count_nonzero((a > 20) & (a < 235)) for a in (layer.alpha, soft.alpha)]
    assert partly[1] > 1.5 * partly[0]
    shrunk = feather(layer, 5, 0.55)
    assert np.count_nonzero(shrunk.alpha >= 128) < np.count_nonzero(layer.alpha >= 128)
    outline = feather(replace(layer, colors=None), 5, 0.3)
    np.testing.assert_array_equal(outline.alpha, soft.alpha)


def test_apply_gains_stays_premultiplied(sprite):
    bright = apply_gains(_placed(sprite, _pose()), np.array([1.6, 0.5, 1.0]))
    assert (bright.colors <= bright.alpha[..., None]).all()
    np.testing.assert_array_equal(bright.colors[bright.alpha == 255][0], [255, 45, 30])


@pytest.mark.parametrize("motion", [(9.0, 0.0), (0.0, -14.0)])
def test_smear_spreads_along_the_motion_only(sprite, motion):
    layer = _placed(sprite, _pose())
    moved = motion_blur_layer(layer, np.array(motion), CANVAS)
    axis = int(motion[0] == 0)
    grown = [np.ptp(np.nonzero(part.alpha > 8)[1 - axis]) for part in (layer, moved)]
    still = [np.ptp(np.nonzero(part.alpha > 128)[axis]) for part in (layer, moved)]
    assert grown[1] >= grown[0] + 5 and still[1] == still[0]
    assert moved.alpha.sum() == pytest.approx(float(layer.alpha.sum()), rel=0.03)
    np.testing.assert_allclose(_centroid(moved), _centroid(layer), atol=0.6)
    outline = motion_blur_layer(replace(layer, colors=None), np.array(motion), CANVAS)
    np.testing.assert_array_equal(outline.alpha, moved.alpha)


def test_smear_stays_on_the_canvas(sprite):
    layer = motion_blur_layer(_placed(sprite, _pose((10.0, 90.0))), np.array([15.0, 15.0]), CANVAS)
    rows, columns = layer.box
    assert rows.start >= 0 and columns.start >= 0
    assert rows.stop <= CANVAS[0] and columns.stop <= CANVAS[1]
    assert layer.alpha[-1].max() > 200, "the layer does not fade at the border"


def test_an_invisible_motion_changes_nothing(sprite):
    layer = _placed(sprite, _pose())
    assert motion_blur_layer(layer, np.array([0.5, 0.5]), CANVAS) is layer
    assert motion_blur(layer.alpha, np.zeros(2)) is layer.alpha


def test_blend_covers_and_mixes(sprite):
    canvas = np.full((*CANVAS, 3), 100, np.uint8)
    layer = _placed(sprite, _pose())
    alpha_blend(canvas, layer)
    covered = np.zeros(CANVAS, np.uint8)
    covered[layer.box] = layer.alpha
    np.testing.assert_array_equal(canvas[covered == 255][0], COLOR)
    assert (canvas[covered == 0] == 100).all()
