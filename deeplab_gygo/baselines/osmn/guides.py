"""The two guides of OSMN: approximate position and appearance of the object.

The *spatial guide* is a Gaussian fitted to the mask of the previous frame: position and extent
without the contour. The *visual guide* is a crop of the annotated object, resized to a fixed size.
Yang et al., "Efficient video object segmentation via network modulation", CVPR 2018; the constants
are those of the authors' code (`util.py`).
"""

from __future__ import annotations

import cv2
import numpy as np

from deeplab_gygo.errors import InputError

MIN_SIGMA = 5.0
"""Minimum standard deviation of the Gaussian along an axis, pixels."""

MAD_TO_SIGMA = 1.4826
"""Ratio of standard deviation to median absolute deviation of a normal distribution."""

CENTER_PERTURBATION = 0.2
"""Maximum displacement of the center in training, relative to the standard deviation."""

SPREAD_PERTURBATION = 1.4
"""Maximum factor, or divisor, of the standard deviation in training."""

CROP_SIZE = 224
"""Side of the visual guide, pixels: the input size of the ImageNet classifier that reads it."""

CROP_BORDER = 0.03
"""Margin around the bounding box, relative to its sides."""

CROP_PERTURBATION = 0.1
"""Maximum displacement of every side of the box in training, relative to its length."""

CROP_ROTATION = 10.0
"""Maximum rotation of the visual guide in training, degrees."""


def gaussian_guide(
    mask: np.ndarray,
    rng: np.random.Generator | None = None,
    *,
    center: float = CENTER_PERTURBATION,
    spread: float = SPREAD_PERTURBATION,
) -> np.ndarray:
    r"""Fits a Gaussian to a mask, $\exp(-\frac12\sum_a (x_a - c_a)^2 / \sigma_a^2)$.

    The center is the median of the object's pixels along each axis, the standard deviation
    their scaled median absolute deviation, which is robust to outliers.

    Args:
        mask: uint8 or bool [height, width], nonzero is the object.
        rng: Perturbs the Gaussian, for training; None: no perturbation.
        center: Maximum displacement of the center, relative to the standard deviation; with `rng`
            only.
        spread: Maximum factor of the standard deviation; with `rng` only.

    Returns:
        float32 [height, width, 1] in 0..1; all 0 if the mask is empty.

    Raises:
        InputError: The mask has other axes.
    """
    binary = _binary(mask)
    height, width = binary.shape
    if not binary.any():
        return np.zeros((height, width, 1), np.float32)
    profiles = []
    for axis, length in ((1, height), (0, width)):
        # Number of object pixels in every row, then in every column.
        counts = cv2.reduce(binary, axis, cv2.REDUCE_SUM, dtype=cv2.CV_32S).ravel()
        positions = np.arange(length)
        middle = _weighted_median(positions, counts)
        deviation = _weighted_median(np.abs(positions - middle), counts)
        sigma = max(MIN_SIGMA, MAD_TO_SIGMA * deviation)
        if rng is not None:
            middle += sigma * float(rng.uniform(-center, center))
            sigma *= float(rng.uniform(1.0 / spread, spread))
        profile = np.exp(-0.5 * ((positions - middle) / sigma) ** 2)
        profiles.append(profile.astype(np.float32))
    return np.outer(*profiles)[..., None]


