"""Synthetic clips."""

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from deeplab_gygo.errors import UsageError
from deeplab_gygo.synthesis import shadows
from deeplab_gygo.synthesis.cache import MemoryCache
from deeplab_gygo.synthesis.composer import Composer
from deeplab_gygo.synthesis.sprites import find_cutouts, list_images
from deeplab_gygo.synthesis.stills import find_stills

SIZE = (96, 128)
TIMES = [0.0, 1.0, 12.0]


def _composer(material, *, ambiguous, stills=True, cache=None):
    people = find_stills(material / "people") if stills else []
    return Composer(
        [*find_cutouts(material / "cutouts"), *people],
        [*list_images(material / "rooms"), *people],
        cache or MemoryCache(1 << 24),
        size=SIZE,
        ambiguous_fraction=ambiguous,
    )


def _clips(composer, count, times=TIMES, **kwargs):
    return [
        composer.compose_clip(np.random.default_rng(seed), times, **kwargs) for seed in range(count)
    ]


def _masks(composer, count, times=TIMES):
    clips = _clips(composer, count, times, masks_only=range(len(times)))
    return np.array([clip.masks for clip in clips], bool)


def _is_magenta(image):
    red, green, blue = (image[..., channel].astype(int) for channel in range(3))
    return np.minimum(red, blue) - green > 45


def _iou(one, other):
    return np.sum(one & other, (1, 2)) / np.maximum(np.sum(one | other, (1, 2)), 1)


def test_masks_cover_the_object_at_every_time(composing_material):
    composer = _composer(composing_material, ambiguous=0.0, stills=False)
    fractions = []
    for clip in _clips(composer, 40):
        assert clip.masks[0].any()
        for image, mask in zip(clip.images, clip.masks, strict=True):
            assert image.shape == (*SIZE, 3) and image.dtype == np.uint8
            assert mask.shape == SIZE and mask.dtype == np.uint8 and mask.max() <= 1
            if mask.sum() > 60:
                fractions.append((_is_magenta(image) & (mask > 0)).sum() / mask.sum())
    assert np.median(fractions) > 0.97 and np.percentile(fractions, 3) > 0.5


def test_salient_clips_have_no_other_large_object(composing_material, monkeypatch):
    monkeypatch.setattr(shadows, "_REFLECTED", 0.0)  # a reflection has the color of its object
    for clip in _clips(_composer(composing_material, ambiguous=0.0, stills=False), 50):
        if not clip.salient:
            continue
        for image, mask in zip(clip.images, clip.masks, strict=True):
            outside = _is_magenta(image) & (cv2.dilate(mask, np.ones((9, 9))) == 0)
            blobs = cv2.connectedComponentsWithStats(outside.astype(np.uint8))[2][1:, 4]
            largest = 0.3 * max(m.sum() for m in clip.masks)
            assert not len(blobs) or blobs.max() < max(largest, 60)


def test_a_hidden_target_among_others_is_not_salient(composing_material):
    clips = _clips(_composer(composing_material, ambiguous=0.0, stills=False), 120, [0.0, 25.0])
    gone = [clip for clip in clips if not clip.masks[1].any()]
    assert gone
    for clip in gone:
        assert not clip.salient or _is_magenta(clip.images[1]).mean() < 0.002


def test_neighboring_frames_are_similar_and_distant_ones_are_not(composing_material):
    masks = _masks(_composer(composing_material, ambiguous=0.5), 120)
    near, far = _iou(masks[:, 0], masks[:, 1]), _iou(masks[:, 0], masks[:, 2])
    assert 0.7 < np.median(near) < 0.97
    assert np.median(far) < 0.6


def test_background_moves_with_the_camera(composing_material):
    differences = []
    for clip in _clips(_composer(composing_material, ambiguous=0.0), 30, [0.0, 12.0]):
        first, last = (cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in clip.images)
        differences.append(np.abs(first[:8].astype(int) - last[:8]).mean())
    assert np.median(differences) > 3.0


def test_ambiguous_clips_have_distractors_of_similar_size(composing_material):
    has_distractor = []
    for clip in _clips(_composer(composing_material, ambiguous=1.0), 50, [0.0]):
        assert not clip.salient
        outside = _is_magenta(clip.images[0]) & (cv2.dilate(clip.masks[0], np.ones((7, 7))) == 0)
        has_distractor.append(outside.sum() > 0.3 * clip.masks[0].sum())
    assert np.mean(has_distractor) > 0.6


def test_fraction_of_ambiguous_clips(composing_material):
    composer = _composer(composing_material, ambiguous=0.3)
    salient = [clip.salient for clip in _clips(composer, 120, [0.0], masks_only=[0])]
    assert 0.56 < np.mean(salient) < 0.84


def test_target_is_visible_at_time_0_and_sometimes_leaves(composing_material):
    masks = _masks(_composer(composing_material, ambiguous=0.5), 250, [0.0, 15.0])
    areas = masks.sum(axis=(2, 3))
    assert areas[:, 0].min() >= 0.004 * SIZE[0] * SIZE[1]
    assert 0.02 < (areas[:, 1] == 0).mean() < 0.16


