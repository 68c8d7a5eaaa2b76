"""Placing, softening, lighting and blurring of cut-outs."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from deeplab_gygo.synthesis.bending import Bend, draw_bend
from deeplab_gygo.synthesis.layers import Pose, blend, feather, motion_blur, place, relight, smear
from deeplab_gygo.synthesis.sprites import make_view

CANVAS = (96, 128)
COLOR = (200, 90, 30)


@pytest.fixture
def view():
    """An opaque box of 40 x 60 pixels."""
    return make_view(np.full((40, 60, 3), COLOR, np.uint8), np.full((40, 60), 255, np.uint8))


def _pose(center=(64.0, 48.0), scale=1.0, angle=0.0):
    return Pose(np.array(center), scale, angle, False, np.zeros((4, 2)))


def _placed(view, pose, **kwargs):
    return place(view, pose.matrix(view.rgba.shape), CANVAS, **kwargs)


def _centroid(layer):
    rows, columns = np.nonzero(layer.alpha >= 128)
    return np.array([columns.mean() + layer.left, rows.mean() + layer.top])


@pytest.mark.parametrize("scale", [1.3, 0.7, 0.5, 0.29])
def test_size_and_place_follow_the_pose_at_every_reduction(view, scale):
    layer = _placed(view, _pose((60.0, 50.0), scale))
    assert np.count_nonzero(layer.alpha >= 128) == pytest.approx(2400 * scale**2, rel=0.12)
    # The middle of pixel (0, 0) is at (0, 0), so the middle of a view lies half a pixel before.
    np.testing.assert_allclose(_centroid(layer), [60.0 - scale / 2, 50.0 - scale / 2], atol=0.7)


def test_colors_are_premultiplied(view):
    layer = _placed(view, _pose(angle=0.3))
    assert (layer.colors <= layer.alpha[..., None]).all()
    np.testing.assert_array_equal(layer.colors[layer.alpha == 255][0], COLOR)


def test_outline_alone_is_the_alpha_of_the_whole(view):
    bend = draw_bend(np.random.default_rng(2))
    for given in ({}, {"bend": bend, "time": 9.0}):
        whole = _placed(view, _pose(angle=0.4, scale=0.5), **given)
        outline = _placed(view, _pose(angle=0.4, scale=0.5), outline_only=True, **given)
        assert outline.colors is None and outline.box == whole.box
        assert np.abs(outline.alpha.astype(int) - whole.alpha).max() <= 2


def test_bend_of_no_strength_changes_nothing(view):
    pose = _pose(angle=0.4)
    plain = _placed(view, pose)
    full = np.zeros((2, *CANVAS), int)
    for canvas, layer in zip(
        full, (plain, _placed(view, pose, bend=draw_bend(np.random.default_rng(0)))), strict=True
    ):
        canvas[layer.box] = layer.alpha
    assert np.abs(full[0] - full[1]).max() < 16


def test_bend_changes_the_shape(view):
    # The upper half of the view is taken from the left, the lower half from the right.
    bend = Bend(np.array([[0.2, 0.0]]), np.array([[0.0, 1.0]]), np.zeros(1), np.zeros(1), 5.0)
    layer = _placed(view, _pose(), bend=bend, time=60.0)
    rows = layer.alpha >= 128
    upper, lower = rows[: len(rows) // 2], rows[len(rows) // 2 :]
    assert np.nonzero(lower)[1].mean() - np.nonzero(upper)[1].mean() > 10


def test_what_lies_beside_the_canvas_is_no_layer(view):
    assert _placed(view, _pose((300.0, 40.0))) is None
    cut = _placed(view, _pose((0.0, 48.0)))
    assert cut.left == 0 and cut.extent[0] < -25


def test_feather_softens_inwards(view):
    layer = _placed(view, _pose())
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


def test_relight_stays_premultiplied(view):
    bright = relight(_placed(view, _pose()), np.array([1.6, 0.5, 1.0]))
    assert (bright.colors <= bright.alpha[..., None]).all()
    np.testing.assert_array_equal(bright.colors[bright.alpha == 255][0], [255, 45, 30])


@pytest.mark.parametrize("motion", [(9.0, 0.0), (0.0, -14.0)])
def test_smear_spreads_along_the_motion_only(view, motion):
    layer = _placed(view, _pose())
    moved = smear(layer, np.array(motion), CANVAS)
    axis = int(motion[0] == 0)
    grown = [np.ptp(np.nonzero(part.alpha > 8)[1 - axis]) for part in (layer, moved)]
    still = [np.ptp(np.nonzero(part.alpha > 128)[axis]) for part in (layer, moved)]
    assert grown[1] >= grown[0] + 5 and still[1] == still[0]
    assert moved.alpha.sum() == pytest.approx(float(layer.alpha.sum()), rel=0.03)
    np.testing.assert_allclose(_centroid(moved), _centroid(layer), atol=0.6)
    outline = smear(replace(layer, colors=None), np.array(motion), CANVAS)
    np.testing.assert_array_equal(outline.alpha, moved.alpha)


def test_smear_stays_on_the_canvas(view):
    layer = smear(_placed(view, _pose((10.0, 90.0))), np.array([15.0, 15.0]), CANVAS)
    rows, columns = layer.box
    assert rows.start >= 0 and columns.start >= 0
    assert rows.stop <= CANVAS[0] and columns.stop <= CANVAS[1]
    assert layer.alpha[-1].max() > 200, "what the border cuts does not fade out there"


def test_motion_too_short_to_be_seen_changes_nothing(view):
    layer = _placed(view, _pose())
    assert smear(layer, np.array([0.5, 0.5]), CANVAS) is layer
    assert motion_blur(layer.alpha, np.zeros(2)) is layer.alpha


def test_blend_covers_and_mixes(view):
    canvas = np.full((*CANVAS, 3), 100, np.uint8)
    layer = _placed(view, _pose())
    blend(canvas, layer)
    covered = np.zeros(CANVAS, np.uint8)
    covered[layer.box] = layer.alpha
    np.testing.assert_array_equal(canvas[covered == 255][0], COLOR)
    assert (canvas[covered == 0] == 100).all()
