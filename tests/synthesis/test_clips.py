"""Training clips: what of each moment is told to the network, and when."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from deeplab_gygo.datasets.registry import open_dataset
from deeplab_gygo.synthesis.augment import VOID, sample_view
from deeplab_gygo.synthesis.cache import MemoryCache
from deeplab_gygo.synthesis.clips import MOMENTS, Moment, RawClip, Telling, training_clip
from deeplab_gygo.synthesis.config import AugmentConfig
from deeplab_gygo.synthesis.sources import VideoSource

SIZE = (64, 80)
CONFIG = AugmentConfig()
ALWAYS = Telling(guide_dropout=0.0, memory_dropout=0.0)
HALF = Telling(guide_dropout=0.5, memory_dropout=0.5)


class _Fixed:
    """A source that always gives the same clip."""

    def __init__(self, mask, near=None, salient=True, other=None):
        self.clip = RawClip((_moment(mask, near), _moment(mask if other is None else other, near)),
                            salient)  # fmt: skip

    def draw(self, rng):
        return self.clip


def _moment(mask, near=None):
    image = np.repeat((mask[..., None] == 1) * 100 + 50, 3, axis=2).astype(np.uint8)
    return Moment(image, mask, near)


def _square(side=36, size=(90, 120)):
    mask = np.zeros(size, np.uint8)
    mask[30 : 30 + side, 40 : 40 + side] = 1
    return mask


def _clips(source, count=60, telling=HALF, config=CONFIG):
    return [training_clip(source, step, 0, 1, SIZE, config, telling) for step in range(count)]


def _examples(*args, **options):
    return [example for clip in _clips(*args, **options) for example in clip]


def _share(examples, name):
    """Share of examples for which something is known."""
    return np.mean([example[name].any() for example in examples])


def test_a_clip_has_the_promised_arrays():
    clip = training_clip(_Fixed(_square()), 0, 0, 0, SIZE, CONFIG, ALWAYS)
    assert len(clip) == MOMENTS
    for example in clip:
        assert example["image"].shape == (*SIZE, 3) and example["image"].dtype == np.uint8
        assert example["mask"].shape == SIZE and set(np.unique(example["mask"])) == {0, 1}
        assert example["valid"].all()
        for name in ("guide", "reference"):
            assert example[name].shape == (*SIZE, 1) and example[name].dtype == np.float32
            assert set(np.unique(example[name])) == {-1.0, 1.0}


def test_a_clip_is_a_function_of_seed_step_and_clip():
    rng = np.random.default_rng(0)
    moments = [
        Moment(rng.integers(0, 256, (90, 120, 3)).astype(np.uint8), _square(side), _square(side))
        for side in (20, 36)
    ]

    class Drawn:
        def draw(self, rng):
            order = rng.permutation(2)
            return RawClip((moments[order[0]], moments[order[1]]), bool(rng.random() < 0.5))

    def make(key):
        return training_clip(Drawn(), *key, SIZE, CONFIG, HALF)

    keys = [(step, clip, seed) for step in range(3) for clip in range(4) for seed in range(2)]
    alone = [make(key) for key in keys]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(make, reversed(keys)))[::-1]
    for one, other in zip(alone, together, strict=True):
        for example, same in zip(one, other, strict=True):
            for name in example:
                np.testing.assert_array_equal(example[name], same[name])
    different = {example["image"].tobytes() for clip in alone for example in clip}
    assert len(different) == MOMENTS * len(keys)


def test_the_moments_of_a_still_are_two_views():
    one, other = training_clip(_Fixed(_square()), 0, 0, 0, SIZE, CONFIG, ALWAYS)
    assert (one["image"] != other["image"]).any() and (one["mask"] != other["mask"]).any()


# === Who is told what ===


def test_where_the_target_is_clear_guide_and_memory_are_left_out_as_often_as_asked():
    telling = Telling(guide_dropout=0.7, memory_dropout=0.3)
    examples = _examples(_Fixed(_square(), _square()), 150, telling)
    assert _share(examples, "guide") == pytest.approx(0.3, abs=0.08)
    assert _share(examples, "reference") == pytest.approx(0.7, abs=0.08)
    never = _examples(_Fixed(_square()), 10, Telling(guide_dropout=1.0, memory_dropout=1.0))
    assert not _share(never, "guide") and not _share(never, "reference")


def test_where_the_target_is_not_clear_help_does_not_depend_on_what_was_asked():
    source = _Fixed(_square(), _square(), salient=False)
    examples = _examples(source, 150, Telling(guide_dropout=1.0, memory_dropout=1.0))
    assert 0.75 < _share(examples, "guide") < 0.93  # and so most learn without, too
    assert 0.7 < _share(examples, "reference") < 0.9


def _is_named(clip, index):
    """Whether something says which object of the moment is meant."""
    return clip[index]["guide"].any() or clip[1 - index]["reference"].any()


def test_where_the_target_is_not_clear_every_moment_is_told_something():
    clips = _clips(_Fixed(_square(), _square(), salient=False), 150)
    assert all(_is_named(clip, index) for clip in clips for index in range(MOMENTS))
    # And some are told by nothing but the reference that the other moment offers.
    assert any(not example["guide"].any() for clip in clips for example in clip)


def test_a_moment_without_a_target_offers_nothing_and_the_guide_stands_in():
    empty = np.zeros((90, 120), np.uint8)
    clips = _clips(_Fixed(_square(), _square(), salient=False, other=empty), 100)
    assert not any(clip[1]["reference"].any() for clip in clips)
    assert any(clip[0]["reference"].any() for clip in clips)
    assert all(_is_named(clip, 0) for clip in clips)


def test_a_reference_is_the_mask_itself_or_one_like_it():
    overlaps = []
    for example in _examples(_Fixed(_square()), 60, ALWAYS):
        offered, mask = example["reference"][..., 0] > 0, example["mask"] > 0
        overlaps.append((offered & mask).sum() / (offered | mask).sum())
    assert np.mean(np.equal(overlaps, 1.0)) == pytest.approx(0.7, abs=0.15)
    assert min(overlaps) > 0.5 and np.mean(overlaps) < 0.999


# === Guides ===


def test_the_guide_names_the_target_where_only_it_can():
    source = _Fixed(_square(), np.zeros((90, 120), np.uint8), salient=False)
    for example in _examples(source, 30):
        known = example["guide"].any()
        assert (example["guide"] > 0).any() or not example["mask"].any() or not known


def test_a_guide_without_a_mask_nearby_is_deformed_more():
    def overlap(source):
        values = []
        for example in _examples(source, 40, ALWAYS):
            guide, mask = example["guide"][..., 0] > 0, example["mask"] > 0
            values.append((guide & mask).sum() / max((guide | mask).sum(), 1))
        return np.mean(values)

    mask = _square()
    with_near, without = overlap(_Fixed(mask, mask)), overlap(_Fixed(mask))
    assert 0.4 < without < with_near - 0.03 < 0.95


# === Views ===


def test_void_does_not_count():
    mask = _square()
    mask[:, 60:] = VOID
    for example in training_clip(_Fixed(mask), 0, 0, 0, SIZE, CONFIG, ALWAYS):
        assert set(np.unique(example["mask"])) <= {0, 1}
        assert 0 < example["valid"].mean() < 1
        assert not example["mask"][example["valid"] == 0].any()
        assert set(np.unique(example["reference"])) <= {-1.0, 1.0}


def test_views_that_miss_the_target_are_drawn_again():
    blind = AugmentConfig(scale=(3.0, 3.0), object_in_crop=0.0)
    mask = _square(16)
    missed = []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        missed.append(not sample_view(_moment(mask).image, [mask], SIZE, blind, rng)[1][0].any())
    empty = [not e["mask"].any() for e in _examples(_Fixed(mask), 60, config=blind)]
    assert 0.3 < np.mean(missed) and 0 < np.mean(empty) < 0.75 * np.mean(missed)


def test_a_picture_whose_object_has_left_is_kept():
    empty = np.zeros((90, 120), np.uint8)
    examples = _examples(_Fixed(empty, _square(), salient=False), 20)
    assert all(not example["mask"].any() for example in examples)
    assert np.mean([(example["guide"] > 0).any() for example in examples]) > 0.8


def test_real_videos_give_examples(shared_data):
    dataset = open_dataset("davis2016", shared_data / "davis16")
    names = dataset.names("train")[:3]
    source = VideoSource(dataset, MemoryCache(1 << 27), names=names)
    examples = _examples(source, 6)
    assert np.mean([example["mask"].mean() for example in examples]) > 0.01