def test_objects_vary_in_size(composing_material):
    composer = _composer(composing_material, ambiguous=0.0)
    shares = _masks(composer, 100, [0.0]).mean(axis=(1, 2, 3))
    assert np.percentile(shares, 10) < 0.08 and np.percentile(shares, 90) > 0.2


def test_masks_only_skips_images_and_keeps_masks(composing_material):
    composer = _composer(composing_material, ambiguous=0.5)
    whole, part = _clips(composer, 20), _clips(composer, 20, masks_only=(0, 2))
    for one, other in zip(whole, part, strict=True):
        assert [image is None for image in other.images] == [True, False, True]
        np.testing.assert_array_equal(one.images[1], other.images[1])
        for first, second in zip(one.masks, other.masks, strict=True):
            # OpenCV resamples one and four channels with different code.
            assert np.count_nonzero(first != second) <= 0.01 * max(first.sum(), 100)


def test_another_object_is_beside_the_target_and_not_its_twin(composing_material):
    composer = _composer(composing_material, ambiguous=1.0)
    clips = _clips(composer, 40, other_at=(1, 2))
    shown = [clip for clip in clips if clip.others]
    assert 10 < len(shown) < 40, "an object of the background or among twins alone has no other"
    for clip in shown:
        assert len(clip.others) == 2
        for mask, other in zip(clip.masks[1:], clip.others, strict=True):
            assert other.shape == SIZE and other.dtype == np.uint8 and other.max() <= 1
            assert not (mask & other).sum() > 0.1 * max(1, mask.sum())
    assert np.mean([clip.others[0].any() for clip in shown]) > 0.7
    plain = _clips(composer, 40)
    assert all(clip.others == [] for clip in plain)
    for one, other in zip(clips, plain, strict=True):
        np.testing.assert_array_equal(one.images[2], other.images[2])


def test_scene_does_not_depend_on_the_requested_times(composing_material):
    composer = _composer(composing_material, ambiguous=0.5)
    for one, other in zip(
        _clips(composer, 15, [0.0, 7.0]), _clips(composer, 15, [7.0, -2.0, 3.0, 0.0]), strict=True
    ):
        for first, second in ((0, 3), (1, 0)):
            np.testing.assert_array_equal(one.images[first], other.images[second])
            np.testing.assert_array_equal(one.masks[first], other.masks[second])


def test_clips_are_deterministic_whatever_cache_and_threads(composing_material):
    def compose(seed, composer):
        clip = composer.compose_clip(np.random.default_rng(seed), TIMES, other_at=(1, 2))
        return [*clip.images, *clip.masks, *clip.others]

    fresh = _composer(composing_material, ambiguous=0.5, cache=MemoryCache(0))
    alone = [compose(seed, fresh) for seed in range(16)]
    assert len({len(clip) for clip in alone}) == 2, "with another object and without"
    shared = _composer(composing_material, ambiguous=0.5, cache=MemoryCache(60_000))
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda seed: compose(seed, shared), range(16)))
    for one, other in zip(alone, together, strict=True):
        for first, second in zip(one, other, strict=True):
            np.testing.assert_array_equal(first, second)


def test_without_backgrounds_or_objects_or_anything_visible(composing_material):
    objects = find_cutouts(composing_material / "cutouts")
    rooms = list_images(composing_material / "rooms")
    cache, rng = MemoryCache(1 << 20), np.random.default_rng(0)
    with pytest.raises(UsageError, match="background"):
        Composer(objects, find_stills(composing_material / "people"), cache)
    with pytest.raises(UsageError, match="need objects"):
        Composer([], rooms, cache)
    clear = composing_material / "clear"
    clear.mkdir()
    cv2.imwrite(str(clear / "x.png"), np.zeros((30, 30, 4), np.uint8))
    with pytest.raises(UsageError, match="visible"):
        Composer(find_cutouts(clear), rooms, cache, size=SIZE).compose_clip(rng, [0.0])


@pytest.mark.parametrize("times, masks_only", [([], ()), ([0.0], (1,)), ([0.0, 1.0], (-1,))])
def test_invalid_times_are_refused(composing_material, times, masks_only):
    composer = _composer(composing_material, ambiguous=0.5)
    with pytest.raises(UsageError, match="time"):
        composer.compose_clip(np.random.default_rng(0), times, masks_only=masks_only)


def test_real_material_composes(shared_data):
    objects = find_cutouts(shared_data / "cutouts")
    stills = find_stills(shared_data / "stills" / "human_seg_hsd")
    photos = list_images(shared_data / "backgrounds")
    composer = Composer([*objects, *stills], [*photos, *stills], MemoryCache(1 << 28))
    clips = _clips(composer, 25, [0.0, 10.0], masks_only=[1])
    shares = [clip.masks[0].mean() for clip in clips]
    assert min(shares) >= 0.004 and 0.02 < np.median(shares) < 0.4
    assert all(clip.images[0].shape == (384, 512, 3) for clip in clips)
