"""Cut-outs and composed pictures."""

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from deeplab_gygo.data.cache import MemoryCache
from deeplab_gygo.data.compose import Composer
from deeplab_gygo.data.cutouts import find_cutouts, find_stills
from deeplab_gygo.data.pictures import find_pictures, read_still
from deeplab_gygo.errors import InputError, UsageError

SIZE = (96, 128)
MAGENTA = (220, 30, 210)


def _write_rgba(path, color, height=60, width=50):
    """An ellipse of one color on transparency; the hidden pixels are green."""
    path.parent.mkdir(parents=True, exist_ok=True)
    alpha = np.zeros((height, width), np.uint8)
    center = (width // 2, height // 2)
    cv2.ellipse(alpha, center, (width // 2 - 4, height // 2 - 4), 0, 0, 360, 255, -1)
    rgba = np.zeros((height, width, 4), np.uint8)
    rgba[..., 1] = 255
    rgba[alpha > 0, :3] = color[::-1]
    rgba[..., 3] = alpha
    assert cv2.imwrite(str(path), rgba)


def _write_still(folder, name, color, box=(20, 60, 30, 80)):
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    image = np.full((90, 120, 3), 128, np.uint8)
    mask = np.zeros((90, 120), np.uint8)
    area = (slice(box[0], box[1]), slice(box[2], box[3]))
    image[area], mask[area] = color[::-1], 255
    cv2.imwrite(str(folder / "images" / f"{name}.png"), image)
    cv2.imwrite(str(folder / "masks" / f"{name}.png"), mask)


@pytest.fixture
def material(tmp_path):
    """A folder with cut-outs, backgrounds and stills."""
    for view in range(3):
        _write_rgba(tmp_path / "cutouts" / "spins" / f"mug__{view:05d}.png", MAGENTA, 60 + view)
    _write_rgba(tmp_path / "cutouts" / "shop" / "bag01-blue.png", MAGENTA)
    _write_rgba(tmp_path / "cutouts" / "shop" / "bag02-red.png", MAGENTA, 40, 70)
    (tmp_path / "rooms").mkdir()
    for index, gray in enumerate((90, 130, 170)):
        picture = np.full((80, 140, 3), gray, np.uint8)
        picture[::7] += 20
        cv2.imwrite(str(tmp_path / "rooms" / f"{index}.png"), picture)
    _write_still(tmp_path / "people", "a", MAGENTA)
    _write_still(tmp_path / "people", "b", MAGENTA, (0, 90, 0, 50))
    return tmp_path


def _composer(material, *, guided, stills=True, cache=None):
    people = find_stills(material / "people") if stills else []
    return Composer(
        [*find_cutouts(material / "cutouts"), *people],
        [*find_pictures([material / "rooms"]), *people],
        cache or MemoryCache(1 << 24),
        size=SIZE,
        guided=guided,
    )


def _is_magenta(image):
    red, green, blue = (image[..., channel].astype(int) for channel in range(3))
    return np.minimum(red, blue) - green > 45


def test_views_of_one_object_are_grouped_in_order(material):
    objects = {entry.name: entry for entry in find_cutouts(material / "cutouts")}
    assert set(objects) == {"mug", "bag01-blue", "bag02-red"}
    assert [path.stem for path in objects["mug"].paths] == [f"mug__{i:05d}" for i in range(3)]
    assert objects["bag01-blue"].category == objects["bag02-red"].category
    assert objects["bag01-blue"].category != objects["mug"].category


def test_view_is_premultiplied_and_has_a_clear_margin(material):
    entry = next(e for e in find_cutouts(material / "cutouts") if e.name == "mug")
    rgba = entry.view(0, MemoryCache(1 << 20)).rgba
    assert rgba.dtype == np.uint8
    assert (rgba[..., :3] <= rgba[..., 3:]).all(), "hidden green must not bleed"
    border = np.concatenate([rgba[0], rgba[-1], rgba[:, 0], rgba[:, -1]])
    assert not border.any()


def test_large_cutouts_are_reduced(material):
    entry = find_cutouts(material / "cutouts", longest_side=30)[0]
    assert max(entry.view(0, MemoryCache(1 << 20)).rgba.shape) <= 36


def test_cutout_without_alpha_is_refused_by_name(material):
    path = material / "cutouts" / "shop" / "flat.png"
    cv2.imwrite(str(path), np.zeros((20, 20, 3), np.uint8))
    entry = next(e for e in find_cutouts(material / "cutouts") if e.name == "flat")
    with pytest.raises(InputError, match=r"alpha channel.*flat\.png"):
        entry.view(0, MemoryCache(1 << 20))


def test_damaged_pictures_are_refused_by_name(material):
    (material / "rooms" / "0.png").write_bytes(b"no picture")
    entry = find_stills(material / "people")[0]
    entry.image_path.write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"readable.*a\.png"):
        entry.picture(MemoryCache(1 << 20))


def test_object_cut_by_the_border_of_its_photo_is_no_cutout(material):
    whole, cut = find_stills(material / "people")
    cache = MemoryCache(1 << 20)
    assert whole.view(0, cache) is not None
    assert cut.view(0, cache) is None


def test_still_without_mask_or_with_a_mask_of_another_size_is_refused(material):
    masks = material / "people" / "masks"
    cv2.imwrite(str(masks / "b.png"), np.zeros((30, 30), np.uint8))
    entry = find_stills(material / "people")[1]
    with pytest.raises(InputError, match=r"size of its picture.*b\.png"):
        entry.picture(MemoryCache(1 << 20))
    (masks / "a.png").unlink()
    with pytest.raises(InputError, match="1 without, first a"):
        find_stills(material / "people")


def test_still_is_reduced_with_its_mask(material):
    folder = material / "people"
    image, mask = read_still(folder / "images" / "a.png", folder / "masks" / "a.png", 45)
    assert image.shape == (45, 60, 3) and mask.shape == (45, 60)
    assert mask.max() == 1 and mask.mean() == pytest.approx(40 * 50 / (90 * 120), rel=0.05)


@pytest.mark.parametrize("folder", ["nowhere", "rooms/empty"])
def test_missing_and_empty_folders_are_refused(material, folder):
    (material / "rooms" / "empty").mkdir()
    with pytest.raises(InputError):
        find_pictures([material / folder])
    with pytest.raises(InputError):
        find_cutouts(material / folder)


def test_mask_lies_on_the_object_in_salient_pictures(material):
    composer = _composer(material, guided=0.0, stills=False)
    overlaps, near = [], []
    for seed in range(60):
        pair = composer.compose(np.random.default_rng(seed))
        assert pair.salient
        assert pair.image.shape == (*SIZE, 3) and pair.image.dtype == np.uint8
        assert pair.mask.shape == SIZE and set(np.unique(pair.mask)) <= {0, 1}
        assert pair.previous_mask.any()
        if not pair.mask.any():  # the object has left: nothing like it may remain
            assert _is_magenta(pair.image).mean() < 0.01
            continue
        colored, mask = _is_magenta(pair.image), pair.mask > 0
        overlaps.append((colored & mask).sum() / mask.sum())
        before = pair.previous_mask > 0
        near.append((before & mask).sum() / (before | mask).sum())
    assert np.median(overlaps) > 0.97 and min(overlaps) > 0.5
    assert 0.5 < np.mean(near) < 0.98


def test_guided_pictures_hold_rivals_of_like_size(material):
    composer = _composer(material, guided=1.0)
    rivals = []
    for seed in range(60):
        pair = composer.compose(np.random.default_rng(seed))
        assert not pair.salient
        outside = _is_magenta(pair.image) & (cv2.dilate(pair.mask, np.ones((7, 7))) == 0)
        rivals.append(outside.sum() > 0.3 * pair.mask.sum())
    assert np.mean(rivals) > 0.7


def test_share_of_guided_pictures(material):
    composer = _composer(material, guided=0.3)
    kinds = [composer.compose(np.random.default_rng(seed)).salient for seed in range(150)]
    assert 0.58 < np.mean(kinds) < 0.82


def test_the_target_sometimes_leaves(material):
    composer = _composer(material, guided=0.5)
    left = [not composer.compose(np.random.default_rng(s)).mask.any() for s in range(250)]
    assert 0.005 < np.mean(left) < 0.12


def test_objects_vary_in_size(material):
    composer = _composer(material, guided=0.0)
    shares = [composer.compose(np.random.default_rng(s)).mask.mean() for s in range(120)]
    assert np.percentile(shares, 10) < 0.08 and np.percentile(shares, 90) > 0.2


def test_result_depends_on_the_seed_alone_whatever_cache_and_threads(material):
    def compose(seed, composer):
        pair = composer.compose(np.random.default_rng(seed))
        return pair.image, pair.mask, pair.previous_mask

    fresh = _composer(material, guided=0.5, cache=MemoryCache(0))
    alone = [compose(seed, fresh) for seed in range(24)]
    shared = _composer(material, guided=0.5, cache=MemoryCache(60_000))
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda seed: compose(seed, shared), range(24)))
    for one, other in zip(alone, together, strict=True):
        for first, second in zip(one, other, strict=True):
            np.testing.assert_array_equal(first, second)


