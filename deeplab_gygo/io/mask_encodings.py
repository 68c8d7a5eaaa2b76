"""Detection of how a picture encodes a mask: gray levels, palette, colors or transparency.

The result is content whose values `mask_values.Legend` turns into ids. Areas decide nothing: the
kind of the file, its palette, the set of its values and the softness of its edges do.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from deeplab_gygo.errors import InputError
from deeplab_gygo.io.mask_colors import analyze_colors, pack, unpack
from deeplab_gygo.io.mask_grays import analyze_gray
from deeplab_gygo.io.mask_palettes import analyze_palette, in_order_of_palette
from deeplab_gygo.io.mask_values import (
    HALF,
    MAX_ID,
    READINGS,
    Colors,
    Content,
    Fixed,
    Levels,
    Matte,
    ambiguous,
    ranked,
)
from deeplab_gygo.io.palette import VOID

MAX_MASK_PIXELS = 40_000_000
"""Most pixels of a mask, unless its frame has more: 8K has 33 million. A mask in colors takes up to
30 bytes a pixel while it is decoded."""

_ALPHA_MODES = ("RGBA", "LA", "PA", "La", "RGBa")
_GRAY_MODES = ("1", "L", "LA", "La", "I", "F")
_LOSSLESS_SPREAD, _LOSSY_SPREAD = 2, 24  # of R, G, B in an image that is in fact gray
_LAYER_COLORS = 16  # more flat colors on a transparent background are a cut-out
_LAYER_PIXELS = 3  # of a flat color
_LAYER_FRACTION = 0.9  # of the visible pixels; less in flat colors is a cut-out
_LAYER_NOISE = (0, 8)  # per channel of a flat color: lossless, lossy


def analyze_picture(
    picture: Image.Image, mask_format: str, where: Path, *, lossy: bool = False
) -> Content:
    """Detects how an image encodes a mask.

    Args:
        picture: Decoded image, EXIF orientation applied.
        mask_format: A format of `masks.MASK_FORMATS` but "labelme".
        where: File for messages.
        lossy: The file is compressed with loss, as JPEG is.

    Returns:
        The values of the mask and where they are.

    Raises:
        InputError: The image is no mask, not of the given format, or has several readings.
    """
    if mask_format == "palette" and picture.mode != "P":
        raise _not_of_format("palette", "a palette", f"an image of the mode {picture.mode}", where)
    if mask_format in ("auto", "binary", "alpha", "matte", "rgb"):
        content = _analyze_alpha(picture, mask_format, lossy, where)
        if content is not None:
            return content
    if picture.mode == "P" and mask_format not in ("rgb", "matte"):
        content = analyze_palette(picture, mask_format, where)
        if content is not None:
            return content
    if mask_format != "rgb" and (picture.mode in _GRAY_MODES or picture.mode.startswith("I;")):
        levels = _gray_levels(picture, where)
        if picture.mode == "1" and mask_format != "ids":
            levels = levels * np.uint8(255)  # black and white
        return analyze_levels(levels, mask_format, lossy, where)
    rgb = _rgb(picture)
    spread = int((rgb.max(axis=2) - rgb.min(axis=2)).max(initial=0))
    is_gray = spread <= _LOSSY_SPREAD if lossy else not spread
    is_gray |= spread <= _LOSSLESS_SPREAD and bool(rgb.max(initial=0) > MAX_ID)
    if mask_format == "matte":
        return _forced_matte(rgb.max(axis=2))
    if mask_format == "binary":
        return _nonzero(rgb.max(axis=2), lossy)
    if is_gray and mask_format != "rgb":
        return analyze_levels(np.ascontiguousarray(rgb[..., 1]), mask_format, lossy, where)
    content = analyze_colors(rgb, lossy, where)
    return in_order_of_palette(content, picture) if picture.mode == "P" else content


def analyze_levels(
    levels: np.ndarray, mask_format: str, lossy: bool, where: Path
) -> Fixed | Levels | Matte:
    """Detects what the values of a gray image or an array mean.

    Args:
        levels: Integers or finite floating-point numbers [H, W].
        mask_format: A format of `masks.MASK_FORMATS` but "labelme".
        lossy: The file is compressed with loss.
        where: File for messages.

    Raises:
        InputError: The values are no mask, or have several readings.
    """
    has_fractions = levels.dtype.kind == "f" and bool((levels != np.rint(levels)).any())
    if levels.dtype.kind == "f":
        levels = _whole_numbers(levels, has_fractions, mask_format, where)
    if levels.dtype.kind == "i" and levels.min(initial=0) < 0:
        raise InputError(
            "The values of a mask are 0 and above",
            met=f"values down to {levels.min()}",
            where=where,
            remedy="Store the background as 0 and void as 255",
        )
    if mask_format == "matte":
        return _forced_matte(levels)
    if mask_format == "binary":
        return _nonzero(levels, lossy)
    if mask_format == "ids":
        return Levels(*ranked(levels), is_forced=True)
    content = analyze_gray(levels, lossy, where)
    return _without_ids(content, where) if has_fractions else content


def _without_ids(content: Levels | Matte, where: Path) -> Levels | Matte:
    """Returns the content of a file whose values have fractions, and so are no ids."""
    doubt = content.doubt
    if isinstance(content, Levels):
        objects = content.values[content.values > 0]
        content = replace(content, values=np.where(content.values > 0, VOID, 0))
        if doubt is None and len(objects) > 1:
            doubt = ambiguous(f"{len(objects)} flat values with fractions", (), where)
    if doubt is not None:
        doubt = ambiguous(str(doubt.met), ("matte", "binary"), where)
    return replace(content, doubt=doubt)


def _gray_levels(picture: Image.Image, where: Path) -> np.ndarray:
    """Returns the stored values of a gray image; bits are 0 and 1."""
    if picture.mode in ("LA", "La"):
        return np.asarray(picture.convert("LA"))[..., 0]
    levels = np.asarray(picture)
    if levels.dtype == np.bool_:
        return levels.astype(np.uint8)
    if levels.dtype.kind == "f" and not np.isfinite(levels).all():
        raise InputError(
            "The values of a mask are finite",
            met="NaN or infinite values",
            where=where,
            remedy="Store the background as 0",
        )
    return levels.astype(levels.dtype.newbyteorder("="))


def _whole_numbers(
    levels: np.ndarray, has_fractions: bool, mask_format: str, where: Path
) -> np.ndarray:
    """Converts floating-point levels: whole numbers as they are, 0 to 1 to 8 bits."""
    top = float(levels.max(initial=0))
    if not has_fractions and top < 2**31:
        return levels.astype(np.int64)
    if mask_format == "ids" or 1 < top <= MAX_ID or top > 255 or levels.min(initial=0) < 0:
        raise InputError(
            "Values with fractions are brightness from 0 to 1 or 0 to 255",
            met=f"values from {levels.min():g} to {top:g}",
            where=where,
            remedy="Store ids as whole numbers",
        )
    return np.rint(levels * (255 if top <= 1 else 1)).astype(np.uint8)


def _forced_matte(levels: np.ndarray) -> Matte | Fixed:
    top = int(levels.max(initial=0))
    full = next(scale for scale in (1, 255, 65535, 2**31) if scale >= top)
    above = levels > full // 2
    if ((levels == 0) | (levels == full)).all():
        return Fixed(above.astype(np.uint8))  # there is nothing to note
    return Matte(above, f"gray levels up to {top} of {full}", is_forced=True)


def _nonzero(levels: np.ndarray, lossy: bool) -> Fixed:
    if not lossy:
        return Fixed((levels != 0).astype(np.uint8))
    note = f"the file is compressed with loss; levels above {HALF} are taken as the object"
    return Fixed((levels > HALF).astype(np.uint8), [note])


def _analyze_alpha(
    picture: Image.Image, mask_format: str, lossy: bool, where: Path
) -> Content | None:
    """Analyzes an image with transparent parts; None if it is opaque."""
    if picture.mode not in _ALPHA_MODES and "transparency" not in picture.info:
        if mask_format == "alpha":
            met = f"an image without transparency (mode {picture.mode})"
            raise _not_of_format("alpha", "a transparent background", met, where)
        return None
    is_key = picture.mode not in (*_ALPHA_MODES, "P")
    if is_key and not np.any(picture.info["transparency"]) and mask_format != "alpha":
        return None  # black, the background, is shown transparent
    rgba = np.asarray(picture.convert("RGBA"))
    alpha = rgba[..., 3]
    visible = alpha > HALF
    if visible.all() and mask_format != "alpha":
        return None
    if mask_format in ("binary", "alpha", "matte") or not visible.any():
        forced = mask_format != "auto" or not alpha.any()
        if set(np.unique(alpha)) <= {0, 255}:
            return Fixed(visible.astype(np.uint8))
        return Matte(visible, f"alpha from {alpha.min()} to {alpha.max()}", is_forced=forced)
    rgb = np.ascontiguousarray(rgba[..., :3])
    is_soft = not set(np.unique(alpha)) <= {0, 255}
    notes = [f"the mask has soft alpha; alpha above {HALF} is taken as the object"] * is_soft
    layer = _flat_layer(rgb[visible], lossy or mask_format == "rgb")
    if layer is None:
        if mask_format == "rgb":
            return analyze_colors(np.where(visible[..., None], rgb, 0), lossy, where)
        return Fixed(visible.astype(np.uint8), notes)
    flat, nearest = layer
    index = np.full(visible.shape, -1, np.intp)
    index[visible] = nearest
    is_forced = mask_format == "rgb"
    content = Colors(flat, index, is_noisy=lossy, is_forced=is_forced, notes=notes)
    return in_order_of_palette(content, picture) if picture.mode == "P" else content


def _flat_layer(pixels: np.ndarray, noisy: bool) -> tuple[np.ndarray, np.ndarray] | None:
    """Finds the flat colors of visible pixels, uint8 [N, 3]; None if they are a cut-out photo.

    Returns:
        Colors, uint8 [M, 3], and the index of each pixel's, [N].
    """
    values, inverse, counts = np.unique(pack(pixels), return_inverse=True, return_counts=True)
    noise = _LAYER_NOISE[noisy]
    flat: list[np.ndarray] = []
    colors = unpack(values).astype(int)
    few = 2 * len(values) <= len(pixels) <= _LAYER_PIXELS * _LAYER_COLORS
    for position in np.argsort(-counts, kind="stable")[: 4 * _LAYER_COLORS]:
        is_new = all(np.abs(colors[position] - other).max() > noise for other in flat)
        if is_new and (counts[position] >= _LAYER_PIXELS or few):
            flat.append(colors[position])
    if not 0 < len(flat) <= _LAYER_COLORS:
        return None
    distances = np.stack([np.abs(colors - color).max(axis=1) for color in flat])
    nearest = distances.argmin(axis=0)
    if counts[distances.min(axis=0) <= noise].sum() < _LAYER_FRACTION * len(pixels):
        return None
    return np.array(flat, np.uint8), nearest[inverse]


def _rgb(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture if picture.mode == "RGB" else picture.convert("RGB"))


def _not_of_format(name: str, needed: str, met: str, where: Path) -> InputError:
    return InputError(
        f"A mask of the format '{name}' ({READINGS[name]}) has {needed}",
        met=met,
        where=where,
        remedy=f"Save it with {needed}, or name another format with --mask-format",
    )
