"""Decoding of mask images: from gray levels, palettes, colors and alpha to object ids.

Every decoder returns `(ids, notes)`: uint8 [H, W] with 0 background, ids, and possibly 255 void;
and a sentence for every assumption or repair.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from deeplab_gygo.errors import InputError
from deeplab_gygo.io.palette import VOID, davis_palette

Decoded = tuple[np.ndarray, list[str]]

MAX_MASK_PIXELS = 40_000_000
"""Most pixels of a mask, unless its frame has more: 8K has 33 million. A mask in colors takes up to
30 bytes a pixel while it is decoded."""

_ALPHA_MODES = ("RGBA", "LA", "PA")
_JPEG_FORMATS = ("JPEG", "MPO")
MAX_ID = 64  # larger values in a gray image are gray levels, not ids; DAVIS has 10 objects
_MAX_COLORS = 32  # more flat colors than that are a drawing or a photo
_HALF = 127  # gray or alpha above it is the object
_MIDDLE = (32, 223)  # levels between are neither black nor white in a JPEG of any quality
_PHOTO_FRACTION = 0.005  # of the image may be gray where no edge is near
_FLAT_FRACTION = 0.0005  # of the image; rarer colors belong to edges
_COLOR_NOISE = 24  # per channel; JPEG moves a flat color less than that, edges aside
_PALETTE_NOISE = 12  # per channel; the colors of the first ids are 64 apart
_LOSSLESS_SPREAD, _LOSSY_SPREAD = 2, 24  # of R, G, B in an image that is in fact gray


def decode_picture(picture: Image.Image, mask_format: str, where: Path) -> Decoded:
    """Detects how an image encodes a mask and decodes it.

    Args:
        picture: Decoded image with its `format`, EXIF orientation applied.
        mask_format: "auto", "binary", "ids" or "alpha".
        where: File for messages.

    Returns:
        Ids and notes, see the module.

    Raises:
        InputError: The image is no mask, or not of the given format.
    """
    has_alpha = picture.mode in _ALPHA_MODES
    if picture.mode == "P" and "transparency" in picture.info:
        # With few indices the transparency marks the background.
        has_alpha = len(np.unique(np.asarray(picture))) > _MAX_COLORS
    if mask_format == "alpha" or (mask_format != "ids" and has_alpha):
        decoded = _decode_alpha(picture, forced=mask_format == "alpha", where=where)
        if decoded is not None:
            return decoded
    if picture.mode in ("P", "PA"):
        decoded = _decode_palette(picture, mask_format)
        if decoded is not None:
            return decoded
    lossy = picture.format in _JPEG_FORMATS
    if picture.mode in ("1", "L", "LA", "I", "F") or picture.mode.startswith("I;"):
        return _decode_gray(_gray_levels(picture), mask_format, lossy, where)
    rgb = np.asarray(picture.convert("RGB"))
    spread = int((rgb.max(axis=2) - rgb.min(axis=2)).max(initial=0))
    may_be_noisy = lossy or picture.format == "WEBP"
    if spread <= (_LOSSY_SPREAD if may_be_noisy else _LOSSLESS_SPREAD):
        return _decode_gray(np.ascontiguousarray(rgb[..., 1]), mask_format, lossy, where)
    if mask_format == "binary":
        return _decode_gray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), mask_format, lossy, where)
    return _decode_colors(rgb, where)


def _gray_levels(picture: Image.Image) -> np.ndarray:
    """Converts every gray mode to uint8 levels; bits become 0 and 255."""
    if picture.mode in ("1", "LA"):
        return np.asarray(picture.convert("L"))
    levels = np.asarray(picture)
    if levels.dtype == np.uint8:
        return levels
    top = float(levels.max(initial=0))
    scale = 255.0 if top <= 1 and levels.dtype.kind == "f" else 1.0 if top <= 255 else 1 / 257
    return np.clip(np.rint(levels * scale), 0, 255).astype(np.uint8)


def _decode_alpha(picture: Image.Image, *, forced: bool, where: Path) -> Decoded | None:
    """Decodes the alpha channel; None if it is opaque everywhere."""
    if picture.mode not in _ALPHA_MODES and "transparency" not in picture.info:
        if forced:
            raise InputError(
                "A mask of the format 'alpha' needs a transparent background",
                met=f"an image without transparency (mode {picture.mode})",
                where=where,
                remedy="Save it with transparency, or choose another mask format",
            )
        return None
    rgba = np.asarray(picture.convert("RGBA"))
    visible = rgba[..., 3] > _HALF
    if not forced:
        if rgba[..., 3].min(initial=255) > _HALF:
            return None
        ids = _exact_palette_ids(rgba[visible][:, :3])
        if ids is not None:
            mask = np.zeros(visible.shape, np.uint8)
            mask[visible] = ids
            return mask, []
    return visible.astype(np.uint8), []


def _exact_palette_ids(colors: np.ndarray) -> np.ndarray | None:
    """Returns ids of uint8 [N, 3] colors if all are foreground colors of the palette, else None."""
    values, inverse = np.unique(_pack(colors), return_inverse=True)
    known = {int(value): index for index, value in enumerate(_pack(davis_palette())) if index}
    if not 0 < len(values) <= _MAX_COLORS or any(int(value) not in known for value in values):
        return None
    return np.array([known[int(value)] for value in values], np.uint8)[inverse]


def _decode_palette(picture: Image.Image, mask_format: str) -> Decoded | None:
    """Decodes palette indices; None if their colors must be decoded instead."""
    indices = np.asarray(picture if picture.mode == "P" else picture.convert("P"))
    if mask_format == "ids":
        return indices.copy(), []
    if mask_format == "binary":
        return (indices != 0).astype(np.uint8), []
    used = np.flatnonzero(np.bincount(indices.ravel()))
    palette = np.zeros((256, 3), np.uint8)
    entries = np.array(picture.getpalette("RGB") or [], np.uint8).reshape(-1, 3)
    palette[: len(entries)] = entries
    black = [index for index in used if not palette[index].any()]
    if palette[0].any() and black:
        return None  # an editor sorted the colors: black is the background at any index
    is_ramp = np.array_equal(palette[used], np.repeat(used[:, None], 3, axis=1))
    if is_ramp and used[-1] > 1 or len(used) > MAX_ID:
        return None  # a gray image, or a photo, that was saved with a palette
    if set(used) <= {0, VOID}:
        return (indices != 0).astype(np.uint8), []
    return indices.copy(), []


def _decode_gray(levels: np.ndarray, mask_format: str, lossy: bool, where: Path) -> Decoded:
    counts = np.bincount(levels.ravel(), minlength=256)
    used = np.flatnonzero(counts)
    if mask_format == "ids" or not used[used > 1].size:
        return levels.copy(), []
    if set(used) <= {0, 255}:
        return (levels != 0).astype(np.uint8), []
    ids = used[(used > 0) & (used < VOID)]
    if not lossy and mask_format == "auto" and ids.size and ids[-1] <= MAX_ID:
        # Beside a larger white area such values are the noise of a JPEG saved as PNG.
        if used[0] == 0 and counts[VOID] <= counts[ids].sum():
            return levels.copy(), []
    if len(used) == 2 and used[0] == 0:
        note = f"the mask has the gray levels 0 and {used[1]}; {used[1]} is taken as the object"
        return (levels != 0).astype(np.uint8), [note]
    if mask_format == "auto" and not _is_matte(levels):
        raise _no_mask(f"{len(used)} gray levels", where)
    note = f"the mask has {len(used)} gray levels; those above {_HALF} are taken as the object"
    return (levels > _HALF).astype(np.uint8), [note]


def _is_matte(levels: np.ndarray) -> bool:
    """Checks whether gray occurs at edges only, as in an anti-aliased mask, unlike in a photo."""
    reach = 2 * max(8, min(levels.shape) // 50) + 1
    kernel = np.ones((reach, reach), np.uint8)
    mask = (levels > _HALF).astype(np.uint8)
    edges = cv2.dilate(mask, kernel) != cv2.erode(mask, kernel)
    gray = (levels >= _MIDDLE[0]) & (levels <= _MIDDLE[1])
    return float((gray & ~edges).mean()) <= _PHOTO_FRACTION


def _decode_colors(rgb: np.ndarray, where: Path) -> Decoded:
    values, inverse, counts = np.unique(_pack(rgb), return_inverse=True, return_counts=True)
    if len(values) <= _MAX_COLORS:
        ids, notes = _ids_of_colors(_unpack(values), 0, where)
        return ids[inverse.ravel()].reshape(rgb.shape[:2]), notes
    flat = _flat_colors(rgb, values, counts)
    if not 0 < len(flat) <= _MAX_COLORS:
        raise _no_mask(f"{len(values)} colors", where)
    nearest, distance = _nearest(_unpack(values), flat)
    outlier = (distance > _COLOR_NOISE)[inverse].reshape(rgb.shape[:2]).astype(np.uint8)
    if cv2.erode(outlier, np.ones((7, 7), np.uint8)).mean() > _PHOTO_FRACTION / 10:
        raise _no_mask(f"{len(values)} colors", where)
    ids, notes = _ids_of_colors(flat, _PALETTE_NOISE, where)
    note = f"the mask has {len(values)} colors; each is taken as the nearest of {len(flat)}"
    return ids[nearest[inverse.ravel()]].reshape(rgb.shape[:2]), [note, *notes]


def _flat_colors(rgb: np.ndarray, values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Returns the colors that fill areas, not edges: uint8 [N, 3], most frequent first."""
    flat: list[np.ndarray] = []
    frequent = values[counts >= _FLAT_FRACTION * rgb.shape[0] * rgb.shape[1]]
    order = np.argsort(-counts[np.isin(values, frequent)], kind="stable")
    for color in _unpack(frequent[order]).astype(int):
        if any(np.abs(color - other).max() <= 2 * _COLOR_NOISE for other in flat):
            continue
        low, high = np.clip([color - _COLOR_NOISE, color + _COLOR_NOISE], 0, 255)
        area = cv2.inRange(rgb, low.astype(np.uint8), high.astype(np.uint8))
        if cv2.erode(area, np.ones((5, 5), np.uint8)).any():
            flat.append(color)
        if len(flat) > _MAX_COLORS:
            break
    return np.array(flat, np.uint8).reshape(-1, 3)


