"""Augmented views of the annotated frame, for fine-tuning and for the target model."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from deeplab_gygo.inference.geometry import Geometry
from deeplab_gygo.models.guide import deform_guide, encode_guide, guide_at_stride
from deeplab_gygo.synthesis.augment import sample_view
from deeplab_gygo.synthesis.config import AugmentConfig


@dataclass(frozen=True)
class View:
    """One augmented view of the annotated frame.

    Attributes:
        image: uint8 [H, W, 3] RGB at the padded size.
        mask: uint8 [H, W], 0 or 1.
        guide: float32 [H/4, W/4, 1], the input of the decoder: a deformed mask, or 0 for unknown.
    """

    image: np.ndarray
    mask: np.ndarray
    guide: np.ndarray

    @property
    def coded_mask(self) -> np.ndarray:
        """The true mask, coded as a guide: float32 [H/4, W/4, 1]."""
        return guide_at_stride(encode_guide(self.mask, self.mask.shape))


def augmented_views(
    image: np.ndarray,
    mask: np.ndarray,
    geometry: Geometry,
    rng: np.random.Generator,
    *,
    count: int,
    lucid_fraction: float,
    scale: tuple[float, float],
    guide_dropout: float,
) -> list[View]:
    """Makes augmented views of the annotated frame; the first is the frame unchanged.

    A fraction of them are lucid views (Khoreva et al., Lucid Data Dreaming, 2017): the object is
    cut out, the hole is inpainted, and the object is pasted elsewhere, so that the network learns
    neither its position nor its background.

    Args:
        image: uint8 [H, W, 3] RGB, the annotated frame.
        mask: uint8 [H, W], 0 or 1.
        geometry: Sizes of the frame.
        rng: Source of randomness.
        count: Number of views.
        lucid_fraction: Fraction of lucid views, 0..1.
        scale: Range of the zoom.
        guide_dropout: Fraction of views without a guide, 0..1.

    Returns:
        `count` views.
    """
    working = geometry.image(image)
    target = (geometry.soft_mask(mask) > 0.5).astype(np.uint8)
    augment = AugmentConfig(
        scale=scale,
        rotate=8.0,
        brightness=0.15,
        contrast=0.15,
        saturation=0.15,
        hue=0.02,
        gray=0.0,
        blur=0.15,
        noise=0.1,
        jpeg=0.1,
        object_in_crop=1.0,
    )
    views = [View(working, target, geometry.guide(mask))]
    background = None
    for _ in range(count - 1):
        picture, labels = working, target
        if rng.random() < lucid_fraction:
            background = inpaint_object(working, target) if background is None else background
            picture, labels = lucid_view(working, target, background, rng)
        rng.random()  # A draw of version 0.1, kept so that a seed gives the same views.
        picture, (labels,) = sample_view(picture, [labels], geometry.padded, augment, rng)
        labels = (labels == 1).astype(np.uint8)
        known = rng.random() >= guide_dropout
        coded = encode_guide(deform_guide(labels, rng) if known else None, labels.shape)
        views.append(View(picture, labels, guide_at_stride(coded)))
    return views


def inpaint_object(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Inpaints the object from its surroundings.

    Args:
        image: uint8 [H, W, 3].
        mask: uint8 [H, W], 0 or 1.

    Returns:
        uint8 [H, W, 3] without the object.
    """
    # A disk of 7 pixels covers the blurred edge of the object (size of the Lucid implementation).
    hole = cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (15, 15)))
    small = tuple(max(16, side // 4) for side in image.shape[1::-1])
    coarse = cv2.inpaint(
        cv2.resize(image, small, interpolation=cv2.INTER_AREA),
        (cv2.resize(hole, small, interpolation=cv2.INTER_AREA) > 0).astype(np.uint8),
        3,
        cv2.INPAINT_TELEA,
    )
    filled = cv2.resize(coarse, image.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    edge = cv2.GaussianBlur(hole.astype(np.float32), (0, 0), 3)[..., None]
    return (image + edge * (filled.astype(np.float32) - image)).astype(np.uint8)


def lucid_view(
    image: np.ndarray, mask: np.ndarray, background: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Pastes the object at another position, size and angle.

    Args:
        image: uint8 [H, W, 3] with the object.
        mask: uint8 [H, W], 0 or 1.
        background: uint8 [H, W, 3] without the object.
        rng: Source of randomness.

    Returns:
        Image and mask of the same shapes.
    """
    height, width = mask.shape
    rows, columns = np.nonzero(mask)
    center = np.array([columns.mean(), rows.mean()])
    size = np.array([np.ptp(columns) + 1, np.ptp(rows) + 1])
    scale = float(np.exp(rng.uniform(-0.25, 0.25)))
    turn = cv2.getRotationMatrix2D(tuple(center), float(rng.uniform(-15, 15)), scale)
    shift = rng.uniform(-0.7, 0.7, 2) * size
    place = np.clip(
        center + shift, 0.1 * np.array([width, height]), 0.9 * np.array([width, height])
    )
    turn[:, 2] += place - center
    flip = rng.random() < 0.3
    if flip:
        mirror = np.array([[-1.0, 0, 2 * center[0]], [0, 1, 0], [0, 0, 1]])
        turn = turn @ mirror
    moved = cv2.warpAffine(image, turn, (width, height), borderMode=cv2.BORDER_REFLECT_101)
    moved_mask = cv2.warpAffine(mask, turn, (width, height), flags=cv2.INTER_NEAREST)
    alpha = cv2.GaussianBlur(moved_mask.astype(np.float32), (0, 0), 1.0)[..., None]
    gain = rng.uniform(0.85, 1.15)
    blended = background + alpha * (np.clip(moved * gain, 0, 255) - background)
    return blended.astype(np.uint8), moved_mask
