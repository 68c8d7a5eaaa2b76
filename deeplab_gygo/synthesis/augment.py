"""Augmentation of training images: one geometric resampling, then photometric changes.

Image and masks go through the same transform. Masks are resampled as coverage and thresholded at
one half, which keeps their contour smooth; the void label 255 is preserved.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from deeplab_gygo.errors import InputError
from deeplab_gygo.io.masks import VOID
from deeplab_gygo.synthesis.config import AugmentConfig

_MAX_ASPECT = 1.12
_MAX_FILL = 0.65  # fraction of the crop that the object covers
_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
# RGB to YIQ and back (NTSC, 1953); a rotation of I and Q changes the hue and keeps the luma.
_TO_YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
_FROM_YIQ = np.linalg.inv(_TO_YIQ)


def sample_view(
    image: np.ndarray,
    masks: Sequence[np.ndarray],
    size: tuple[int, int],
    config: AugmentConfig,
    rng: np.random.Generator,
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Samples a randomly cropped, rotated, flipped and color-jittered view.

    Args:
        image: uint8 [height, width, 3], RGB.
        masks: uint8 [height, width] each, 0 background, 255 void, anything else the object. The
            crop is placed around the object of the first non-empty one.
        size: Height and width of the view, pixels.
        config: Augmentation.
        rng: Random generator.

    Returns:
        The view, uint8 [*size, 3], and its masks, uint8 [*size], 0, 1 or 255. Beyond the border
        of the image both are reflected.

    Raises:
        InputError: A mask has another size than the image.
    """
    for mask in masks:
        if mask.shape != image.shape[:2]:
            raise InputError(
                "A mask has the size of its image",
                met=f"{mask.shape} with an image of {image.shape[:2]}",
            )
    focus = next((mask for mask in masks if mask.any()), None)
    matrix = _view_matrix(image.shape[:2], focus, size, config, rng)
    view = _warp_image(image, matrix, size)
    warped = [warp_mask(mask, matrix, size) for mask in masks]
    return photometric(view, config, rng), warped


def _view_matrix(
    shape: tuple[int, int],
    mask: np.ndarray | None,
    size: tuple[int, int],
    config: AugmentConfig,
    rng: np.random.Generator,
) -> np.ndarray:
    """Samples the affine transform from image to view, float64 [2, 3]."""
    cover = max(size[0] / shape[0], size[1] / shape[1])
    zoom = cover * np.exp(rng.uniform(*np.log(config.scale)))
    box = None
    if mask is not None:
        binary = ((mask > 0) & (mask != VOID)).astype(np.uint8)
        left, top, width, height = cv2.boundingRect(binary)
        box = (left, top, left + width, top + height) if width else None
    if box is not None:
        area = cv2.countNonZero(binary)
        # The crop keeps some background.
        max_zoom = np.sqrt(_MAX_FILL * size[0] * size[1] / area)
        zoom = min(zoom, max(max_zoom, cover * config.scale[0]))
    aspect = np.exp(rng.uniform(-0.5, 0.5) * np.log(_MAX_ASPECT))
    zoom_x, zoom_y = zoom * aspect, zoom / aspect
    angle = np.deg2rad(rng.uniform(-config.rotate, config.rotate))
    flip = -1.0 if rng.random() < config.flip else 1.0
    if rng.random() >= config.object_in_crop:
        box = None
    spans = (None, None) if box is None else ((box[0], box[2]), (box[1], box[3]))
    center_x = _crop_center(shape[1], size[1] / zoom_x, spans[0], rng)
    center_y = _crop_center(shape[0], size[0] / zoom_y, spans[1], rng)
    cos, sin = np.cos(angle), np.sin(angle)
    linear = np.array([[cos, -sin], [sin, cos]]) @ np.diag([zoom_x * flip, zoom_y])
    offset = np.array([size[1] / 2, size[0] / 2]) - linear @ np.array([center_x, center_y])
    return np.column_stack([linear, offset])


def _crop_center(
    length: int, crop: float, span: tuple[int, int] | None, rng: np.random.Generator
) -> float:
    """Samples the center of a crop along one axis, inside the image if it fits, all in pixels.

    `length` is that of the image, `crop` that of the crop, `span` the ends of an object in it.
    """
    if span is None:
        center = rng.uniform(0, length)
    else:
        # The crop contains the object, or is contained in it.
        slack = abs(crop - (span[1] - span[0])) / 2
        center = (span[0] + span[1]) / 2 + rng.uniform(-slack, slack)
    if crop >= length:
        free = 0.25 * (crop - length)
        return length / 2 + float(np.clip(center - length / 2, -free, free))
    return float(np.clip(center, crop / 2, length - crop / 2))