def _ids_of_colors(colors: np.ndarray, noise: int, where: Path) -> Decoded:
    """Assigns ids, uint8 [N], to flat colors, uint8 [N, 3], within a noise level; with notes."""
    palette = davis_palette()
    known = np.r_[0 : MAX_ID + 1, VOID]
    nearest, distance = _nearest(colors, palette[known])
    if distance.max() <= noise:
        return known[nearest].astype(np.uint8), []
    extremes, distance = _nearest(colors, np.array([[0, 0, 0], [255, 255, 255]], np.uint8))
    is_black = (extremes == 0) & (distance <= _PALETTE_NOISE)
    is_white = (extremes == 1) & (distance <= _PALETTE_NOISE)
    background = is_black if is_black.any() else is_white
    if not background.any():
        raise InputError(
            "A mask in colors has a black or white background, or the colors of DAVIS",
            met=f"the colors {', '.join(_hex(color) for color in colors[:6])}",
            where=where,
            remedy="Paint the background black",
        )
    ids = np.zeros(len(colors), np.uint8)
    ids[~background] = np.arange(1, 1 + np.count_nonzero(~background))
    listed = ", ".join(f"{_hex(color)} is {id_}" for color, id_ in zip(colors, ids, strict=True))
    return ids, [f"the colors are not those of DAVIS; their ids: {listed}"]


def _nearest(colors: np.ndarray, centers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the nearest center of each color, and the largest channel difference to it."""
    best = np.zeros(len(colors), np.intp)
    smallest = np.full(len(colors), 256)
    for index, center in enumerate(centers.astype(np.int16)):
        difference = np.abs(colors.astype(np.int16) - center).max(axis=1)
        closer = difference < smallest
        best[closer], smallest[closer] = index, difference[closer]
    return best, smallest


def _pack(colors: np.ndarray) -> np.ndarray:
    wide = colors.astype(np.int32)
    return wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]


def _unpack(values: np.ndarray) -> np.ndarray:
    return np.stack([values >> 16, values >> 8 & 255, values & 255], axis=-1).astype(np.uint8)


def _hex(color: np.ndarray) -> str:
    return "#{:02x}{:02x}{:02x}".format(*(int(channel) for channel in color))


def _no_mask(met: str, where: Path) -> InputError:
    return InputError(
        "A mask has one flat value per object and one for the background",
        met=f"{met}, as in a photo",
        where=where,
        remedy="Give the mask instead of the photo, or name its encoding by the mask format",
    )
