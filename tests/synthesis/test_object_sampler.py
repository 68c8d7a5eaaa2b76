"""Sampling of objects and occluders."""

import numpy as np
import pytest

from deeplab_gygo.errors import UsageError
from deeplab_gygo.synthesis.cache import MemoryCache
from deeplab_gygo.synthesis.object_sampler import Appearance, ObjectSampler, sample_piece
from deeplab_gygo.synthesis.sprites import CutoutObject, Sprite, find_cutouts


class _Spin:
    """A spin whose sprites are identified by their area; some are empty."""

    category = collection = name = "spin"

    def __init__(self, count, hidden=()):
        self.sprite_count, self._hidden = count, hidden

    def sprite(self, index, cache):
        del cache
        rgba = np.zeros((2, 2, 4), np.uint8)
        return None if index in self._hidden else Sprite(rgba, float(index))


def _appearances(spin, count=60):
    sampler = ObjectSampler([spin], MemoryCache(0))
    return [sampler.sample(np.random.default_rng(seed))[1] for seed in range(count)]


def _areas(appearance, frames):
    return np.array([appearance.at(float(time)).area for time in range(frames)])


def test_long_spin_visits_neighboring_sprites_in_both_directions():
    areas = np.array([_areas(item, 12) for item in _appearances(_Spin(60))])
    steps = np.diff(areas, axis=1)
    assert np.abs(steps).max() == 1
    assert (steps == 1).any() and (steps == -1).any()
    assert 2 < np.mean(np.abs(areas[:, 10] - areas[:, 0])) < 7


def test_short_spin_seldom_jumps():
    areas = np.array([_areas(item, 20) for item in _appearances(_Spin(6))])
    assert 0 < (np.diff(areas, axis=1) != 0).mean() < 0.1


def test_an_empty_sprite_is_replaced_by_the_first():
    appearance = Appearance(_Spin(3).sprite(1, None), _Spin(3, hidden=(2,)), 1, 0.5, MemoryCache(0))
    assert appearance.at(2.0).area == 1.0


def test_object_with_one_image_has_no_spin(composing_material):
    bag = next(e for e in find_cutouts(composing_material / "cutouts") if e.name == "bag01-blue")
    appearance = ObjectSampler([bag], MemoryCache(0)).sample(np.random.default_rng(0))[1]
    assert appearance.source is None and appearance.at(33.0) is appearance.first


def test_similar_objects_are_the_same_of_its_category_or_any(composing_material):
    objects = find_cutouts(composing_material / "cutouts")
    sampler = ObjectSampler(objects, MemoryCache(0))
    bag = next(e for e in objects if e.name == "bag01-blue")
    sampled = [sampler.sample_similar(bag, np.random.default_rng(seed)) for seed in range(200)]
    same, open_ = np.mean([e is bag for e in sampled]), np.mean([e is None for e in sampled])
    assert 0.25 < same < 0.55 and 0.25 < open_ < 0.55
    assert all(e is None or e.category == bag.category for e in sampled)


def test_small_collections_are_not_rare():
    paths = (None,)
    many = [CutoutObject(f"a{i}", "a", "a", paths) for i in range(99)]
    sampler = ObjectSampler([*many, CutoutObject("b", "b", "b", paths)], MemoryCache(0))
    sampled = [sampler._any(np.random.default_rng(seed)).collection for seed in range(400)]
    assert np.mean([collection == "b" for collection in sampled]) > 0.04


def test_no_objects_are_refused():
    with pytest.raises(UsageError, match="objects"):
        ObjectSampler([], MemoryCache(0))


def test_a_piece_is_opaque_inside_and_transparent_outside():
    image = np.random.default_rng(0).integers(0, 256, (120, 200, 3), dtype=np.uint8)
    pieces = [sample_piece(image, np.random.default_rng(seed)) for seed in range(20)]
    found = [piece for piece in pieces if piece is not None]
    assert len(found) > 10
    for piece in found:
        assert piece.rgba[..., 3].max() > 240
        assert not piece.rgba[0].any() and (piece.rgba[..., :3] <= piece.rgba[..., 3:]).all()