def visual_crop(
    image: np.ndarray,
    mask: np.ndarray,
    rng: np.random.Generator | None = None,
    *,
    size: int = CROP_SIZE,
    flip: float = 0.5,
) -> tuple[np.ndarray, np.ndarray]:
    """Crops the object by its bounding box, for the visual modulator.

    The box grows by `CROP_BORDER` on every side, is clipped to the image, and is resized to a
    square without keeping its aspect. The network replaces pixels outside the mask by the mean
    color, so the mask is returned too.

    Args:
        image: uint8 [height, width, 3], RGB.
        mask: uint8 or bool [height, width], nonzero is the object.
        rng: Perturbs the box, rotates and flips the crop, for training; None: no perturbation.
        size: Side of the crop, pixels.
        flip: Probability of a horizontal flip; with `rng` only.

    Returns:
        Crop uint8 [size, size, 3], RGB, and its mask uint8 [size, size], 0 or 1. Both are all 0
        if the mask is empty.

    Raises:
        InputError: The mask has another size than the image.
    """
    binary = _binary(mask)
    if image.shape != (*binary.shape, 3):
        raise InputError(
            "A mask has the height and width of its image",
            met=f"{binary.shape} with an image of {image.shape}",
        )
    left, top, width, height = cv2.boundingRect(binary)
    if not width:
        return np.zeros((size, size, 3), np.uint8), np.zeros((size, size), np.uint8)
    rows = _crop_range(top, height, binary.shape[0], rng)
    columns = _crop_range(left, width, binary.shape[1], rng)
    crop = _resize(image[rows, columns], size)
    coverage = _resize(binary[rows, columns] * np.uint8(255), size)
    if rng is not None:
        crop, coverage = _rotate_and_flip(crop, coverage, flip, rng)
    crop_mask = (coverage >= 128).astype(np.uint8)
    # An object thinner than a pixel of the crop never covers half of one.
    return crop, crop_mask if crop_mask.any() else (coverage > 0).astype(np.uint8)


def crop_inputs(
    image: np.ndarray, mask: np.ndarray, rng: np.random.Generator | None = None
) -> dict[str, np.ndarray]:
    """Returns the inputs of the visual modulator; the arguments are those of `visual_crop`.

    Returns:
        `crop` float32 [1, 224, 224, 3] and `crop_mask` float32 [1, 224, 224, 1].
    """
    crop, crop_mask = visual_crop(image, mask, rng)
    return {
        "crop": crop[None].astype(np.float32),
        "crop_mask": crop_mask[None, ..., None].astype(np.float32),
    }


def _binary(mask: np.ndarray) -> np.ndarray:
    """Returns a mask as uint8 [height, width], 0 or 1."""
    if mask.ndim != 2:
        raise InputError("A mask has two axes, height and width", met=mask.shape)
    return (mask > 0).astype(np.uint8)


def _weighted_median(values: np.ndarray, counts: np.ndarray) -> float:
    """Returns the median, as `numpy.median`, of values that occur `counts` times."""
    order = np.argsort(values, kind="stable")
    cumulative = np.cumsum(counts[order])
    middle = np.array([(cumulative[-1] - 1) // 2, cumulative[-1] // 2])
    return float(values[order][np.searchsorted(cumulative, middle, side="right")].mean())


def _crop_range(start: int, length: int, limit: int, rng: np.random.Generator | None) -> slice:
    """Returns the pixels of a crop along one axis, at least two and inside the image."""
    ends = np.array([start - CROP_BORDER * length, start + (1.0 + CROP_BORDER) * length])
    if rng is not None:
        ends += rng.uniform(-CROP_PERTURBATION, CROP_PERTURBATION, 2) * length
    low = int(np.clip(np.floor(ends[0]), 0, max(limit - 2, 0)))
    return slice(low, int(np.clip(np.ceil(ends[1]), low + 2, max(limit, low + 2))))


def _resize(values: np.ndarray, size: int) -> np.ndarray:
    """Resizes to a square, by area averaging if both axes shrink, against aliasing."""
    shrinks = min(values.shape[:2]) > size
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(np.ascontiguousarray(values), (size, size), interpolation=method)


def _rotate_and_flip(
    crop: np.ndarray, coverage: np.ndarray, flip: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Rotates and flips a crop randomly; the mask is 0 beyond its border."""
    size = coverage.shape[0]
    center = ((size - 1) / 2, (size - 1) / 2)
    angle = float(rng.uniform(-CROP_ROTATION, CROP_ROTATION))
    matrix = cv2.getRotationMatrix2D(center, angle, 1.0)
    if rng.random() < flip:
        matrix = matrix @ np.array([[-1.0, 0.0, size - 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    rotated = cv2.warpAffine(crop, matrix, (size, size), borderMode=cv2.BORDER_REFLECT)
    rotated_mask = cv2.warpAffine(coverage, matrix, (size, size), borderMode=cv2.BORDER_CONSTANT)
    return rotated, rotated_mask
