"""The guide of the decoder: coding of the previous mask, and its augmentation in training.

A network trained with the true previous mask relies on it too much, and online it gets its own
prediction instead. `deform_guide` simulates such predictions: displaced, too large or too small,
coarse, with a missing part or a false positive. Deforming masks to train a guided network is due to
Perazzi et al., "Learning video object segmentation from static images", CVPR 2017; the kinds of
deformation are additions of this package.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import cv2
import numpy as np

from deeplab_gygo.errors import InputError
from deeplab_gygo.models.config import DECODER_STRIDE


def encode_guide(mask: np.ndarray | None, size: tuple[int, int]) -> np.ndarray:
    """Codes a mask as the decoder's guide.

    Args:
        mask: uint8 [height, width], nonzero is the object; None for unknown.
        size: Height and width of the guide, pixels.

    Returns:
        float32 [height, width, 1]: +1 object, -1 background, all 0 for unknown.
    """
    height, width = size
    if mask is None:
        return np.zeros((height, width, 1), np.float32)
    if mask.ndim != 2:
        raise InputError("a mask has two axes, height and width", met=mask.shape)
    binary = (mask > 0).astype(np.uint8)
    if binary.shape != (height, width):
        binary = cv2.resize(binary, (width, height), interpolation=cv2.INTER_NEAREST)
    return (binary.astype(np.float32) * 2.0 - 1.0)[..., None]


def encode_probability(probability: Any) -> Any:
    """Codes probabilities in 0..1, an array or tensor of any shape, as a guide in -1..1."""
    return 2.0 * probability - 1.0


def guide_at_stride(coded: Any, stride: int = DECODER_STRIDE, ops: ModuleType = np) -> Any:
    """Averages a coded mask over blocks, as the head takes it.

    Args:
        coded: float32 [..., H, W, 1] in -1..1; H and W are multiples of the stride.
        stride: Side of a block, pixels.
        ops: `numpy`, or `keras.ops` for tensors.

    Returns:
        float32 [..., H/stride, W/stride, 1].
    """
    *batch, height, width, channels = ops.shape(coded)
    shape = (*batch, height // stride, stride, width // stride, stride, channels)
    return ops.mean(ops.reshape(coded, shape), axis=(-4, -2))


def deform_guide(mask: np.ndarray, rng: np.random.Generator, strength: float = 1.0) -> np.ndarray:
    """Deforms a mask randomly to simulate a previous prediction.

    Args:
        mask: uint8 [height, width], nonzero is the object.
        rng: Source of randomness.
        strength: Factor of the displacement and of the probability of gross errors; 0: none.

    Returns:
        uint8 [height, width], 0 or 1. Never empty when `mask` is not empty.
    """
    binary = (mask > 0).astype(np.uint8)
    if strength <= 0:
        return binary
    if not binary.any():
        if rng.random() < 0.15 * strength:
            frame_box = (0, 0, binary.shape[1], binary.shape[0])
            return _add_blob(binary, frame_box, 0.15 * min(binary.shape), rng)
        return binary
    box = cv2.boundingRect(binary)
    root = float(np.sqrt(cv2.countNonZero(binary)))
    guide = _warp(binary, box, root, rng, strength)
    guide = guide if guide.any() else binary
    gross = min(0.2 * strength, 0.6)
    for probability, deform in (
        (gross, lambda guide: _coarsen(guide, root, rng)),
        (0.6, lambda guide: _grow_or_shrink(guide, root, rng, strength)),
        (gross, lambda guide: _cut_part(guide, rng)),
        (gross, lambda guide: _add_blob(guide, box, root, rng)),
    ):
        if rng.random() < probability and (deformed := deform(guide)).any():
            guide = deformed
    return guide


def _warp(
    binary: np.ndarray,
    box: tuple[int, int, int, int],
    root: float,
    rng: np.random.Generator,
    strength: float,
) -> np.ndarray:
    """Shifts, scales, rotates and bends the mask in one resampling."""
    height, width = binary.shape
    left, top, box_width, box_height = box
    center = np.array([left + box_width / 2, top + box_height / 2])
    angle = np.deg2rad(rng.normal(0, 4) * strength)
    factor = np.exp(-rng.uniform(-0.15, 0.15) * strength)
    shift = rng.uniform(-0.1, 0.1, 2) * root * strength
    cos, sin = factor * np.cos(angle), factor * np.sin(angle)
    linear = np.array([[cos, -sin], [sin, cos]])
    offset = center - linear @ (center + shift)

    # A coarse grid of displacements, enlarged smoothly: about four waves across the object.
    cells = max(0.35 * root, 6.0)
    rows, columns = (int(np.clip(side / cells, 3, 24)) for side in (height, width))
    bend = rng.normal(0, 0.04 * root * min(strength, 2.0), (rows, columns, 2))
    field = cv2.resize(bend.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    x = np.arange(width, dtype=np.float32)[None]
    y = np.arange(height, dtype=np.float32)[:, None]
    field[..., 0] += np.float32(linear[0, 0]) * x + np.float32(linear[0, 1]) * y
    field[..., 0] += np.float32(offset[0])
    field[..., 1] += np.float32(linear[1, 0]) * x + np.float32(linear[1, 1]) * y
    field[..., 1] += np.float32(offset[1])
    # Outside the image the object continues as at the border.
    warped = cv2.remap(binary * 255, field, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return (warped >= 128).astype(np.uint8)


def _grow_or_shrink(
    binary: np.ndarray, root: float, rng: np.random.Generator, strength: float
) -> np.ndarray:
    """Dilates or erodes by a radius relative to the object's size."""
    radius = 0.1 * rng.random() ** 1.5 * root * min(strength, 1.5)
    if rng.random() < 0.5:
        distance = cv2.distanceTransform(1 - binary, cv2.DIST_L2, 3)
        return (distance <= radius).astype(np.uint8)
    distance = cv2.distanceTransform(binary, cv2.DIST_L2, 3)
    return (distance > min(radius, 0.6 * float(distance.max()))).astype(np.uint8)


