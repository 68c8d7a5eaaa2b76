"""Shadows of synthetic objects."""

import numpy as np
import pytest

from deeplab_gygo.synthesis.layers import Pose, warp_sprite
from deeplab_gygo.synthesis.shadows import Reflection, Shadow, sample_shadow
from deeplab_gygo.synthesis.sprites import make_sprite

CANVAS = (120, 160)


def _layer(center, canvas=CANVAS):
    sprite = make_sprite(np.full((40, 40, 3), 200, np.uint8), np.full((40, 40), 255, np.uint8))
    pose = Pose(np.array(center, float), 1.0, 0.0, False, np.zeros((4, 2)))
    return warp_sprite(sprite, pose.matrix(sprite.rgba.shape), canvas)


def _darkening(shadow, layer):
    canvas = np.full((*CANVAS, 3), 200, np.uint8)
    shadow.cast(canvas, layer)
    return 200 - canvas[..., 0].astype(int)


def _shadow(*, contact):
    sampled = (sample_shadow(np.random.default_rng(seed)) for seed in range(50))
    return next(each for each in sampled if isinstance(each, Shadow) and each.contact == contact)


def test_all_kinds_are_sampled():
    sampled = [sample_shadow(np.random.default_rng(seed)) for seed in range(200)]
    kinds = [each.contact for each in sampled if isinstance(each, Shadow)]
    assert 0.3 < np.mean(kinds) < 0.7
    assert 0.1 < 1 - len(kinds) / len(sampled) < 0.4


def test_reflection_mirrors_the_object_below_its_base_and_fades():
    canvas = np.full((*CANVAS, 3), 20, np.uint8)
    layer = _layer((80, 60))  # rows 40 to 79, gray 200
    Reflection(strength=0.5, reach=0.5, spread=0.0).cast(canvas, layer)
    below = canvas[80:100, 80, 0].astype(int)
    assert abs(below[0] - 110) <= 3  # half of 20 and of 200
    assert (np.diff(below) <= 0).all() and below[-1] < 40
    assert (canvas[:79] == 20).all() and (canvas[102:] == 20).all() and (canvas[:, :59] == 20).all()


@pytest.mark.parametrize("center", [(80, 118), (-30, 60), (155, 90), (80, 10)])
def test_reflection_of_an_object_at_the_border_stays_on_the_canvas(center):
    canvas = np.full((*CANVAS, 3), 20, np.uint8)
    layer = _layer(center)
    if layer is not None:
        Reflection(strength=0.7, reach=1.0, spread=0.03).cast(canvas, layer)
    assert canvas.shape == (*CANVAS, 3)


@pytest.mark.parametrize("contact", [True, False])
def test_shadow_darkens_softly_near_the_object(contact):
    dark = _darkening(_shadow(contact=contact), _layer((80, 60)))
    assert 40 < dark.max() < 160 and dark.min() >= 0
    assert np.abs(np.diff(dark, axis=0)).max() < 40
    assert not dark[:25].any() and not dark[:, :20].any()


def test_contact_shadow_is_below():
    dark = _darkening(_shadow(contact=True), _layer((80, 60)))
    rows, columns = np.nonzero(dark > 20)
    assert 72 < rows.mean() < 88 and 76 < columns.mean() < 84


@pytest.mark.parametrize("contact", [True, False])
def test_shadow_moves_with_its_object(contact):
    shadow = _shadow(contact=contact)
    here, there = _darkening(shadow, _layer((60, 56))), _darkening(shadow, _layer((92, 64)))
    assert np.abs(np.roll(here, (8, 32), (0, 1)) - there).max() <= 6


@pytest.mark.parametrize("contact", [True, False])
@pytest.mark.parametrize("center", [(2, 60), (158, 118), (80, -10)])
def test_shadow_at_the_border_stays_on_the_canvas(contact, center):
    dark = _darkening(_shadow(contact=contact), _layer(center))
    assert dark.min() >= 0
