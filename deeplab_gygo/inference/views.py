"""Augmented views of the annotated first frame, for fine-tuning."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from deeplab_gygo.inference.config import OnlineConfig
from deeplab_gygo.inference.geometry import Geometry
from deeplab_gygo.models.deeplab import guide_at_stride
from deeplab_gygo.models.guide import deform_guide, encode_guide
from deeplab_gygo.online.distractors import paste_distractor
from deeplab_gygo.synthesis.augment import sample_view
from deeplab_gygo.synthesis.config import AugmentConfig


@dataclass(frozen=True)
class View:
    """One training picture of online fine-tuning.

    Attributes:
        image: uint8 [H, W, 3] RGB at the padded size.
        mask: uint8 [H, W], 0 or 1.
        guide: float32 [H/4, W/4, 1] as the head takes it.
    """

    image: np.ndarray
    mask: np.ndarray
    guide: np.ndarray

    @property
    def coded(self) -> np.ndarray:
        """The true mask, coded as a guide: float32 [H/4, W/4, 1]."""
        return guide_at_stride(encode_guide(self.mask, self.mask.shape))


def first_frame_views(
    image: np.ndarray,
    mask: np.ndarray,
    geometry: Geometry,
    config: OnlineConfig,
    rng: np.random.Generator,
) -> list[View]:
    """Makes the views that a sequence is adapted on; the first is the frame as it is.

    A part of them are lucid views (Khoreva et al., Lucid data dreaming): the object is cut out,
    the hole is filled, and the object is put back moved, so that the network does not learn where
    it was or what was behind it. A part shows things that are not the object.

    Args:
        image: uint8 [H, W, 3] RGB, the annotated frame.
        mask: uint8 [H, W], 0 or 1.
        geometry: Sizes of the frame.
        config: Number and kinds of views.
        rng: Source of randomness.

    Returns:
        `config.views` views.
    """
    working = geometry.image(image)
    target = (geometry.soft_mask(mask) > 0.5).astype(np.uint8)
    augment = AugmentConfig(
        scale=config.view_scale,
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
    for _ in range(config.views - 1):
        picture, labels = working, target
        if rng.random() < config.lucid:
            background = fill_object(working, target) if background is None else background
            picture, labels = lucid(working, target, background, rng)
        if rng.random() < config.distractors:
            for _ in range(int(rng.integers(1, 3))):
                picture, labels = paste_distractor(picture, labels, rng)
        picture, (labels,) = sample_view(picture, [labels], geometry.padded, augment, rng)
        labels = (labels == 1).astype(np.uint8)
        views.append(View(picture, labels, _guide(labels, config.guide_dropout, rng)))
    return views


def _guide(labels: np.ndarray, dropout: float, rng: np.random.Generator) -> np.ndarray:
    known = rng.random() >= dropout
    return guide_at_stride(encode_guide(deform_guide(labels, rng) if known else None, labels.shape))


def fill_object(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Fills the place of the object from its surroundings.

    Args:
        image: uint8 [H, W, 3].
        mask: uint8 [H, W], 0 or 1.

    Returns:
        uint8 [H, W, 3] without the object.
    """
    # A disk of 7 pixels takes the object's blurred edge along (the Lucid implementation's size).
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


def lucid(
    image: np.ndarray, mask: np.ndarray, background: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Puts the object back at another place, size and angle.

    Args:
        image: uint8 [H, W, 3] with the object.
        mask: uint8 [H, W], 0 or 1.
        background: uint8 [H, W, 3] without the object.
        rng: Source of randomness.

    Returns:
        Picture and mask of the same shapes.
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
