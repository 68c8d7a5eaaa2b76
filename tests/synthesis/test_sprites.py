"""Sprites, cut-outs and stills."""

import cv2
import numpy as np
import pytest

from deeplab_gygo.errors import InputError
from deeplab_gygo.synthesis.cache import MemoryCache
from deeplab_gygo.synthesis.sprites import find_cutouts
from deeplab_gygo.synthesis.stills import find_stills, read_still


def test_images_of_one_object_are_grouped_in_order(composing_material):
    objects = {entry.name: entry for entry in find_cutouts(composing_material / "cutouts")}
    assert set(objects) == {"mug", "bag01-blue", "bag02-red"}
    assert [path.stem for path in objects["mug"].paths] == [f"mug__{i:05d}" for i in range(3)]
    assert objects["bag01-blue"].category == objects["bag02-red"].category
    assert objects["bag01-blue"].category != objects["mug"].category


def test_sprite_is_premultiplied_and_has_a_transparent_margin(composing_material):
    entry = next(e for e in find_cutouts(composing_material / "cutouts") if e.name == "mug")
    rgba = entry.sprite(0, MemoryCache(1 << 20)).rgba
    assert rgba.dtype == np.uint8
    assert (rgba[..., :3] <= rgba[..., 3:]).all(), "transparent green does not bleed"
    border = np.concatenate([rgba[0], rgba[-1], rgba[:, 0], rgba[:, -1]])
    assert not border.any()


def test_large_cutouts_are_reduced(composing_material):
    entry = find_cutouts(composing_material / "cutouts", longest_side=30)[0]
    assert max(entry.sprite(0, MemoryCache(1 << 20)).rgba.shape) <= 36


def test_cutout_without_alpha_is_refused_by_name(composing_material):
    path = composing_material / "cutouts" / "shop" / "flat.png"
    cv2.imwrite(str(path), np.zeros((20, 20, 3), np.uint8))
    entry = next(e for e in find_cutouts(composing_material / "cutouts") if e.name == "flat")
    with pytest.raises(InputError, match=r"alpha channel.*flat\.png"):
        entry.sprite(0, MemoryCache(1 << 20))


def test_damaged_images_are_refused_by_name(composing_material):
    (composing_material / "rooms" / "0.png").write_bytes(b"no image")
    entry = find_stills(composing_material / "people")[0]
    entry.image_path.write_bytes(b"no image")
    with pytest.raises(InputError, match=r"readable.*a\.png"):
        entry.read(MemoryCache(1 << 20))


def test_object_truncated_by_the_image_border_gives_no_sprite(composing_material):
    whole, cut = find_stills(composing_material / "people")
    cache = MemoryCache(1 << 20)
    assert whole.sprite(0, cache) is not None
    assert cut.sprite(0, cache) is None


def test_still_without_mask_or_with_a_mask_of_another_size_is_refused(composing_material):
    masks = composing_material / "people" / "masks"
    cv2.imwrite(str(masks / "b.png"), np.zeros((30, 30), np.uint8))
    entry = find_stills(composing_material / "people")[1]
    with pytest.raises(InputError, match=r"size of its image.*b\.png"):
        entry.read(MemoryCache(1 << 20))
    (masks / "a.png").unlink()
    with pytest.raises(InputError, match="1 without, first a"):
        find_stills(composing_material / "people")


def test_still_is_reduced_with_its_mask(composing_material):
    folder = composing_material / "people"
    image, mask = read_still(folder / "images" / "a.png", folder / "masks" / "a.png", 45)
    assert image.shape == (45, 60, 3) and mask.shape == (45, 60)
    assert mask.max() == 1 and mask.mean() == pytest.approx(40 * 50 / (90 * 120), rel=0.05)


@pytest.mark.parametrize("folder", ["nowhere", "rooms/empty"])
def test_missing_and_empty_folders_are_refused(composing_material, folder):
    (composing_material / "rooms" / "empty").mkdir()
    for find in (find_stills, find_cutouts):
        with pytest.raises(InputError):
            find(composing_material / folder)


@pytest.mark.parametrize("scale, factor", [(2.0, 1), (0.61, 1), (0.5, 2), (0.2, 4)])
def test_reduced_sprites_keep_their_mean(composing_material, scale, factor):
    entry = next(e for e in find_cutouts(composing_material / "cutouts") if e.name == "mug")
    sprite = entry.sprite(1, MemoryCache(1 << 20))
    reduced, side = sprite.reduced(scale)
    assert side == factor
    assert reduced.shape[0] == pytest.approx(sprite.rgba.shape[0] / factor, abs=1)
    assert float(reduced[..., 3].sum()) * factor**2 / 255 == pytest.approx(sprite.area, rel=0.02)
    assert (reduced[..., :3] <= reduced[..., 3:]).all()
