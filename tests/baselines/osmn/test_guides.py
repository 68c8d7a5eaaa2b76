"""The two guides of OSMN: center and spread of the Gaussian, content of the crop."""

import cv2
import numpy as np
import pytest

from deeplab_gygo.baselines.osmn.guides import (
    CENTER_PERTURBATION,
    CROP_SIZE,
    MAD_TO_SIGMA,
    MIN_SIGMA,
    SPREAD_PERTURBATION,
    gaussian_guide,
    visual_crop,
)
from deeplab_gygo.errors import InputError


def _box(top, left, height, width, size=(120, 160)):
    mask = np.zeros(size, np.uint8)
    mask[top : top + height, left : left + width] = 1
    return mask


def _measured(guide):
    """Center and standard deviation of a Gaussian along both axes, from its profiles."""
    result = []
    for axis in (1, 0):
        profile = guide[..., 0].sum(axis)
        positions = np.arange(len(profile))
        center = (positions * profile).sum() / profile.sum()
        result.append(
            (center, np.sqrt(((positions - center) ** 2 * profile).sum() / profile.sum()))
        )
    return result


def test_the_peak_is_the_median_and_the_spread_the_scaled_deviation():
    # Rows 30 to 50 and columns 40 to 80: medians 40 and 60, deviations 5 and 10.
    guide = gaussian_guide(_box(30, 40, 21, 41))
    assert guide.shape == (120, 160, 1) and guide.dtype == np.float32
    assert guide.max() == guide[40, 60, 0] == 1.0
    vertical, horizontal = 5 * MAD_TO_SIGMA, 10 * MAD_TO_SIGMA
    np.testing.assert_allclose(guide[47, 60, 0], np.exp(-0.5 * (7 / vertical) ** 2), rtol=1e-5)
    np.testing.assert_allclose(guide[40, 75, 0], np.exp(-0.5 * (15 / horizontal) ** 2), rtol=1e-5)
    np.testing.assert_allclose(
        guide[45, 50, 0],
        np.exp(-0.5 * ((5 / vertical) ** 2 + (10 / horizontal) ** 2)),
        rtol=1e-5,
    )


def test_a_small_object_has_the_least_spread():
    guide = gaussian_guide(_box(60, 80, 1, 1))
    for center, spread in _measured(guide):
        assert center in (pytest.approx(60), pytest.approx(80))
        assert spread == pytest.approx(MIN_SIGMA, rel=1e-3)


def test_an_even_number_of_rows_is_centered_between_two():
    guide = gaussian_guide(_box(30, 40, 20, 40))
    (row, _), (column, _) = _measured(guide)
    assert row == pytest.approx(39.5, abs=0.01) and column == pytest.approx(59.5, abs=0.01)


def test_outliers_hardly_move_the_guide():
    mask = _box(30, 40, 21, 41)
    mask[115:, 150:] = 1
    (row, _), (column, _) = _measured(gaussian_guide(mask))
    assert abs(row - 40) < 1.5 and abs(column - 60) < 1.5


@pytest.mark.parametrize("dtype", [np.uint8, bool])
def test_median_and_deviation_are_those_of_the_pixels(dtype):
    rng = np.random.default_rng(3)
    mask = np.zeros((120, 160), np.uint8)
    for _ in range(3):
        center = (int(rng.integers(50, 110)), int(rng.integers(40, 80)))
        cv2.ellipse(mask, center, (20, 11), 30, 0, 360, 1, -1)
    guide = gaussian_guide(mask.astype(dtype))
    rows, columns = np.nonzero(mask)
    centers = [np.median(positions) for positions in (rows, columns)]
    spreads = [
        max(MIN_SIGMA, MAD_TO_SIGMA * np.median(np.abs(positions - center)))
        for positions, center in zip((rows, columns), centers, strict=True)
    ]
    y, x = np.mgrid[:120, :160]
    expected = np.exp(
        -0.5 * (((y - centers[0]) / spreads[0]) ** 2 + ((x - centers[1]) / spreads[1]) ** 2)
    )
    np.testing.assert_allclose(guide[..., 0], expected, atol=1e-6)


def test_an_empty_mask_gives_a_blank_guide():
    assert not gaussian_guide(np.zeros((40, 50), np.uint8)).any()
    assert not gaussian_guide(np.zeros((40, 50), np.uint8), np.random.default_rng(0)).any()


def test_the_perturbation_is_within_its_bounds():
    mask, sigma = _box(50, 60, 21, 41), np.array([5, 10]) * MAD_TO_SIGMA
    centers, factors = [], []
    for seed in range(200):
        measured = np.array(_measured(gaussian_guide(mask, np.random.default_rng(seed))))
        centers.append((measured[:, 0] - (60, 80)) / sigma)
        factors.append(measured[:, 1] / sigma)
    # A wide Gaussian is truncated at the border, which biases the measurement.
    assert 0.8 * CENTER_PERTURBATION < np.abs(centers).max() < 1.1 * CENTER_PERTURBATION
    assert 1.3 < np.max(factors) < 1.02 * SPREAD_PERTURBATION
    assert 0.98 / SPREAD_PERTURBATION < np.min(factors) < 0.75