def test_without_backgrounds_or_objects_or_anything_visible(material):
    objects, rooms = find_cutouts(material / "cutouts"), find_pictures([material / "rooms"])
    cache = MemoryCache(1 << 20)
    with pytest.raises(UsageError, match="background"):
        Composer(objects, find_stills(material / "people"), cache)
    with pytest.raises(UsageError, match="needs objects"):
        Composer([], rooms, cache)
    clear = material / "clear"
    clear.mkdir()
    cv2.imwrite(str(clear / "x.png"), np.zeros((30, 30, 4), np.uint8))
    with pytest.raises(UsageError, match="visible"):
        Composer(find_cutouts(clear), rooms, cache, size=SIZE).compose(np.random.default_rng(0))


def test_real_material_composes(shared_data):
    objects = find_cutouts(shared_data / "cutouts")
    stills = find_stills(shared_data / "stills" / "human_seg_hsd")
    photos = find_pictures([shared_data / "backgrounds"])
    composer = Composer([*objects, *stills], [*photos, *stills], MemoryCache(1 << 28))
    pairs = [composer.compose(np.random.default_rng(seed)) for seed in range(40)]
    shares = [pair.mask.mean() for pair in pairs if pair.mask.any()]
    assert len(shares) > 30
    assert 0.02 < np.median(shares) < 0.4
    assert all(pair.image.shape == (384, 512, 3) for pair in pairs)
