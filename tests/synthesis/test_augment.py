"""Augmentation: image and masks share one transform, and the object stays in the crop."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from deeplab_gygo.errors import InputError
from deeplab_gygo.synthesis.augment import VOID, line_kernel, photometric, sample_view
from deeplab_gygo.synthesis.config import AugmentConfig

PLAIN = AugmentConfig(
    brightness=0.0,
    contrast=0.0,
    saturation=0.0,
    hue=0.0,
    gray=0.0,
    blur=0.0,
    noise=0.0,
    jpeg=0.0,
)
SIZE = (96, 128)


def _red_disk(height=150, width=220, center=(60, 150), radius=28):
    """A red disk on blue, with its mask."""
    y, x = np.mgrid[:height, :width]
    mask = ((y - center[0]) ** 2 + (x - center[1]) ** 2 <= radius**2).astype(np.uint8)
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0], image[..., 2] = 255 * mask, 255 * (1 - mask)
    return image, mask


def _iou(first, second):
    return np.count_nonzero(first & second) / max(np.count_nonzero(first | second), 1)


@pytest.mark.parametrize("scale", [(0.5, 0.7), (1.0, 1.0), (1.4, 2.0)])
def test_image_and_mask_pass_through_the_same_transform(scale):
    image, mask = _red_disk()
    for seed in range(12):
        rng = np.random.default_rng(seed)
        view, (warped,) = sample_view(image, [mask], SIZE, replace(PLAIN, scale=scale), rng)
        assert view.shape == (*SIZE, 3) and view.dtype == np.uint8
        assert warped.shape == SIZE and warped.dtype == np.uint8
        shown = view[..., 0] >= 128
        assert _iou(shown, warped == 1) > 0.94


def test_reduced_images_are_aligned_with_their_masks():
    image, mask = _red_disk()
    config = replace(PLAIN, scale=(0.5, 0.7))
    shifts = []
    for seed in range(40):
        view, (warped,) = sample_view(image, [mask], SIZE, config, np.random.default_rng(seed))
        shown = np.mean(np.nonzero(view[..., 0] >= 128), axis=1)
        shifts.append(shown - np.mean(np.nonzero(warped), axis=1))
    assert np.abs(np.median(shifts, axis=0)).max() < 0.05
    assert np.abs(shifts).max() < 0.5


def test_all_masks_follow_one_transform():
    image, mask = _red_disk()
    _, (first, second) = sample_view(image, [mask, mask], SIZE, PLAIN, np.random.default_rng(3))
    np.testing.assert_array_equal(first, second)


def test_same_seed_gives_same_view_and_another_seed_another():
    image, mask = _red_disk()
    config = AugmentConfig(blur=0.5, noise=0.5, jpeg=0.5)
    views = [sample_view(image, [mask], SIZE, config, np.random.default_rng(s)) for s in (5, 5, 6)]
    np.testing.assert_array_equal(views[0][0], views[1][0])
    np.testing.assert_array_equal(views[0][1][0], views[1][1][0])
    assert (views[0][0] != views[2][0]).any()


def test_object_in_crop_keeps_the_object_in_the_crop():
    image, mask = _red_disk(center=(125, 195), radius=20)
    config = replace(PLAIN, scale=(1.5, 1.5), rotate=0.0, object_in_crop=1.0)
    shares = []
    for seed in range(40):
        _, (warped,) = sample_view(image, [mask], SIZE, config, np.random.default_rng(seed))
        zoom = 1.5 * max(SIZE[0] / 150, SIZE[1] / 220)
        shares.append(np.count_nonzero(warped) / (np.count_nonzero(mask) * zoom**2))
    assert min(shares) > 0.9


def test_crop_follows_the_first_mask_that_is_not_empty():
    image, mask = _red_disk(center=(125, 195), radius=20)
    config = replace(PLAIN, scale=(1.5, 1.5), rotate=0.0, object_in_crop=1.0)
    for seed in range(10):
        _, (now, before) = sample_view(
            image, [np.zeros_like(mask), mask], SIZE, config, np.random.default_rng(seed)
        )
        assert not now.any()
        assert before.any()


def test_a_large_object_leaves_background_in_the_crop():
    image, mask = _red_disk(center=(75, 110), radius=74)
    config = replace(PLAIN, scale=(0.7, 3.0), object_in_crop=1.0)
    for seed in range(20):
        _, (warped,) = sample_view(image, [mask], SIZE, config, np.random.default_rng(seed))
        assert warped.mean() < 0.85


def test_flip_mirrors():
    image, mask = _red_disk()
    config = replace(PLAIN, scale=(1.0, 1.0), rotate=0.0)
    views = [
        sample_view(image, [mask], SIZE, replace(config, flip=flip), np.random.default_rng(0))
        for flip in (0.0, 1.0)
    ]
    straight, mirrored = (np.mean(np.nonzero(masks[0])[1]) for _, masks in views)
    assert abs(straight - mirrored) > 5


def test_void_is_preserved():
    image, mask = _red_disk()
    labels = mask.copy()
    labels[:, :150][mask[:, :150] > 0] = VOID
    view, (warped,) = sample_view(image, [labels], SIZE, PLAIN, np.random.default_rng(1))
    assert set(np.unique(warped)) == {0, 1, VOID}
    assert _iou(view[..., 0] >= 128, warped > 0) > 0.93


def test_mask_of_another_size_is_refused():
    image, mask = _red_disk()
    with pytest.raises(InputError, match="size of its image"):
        sample_view(image, [mask[1:]], SIZE, PLAIN, np.random.default_rng(0))


def test_image_without_masks_is_cropped_anywhere():
    image, _ = _red_disk()
    view, masks = sample_view(image, [], SIZE, PLAIN, np.random.default_rng(0))
    assert view.shape == (*SIZE, 3) and masks == []


def test_photometric_without_ranges_changes_nothing():
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    changed = photometric(image, PLAIN, np.random.default_rng(1))
    assert np.abs(changed.astype(int) - image).max() <= 1
    assert changed is not image


def test_gray_removes_colors_and_keeps_brightness():
    image = np.random.default_rng(0).integers(60, 180, (40, 50, 3), dtype=np.uint8)
    changed = photometric(image, replace(PLAIN, gray=1.0), np.random.default_rng(1))
    assert np.ptp(changed.astype(int), axis=2).max() <= 2
    luma = image @ np.array([0.299, 0.587, 0.114])
    assert abs(changed[..., 0].mean() - luma.mean()) < 1.5


@pytest.mark.parametrize("kind", ["blur", "noise", "jpeg", "brightness", "contrast", "hue"])
def test_every_photometric_change_has_an_effect(kind):
    image = np.random.default_rng(0).integers(40, 200, (40, 50, 3), dtype=np.uint8)
    value = 0.3 if kind in ("brightness", "contrast", "hue") else 1.0
    changed = photometric(image, replace(PLAIN, **{kind: value}), np.random.default_rng(1))
    assert changed.shape == image.shape and changed.dtype == np.uint8
    assert (changed != image).mean() > 0.2


@pytest.mark.parametrize("length", [1.0, 4.0, 11.0])
def test_line_kernel_keeps_brightness_and_has_its_direction(length):
    flat = line_kernel(length, 0.0)
    assert flat.sum() == pytest.approx(1.0, abs=1e-6)
    assert np.count_nonzero(flat.sum(axis=1)) == 1
    np.testing.assert_allclose(line_kernel(length, np.pi / 2), flat.T, atol=1e-6)


def test_augmentation_is_imported_without_keras_and_datasets():
    code = (
        "import sys, deeplab_gygo.synthesis.augment;"
        "loaded = [name for name in sys.modules if name.startswith('deeplab_gygo.synthesis.')];"
        "assert sorted(loaded) == ['deeplab_gygo.synthesis.' + n for n in ('augment', 'config')];"
        "assert not {'keras', 'deeplab_gygo.datasets'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
