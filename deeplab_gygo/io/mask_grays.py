"""Analysis of gray masks: flat ids, or brightness with soft edges.

A value is *soft* if its pixels lie between a darker and a brighter neighbor and nowhere form a flat
square: it belongs to an edge and is no object. Sizes of areas decide nothing.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from deeplab_gygo.errors import InputError
from deeplab_gygo.io.mask_values import (
    GRAY_READINGS,
    HALF,
    MAX_ID,
    Levels,
    Matte,
    ambiguous,
    listed,
    ranked,
)
from deeplab_gygo.io.palette import VOID

_MIDDLE = (32, 223)  # levels between are neither black nor white in a JPEG of any quality
_AREAS = (16, 240)  # flat areas of other levels may be the noise of black and white
_PHOTO_FRACTION = 0.005  # of the image may be gray where no edge is near
_FULL_SCALES = (1023, 4095, 16383, 65535)  # white in files of 10, 12, 14 and 16 bits
_LEAST_SCALE = 0.98  # of the full scale; a brightest level below it has no known scale
_SURE_IDS = 10  # values up to it are no edge of a white object
_FLAT_PIXELS = 5  # a flat square, its pixels counted once, or a line
_INTERPOLATED = 0.05  # of the pixels at edges have a value between, where ids were interpolated
_PLATEAU_NOISE = 24  # of a flat gray area in a JPEG, over 5x5 pixels
_NEAR, _EXPLAINED = 4, 0.5  # so near to a plateau are most gray pixels, unlike those of a photo
_PHOTO_VALUES = 32  # a picture of fewer is none
_MOST_GRAYS = 16  # more flat grays than that are a photo


def analyze_gray(levels: np.ndarray, lossy: bool, where: Path) -> Levels | Matte:
    """Decides whether gray values are flat ids or the brightness of a soft mask.

    Args:
        levels: Integers [H, W], not negative; with up to 16 bits.
        lossy: The file is compressed with loss, as JPEG is.
        where: File for messages.

    Returns:
        The flat values, or the mask cut at one half.

    Raises:
        InputError: The picture is a photo, or its values of 16 bits have several readings.
    """
    top = int(levels.max(initial=0))
    if top > 255 and not (levels % 257).any():
        levels, top = levels // 257, top // 257  # 8 bits, stored as 16
    if lossy:
        return _analyze_lossy(levels.astype(np.uint8), where)
    flat = Levels(*ranked(levels))
    values = flat.values
    objects = values[values > 0]
    if len(objects) < 2:
        return flat
    if len(values) > np.iinfo(np.uint16).max:
        raise no_mask(len(values), "gray levels", where)
    ranks = flat.index.astype(np.uint16)
    if len(values) > _MOST_GRAYS:
        ranks = _reduced(ranks)
    softness = _Softness(ranks, len(values))
    if top > 255:
        return _analyze_wide(flat, levels, softness, where)
    if objects[objects < VOID].max() <= MAX_ID:
        return _analyze_small(flat, softness, where)
    return _analyze_bright(flat, levels, softness, where)


def _reduced(ranks: np.ndarray) -> np.ndarray:
    """Returns an image that was enlarged by repeating its pixels in the size before."""
    rows = 1 + np.flatnonzero((ranks[1:] != ranks[:-1]).any(axis=1))
    columns = 1 + np.flatnonzero((ranks[:, 1:] != ranks[:, :-1]).any(axis=0))
    factor = int(np.gcd.reduce(np.r_[rows, columns]))
    return ranks if factor < 2 else np.ascontiguousarray(ranks[::factor, ::factor])


class _Softness:
    """Which values, by rank, form flat areas and which belong to edges only."""

    def __init__(self, ranks: np.ndarray, count: int):
        kernel = np.ones((3, 3), np.uint8)
        corner = ranks[:-1, :-1]
        square = (corner == ranks[1:, :-1]) & (corner == ranks[:-1, 1:])
        square &= corner == ranks[1:, 1:]
        in_square: np.ndarray = np.zeros(ranks.shape, np.uint8)
        in_square[:-1, :-1] = square
        # Each square covers the pixels right of its corner and below it.
        in_square = cv2.dilate(in_square, np.ones((2, 2), np.uint8), anchor=(1, 1))
        soft = (cv2.erode(ranks, kernel) < ranks) & (ranks < cv2.dilate(ranks, kernel))
        soft &= in_square == 0
        self.pixels = np.bincount(ranks.ravel(), minlength=count)
        hard = self.pixels - np.bincount(ranks[soft], minlength=count)
        squares = np.bincount(ranks[in_square > 0], minlength=count)
        self.is_soft = (squares < 4) & (2 * hard < self.pixels)
        self.is_plateau = squares >= _FLAT_PIXELS
        self.is_area = (squares >= _FLAT_PIXELS) | (hard >= _FLAT_PIXELS) & (2 * hard > self.pixels)
        pairs = np.zeros(ranks.shape, bool)
        pairs[1:] |= ranks[1:] == ranks[:-1]
        pairs[:-1] |= ranks[1:] == ranks[:-1]
        pairs[:, 1:] |= ranks[:, 1:] == ranks[:, :-1]
        pairs[:, :-1] |= ranks[:, 1:] == ranks[:, :-1]
        is_edge = cv2.erode(ranks, kernel) < cv2.dilate(ranks, kernel)
        self.edge_fraction = soft.sum() / max(is_edge.sum(), 1)
        self.has_pair = np.bincount(ranks[pairs], minlength=count) > 0


def edge_values(index: np.ndarray, count: int) -> np.ndarray:
    """Returns which of `count` values, at `index` [H, W], occur mostly between others: bool [N]."""
    padded = np.pad(index, 1, mode="edge")
    height, width = index.shape
    first = np.full(index.shape, -1)
    is_between = np.zeros(index.shape, bool)
    for row in range(3):
        for column in range(3):
            other = padded[row : row + height, column : column + width]
            differs = other != index
            is_between |= differs & (first >= 0) & (other != first)
            first = np.where(differs & (first < 0), other, first)
    pixels = np.bincount(index.ravel(), minlength=count)
    between = np.bincount(index[is_between], minlength=count)
    return (pixels >= _FLAT_PIXELS) & (2 * between > pixels)


def _analyze_small(flat: Levels, softness: _Softness, where: Path) -> Levels | Matte:
    """Decides about values that are all small, possibly beside 255."""
    is_id = (flat.values > 0) & (flat.values < VOID)
    soft = softness.is_soft[is_id] & (flat.values[is_id] > _SURE_IDS)
    scattered = ~softness.has_pair[is_id]
    if flat.values[-1] == VOID:
        if soft.all():
            return _matte(flat.values[flat.index], flat.values, HALF)
        if scattered.any() or 2 * soft.sum() >= len(soft):
            met = f"the gray levels {listed(flat.values.tolist())}, small ones without an area"
            doubt = ambiguous(met, ("ids", "matte"), where)
            return _matte(flat.values[flat.index], flat.values, HALF, doubt)
    elif len(soft) > _SURE_IDS and 2 * (soft | scattered).sum() >= len(soft):
        met = f"{len(flat.values)} gray levels up to {flat.values[-1]}, some without an area"
        return replace(flat, doubt=ambiguous(met, ("ids", "binary"), where))
    if softness.edge_fraction > _INTERPOLATED:
        met = f"the values {listed(flat.values[is_id].tolist())}, some between others as after "
        doubt = ambiguous(f"{met}resizing", ("ids", "binary"), where)
        return replace(flat, doubt=doubt)
    return flat


def _analyze_bright(
    flat: Levels, levels: np.ndarray, softness: _Softness, where: Path
) -> Levels | Matte:
    """Decides about values some of which are between the ids and white."""
    values = flat.values
    is_object = values > 0
    is_middle = (values >= _AREAS[0]) & (values <= _AREAS[1])
    areas = values[softness.is_area & is_middle]
    is_soft = softness.is_soft[is_object]
    is_one = len(areas) == 1 and HALF < areas[0] == values[-1] and softness.is_plateau[-1]
    if is_one and 2 * is_soft.sum() >= len(is_soft):
        # One object, painted in gray, with soft edges.
        return _matte(levels, values, int(areas[0]) // 2)
    if is_soft.any() and not len(areas) and _is_matte(levels.astype(np.uint8)):
        return _matte(levels, values, HALF)
    in_areas = softness.pixels[softness.is_area & is_middle].sum()
    few = len(areas) <= _MOST_GRAYS and 2 * in_areas >= softness.pixels[is_middle].sum()
    if few and (len(areas) or not is_soft.any()):
        flat_levels = values[is_object & ~softness.is_soft][:_MOST_GRAYS]
        met = f"the flat gray levels {listed(flat_levels.tolist())}"
        return _matte(levels, values, HALF, ambiguous(met, GRAY_READINGS, where))
    raise no_mask(len(values), "gray levels", where)


def _analyze_wide(
    flat: Levels, levels: np.ndarray, softness: _Softness, where: Path
) -> Levels | Matte:
    """Decides about values above 255: ids of many instances, or brightness."""
    values = flat.values
    soft = softness.is_soft[values > 0]
    full = next((scale for scale in _FULL_SCALES if scale >= values[-1]), None)
    if not soft.any() and len(values) <= VOID:
        if values[-1] == _FULL_SCALES[-1]:
            met = f"the values {listed(values.tolist())} of 16 bits, of which 65535 may be white"
            raise ambiguous(met, ("ids", "matte"), where)
        return flat
    if full is not None and values[-1] >= _LEAST_SCALE * full:
        middle = (values > _AREAS[0] * full / 255) & (values < _AREAS[1] * full / 255)
        reduced = (levels * (255 / full)).astype(np.uint8)
        if not (softness.is_area & middle).any() and _is_matte(reduced):
            return _matte(levels, values, full // 2)
    if 2 * soft.sum() < len(soft) and len(values) <= VOID:
        met = f"the values {listed(values.tolist())} of 16 bits, some at edges only"
        raise ambiguous(met, ("ids", "matte"), where)
    raise no_mask(len(values), "gray levels of 16 bits", where)


def _analyze_lossy(levels: np.ndarray, where: Path) -> Levels | Matte:
    values = np.unique(levels)
    if len(values) == 1 and values[0] in (0, 255):
        return Levels(values.astype(np.int64), np.zeros(levels.shape, np.intp))
    if values[-1] <= MAX_ID:
        raise _lost(f"gray levels up to {values[-1]}", where)
    smooth = cv2.blur(levels, (3, 3))
    kernel = np.ones((3, 3), np.uint8)
    spread = cv2.dilate(smooth, kernel) - cv2.erode(smooth, kernel)
    is_middle = (smooth >= _MIDDLE[0]) & (smooth <= _MIDDLE[1])
    plateaus = smooth[is_middle & (spread <= _PLATEAU_NOISE)]
    centers = _clusters(plateaus)
    white, half = _AREAS[1], HALF
    if len(centers) == 1 and HALF < centers[0] and values[-1] <= centers[0] + _PLATEAU_NOISE:
        white = centers[0] - _PLATEAU_NOISE  # one object, painted in gray
        half = centers[0] // 2
        centers = []
    if len(centers) and len(centers) <= 4:
        near = np.abs(plateaus.astype(int)[:, None] - centers).min(axis=1) <= _NEAR
        if near.mean() > _EXPLAINED:
            raise _lost(f"the gray levels {listed(centers)} beside others", where)
    if len(centers) or not _is_matte(levels):
        raise no_mask(len(values), "gray levels", where)
    if _has_dim_part(levels, white):
        raise _lost(f"a part without a level above {white}", where)
    return _matte(levels, values, half)


def _clusters(levels: np.ndarray) -> list[int]:
    """Returns the centers of levels that differ by more than 24, most frequent first."""
    counts = np.bincount(levels, minlength=256)
    centers: list[int] = []
    for level in np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)].tolist():
        if all(abs(level - center) > 24 for center in centers):
            centers.append(level)
    return centers


def _has_dim_part(levels: np.ndarray, white: int) -> bool:
    """Checks whether a part of the picture is gray without a white pixel."""
    part = (levels > 2 * _MIDDLE[0]).astype(np.uint8)
    count, labels, statistics, _ = cv2.connectedComponentsWithStats(part)
    bright = np.zeros(count, bool)
    bright[np.unique(labels[levels > white])] = True
    large = statistics[:, cv2.CC_STAT_AREA] >= _FLAT_PIXELS
    return bool((large & ~bright)[1:].any())


def _is_matte(levels: np.ndarray) -> bool:
    """Checks whether gray occurs at edges only, as in an anti-aliased mask, unlike in a photo."""
    reach = 2 * max(8, min(levels.shape) // 50) + 1
    kernel = np.ones((reach, reach), np.uint8)
    mask = (levels > HALF).astype(np.uint8)
    edges = cv2.dilate(mask, kernel) != cv2.erode(mask, kernel)
    gray = (levels >= _MIDDLE[0]) & (levels <= _MIDDLE[1])
    return float((gray & ~edges).mean()) <= _PHOTO_FRACTION


def _matte(
    levels: np.ndarray, values: np.ndarray, half: int, doubt: InputError | None = None
) -> Matte:
    return Matte(levels > half, f"{len(values)} gray levels", doubt=doubt)


def no_mask(count: int, unit: str, where: Path) -> InputError:
    """Returns the error of a picture that has no flat value per object."""
    is_photo = count > _PHOTO_VALUES
    return InputError(
        "A mask has one flat value per object and one for the background",
        met=f"{count} {unit}, " + ("as in a photo" if is_photo else "some in no flat area"),
        where=where,
        remedy="Give the mask instead of the photo; if it is a soft mask, name it with "
        "--mask-format matte"
        if is_photo
        else "Paint every object in one flat color, without soft "
        "edges; if it is one soft object, name it with --mask-format matte",
    )


def _lost(met: str, where: Path) -> InputError:
    return InputError(
        "A mask compressed with loss, as JPEG, is white on black",
        met=met,
        where=where,
        remedy="Save it as PNG; if it is one soft object, name it with --mask-format matte",
    )
