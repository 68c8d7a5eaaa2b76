"""Examples of OSMN and OSVOS: which moment tells what, and what a clip depends on."""

import numpy as np
import pytest

from deeplab_gygo.baselines.osmn.guided_clips import Guiding, guided_clip, plain_clip
from deeplab_gygo.baselines.osmn.guides import gaussian_guide
from deeplab_gygo.baselines.shared.config import plain_pictures
from deeplab_gygo.synthesis import augment
from deeplab_gygo.synthesis.augment import VOID
from deeplab_gygo.synthesis.clips import ClipFrame, RawClip
from deeplab_gygo.synthesis.config import AugmentConfig

SIZE = (64, 80)
STILL = plain_pictures()
STILL.flip = 0.0
EXACT = Guiding(center=0.0, spread=1.0)


@pytest.fixture(autouse=True)
def plain_views(monkeypatch):
    """Views keep the aspect of the picture, so that one without augmentation is the picture."""
    monkeypatch.setattr(augment, "_MAX_ASPECT", 1.0)


class _Given:
    """A source that gives the same clips in turn."""

    def __init__(self, *clips):
        self.clips, self.drawn = clips, 0

    def sample(self, rng):
        clip = self.clips[self.drawn % len(self.clips)]
        self.drawn += 1
        return clip


def _mask(left, side=30, size=SIZE):
    mask = np.zeros(size, np.uint8)
    mask[20 : 20 + side, left : left + side] = 1
    return mask


def _moment(mask, color, near=None):
    image = np.full((*mask.shape, 3), 10, np.uint8)
    image[mask == 1] = color
    return ClipFrame(image, mask, near)


def _clip(first, second, salient=True):
    return RawClip((first, second), salient)


def _examples(*clips, changes=STILL, guiding=EXACT, step=0, seed=1):
    return guided_clip(_Given(*clips), step, 0, seed, SIZE, changes, guiding)


RED, BLUE = (200, 30, 30), (30, 30, 200)


def test_an_example_has_the_promised_arrays():
    examples = _examples(_clip(_moment(_mask(5), RED), _moment(_mask(40), BLUE)))
    assert len(examples) == 2
    for example in examples:
        assert example["image"].shape == (*SIZE, 3) and example["image"].dtype == np.uint8
        assert example["mask"].shape == SIZE and example["mask"].dtype == np.uint8
        assert example["spatial"].shape == (*SIZE, 1) and example["spatial"].dtype == np.float32
        assert example["crop"].shape == (224, 224, 3) and example["crop"].dtype == np.uint8
        assert example["crop_mask"].shape == (224, 224, 1)
        assert example["crop_mask"].dtype == np.uint8


def test_the_crop_is_of_the_other_moment_and_the_guide_of_the_frame_before():
    first = _moment(_mask(5), RED, near=_mask(9))
    second = _moment(_mask(40), BLUE, near=_mask(33))
    one, two = _examples(_clip(first, second))
    np.testing.assert_array_equal(one["crop"][112, 112], BLUE)
    np.testing.assert_array_equal(two["crop"][112, 112], RED)
    for example, moment in ((one, first), (two, second)):
        np.testing.assert_array_equal(example["image"], moment.image)
        np.testing.assert_array_equal(example["mask"], moment.mask)
        np.testing.assert_allclose(example["spatial"], gaussian_guide(moment.neighbor_mask), atol=1e-5)


def test_without_a_neighbor_the_guide_is_of_the_mask_itself():
    one, _ = _examples(_clip(_moment(_mask(5), RED), _moment(_mask(40), BLUE)))
    np.testing.assert_allclose(one["spatial"], gaussian_guide(_mask(5)), atol=1e-5)


@pytest.mark.parametrize("other", [np.zeros(SIZE, np.uint8), _mask(40, side=3)])
def test_a_moment_that_shows_too_little_gives_way_to_the_same_one(other):
    one, two = _examples(_clip(_moment(_mask(5), RED), _moment(other, BLUE)))
    np.testing.assert_array_equal(one["crop"][112, 112], RED)
    np.testing.assert_array_equal(two["crop"][112, 112], RED)


def test_clips_without_a_visual_guide_are_passed_over():
    nothing = _moment(np.zeros(SIZE, np.uint8), RED)
    found = _clip(_moment(_mask(5), RED), _moment(_mask(40), BLUE))
    one, _ = _examples(_clip(nothing, nothing), found)
    assert one["mask"].any() and one["crop_mask"].any()


def test_void_is_kept_in_the_target_and_no_part_of_the_guides():
    mask = _mask(5)
    mask[:15] = VOID
    one, two = _examples(_clip(_moment(mask, RED), _moment(_mask(40), BLUE)))
    assert (one["mask"][:14] == VOID).all()
    np.testing.assert_allclose(one["spatial"], gaussian_guide(mask == 1), atol=1e-5)
    assert two["crop_mask"].mean() > 0.85


def test_a_still_gives_two_independent_views():
    moment = _moment(_mask(20), RED)
    one, two = _examples(_clip(moment, moment), changes=AugmentConfig())
    assert not np.array_equal(one["mask"], two["mask"])
    assert not np.array_equal(one["crop"], two["crop"])


def test_guides_are_left_out_at_their_share():
    clip = _clip(_moment(_mask(5), RED), _moment(_mask(40), BLUE))
    guiding = Guiding(dropout=0.3)
    blank = [
        not example["spatial"].any()
        for step in range(100)
        for example in _examples(clip, guiding=guiding, step=step)
    ]
    assert 0.2 < np.mean(blank) < 0.4


def test_a_clip_depends_on_seed_and_step_alone():
    clip = _clip(_moment(_mask(5), RED), _moment(_mask(40), BLUE))
    options = dict(changes=AugmentConfig(), guiding=Guiding())
    same = [_examples(clip, step=3, **options)[0] for _ in range(2)]
    others = [_examples(clip, step=4, **options)[0], _examples(clip, step=3, seed=2, **options)[0]]
    for name, array in same[0].items():
        np.testing.assert_array_equal(array, same[1][name])
    assert all(not np.array_equal(same[0]["image"], other["image"]) for other in others)


def test_osvos_sees_only_what_is_clear_by_itself():
    hidden = _clip(_moment(_mask(5), RED), _moment(_mask(5), RED), salient=False)
    clear = _clip(_moment(_mask(40), BLUE), _moment(_mask(30), BLUE))
    for moments in (1, 2):
        examples = plain_clip(_Given(hidden, hidden, clear), 0, 0, 1, SIZE, STILL, moments)
        assert [set(e) for e in examples] == [{"image", "mask"}] * moments
        np.testing.assert_array_equal(examples[0]["mask"], _mask(40))
        np.testing.assert_array_equal(examples[0]["image"], clear.frames[0].image)
