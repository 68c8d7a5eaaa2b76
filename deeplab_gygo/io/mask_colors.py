"""Analysis of masks in colors: which colors are flat, and which pixels belong to soft edges.

A color that fills a flat square or a line is an object. The others must be blends of flat colors
nearby, as at anti-aliased edges; they take the nearest flat color of their neighborhood.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np

from deeplab_gygo.io.mask_grays import edge_values, no_mask
from deeplab_gygo.io.mask_values import Colors, nearest_colors

MAX_COLORS = 32  # more flat colors than that are a drawing or a photo
_FREQUENT = 4  # pixels of exactly one color in a noisy image; rarer ones belong to edges
_MOST_TRIED = 4 * MAX_COLORS  # of them are compared with their surroundings
_SQUARES = 0.1  # flat squares per pixel of a color; at soft edges there are some by chance
_FLAT_PIXELS = 5  # of a line or a part of a flat color
_NOISE = 24  # per channel; JPEG moves a flat color less than that, edges aside
_BLEND_ERROR = 4  # per channel, of an exact blend
_REDUCED_ERROR = 32  # the same in a palette of few colors
_TAIL = 8  # per channel, of the almost flat end of a soft edge to the flat color
_NOISY_BLEND_ERROR = 64  # the same where color is stored at half the resolution
_REACH = 17  # pixels across; both colors of a blend are in this neighborhood
_LEAST_FLAT = 0.5  # of the pixels have a flat color; fewer in a photo
_STRAY_PIXELS = 4  # a part of so many unexplained pixels in a noisy image is an object


@dataclass(frozen=True)
class _Distinct:
    """The distinct colors of an image, uint8 [N, 3], their index [H, W] and pixels, [N]."""

    colors: np.ndarray
    index: np.ndarray
    counts: np.ndarray


def analyze_colors(rgb: np.ndarray, lossy: bool, where: Path) -> Colors:
    """Finds the flat colors of a mask, uint8 [H, W, 3].

    Raises:
        InputError: The picture is no mask in flat colors.
    """
    values, index, counts = np.unique(pack(rgb), return_inverse=True, return_counts=True)
    distinct = _Distinct(unpack(values), index.reshape(rgb.shape[:2]), counts)
    exact = None if lossy else _exact_colors(rgb, distinct)
    if exact is not None:
        return exact
    colors = len(values)
    flat = _frequent_colors(rgb, distinct)
    if not 0 < len(flat) <= MAX_COLORS:
        raise no_mask(colors, "colors", where)
    index, is_explained = _assign(rgb, distinct, flat, noise=_NOISE, error=_NOISY_BLEND_ERROR)
    parts = cv2.connectedComponentsWithStats((~is_explained).astype(np.uint8))[2]
    if (parts[1:, cv2.CC_STAT_AREA] >= _STRAY_PIXELS).any():
        raise no_mask(colors, "colors", where)
    note = f"the mask has {colors} colors; each is taken as the nearest of {len(flat)}"
    return Colors(flat, index, is_noisy=True, notes=[note])


def _exact_colors(rgb: np.ndarray, distinct: _Distinct) -> Colors | None:
    """Finds flat colors without noise; None if some pixel is neither flat nor a blend."""
    colors, index, counts = distinct.colors, distinct.index, distinct.counts
    corner = index[:-1, :-1]
    square = (corner == index[1:, :-1]) & (corner == index[:-1, 1:])
    square &= corner == index[1:, 1:]
    squares = np.bincount(corner[square], minlength=len(colors))
    is_flat = squares > _SQUARES * counts
    if is_flat.sum() > MAX_COLORS:
        return None
    if not is_flat.all():
        is_flat |= _isolated_colors(distinct, is_flat)
    if not 0 < is_flat.sum() <= MAX_COLORS:
        return None
    flat = colors[is_flat]
    if is_flat.all():
        return Colors(flat, index)
    flat = _without_tails(flat, counts[is_flat])
    assigned, is_explained = _assign(rgb, distinct, flat, noise=_TAIL, error=_BLEND_ERROR)
    if not is_explained.all():
        return None
    note = f"the mask has {len(colors)} colors; each is taken as the nearest of {len(flat)} nearby"
    return Colors(flat, assigned, notes=[note])


def _without_tails(flat: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Removes the almost flat ends of soft edges: colors next to one of more pixels."""
    kept: list[np.ndarray] = []
    for color in flat[np.argsort(-counts, kind="stable")].astype(int):
        if all(np.abs(color - other).max() > _TAIL for other in kept):
            kept.append(color)
    return np.array(kept, np.uint8)


