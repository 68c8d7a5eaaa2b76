"""Training examples of OSMN: sources of image and guides, determinism."""

import numpy as np
import pytest

from deeplab_gygo.baselines.osmn.clips import GuidedClipMaker
from deeplab_gygo.baselines.osmn.config import OsmnTraining
from deeplab_gygo.baselines.osmn.guides import gaussian_guide
from deeplab_gygo.baselines.shared.config import flips_only
from deeplab_gygo.synthesis import augment
from deeplab_gygo.synthesis.augment import VOID
from deeplab_gygo.synthesis.clips import ClipFrame, RawClip
from deeplab_gygo.synthesis.config import AugmentConfig

SIZE = (64, 80)
RED, BLUE = (200, 30, 30), (30, 30, 200)
IDENTITY = flips_only()
IDENTITY.flip = 0.0


@pytest.fixture(autouse=True)
def fixed_aspect(monkeypatch):
    """Keeps the aspect, so that a view without augmentation is the image."""
    monkeypatch.setattr(augment, "_MAX_ASPECT", 1.0)


class _Cycle:
    """Source that returns given clips in turn."""

    def __init__(self, *clips):
        self.clips, self.sampled = clips, 0

    def sample(self, rng):
        clip = self.clips[self.sampled % len(self.clips)]
        self.sampled += 1
        return clip


def _mask(left, side=30):
    mask = np.zeros(SIZE, np.uint8)
    mask[20 : 20 + side, left : left + side] = 1
    return mask


def _frame(mask, color, neighbor=None):
    image = np.full((*mask.shape, 3), 10, np.uint8)
    image[mask == 1] = color
    return ClipFrame(image, mask, neighbor)


def _clip(first, second):
    return RawClip((first, second), True)


def _examples(*clips, step=0, **changes):
    values = {"crop": (64, 80), "scales": (1.0,), "seed": 1, "augment": IDENTITY}
    values |= {"center_perturbation": 0.0, "spread_perturbation": 1.0}
    config = OsmnTraining(**{**values, **changes})
    return GuidedClipMaker(_Cycle(*clips), config).examples(step, 0)


def _two_frames():
    return _clip(_frame(_mask(5), RED), _frame(_mask(40), BLUE))


def test_arrays_have_the_documented_shapes_and_types():
    examples = _examples(_two_frames())
    assert len(examples) == 2
    for example in examples:
        expected = {
            "image": ((*SIZE, 3), np.uint8),
            "mask": (SIZE, np.uint8),
            "spatial": ((*SIZE, 1), np.float32),
            "crop": ((224, 224, 3), np.uint8),
            "crop_mask": ((224, 224, 1), np.uint8),
        }
        assert {name: (a.shape, a.dtype.type) for name, a in example.items()} == expected


def test_a_batch_has_inputs_and_targets():
    config = OsmnTraining(crop=SIZE, scales=(1.0,))
    inputs, targets = GuidedClipMaker(_Cycle(_two_frames()), config)(0, 0)
    assert set(inputs) == {"image", "spatial", "crop", "crop_mask"}
    assert targets.shape == (2, *SIZE, 1) and inputs["image"].shape == (2, *SIZE, 3)


def test_the_crop_shows_the_other_frame_and_the_spatial_guide_the_neighboring_mask():
    first = _frame(_mask(5), RED, neighbor=_mask(9))
    second = _frame(_mask(40), BLUE, neighbor=_mask(33))
    one, two = _examples(_clip(first, second))
    np.testing.assert_array_equal(one["crop"][112, 112], BLUE)
    np.testing.assert_array_equal(two["crop"][112, 112], RED)
    for example, frame in ((one, first), (two, second)):
        np.testing.assert_array_equal(example["image"], frame.image)
        np.testing.assert_array_equal(example["mask"], frame.mask)
        expected = gaussian_guide(frame.neighbor_mask)
        np.testing.assert_allclose(example["spatial"], expected, atol=1e-5)


def test_without_a_neighbor_the_spatial_guide_is_of_the_mask_itself():
    one, _ = _examples(_two_frames())
    np.testing.assert_allclose(one["spatial"], gaussian_guide(_mask(5)), atol=1e-5)


@pytest.mark.parametrize("other", [np.zeros(SIZE, np.uint8), _mask(40, side=3)])
def test_a_frame_that_shows_too_little_is_replaced_by_the_other_as_visual_guide(other):
    one, two = _examples(_clip(_frame(_mask(5), RED), _frame(other, BLUE)))
    np.testing.assert_array_equal(one["crop"][112, 112], RED)
    np.testing.assert_array_equal(two["crop"][112, 112], RED)


def test_clips_without_a_visual_guide_are_sampled_again():
    empty = _frame(np.zeros(SIZE, np.uint8), RED)
    one, _ = _examples(_clip(empty, empty), _two_frames())
    assert one["mask"].any() and one["crop_mask"].any()


def test_void_stays_in_the_target_and_is_not_object_in_the_guides():
    mask = _mask(5)
    mask[:15] = VOID
    one, two = _examples(_clip(_frame(mask, RED), _frame(_mask(40), BLUE)))
    assert (one["mask"][:14] == VOID).all()
    np.testing.assert_allclose(one["spatial"], gaussian_guide(mask == 1), atol=1e-5)
    assert two["crop_mask"].mean() > 0.85


def test_a_still_gives_two_independent_views():
    frame = _frame(_mask(20), RED)
    one, two = _examples(_clip(frame, frame), augment=AugmentConfig())
    assert not np.array_equal(one["mask"], two["mask"])
    assert not np.array_equal(one["crop"], two["crop"])


def test_the_guide_dropout_is_the_configured_fraction():
    blank = [
        not example["spatial"].any()
        for step in range(100)
        for example in _examples(_two_frames(), guide_dropout=0.3, step=step)
    ]
    assert 0.2 < np.mean(blank) < 0.4


def test_a_clip_depends_on_seed_and_step_alone():
    options = {"augment": AugmentConfig(), "spread_perturbation": 1.4}
    same = [_examples(_two_frames(), step=3, **options)[0] for _ in range(2)]
    others = [
        _examples(_two_frames(), step=4, **options)[0],
        _examples(_two_frames(), step=3, seed=2, **options)[0],
    ]
    for name, array in same[0].items():
        np.testing.assert_array_equal(array, same[1][name])
    assert all(not np.array_equal(same[0]["image"], other["image"]) for other in others)
