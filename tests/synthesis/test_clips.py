"""Training clips: images, targets, guides and memory references of both frames."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from deeplab_gygo.datasets.registry import open_dataset
from deeplab_gygo.synthesis.augment import VOID, sample_view
from deeplab_gygo.synthesis.cache import MemoryCache
from deeplab_gygo.synthesis.clips import (
    FRAMES_PER_CLIP,
    ClipFrame,
    ConditioningDropout,
    RawClip,
    training_clip,
)
from deeplab_gygo.synthesis.config import AugmentConfig
from deeplab_gygo.synthesis.sources import VideoSource

SIZE = (64, 80)
CONFIG = AugmentConfig()
NO_DROPOUT = ConditioningDropout(guide=0.0, memory=0.0)
HALF = ConditioningDropout(guide=0.5, memory=0.5)


class _Constant:
    """A source of one clip."""

    def __init__(self, mask, neighbor=None, salient=True, other=None):
        second = mask if other is None else other
        self.clip = RawClip((_frame(mask, neighbor), _frame(second, neighbor)), salient)

    def sample(self, rng):
        return self.clip


def _frame(mask, neighbor=None):
    image = np.repeat((mask[..., None] == 1) * 100 + 50, 3, axis=2).astype(np.uint8)
    return ClipFrame(image, mask, neighbor)


def _square(side=36, size=(90, 120)):
    mask = np.zeros(size, np.uint8)
    mask[30 : 30 + side, 40 : 40 + side] = 1
    return mask


def _clips(source, count=60, dropout=HALF, config=CONFIG):
    return [training_clip(source, step, 0, 1, SIZE, config, dropout) for step in range(count)]


def _examples(*args, **options):
    return [example for clip in _clips(*args, **options) for example in clip]


def _share(examples, name):
    """Fraction of examples that have a conditioning."""
    return np.mean([example[name].any() for example in examples])


def test_arrays_of_a_clip():
    clip = training_clip(_Constant(_square()), 0, 0, 0, SIZE, CONFIG, NO_DROPOUT)
    assert len(clip) == FRAMES_PER_CLIP
    for example in clip:
        assert example["image"].shape == (*SIZE, 3) and example["image"].dtype == np.uint8
        assert example["mask"].shape == SIZE and set(np.unique(example["mask"])) == {0, 1}
        assert example["valid"].all()
        for name in ("guide", "reference"):
            assert example[name].shape == (*SIZE, 1) and example[name].dtype == np.float32
            assert set(np.unique(example[name])) == {-1.0, 1.0}


def test_a_clip_is_a_function_of_seed_step_and_clip():
    rng = np.random.default_rng(0)
    frames = [
        ClipFrame(rng.integers(0, 256, (90, 120, 3)).astype(np.uint8), _square(side), _square(side))
        for side in (20, 36)
    ]

    class Random:
        def sample(self, rng):
            order = rng.permutation(2)
            return RawClip((frames[order[0]], frames[order[1]]), bool(rng.random() < 0.5))

    def make(key):
        return training_clip(Random(), *key, SIZE, CONFIG, HALF)

    keys = [(step, clip, seed) for step in range(3) for clip in range(4) for seed in range(2)]
    alone = [make(key) for key in keys]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(make, reversed(keys)))[::-1]
    for one, other in zip(alone, together, strict=True):
        for example, same in zip(one, other, strict=True):
            for name in example:
                np.testing.assert_array_equal(example[name], same[name])
    different = {example["image"].tobytes() for clip in alone for example in clip}
    assert len(different) == FRAMES_PER_CLIP * len(keys)


def test_frames_of_a_still_are_two_views():
    one, other = training_clip(_Constant(_square()), 0, 0, 0, SIZE, CONFIG, NO_DROPOUT)
    assert (one["image"] != other["image"]).any() and (one["mask"] != other["mask"]).any()


def test_conditioning_dropout_of_salient_clips_has_the_given_rates():
    dropout = ConditioningDropout(guide=0.7, memory=0.3)
    examples = _examples(_Constant(_square(), _square()), 150, dropout)
    assert _share(examples, "guide") == pytest.approx(0.3, abs=0.08)
    assert _share(examples, "reference") == pytest.approx(0.7, abs=0.08)
    never = _examples(_Constant(_square()), 10, ConditioningDropout(guide=1.0, memory=1.0))
    assert not _share(never, "guide") and not _share(never, "reference")


def test_ambiguous_clips_are_conditioned_whatever_the_dropout():
    source = _Constant(_square(), _square(), salient=False)
    examples = _examples(source, 150, ConditioningDropout(guide=1.0, memory=1.0))
    assert 0.75 < _share(examples, "guide") < 0.93
    assert 0.7 < _share(examples, "reference") < 0.9


def _is_conditioned(clip, index):
    """Whether guide or memory identify the target of a frame."""
    return clip[index]["guide"].any() or clip[1 - index]["reference"].any()


def test_every_frame_of_an_ambiguous_clip_is_conditioned():
    clips = _clips(_Constant(_square(), _square(), salient=False), 150)
    assert all(_is_conditioned(clip, index) for clip in clips for index in range(FRAMES_PER_CLIP))
    # Some by the memory reference of the other frame alone.
    assert any(not example["guide"].any() for clip in clips for example in clip)


def test_a_frame_without_a_target_gives_no_reference_and_the_guide_replaces_it():
    empty = np.zeros((90, 120), np.uint8)
    clips = _clips(_Constant(_square(), _square(), salient=False, other=empty), 100)
    assert not any(clip[1]["reference"].any() for clip in clips)
    assert any(clip[0]["reference"].any() for clip in clips)
    assert all(_is_conditioned(clip, 0) for clip in clips)


def test_a_reference_is_the_mask_or_a_slight_deformation_of_it():
    overlaps = []
    for example in _examples(_Constant(_square()), 60, NO_DROPOUT):
        reference, mask = example["reference"][..., 0] > 0, example["mask"] > 0
        overlaps.append((reference & mask).sum() / (reference | mask).sum())
    assert np.mean(np.equal(overlaps, 1.0)) == pytest.approx(0.7, abs=0.15)
    assert min(overlaps) > 0.5 and np.mean(overlaps) < 0.999


def test_the_guide_of_an_ambiguous_clip_contains_the_target():
    source = _Constant(_square(), np.zeros((90, 120), np.uint8), salient=False)
    for example in _examples(source, 30):
        known = example["guide"].any()
        assert (example["guide"] > 0).any() or not example["mask"].any() or not known


def test_a_guide_without_a_neighbor_mask_is_deformed_more():
    def mean_iou(source):
        values = []
        for example in _examples(source, 40, NO_DROPOUT):
            guide, mask = example["guide"][..., 0] > 0, example["mask"] > 0
            values.append((guide & mask).sum() / max((guide | mask).sum(), 1))
        return np.mean(values)

    mask = _square()
    with_neighbor, without = mean_iou(_Constant(mask, mask)), mean_iou(_Constant(mask))
    assert 0.4 < without < with_neighbor - 0.03 < 0.95


def test_void_is_excluded_from_the_loss():
    mask = _square()
    mask[:, 60:] = VOID
    for example in training_clip(_Constant(mask), 0, 0, 0, SIZE, CONFIG, NO_DROPOUT):
        assert set(np.unique(example["mask"])) <= {0, 1}
        assert 0 < example["valid"].mean() < 1
        assert not example["mask"][example["valid"] == 0].any()
        assert set(np.unique(example["reference"])) <= {-1.0, 1.0}


def test_views_that_miss_the_target_are_resampled():
    blind = AugmentConfig(scale=(3.0, 3.0), object_in_crop=0.0)
    mask = _square(16)
    missed = []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        missed.append(not sample_view(_frame(mask).image, [mask], SIZE, blind, rng)[1][0].any())
    empty = [not e["mask"].any() for e in _examples(_Constant(mask), 60, config=blind)]
    assert 0.3 < np.mean(missed) and 0 < np.mean(empty) < 0.75 * np.mean(missed)


def test_a_frame_after_the_exit_of_its_object_is_kept():
    empty = np.zeros((90, 120), np.uint8)
    examples = _examples(_Constant(empty, _square(), salient=False), 20)
    assert all(not example["mask"].any() for example in examples)
    assert np.mean([(example["guide"] > 0).any() for example in examples]) > 0.8


def test_real_videos_give_examples(shared_data):
    dataset = open_dataset("davis2016", shared_data / "davis16")
    names = dataset.names("train")[:3]
    source = VideoSource(dataset, MemoryCache(1 << 27), names=names)
    examples = _examples(source, 6)
    assert np.mean([example["mask"].mean() for example in examples]) > 0.01
