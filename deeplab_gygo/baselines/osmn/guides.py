"""The two guides of OSMN: where the object is, and what it looks like.

The *spatial guide* is a Gaussian laid over the mask of the previous frame: it says about where and
how large the object is, and nothing of its outline. The *visual guide* is the annotated object,
cut out by its box and brought to a fixed size. Yang et al., "Efficient video object segmentation
via network modulation", CVPR 2018; the numbers are those of the authors' code (`util.py`).
"""

from __future__ import annotations

import cv2
import numpy as np

from deeplab_gygo.errors import InputError

LEAST_SPREAD = 5.0
"""Pixels: smallest standard deviation of the Gaussian along an axis (authors' code)."""

MAD_TO_SIGMA = 1.4826
"""Median absolute deviation of a normal distribution to its standard deviation."""

CENTER_PERTURBATION = 0.2
"""In training the center moves by up to this part of the standard deviation (authors' code)."""

SPREAD_PERTURBATION = 1.4
"""In training the standard deviation grows or shrinks by up to this factor (authors' code)."""

CROP_SIZE = 224
"""Pixels: side of the visual guide, the input size of the ImageNet classifier that reads it."""

CROP_BORDER = 0.03
"""Part of the box's sides that is added around it (authors' code)."""

CROP_PERTURBATION = 0.1
"""In training every side of the box moves by up to this part of its length (authors' code)."""

CROP_ROTATION = 10.0
"""Degrees: largest rotation of the visual guide in training (authors' code)."""


def gaussian_guide(
    mask: np.ndarray,
    rng: np.random.Generator | None = None,
    *,
    center: float = CENTER_PERTURBATION,
    spread: float = SPREAD_PERTURBATION,
) -> np.ndarray:
    r"""Lays a Gaussian over a mask, $\exp(-\frac12\sum_a (x_a - c_a)^2 / \sigma_a^2)$.

    The center is the median of the object's pixels along each axis, the standard deviation
    their scaled median absolute deviation, which a few stray pixels do not change.

    Args:
        mask: uint8 or bool [height, width], nonzero is the object.
        rng: Perturbs the Gaussian, for training; None gives it as it is.
        center: Largest displacement of the center, as a part of the standard deviation; with
            `rng` only.
        spread: Largest factor of the standard deviation; with `rng` only.

    Returns:
        float32 [height, width, 1] in 0..1; all 0 where the mask is empty.

    Raises:
        InputError: The mask has other axes.
    """
    binary = _binary(mask)
    height, width = binary.shape
    if not binary.any():
        return np.zeros((height, width, 1), np.float32)
    profiles = []
    for axis, length in ((1, height), (0, width)):
        # How many pixels of the object every row, then every column, has.
        counts = cv2.reduce(binary, axis, cv2.REDUCE_SUM, dtype=cv2.CV_32S).ravel()
        places = np.arange(length)
        middle = _median(places, counts)
        sigma = max(LEAST_SPREAD, MAD_TO_SIGMA * _median(np.abs(places - middle), counts))
        if rng is not None:
            middle += sigma * float(rng.uniform(-center, center))
            sigma *= float(rng.uniform(1.0 / spread, spread))
        profile = np.exp(-0.5 * ((places - middle) / sigma) ** 2)
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
    """Cuts the object out by its box, for the visual modulator.

    The box grows by `CROP_BORDER` on every side, ends at the border of the picture, and is
    stretched to a square: its aspect is not kept. The network puts the mean color in place of what
    lies outside the mask, which is why the mask comes along.

    Args:
        image: uint8 [height, width, 3], RGB.
        mask: uint8 or bool [height, width], nonzero is the object.
        rng: Moves the sides of the box, turns and mirrors the crop, for training; None cuts it
            out as it is.
        size: Side of the crop, pixels.
        flip: Chance of a mirrored crop; with `rng` only.

    Returns:
        Crop uint8 [size, size, 3], RGB, and its mask uint8 [size, size], 0 or 1. Both are all 0
        where the mask is empty.

    Raises:
        InputError: The mask has other axes than the picture.
    """
    binary = _binary(mask)
    if image.shape != (*binary.shape, 3):
        raise InputError(
            "A mask has the height and width of its picture",
            met=f"{binary.shape} with a picture of {image.shape}",
        )
    left, top, width, height = cv2.boundingRect(binary)
    if not width:
        return np.zeros((size, size, 3), np.uint8), np.zeros((size, size), np.uint8)
    rows = _sides(top, height, binary.shape[0], rng)
    columns = _sides(left, width, binary.shape[1], rng)
    crop = _stretched(image[rows, columns], size)
    coverage = _stretched(binary[rows, columns] * np.uint8(255), size)
    if rng is not None:
        crop, coverage = _turned(crop, coverage, flip, rng)
    outline = (coverage >= 128).astype(np.uint8)
    # A thing thinner than a pixel of the crop covers none of them by half.
    return crop, outline if outline.any() else (coverage > 0).astype(np.uint8)


def _binary(mask: np.ndarray) -> np.ndarray:
    """Returns a mask as uint8 [height, width], 0 or 1."""
    if mask.ndim != 2:
        raise InputError("A mask has two axes, height and width", met=mask.shape)
    return (mask > 0).astype(np.uint8)


def _median(values: np.ndarray, counts: np.ndarray) -> float:
    """Returns the median of values that occur so many times each, as `numpy.median` has it."""
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(counts[order])
    middle = np.array([(reached[-1] - 1) // 2, reached[-1] // 2])
    return float(values[order][np.searchsorted(reached, middle, side="right")].mean())


def _sides(start: int, length: int, limit: int, rng: np.random.Generator | None) -> slice:
    """Returns the pixels of a crop along one axis, at least two and inside the picture."""
    sides = np.array([start - CROP_BORDER * length, start + (1.0 + CROP_BORDER) * length])
    if rng is not None:
        sides += rng.uniform(-CROP_PERTURBATION, CROP_PERTURBATION, 2) * length
    low = int(np.clip(np.floor(sides[0]), 0, max(limit - 2, 0)))
    return slice(low, int(np.clip(np.ceil(sides[1]), low + 2, max(limit, low + 2))))


def _stretched(values: np.ndarray, size: int) -> np.ndarray:
    """Resamples to a square; averages what becomes smaller along both axes, against aliasing."""
    shrinks = min(values.shape[:2]) > size
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(np.ascontiguousarray(values), (size, size), interpolation=method)


def _turned(
    crop: np.ndarray, coverage: np.ndarray, flip: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Turns and mirrors a crop; beyond its border there is no object."""
    size = coverage.shape[0]
    middle = (size - 1) / 2
    matrix = cv2.getRotationMatrix2D(
        (middle, middle), float(rng.uniform(-CROP_ROTATION, CROP_ROTATION)), 1.0
    )
    if rng.random() < flip:
        matrix = matrix @ np.array([[-1.0, 0.0, size - 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    turned = cv2.warpAffine(crop, matrix, (size, size), borderMode=cv2.BORDER_REFLECT)
    outline = cv2.warpAffine(coverage, matrix, (size, size), borderMode=cv2.BORDER_CONSTANT)
    return turned, outline
