"""Coding, mixing and augmentation of the decoder's guide."""

import numpy as np
import pytest
from keras import ops

from deeplab_gygo.errors import InputError
from deeplab_gygo.models.guide import (
    deform_guide,
    encode_guide,
    encode_probability,
    guide_at_stride,
)


def _disk(height=120, width=160, center=(60, 80), radius=25):
    y, x = np.mgrid[:height, :width]
    return ((y - center[0]) ** 2 + (x - center[1]) ** 2 <= radius**2).astype(np.uint8)


def _overlaps(mask, strength, count=80):
    guides = [deform_guide(mask, np.random.default_rng(s), strength) for s in range(count)]
    return [np.count_nonzero(g & mask) / np.count_nonzero(g | mask) for g in guides]


def test_encoding():
    mask = np.zeros((4, 6), np.uint8)
    mask[1, 2] = 7
    guide = encode_guide(mask, (4, 6))
    assert guide.dtype == np.float32 and guide.shape == (4, 6, 1)
    assert guide[1, 2, 0] == 1.0
    assert (np.delete(guide.ravel(), 1 * 6 + 2) == -1.0).all()
    assert not encode_guide(None, (4, 6)).any()


def test_encoding_resizes():
    guide = encode_guide(_disk(), (60, 80))
    assert guide.shape == (60, 80, 1)
    assert (guide > 0).mean() == pytest.approx(_disk().mean(), rel=0.05)


def test_guide_is_averaged_over_blocks():
    guide = -np.ones((8, 8, 1), np.float32)
    guide[:4, :2] = 1.0
    averaged = guide_at_stride(guide)
    assert averaged.dtype == np.float32 and averaged.shape == (2, 2, 1)
    np.testing.assert_array_equal(averaged[..., 0], [[0.0, -1.0], [-1.0, -1.0]])


def test_blocks_of_a_batch_and_of_tensors_are_averaged_alike():
    guides = np.random.default_rng(0).uniform(-1, 1, (3, 8, 12, 1)).astype(np.float32)
    batch = guide_at_stride(guides)
    np.testing.assert_allclose(batch, np.stack([guide_at_stride(g) for g in guides]), atol=1e-7)
    tensors = guide_at_stride(ops.convert_to_tensor(guides), ops=ops)
    np.testing.assert_allclose(ops.convert_to_numpy(tensors), batch, atol=1e-7)


def test_probabilities_are_coded_from_background_to_object():
    np.testing.assert_array_equal(encode_probability(np.array([0.0, 0.25, 1.0])), [-1.0, -0.5, 1.0])


def test_encoding_refuses_channels():
    with pytest.raises(InputError, match="two axes"):
        encode_guide(np.zeros((4, 6, 3), np.uint8), (4, 6))


def test_no_strength_changes_nothing():
    mask = _disk() * 255
    guide = deform_guide(mask, np.random.default_rng(0), 0.0)
    np.testing.assert_array_equal(guide, _disk())


def test_deformed_masks_resemble_the_true_one_and_differ_from_it():
    overlaps = _overlaps(_disk(), 1.0)
    assert 0.5 < np.mean(overlaps) < 0.9
    assert max(overlaps) < 1.0
    assert np.std(overlaps) > 0.05


def test_more_strength_deforms_more():
    means = [np.mean(_overlaps(_disk(), strength)) for strength in (0.2, 0.8, 1.8)]
    assert means[0] > means[1] + 0.03 > means[2] + 0.06


def test_area_is_not_biased_much():
    mask = _disk()
    areas = [deform_guide(mask, np.random.default_rng(s)).sum() / mask.sum() for s in range(150)]
    assert 0.8 < np.median(areas) < 1.25


@pytest.mark.parametrize(
    "mask",
    [
        _disk(radius=1),
        _disk(center=(0, 0), radius=12),
        np.ones((50, 70), np.uint8),
        np.eye(60, dtype=np.uint8),
    ],
    ids=["tiny", "corner", "full", "thin"],
)
def test_never_empty_when_the_object_is_there(mask):
    for seed in range(60):
        before = mask.copy()
        guide = deform_guide(mask, np.random.default_rng(seed), 1.5)
        assert guide.any()
        assert guide.shape == mask.shape and guide.dtype == np.uint8 and guide.max() == 1
        np.testing.assert_array_equal(mask, before)


def test_empty_mask_stays_empty_but_for_rare_false_positives():
    empty = np.zeros((60, 80), np.uint8)
    filled = [deform_guide(empty, np.random.default_rng(s)).any() for s in range(200)]
    assert 0.03 < np.mean(filled) < 0.35


def test_same_seed_same_guide():
    guides = [deform_guide(_disk(), np.random.default_rng(4)) for _ in range(2)]
    np.testing.assert_array_equal(*guides)
