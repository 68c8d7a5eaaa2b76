"""Sources of training samples and the examples made from them."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from deeplab_gygo.config import AugmentConfig
from deeplab_gygo.data.augment import VOID
from deeplab_gygo.data.cache import MemoryCache
from deeplab_gygo.data.datasets import open_dataset
from deeplab_gygo.data.sources import (
    MixedSource,
    RawSample,
    StillsSource,
    VideoSource,
    training_example,
)
from deeplab_gygo.errors import InputError, UsageError

SIZE = (64, 80)
CONFIG = AugmentConfig()


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


class _Fixed:
    """A source that always gives the same sample."""

    def __init__(self, mask, previous=None, salient=True):
        image = np.repeat(mask[..., None] * 100 + 50, 3, axis=2).astype(np.uint8)
        self.sample = RawSample(image, mask, previous, salient)

    def draw(self, rng):
        return self.sample


def _square(size=(90, 120), side=36):
    mask = np.zeros(size, np.uint8)
    mask[30 : 30 + side, 40 : 40 + side] = 1
    return mask


def _examples(source, count=60, guide_dropout=0.5, seed=1):
    return [
        training_example(source, step, 0, seed, SIZE, CONFIG, guide_dropout)
        for step in range(count)
    ]


def test_cache_keeps_the_latest_within_its_limit():
    cache, made = MemoryCache(3500), []

    def fetch(key):
        return cache.get(key, lambda: made.append(key) or np.zeros(1000, np.uint8))

    for key in "aba":
        fetch(key)
    fetch("c")
    fetch("d")  # drops b, the one not used for longest
    assert made == list("abcd") and cache.used_bytes <= 3500 and len(cache) == 3
    fetch("a")
    fetch("b")
    assert made == list("abcdb")


def test_cache_does_not_keep_what_exceeds_its_limit():
    cache = MemoryCache(100)
    assert cache.get("x", lambda: np.ones(500, np.uint8)).sum() == 500
    assert len(cache) == 0 and cache.used_bytes == 0
    with pytest.raises(UsageError):
        MemoryCache(-1)


def test_cache_under_threads_counts_right():
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


def test_video_draws_a_frame_with_a_neighbor():
    source = VideoSource(_Dataset(), MemoryCache(1 << 22), max_gap=2)
    gaps = set()
    for seed in range(80):
        sample = source.draw(np.random.default_rng(seed))
        now = int(sample.image[0, 0, 0])
        left = int(np.flatnonzero(sample.mask.any(axis=0))[0])
        assert left == 10 + 5 * now, "mask and frame must belong together"
        before = (int(np.flatnonzero(sample.previous_mask.any(axis=0))[0]) - 10) // 5
        gaps.add(abs(before - now))
        assert sample.salient
    assert gaps == {1, 2}


def test_video_leaves_out_what_is_held_back_and_takes_named_sequences():
    dataset = _Dataset()
    cache = MemoryCache(1 << 22)
    assert VideoSource(dataset, cache, exclude=["ride"]).names == ["walk"]
    assert VideoSource(dataset, cache, names=["ride"]).names == ["ride"]
    with pytest.raises(UsageError, match="at least one sequence"):
        VideoSource(dataset, cache, exclude=["ride", "walk"])
    with pytest.raises(InputError, match="2 without, first walk"):
        VideoSource(_Dataset(count=0), cache)


def test_video_decodes_each_frame_once_while_memory_lasts():
    dataset = _Dataset()
    source = VideoSource(dataset, MemoryCache(1 << 22))
    for seed in range(200):
        source.draw(np.random.default_rng(seed))
    assert dataset.decoded == 16


def test_video_reduces_large_frames():
    source = VideoSource(_Dataset(size=(80, 120)), MemoryCache(1 << 22), short_side=40)
    sample = source.draw(np.random.default_rng(0))
    assert sample.image.shape == (40, 60, 3)
    assert sample.mask.shape == sample.previous_mask.shape == (40, 60)


def test_video_mostly_skips_frames_without_object():
    source = VideoSource(_Dataset(empty=(0, 1, 2, 3)), MemoryCache(1 << 22))
    empty = [not source.draw(np.random.default_rng(s)).mask.any() for s in range(400)]
    assert 0 < np.mean(empty) < 0.06


def test_video_of_one_frame_is_its_own_neighbor():
    source = VideoSource(_Dataset(count=1), MemoryCache(1 << 22))
    sample = source.draw(np.random.default_rng(0))
    np.testing.assert_array_equal(sample.mask, sample.previous_mask)


def test_one_object_of_several_is_drawn_and_void_is_kept():
    dataset = _Dataset()
    dataset.multi_object = True
    labels = np.zeros((60, 90), np.uint8)
    labels[10:20, 10:20], labels[30:40, 30:45], labels[:, 80:] = 1, 5, VOID
    dataset.annotation = lambda name, index: labels
    source = VideoSource(dataset, MemoryCache(1 << 22))
    areas = set()
    for seed in range(30):
        sample = source.draw(np.random.default_rng(seed))
        assert not sample.salient
        areas.add(np.count_nonzero(sample.mask == 1))
        np.testing.assert_array_equal(sample.mask == VOID, labels == VOID)
        np.testing.assert_array_equal(sample.mask, sample.previous_mask)
    assert areas == {100, 150}
    assert labels.max() == VOID and (labels == 5).any(), "the dataset's arrays stay as they are"


def test_stills_have_no_previous_mask(tmp_path):
    for part, value in (("images", np.zeros((50, 60, 3), np.uint8)), ("masks", _square((50, 60)))):
        (tmp_path / part).mkdir()
        cv2.imwrite(str(tmp_path / part / "one.png"), value * 255)
    sample = StillsSource(tmp_path, MemoryCache(1 << 20)).draw(np.random.default_rng(0))
    assert sample.previous_mask is None and sample.salient
    np.testing.assert_array_equal(sample.mask, _square((50, 60)))


def test_mix_draws_by_weight():
    first, second, never = (_Fixed(_square(side=side)) for side in (10, 20, 30))
    mix = MixedSource([(first, 3.0), (never, 0.0), (second, 1.0)])
    areas = [mix.draw(np.random.default_rng(s)).mask.sum() for s in range(400)]
    assert areas.count(100) / 400 == pytest.approx(0.75, abs=0.07)
    assert areas.count(900) == 0
    for bad in ([], [(first, -1.0)], [(first, 0.0)]):
        with pytest.raises(UsageError):
            MixedSource(bad)


def test_example_has_the_promised_arrays():
    example = training_example(_Fixed(_square()), 0, 0, 0, SIZE, CONFIG, 0.0)
    assert example["image"].shape == (*SIZE, 3) and example["image"].dtype == np.uint8
    assert example["mask"].shape == SIZE and set(np.unique(example["mask"])) == {0, 1}
    assert example["valid"].all()
    assert example["guide"].shape == (*SIZE, 1) and example["guide"].dtype == np.float32
    assert set(np.unique(example["guide"])) == {-1.0, 1.0}


def test_example_is_a_function_of_seed_step_and_item():
    source = VideoSource(_Dataset(), MemoryCache(30_000))

    def make(key):
        return training_example(source, key[0], key[1], key[2], SIZE, CONFIG, 0.5)

    keys = [(step, item, seed) for step in range(3) for item in range(4) for seed in range(2)]
    alone = [make(key) for key in keys]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(make, reversed(keys)))[::-1]
    for one, other in zip(alone, together, strict=True):
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])
    different = {example["image"].tobytes() + example["mask"].tobytes() for example in alone}
    assert len(different) == len(keys)


def test_guide_is_dropped_only_where_the_target_is_clear():
    mask = _square()
    for salient, expected in ((True, 0.5), (False, 0.0)):
        examples = _examples(_Fixed(mask, mask, salient), 120)
        unknown = np.mean([not example["guide"].any() for example in examples])
        assert unknown == pytest.approx(expected, abs=0.14 if salient else 0)
    assert all(not e["guide"].any() for e in _examples(_Fixed(mask), 10, guide_dropout=1.0))


def test_guide_names_the_target_where_only_it_can():
    source = _Fixed(_square(), np.zeros((90, 120), np.uint8), salient=False)
    for example in _examples(source, 30):
        assert (example["guide"] > 0).any() or not example["mask"].any()


def test_guide_without_previous_mask_is_deformed_more():
    def overlap(source):
        values = []
        for example in _examples(source, 80, guide_dropout=0.0):
            guide, mask = example["guide"][..., 0] > 0, example["mask"] > 0
            values.append((guide & mask).sum() / max((guide | mask).sum(), 1))
        return np.mean(values)

    mask = _square()
    with_previous, without = overlap(_Fixed(mask, mask)), overlap(_Fixed(mask))
    assert 0.4 < without < with_previous - 0.03 < 0.95


def test_void_does_not_count():
    mask = _square()
    mask[:, 60:] = VOID
    example = training_example(_Fixed(mask), 0, 0, 0, SIZE, CONFIG, 0.0)
    assert set(np.unique(example["mask"])) <= {0, 1}
    assert 0 < example["valid"].mean() < 1
    assert not example["mask"][example["valid"] == 0].any()


def test_tiny_targets_are_drawn_again():
    class Mixed:
        def __init__(self):
            self.tiny, self.large = _Fixed(_square(side=2)).sample, _Fixed(_square()).sample

        def draw(self, rng):
            return self.tiny if rng.random() < 0.5 else self.large

    small = [0 < e["mask"].mean() < 0.002 for e in _examples(Mixed(), 80)]
    assert np.mean(small) < 0.15


def test_a_picture_whose_object_has_left_is_kept():
    empty = np.zeros((90, 120), np.uint8)
    examples = _examples(_Fixed(empty, _square(), salient=False), 20)
    assert all(not example["mask"].any() for example in examples)
    assert np.mean([(example["guide"] > 0).any() for example in examples]) > 0.8


def test_real_videos_give_examples(shared_data):
    dataset = open_dataset("davis2016", shared_data / "davis16")
    names = dataset.names("train")[:3]
    source = VideoSource(dataset, MemoryCache(1 << 27), names=names)
    examples = _examples(source, 12)
    assert np.mean([example["mask"].mean() for example in examples]) > 0.01