def _isolated_colors(distinct: _Distinct, is_flat: np.ndarray) -> np.ndarray:
    """Returns which colors without a flat square are thin parts and no blends: bool [N]."""
    colors, index, counts = distinct.colors, distinct.index, distinct.counts
    isolated = np.zeros(len(colors), bool)
    candidates = np.flatnonzero(~is_flat & (counts >= _FLAT_PIXELS))
    if len(candidates) > MAX_COLORS:
        return isolated
    kernel = np.ones((3, 3), np.uint8)
    is_edge = edge_values(index, len(colors))
    for candidate in candidates:
        part = (index == candidate).astype(np.uint8)
        around = index[(cv2.dilate(part, kernel) > 0) & (part == 0)]
        neighbors = colors[np.unique(around)]
        # Blends that were reduced to a palette are near those of the colors around only.
        error = _REDUCED_ERROR if is_edge[candidate] else _BLEND_ERROR
        isolated[candidate] = not _is_blend(colors[candidate][None], neighbors, error).any()
    return isolated


def _is_blend(colors: np.ndarray, flat: np.ndarray, error: int) -> np.ndarray:
    """Checks whether colors lie between two of the flat ones: bool [N]."""
    found = np.zeros(len(colors), bool)
    wide = colors.astype(np.float32)
    for one, other in combinations(flat.astype(np.float32), 2):
        found |= _on_segment(wide, one, other, error)
    return found


def _on_segment(colors: np.ndarray, one: np.ndarray, other: np.ndarray, error: int) -> np.ndarray:
    direction = other - one
    position = np.clip((colors - one) @ direction / max(direction @ direction, 1), 0, 1)
    return np.abs(one + position[:, None] * direction - colors).max(axis=1) <= error


def _frequent_colors(rgb: np.ndarray, distinct: _Distinct) -> np.ndarray:
    """Returns the colors that fill areas of a noisy image: uint8 [N, 3], most frequent first."""
    flat: list[np.ndarray] = []
    tried = 0
    is_frequent = distinct.counts >= _FREQUENT
    order = np.argsort(-distinct.counts[is_frequent], kind="stable")
    for color in distinct.colors[is_frequent][order].astype(int):
        if any(np.abs(color - other).max() <= 2 * _NOISE for other in flat):
            continue
        low, high = np.clip([color - _NOISE, color + _NOISE], 0, 255)
        area = cv2.inRange(rgb, low.astype(np.uint8), high.astype(np.uint8))
        if cv2.erode(area, np.ones((5, 5), np.uint8)).any():
            flat.append(color)
        tried += 1
        if len(flat) > MAX_COLORS or tried > _MOST_TRIED:
            break
    return np.array(flat, np.uint8).reshape(-1, 3)


def _assign(
    rgb: np.ndarray, distinct: _Distinct, flat: np.ndarray, *, noise: int, error: int
) -> tuple[np.ndarray, np.ndarray]:
    """Assigns the nearest flat color nearby to each pixel: index [H, W]; and which are explained.

    Args:
        rgb: uint8 [H, W, 3].
        distinct: Its colors.
        flat: uint8 [N, 3] of flat colors.
        noise: Largest channel difference of a pixel of a flat color.
        error: Largest channel difference of a pixel to a blend of two flat colors nearby.
    """
    nearest, distance = nearest_colors(distinct.colors, flat)
    index = nearest[distinct.index]
    is_sure = (distance <= noise)[distinct.index]
    explained = is_sure.copy()
    if is_sure.mean() < _LEAST_FLAT:
        return index, explained
    rows, columns = np.nonzero(~is_sure)
    pixels = rgb[rows, columns].astype(np.float32)
    kernel = np.ones((_REACH, _REACH), np.uint8)
    near = np.zeros((len(flat), len(pixels)), bool)
    smallest = np.full(len(pixels), np.inf, np.float32)
    for number, color in enumerate(flat.astype(np.float32)):
        area = (is_sure & (index == number)).astype(np.uint8)
        near[number] = cv2.dilate(area, kernel)[rows, columns] > 0
        difference = np.abs(pixels - color).max(axis=1)
        closer = near[number] & (difference < smallest)
        smallest[closer] = difference[closer]
        index[rows[closer], columns[closer]] = number
    for one, other in combinations(range(len(flat)), 2):
        both = near[one] & near[other]
        if both.any():
            fits = _on_segment(
                pixels[both], flat[one].astype(np.float32), flat[other].astype(np.float32), error
            )
            explained[rows[both][fits], columns[both][fits]] = True
    return index, explained


def pack(colors: np.ndarray) -> np.ndarray:
    """Packs uint8 [..., 3] into int32 [...]."""
    wide = colors.astype(np.int32)
    return wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]


def unpack(values: np.ndarray) -> np.ndarray:
    """Unpacks int32 [...] into uint8 [..., 3]."""
    return np.stack([values >> 16, values >> 8 & 255, values & 255], axis=-1).astype(np.uint8)
