"""Drawing of objects and loose pieces."""

import numpy as np
import pytest

from deeplab_gygo.errors import UsageError
from deeplab_gygo.synthesis.cache import MemoryCache
from deeplab_gygo.synthesis.object_sampler import Cast, Look, cut_piece
from deeplab_gygo.synthesis.sprites import CutoutObject, View, find_cutouts


class _Spin:
    """A spin whose views are told apart by their area; some show nothing."""

    category = family = name = "spin"

    def __init__(self, count, hidden=()):
        self.view_count, self._hidden = count, hidden

    def view(self, index, cache):
        del cache
        rgba = np.zeros((2, 2, 4), np.uint8)
        return None if index in self._hidden else View(rgba, float(index))


def _looks(spin, count=60):
    cast = Cast([spin], MemoryCache(0))
    return [cast.draw(np.random.default_rng(seed))[1] for seed in range(count)]


def _shown(look, frames):
    return np.array([look.view(float(time)).area for time in range(frames)])


def test_long_spin_turns_through_neighboring_views_both_ways():
    turns = np.array([_shown(look, 12) for look in _looks(_Spin(60))])
    steps = np.diff(turns, axis=1)
    assert np.abs(steps).max() == 1
    assert (steps == 1).any() and (steps == -1).any()
    assert 2 < np.mean(np.abs(turns[:, 10] - turns[:, 0])) < 7


def test_short_spin_seldom_jumps():
    turns = np.array([_shown(look, 20) for look in _looks(_Spin(6))])
    assert 0 < (np.diff(turns, axis=1) != 0).mean() < 0.1


def test_view_that_shows_nothing_gives_way_to_the_first():
    look = Look(_Spin(3).view(1, None), _Spin(3, hidden=(2,)), 1, 0.5, MemoryCache(0))
    assert look.view(2.0).area == 1.0


def test_object_with_one_view_does_not_turn(composing_material):
    bag = next(e for e in find_cutouts(composing_material / "cutouts") if e.name == "bag01-blue")
    look = Cast([bag], MemoryCache(0)).draw(np.random.default_rng(0))[1]
    assert not look.turns and look.view(33.0) is look.first


def test_rivals_are_the_same_alike_or_anything(composing_material):
    objects = find_cutouts(composing_material / "cutouts")
    cast = Cast(objects, MemoryCache(0))
    bag = next(e for e in objects if e.name == "bag01-blue")
    drawn = [cast.alike(bag, np.random.default_rng(seed)) for seed in range(200)]
    same, open_ = np.mean([e is bag for e in drawn]), np.mean([e is None for e in drawn])
    assert 0.25 < same < 0.55 and 0.25 < open_ < 0.55
    assert all(e is None or e.category == bag.category for e in drawn)


def test_small_collections_are_not_lost():
    view = (None,)
    many = [CutoutObject(f"a{i}", "a", "a", view) for i in range(99)]
    cast = Cast([*many, CutoutObject("b", "b", "b", view)], MemoryCache(0))
    drawn = [cast._any(np.random.default_rng(seed)).family for seed in range(400)]
    assert np.mean([family == "b" for family in drawn]) > 0.04


def test_nothing_to_draw_is_refused():
    with pytest.raises(UsageError, match="objects"):
        Cast([], MemoryCache(0))


def test_piece_of_a_picture_is_opaque_inside_and_clear_outside():
    photo = np.random.default_rng(0).integers(0, 256, (120, 200, 3), dtype=np.uint8)
    pieces = [cut_piece(photo, np.random.default_rng(seed)) for seed in range(20)]
    found = [piece for piece in pieces if piece is not None]
    assert len(found) > 10
    for piece in found:
        assert piece.rgba[..., 3].max() > 240
        assert not piece.rgba[0].any() and (piece.rgba[..., :3] <= piece.rgba[..., 3:]).all()
