"""Shadows of synthetic objects."""

import numpy as np
import pytest

from deeplab_gygo.synthesis.layers import Pose, warp_sprite
from deeplab_gygo.synthesis.shadows import sample_shadow
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
    return next(shadow for shadow in sampled if shadow.contact == contact)


def test_both_kinds_are_sampled():
    kinds = [sample_shadow(np.random.default_rng(seed)).contact for seed in range(100)]
    assert 0.3 < np.mean(kinds) < 0.7


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
