"""Strokes of training: where a person would draw them, and what they correct."""

import numpy as np
import pytest

from deeplab_gygo.models.guide import encode_guide, guide_at_stride
from deeplab_gygo.synthesis import strokes as module
from deeplab_gygo.synthesis.clips import ClipFrame, RawClip
from deeplab_gygo.synthesis.config import AugmentConfig
from deeplab_gygo.synthesis.strokes import MAX_ROLLOUT, stroke_clip

SIZE = (96, 128)


class _Source:
    """An object of a color that nothing else has, at a place that depends on the seed."""

    def __init__(self, *, salient=True, empty=False):
        self.salient, self.empty = salient, empty

    def sample(self, rng):
        mask = np.zeros(SIZE, np.uint8)
        if not self.empty:
            top, left = int(rng.integers(8, 40)), int(rng.integers(8, 60))
            mask[top : top + 40, left : left + 50] = 1
        image = np.full((*SIZE, 3), 60, np.uint8)
        image[mask == 1] = (200, 40, 40)
        frame = ClipFrame(image, mask, None)
        return RawClip((frame, frame), self.salient)


def _examples(count, **options):
    augment = AugmentConfig(scale=(1.0, 1.0), rotate=0.0)
    clips = [stroke_clip(_Source(**options), step, 0, 7, SIZE, augment) for step in range(count)]
    return [example for clip in clips for example in clip]


@pytest.fixture(scope="module")
def examples():
    return _examples(150, salient=True)


def test_examples_have_the_grid_of_the_decoder(examples):
    grid = (SIZE[0] // 4, SIZE[1] // 4)
    for example in examples[:10]:
        assert example["image"].shape == (*SIZE, 3) and example["mask"].shape == SIZE
        assert example["guide"].shape == (*grid, 2) and example["truth"].shape == (*grid, 1)
        assert set(np.unique(example["guide"])) <= {-1.0, 0.0, 1.0}
    assert {int(e["rollout"]) for e in examples} == set(range(MAX_ROLLOUT + 1))


def test_the_same_clip_is_made_again():
    for first, again in zip(_examples(3), _examples(3), strict=True):
        for name in first:
            np.testing.assert_array_equal(first[name], again[name])


def test_first_strokes_inside_are_on_the_object_and_those_outside_are_not():
    shown = np.zeros((24, 32), np.uint8)
    shown[6:16, 8:20] = 1
    outside = 0
    for seed in range(100):
        for stroke in module._first_strokes(shown, np.random.default_rng(seed)):
            for x, y in stroke.points:
                assert shown[int(y), int(x)] == stroke.inside
            outside += not stroke.inside
    assert 30 < outside < 160


def test_corrections_are_in_the_largest_errors():
    shown, found = np.zeros((2, 24, 32), np.uint8)
    shown[4:20, 4:28] = 1
    found[4:20, 4:16] = 1  # the right half is missed
    found[0:3, 28:32] = 1  # a small part is no object
    first, *_ = module._corrections(found, shown, 3, np.random.default_rng(0))
    ((x, y),) = first.points
    assert first.inside and 16 <= x < 28 and 4 <= y < 20
    extra = module._corrections(np.ones_like(shown), shown, 1, np.random.default_rng(0))
    assert [stroke.inside for stroke in extra] == [False]
    assert module._corrections(shown, shown, 3, np.random.default_rng(0)) == []


def test_some_examples_correct_a_mask_and_some_have_no_stroke(examples):
    priors = [e["guide"][..., 0].any() for e in examples]
    unguided = [not e["guide"].any() for e in examples]
    assert 0.3 < np.mean(priors) < 0.6 and 0 < np.mean(unguided) < 0.2
    wrong = [
        np.mean((e["guide"][..., 0] > 0) != (e["truth"][..., 0] > 0))
        for e, prior in zip(examples, priors, strict=True)
        if prior
    ]
    assert np.mean(wrong) > 0.02


def test_an_object_that_the_image_does_not_show_alone_is_always_pointed_at():
    guides = [e["guide"] for e in _examples(60, salient=False)]
    assert all(guide.any() for guide in guides)


def test_nothing_is_learned_where_nothing_is_shown():
    for example in _examples(4, empty=True):
        assert (example["mask"] == 255).all() and not example["guide"].any()


def test_the_truth_is_that_of_the_mask(examples):
    for example in examples[:5]:
        coded = encode_guide((example["mask"] == 1).astype(np.uint8), SIZE)
        np.testing.assert_array_equal(example["truth"], guide_at_stride(coded))