def _coarsen(binary: np.ndarray, root: float, rng: np.random.Generator) -> np.ndarray:
    """Replaces the outline by a polygon, a hull, a box or coarse squares."""
    kind = rng.integers(4)
    height, width = binary.shape
    if kind == 0:
        cell = float(np.clip(rng.uniform(0.06, 0.2) * root, 2, 24))
        small = cv2.resize(
            binary * 255,
            (max(int(width / cell), 2), max(int(height / cell), 2)),
            interpolation=cv2.INTER_AREA,
        )
        large = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
        return (large >= 128).astype(np.uint8)
    contours = cv2.findContours(binary, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)[0]
    coarse = np.zeros_like(binary)
    if kind == 1:
        shapes = [cv2.approxPolyDP(line, 0.06 * root, True) for line in contours]
        cv2.fillPoly(coarse, [shape for shape in shapes if len(shape) > 2], 1)
    elif kind == 2:
        cv2.fillPoly(coarse, [cv2.convexHull(line) for line in contours], 1)
    else:
        left, top, box_width, box_height = cv2.boundingRect(binary)
        coarse[top : top + box_height, left : left + box_width] = 1
    return coarse


def _cut_part(binary: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Removes the part beyond a line, inside a rectangle or inside an ellipse."""
    left, top, box_width, box_height = cv2.boundingRect(binary)
    if box_width == 0:
        return binary
    kind = rng.integers(3)
    cut = binary.copy()
    if kind == 0:
        angle = rng.uniform(0, 2 * np.pi)
        across, down = np.cos(angle) / box_width, np.sin(angle) / box_height
        x = (np.arange(box_width) - box_width / 2) * across
        y = (np.arange(box_height) - box_height / 2) * down
        beyond = (x[None] + y[:, None]) > rng.uniform(-0.1, 0.4)
        cut[top : top + box_height, left : left + box_width][beyond] = 0
        return cut
    center = (
        int(left + rng.uniform(0, 1) * box_width),
        int(top + rng.uniform(0, 1) * box_height),
    )
    half = (
        max(int(rng.uniform(0.1, 0.35) * box_width), 1),
        max(int(rng.uniform(0.1, 0.35) * box_height), 1),
    )
    if kind == 1:
        corner = (center[0] - half[0], center[1] - half[1])
        cv2.rectangle(cut, corner, (center[0] + half[0], center[1] + half[1]), 0, -1)
    else:
        cv2.ellipse(cut, center, half, float(rng.uniform(0, 180)), 0, 360, 0, -1)
    return cut


def _add_blob(
    binary: np.ndarray, box: tuple[int, int, int, int], root: float, rng: np.random.Generator
) -> np.ndarray:
    """Adds a false positive near the object or anywhere."""
    height, width = binary.shape
    left, top, box_width, box_height = box
    if rng.random() < 0.6:
        center = (
            int(left + rng.uniform(-0.3, 1.3) * box_width),
            int(top + rng.uniform(-0.3, 1.3) * box_height),
        )
    else:
        center = (int(rng.uniform(0, width)), int(rng.uniform(0, height)))
    half = tuple(max(int(part), 1) for part in rng.uniform(0.1, 0.4, 2) * root)
    spread = binary.copy()
    cv2.ellipse(spread, center, half, float(rng.uniform(0, 180)), 0, 360, 1, -1)
    return spread
