"""Sources of training clips."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from deeplab_gygo.errors import InputError, UsageError
from deeplab_gygo.synthesis.augment import VOID
from deeplab_gygo.synthesis.cache import MemoryCache
from deeplab_gygo.synthesis.clips import ClipFrame, RawClip
from deeplab_gygo.synthesis.sources import ComposeSource, MixedSource, StillsSource, VideoSource


class _Dataset:
    """Two videos in memory; the object of frame i is a square at column 10 + 5 i."""

    root, resolution, multi_object = Path("memory"), "480p", False

    def __init__(self, names=("walk", "ride"), count=8, size=(60, 90), empty=()):
        self._names, self._count, self._size, self._empty = names, count, size, set(empty)
        self.decoded = 0

    def names(self, split):
        assert split == "train"
        return list(self._names)

    def sequence(self, name):
        return SimpleNamespace(
            name=name,
            annotations={index: Path(f"{index:05d}.png") for index in range(self._count)},
            frame=lambda index: SimpleNamespace(image=self._image(name, index)),
        )

    def annotation(self, name, index):
        mask = np.zeros(self._size, np.uint8)
        if index not in self._empty:
            mask[20:40, 10 + 5 * index : 30 + 5 * index] = 1
        return mask

    def _image(self, name, index):
        self.decoded += 1
        image = np.zeros((*self._size, 3), np.uint8)
        image[..., 0], image[..., 1] = index, self._names.index(name)
        return image


class _Constant:
    """A source of one clip."""

    def __init__(self, mask):
        frame = ClipFrame(np.zeros((*mask.shape, 3), np.uint8), mask, None)
        self.clip = RawClip((frame, frame), True)

    def sample(self, rng):
        return self.clip


def _square(size=(90, 120), side=36):
    mask = np.zeros(size, np.uint8)
    mask[30 : 30 + side, 40 : 40 + side] = 1
    return mask


def _index(mask):
    """Index of the frame that a mask of `_Dataset` belongs to."""
    return (int(np.flatnonzero(mask.any(axis=0))[0]) - 10) // 5


def test_cache_drops_the_least_recently_used_beyond_its_limit():
    cache, made = MemoryCache(3500), []

    def fetch(key):
        return cache.get(key, lambda: made.append(key) or np.zeros(1000, np.uint8))

    for key in "aba":
        fetch(key)
    fetch("c")
    fetch("d")  # drops b
    assert made == list("abcd") and cache.used_bytes <= 3500
    fetch("a")
    fetch("b")
    assert made == list("abcdb")


def test_cache_does_not_hold_values_above_its_limit():
    cache = MemoryCache(100)
    assert cache.get("x", lambda: np.ones(500, np.uint8)).sum() == 500
    assert cache.used_bytes == 0


def test_cache_counts_bytes_under_threads():
    cache = MemoryCache(5000)

    def work(seed):
        rng = np.random.default_rng(seed)
        for _ in range(300):
            key = int(rng.integers(12))
            value = cache.get(key, lambda key=key: np.full(1000, key, np.uint8))
            assert (value == key).all()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert 0 < cache.used_bytes <= 5000
    assert cache.used_bytes == sum(size for _, size in cache._entries.values())


def test_video_clips_are_two_frames_of_one_sequence_with_neighbor_masks():
    source = VideoSource(_Dataset(), MemoryCache(1 << 22), max_gap=2, max_frame_distance=5)
    gaps, distances = set(), set()
    for seed in range(120):
        clip = source.sample(np.random.default_rng(seed))
        assert clip.salient
        shown = [frame.image[0, 0, :2].tolist() for frame in clip.frames]
        assert shown[0][1] == shown[1][1], "one video"
        for frame, (now, _) in zip(clip.frames, shown, strict=True):
            assert _index(frame.mask) == now, "mask and image are of one frame"
            gaps.add(abs(_index(frame.neighbor_mask) - now))
        distances.add(abs(shown[0][0] - shown[1][0]))
    assert gaps == {1, 2} and distances == {1, 2, 3, 4, 5}


@pytest.mark.parametrize(("follow", "shift"), [(True, 0), (False, 12)])
def test_the_neighboring_mask_moves_with_its_object(follow, shift):
    dataset = _Dataset(names=["walk"], count=2, size=(96, 160))
    texture = np.random.default_rng(0).integers(0, 256, (96, 160, 3), np.uint8)
    texture = cv2.GaussianBlur(texture, (0, 0), 2)
    square = _square((96, 160))
    dataset._image = lambda name, index: np.roll(texture, 12 * index, axis=1)
    dataset.annotation = lambda name, index: np.roll(square, 12 * index, axis=1)
    source = VideoSource(dataset, MemoryCache(1 << 22), follow=follow)
    for frame in source.sample(np.random.default_rng(0)).frames:
        columns = [np.flatnonzero(m.any(axis=0)) for m in (frame.mask, frame.neighbor_mask)]
        assert abs(abs(columns[0].mean() - columns[1].mean()) - shift) < 1


def test_video_excludes_held_out_and_takes_named_sequences():
    dataset = _Dataset()
    cache = MemoryCache(1 << 22)
    assert VideoSource(dataset, cache, exclude=["ride"]).names == ["walk"]
    assert VideoSource(dataset, cache, names=["ride"]).names == ["ride"]
    with pytest.raises(UsageError, match="at least one sequence"):
        VideoSource(dataset, cache, exclude=["ride", "walk"])
    with pytest.raises(InputError, match="2 without, first walk"):
        VideoSource(_Dataset(count=0), cache)


def test_video_decodes_each_cached_frame_once():
    dataset = _Dataset()
    source = VideoSource(dataset, MemoryCache(1 << 22))
    for seed in range(200):
        source.sample(np.random.default_rng(seed))
    assert dataset.decoded == 16


def test_video_reduces_large_frames():
    source = VideoSource(_Dataset(size=(80, 120)), MemoryCache(1 << 22), short_side=40)
    for frame in source.sample(np.random.default_rng(0)).frames:
        assert frame.image.shape == (40, 60, 3)
        assert frame.mask.shape == frame.neighbor_mask.shape == (40, 60)


def test_video_mostly_skips_frames_without_object():
    source = VideoSource(_Dataset(empty=(0, 1, 2, 3)), MemoryCache(1 << 22))
    first = [source.sample(np.random.default_rng(s)).frames[0] for s in range(400)]
    assert 0 < np.mean([not frame.mask.any() for frame in first]) < 0.06


def test_video_of_one_frame_is_its_own_neighbor():
    source = VideoSource(_Dataset(count=1), MemoryCache(1 << 22))
    first, second = source.sample(np.random.default_rng(0)).frames
    for mask in (first.neighbor_mask, second.mask, second.neighbor_mask):
        np.testing.assert_array_equal(first.mask, mask)


def test_one_of_several_objects_is_sampled_and_void_is_kept():
    dataset = _Dataset()
    dataset.multi_object = True
    labels = np.zeros((60, 90), np.uint8)
    labels[10:20, 10:20], labels[30:40, 30:45], labels[:, 80:] = 1, 5, VOID
    dataset.annotation = lambda name, index: labels
    source = VideoSource(dataset, MemoryCache(1 << 22))
    areas = set()
    for seed in range(30):
        clip = source.sample(np.random.default_rng(seed))
        assert not clip.salient
        first = clip.frames[0].mask
        areas.add(np.count_nonzero(first == 1))
        np.testing.assert_array_equal(first == VOID, labels == VOID)
        for frame in clip.frames:
            np.testing.assert_array_equal(frame.mask, first, "one object in the whole clip")
            np.testing.assert_array_equal(frame.neighbor_mask == 1, first == 1)
    assert areas == {100, 150}
    assert labels.max() == VOID and (labels == 5).any(), "the arrays of the dataset are not changed"


def test_a_still_is_both_frames_without_a_neighbor_mask(tmp_path):
    for part, value in (("images", np.zeros((50, 60, 3), np.uint8)), ("masks", _square((50, 60)))):
        (tmp_path / part).mkdir()
        cv2.imwrite(str(tmp_path / part / "one.png"), value * 255)
    clip = StillsSource(tmp_path, MemoryCache(1 << 20)).sample(np.random.default_rng(0))
    assert clip.salient
    for frame in clip.frames:
        assert frame.neighbor_mask is None
        np.testing.assert_array_equal(frame.mask, _square((50, 60)))


class _Composer:
    """Records the requested times."""

    def compose_clip(self, rng, times, masks_only=(), other_at=()):
        assert not other_at
        self.times, self.masks_only = times, masks_only
        masks = [np.full((4, 4), index, np.uint8) for index in range(len(times))]
        return SimpleNamespace(images=masks[:2], masks=masks, salient=False, others=[])


def test_a_synthetic_clip_has_two_frames_and_their_neighbor_masks():
    composer = _Composer()
    source = ComposeSource(composer, max_frame_distance=9.0, follow=False)
    for seed in range(20):
        clip = source.sample(np.random.default_rng(seed))
        start, other, *neighbors = composer.times
        assert start == 0.0 and 1.0 <= other <= 9.0
        assert list(composer.masks_only) == [2, 3]
        assert all(0.5 <= abs(t - n) <= 2.0 for t, n in zip((start, other), neighbors, strict=True))
        assert [(int(f.mask[0, 0]), int(f.neighbor_mask[0, 0])) for f in clip.frames] == [
            (0, 2),
            (1, 3),
        ]
        assert not clip.salient


@pytest.mark.parametrize(("follow", "shift"), [(True, 0), (False, 12)])
def test_the_neighboring_mask_of_a_synthetic_clip_moves_with_its_object(follow, shift):
    texture = np.random.default_rng(0).integers(0, 256, (96, 160, 3), np.uint8)
    texture = cv2.GaussianBlur(texture, (0, 0), 2)

    def compose_clip(rng, times, masks_only=(), other_at=()):
        offsets = [0, 0, 12, 12]
        images = [np.roll(texture, offset, axis=1) for offset in offsets]
        images = [None if i in masks_only else image for i, image in enumerate(images)]
        masks = [np.roll(_square((96, 160)), offset, axis=1) for offset in offsets]
        return SimpleNamespace(images=images, masks=masks, salient=False, others=[])

    source = ComposeSource(SimpleNamespace(compose_clip=compose_clip), follow=follow)
    for frame in source.sample(np.random.default_rng(0)).frames:
        columns = [np.flatnonzero(m.any(axis=0)) for m in (frame.mask, frame.neighbor_mask)]
        assert abs(columns[1].mean() - columns[0].mean() - shift) < 1


def test_previous_masks_of_some_synthetic_clips_have_taken_in_another_object():
    image = cv2.GaussianBlur(
        np.random.default_rng(0).integers(0, 256, (96, 160, 3), np.uint8), (0, 0), 2
    )
    target = _square((96, 160))
    other = np.roll(target, 60, axis=1)

    def compose_clip(rng, times, masks_only, other_at):
        others = [other for _ in other_at]
        return SimpleNamespace(images=[image] * 4, masks=[target] * 4, salient=False, others=others)

    source = ComposeSource(SimpleNamespace(compose_clip=compose_clip))
    clips = [source.sample(np.random.default_rng(seed)) for seed in range(40)]
    taken_in = []
    for clip in clips:
        shown = {bool(frame.neighbor_mask[other == 1].mean() > 0.9) for frame in clip.frames}
        assert len(shown) == 1, "in both frames or in none"
        taken_in.append(shown.pop())
        for frame in clip.frames:
            assert frame.neighbor_mask[target == 1].mean() > 0.9
            np.testing.assert_array_equal(frame.mask, target)
    assert 10 <= sum(taken_in) <= 30


def test_mix_samples_by_weight():
    first, second, never = (_Constant(_square(side=side)) for side in (10, 20, 30))
    mix = MixedSource([(first, 3.0), (never, 0.0), (second, 1.0)])
    sampled = [mix.sample(np.random.default_rng(s)).frames[0] for s in range(400)]
    areas = [frame.mask.sum() for frame in sampled]
    assert areas.count(100) / 400 == pytest.approx(0.75, abs=0.07)
    assert areas.count(900) == 0
    for bad in ([], [(first, -1.0)], [(first, 0.0)]):
        with pytest.raises(UsageError):
            MixedSource(bad)