def test_bounds_of_the_perturbation_can_be_set():
    mask, rng = _box(50, 60, 21, 41), np.random.default_rng(0)
    still = gaussian_guide(mask, rng, center=0.0, spread=1.0)
    np.testing.assert_allclose(still, gaussian_guide(mask), atol=1e-6)


def _image(mask, inside=(200, 40, 40), outside=(20, 60, 180)):
    image = np.empty((*mask.shape, 3), np.uint8)
    image[:], image[mask > 0] = outside, inside
    return image


def test_the_crop_is_the_box_with_its_border_stretched_to_a_square():
    mask = _box(30, 40, 50, 100)
    crop, crop_mask = visual_crop(_image(mask), mask)
    assert crop.shape == (CROP_SIZE, CROP_SIZE, 3) and crop.dtype == np.uint8
    assert crop_mask.shape == (CROP_SIZE, CROP_SIZE) and set(np.unique(crop_mask)) == {0, 1}
    # Rows 28 to 81 (2 of 54 before the object), columns 37 to 142 (3 of 106).
    rows, columns = np.flatnonzero(crop_mask.any(1)), np.flatnonzero(crop_mask.any(0))
    assert rows[0] == pytest.approx(2 / 54 * CROP_SIZE, abs=1)
    assert rows[-1] + 1 == pytest.approx(52 / 54 * CROP_SIZE, abs=1)
    assert columns[0] == pytest.approx(3 / 106 * CROP_SIZE, abs=1)
    assert columns[-1] + 1 == pytest.approx(103 / 106 * CROP_SIZE, abs=1)
    np.testing.assert_array_equal(crop[CROP_SIZE // 2, CROP_SIZE // 2], (200, 40, 40))
    np.testing.assert_array_equal(crop[0, 0], (20, 60, 180))


def test_crop_and_mask_stay_aligned_under_perturbation():
    mask = np.zeros((120, 160), np.uint8)
    cv2.ellipse(mask, (80, 60), (45, 25), 20, 0, 360, 1, -1)
    image = _image(mask, (255, 255, 255), (0, 0, 0))
    for seed in range(10):
        crop, crop_mask = visual_crop(image, mask, np.random.default_rng(seed))
        shown = crop[..., 0] >= 128
        union = np.count_nonzero(shown | (crop_mask > 0))
        assert np.count_nonzero(shown & (crop_mask > 0)) > 0.97 * union, seed


def test_the_crop_is_a_function_of_the_generator():
    mask = _box(30, 40, 50, 70)
    mask[30:50, 40:60] = 0  # a corner is missing: a flip is visible
    image = _image(mask)
    crops = [visual_crop(image, mask, np.random.default_rng(s))[1] for s in (4, 4, 5, 6)]
    np.testing.assert_array_equal(crops[0], crops[1])
    assert not np.array_equal(crops[0], crops[2]) and not np.array_equal(crops[2], crops[3])
    never = visual_crop(image, mask, np.random.default_rng(5), flip=0.0)[1]
    always = visual_crop(image, mask, np.random.default_rng(5), flip=1.0)[1]
    assert never[:56].sum() > 0 and never[:56, :56].sum() < never[:56, -56:].sum()
    assert always[:56, :56].sum() > always[:56, -56:].sum()


def test_the_crop_ends_at_the_border_of_the_image():
    mask = _box(0, 0, 120, 160)
    crop, crop_mask = visual_crop(_image(mask), mask)
    assert crop_mask.all() and (crop == (200, 40, 40)).all()


def test_a_thin_object_does_not_vanish_in_the_crop():
    mask = np.zeros((900, 900), np.uint8)
    cv2.line(mask, (10, 10), (890, 890), 1, 1)
    assert visual_crop(_image(mask), mask)[1].any()
    assert visual_crop(_image(mask)[:5, :5], np.eye(5, dtype=np.uint8))[1].any()


def test_an_empty_mask_gives_an_empty_crop():
    mask = np.zeros((40, 50), np.uint8)
    crop, crop_mask = visual_crop(_image(mask), mask)
    assert not crop.any() and not crop_mask.any()


def test_other_axes_are_refused():
    with pytest.raises(InputError, match="two axes"):
        gaussian_guide(np.zeros((4, 5, 1), np.uint8))
    with pytest.raises(InputError, match="height and width"):
        visual_crop(np.zeros((4, 6, 3), np.uint8), np.zeros((4, 5), np.uint8))