def _warp_image(image: np.ndarray, matrix: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resamples the image; strong reductions are area-averaged first, against aliasing."""
    factor = np.sqrt(abs(np.linalg.det(matrix[:, :2])))
    if factor < 0.55:
        shrunk = (
            max(round(image.shape[1] * factor * 1.2), 1),
            max(round(image.shape[0] * factor * 1.2), 1),
        )
        factors = np.diag([image.shape[1] / shrunk[0], image.shape[0] / shrunk[1]])
        image = cv2.resize(image, shrunk, interpolation=cv2.INTER_AREA)
        # Pixel centers of the reduced image are at factor * (position + 1/2) - 1/2.
        offset = matrix[:, 2] + matrix[:, :2] @ (np.diag(factors) - 1.0) / 2.0
        matrix = np.column_stack([matrix[:, :2] @ factors, offset])
    return cv2.warpAffine(
        image,
        matrix,
        (size[1], size[0]),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT,
    )


def warp_mask(mask: np.ndarray, matrix: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resamples a mask with the transform of its image.

    Args:
        mask: uint8 [height, width], 0 background, 255 void, anything else the object.
        matrix: float64 [2, 3], affine, from image to view.
        size: Height and width of the view, pixels.

    Returns:
        uint8 [*size], 0, 1 or 255.
    """
    void = mask == VOID
    has_void = bool(void.any())
    coverage = cv2.warpAffine(
        ((mask > 0) & ~void if has_void else mask > 0).astype(np.uint8) * 255,
        matrix,
        (size[1], size[0]),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT,
    )
    warped = (coverage >= 128).astype(np.uint8)
    if has_void:
        unknown = cv2.warpAffine(
            void.astype(np.uint8),
            matrix,
            (size[1], size[0]),
            flags=cv2.INTER_NEAREST,
            borderMode=cv2.BORDER_REFLECT,
        )
        warped[unknown > 0] = VOID
    return warped


def photometric(image: np.ndarray, config: AugmentConfig, rng: np.random.Generator) -> np.ndarray:
    """Applies random color jitter, blur, noise and JPEG compression.

    Args:
        image: uint8 [height, width, 3], RGB.
        config: Augmentation.
        rng: Random generator.

    Returns:
        uint8 [height, width, 3], a new array.
    """
    changed = cv2.transform(image, _color_matrix(image, config, rng))
    if rng.random() < config.blur:
        if rng.random() < 0.5:  # defocus
            changed = cv2.GaussianBlur(changed, (0, 0), rng.uniform(0.5, 1.8))
        else:
            kernel = line_kernel(rng.uniform(3, 11), rng.uniform(0, np.pi))
            changed = cv2.filter2D(changed, -1, kernel)
    if rng.random() < config.noise:
        deviation = rng.uniform(2.0, 12.0)
        noise = rng.standard_normal(changed.shape, dtype=np.float32) * np.float32(deviation)
        changed = cv2.add(changed, noise, dtype=cv2.CV_8U)
    if rng.random() < config.jpeg:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(20, 70))]
        changed = cv2.imdecode(cv2.imencode(".jpg", changed, quality)[1], cv2.IMREAD_COLOR)
    return changed


def _color_matrix(image: np.ndarray, config: AugmentConfig, rng: np.random.Generator) -> np.ndarray:
    """Samples brightness, contrast, saturation and hue as one matrix, float64 [3, 4]."""
    brightness, contrast, saturation = 1.0 + rng.triangular(-1, 0, 1, 3) * (
        config.brightness,
        config.contrast,
        config.saturation,
    )
    angle = 2 * np.pi * rng.uniform(-config.hue, config.hue)
    if rng.random() < config.gray:
        saturation = 0.0
    rotation = np.eye(3)
    rotation[1:, 1:] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    rotation[1:, 1:] *= saturation
    linear = brightness * contrast * (_FROM_YIQ @ rotation @ _TO_YIQ)
    # Contrast is relative to the mean brightness of the image.
    mean = float(_LUMA @ np.array(cv2.mean(image)[:3]))
    offset = np.full((3, 1), brightness * (1.0 - contrast) * mean)
    return np.hstack([linear, offset])


def line_kernel(length: float, angle: float) -> np.ndarray:
    """Returns the kernel of a linear motion blur, float32 [side, side] of sum 1.

    Args:
        length: Length of the motion, pixels.
        angle: Direction, radians.
    """
    half = max(int(np.ceil(length / 2)), 1)
    kernel = np.zeros((2 * half + 1, 2 * half + 1), np.float32)
    steps = np.linspace(-length / 2, length / 2, 4 * half + 1)
    rows = np.rint(half + steps * np.sin(angle)).astype(int)
    columns = np.rint(half + steps * np.cos(angle)).astype(int)
    np.add.at(kernel, (rows, columns), 1.0)
    return kernel / kernel.sum()
