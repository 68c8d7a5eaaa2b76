"""Analysis of masks with a palette: whether its indices or its colors are the ids."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from deeplab_gygo.errors import InputError
from deeplab_gygo.io.mask_colors import analyze_colors, pack
from deeplab_gygo.io.mask_grays import analyze_gray, edge_values
from deeplab_gygo.io.mask_values import (
    MAX_ID,
    Colors,
    Content,
    Fixed,
    Levels,
    ambiguous,
    hexadecimal,
    listed,
    nearest_colors,
    ranked,
)
from deeplab_gygo.io.palette import VOID, davis_palette


def analyze_palette(picture: Image.Image, mask_format: str, where: Path) -> Content | None:
    """Analyzes palette indices; None if their colors must be decoded instead."""
    indices = np.asarray(picture)
    if mask_format == "binary":
        return Fixed((indices != 0).astype(np.uint8))
    used, index = ranked(indices)
    stored = Levels(used, index, is_palette=True)
    if mask_format in ("ids", "palette"):
        return replace(stored, is_forced=True)
    entries = _palette_entries(picture)
    palette = np.zeros((256, 3), np.uint8)
    palette[: len(entries)] = entries
    colors = palette[used]
    if np.array_equal(colors, davis_palette()[used]) or not colors.any():
        if set(used) == {0, VOID}:
            note = "index 255, void beside other ids, is taken as the object"
            return replace(stored, notes=[note])
        return stored
    names = {int(color) for color in pack(davis_palette()[[*range(1 + MAX_ID), VOID]])}
    is_reordered = picture.format == "GIF" or pack(davis_palette()[VOID]) in pack(colors)
    if is_reordered and all(int(color) in names for color in pack(colors)):
        return None  # the palette was reduced to the colors in use: colors are the ids
    if len(used) > MAX_ID:
        return None  # a photo that was saved with a palette
    if (entries == entries[:, :1]).all():
        return analyze_gray(colors[:, 0][index], False, where)
    return _analyze_index(stored, palette, where)


def _analyze_index(stored: Levels, palette: np.ndarray, where: Path) -> Content | None:
    """Analyzes the indices of a palette of other colors than those of DAVIS, as `stored`."""
    colors = palette[stored.values]
    black = stored.values[~colors.any(axis=1)]
    white = stored.values[(colors == 255).all(axis=1)]
    first = hexadecimal(palette[0])
    if palette[0].any() and len(black):
        return None  # an editor sorted the colors: black is the background at any index
    if len(black) > 1:
        met = f"a palette in which the indices {listed(black.tolist())} are all black"
        raise ambiguous(met, ("palette", "rgb"), where)
    if palette[0].any() and not (stored.values[0] == 0 and (palette[0] == 255).all()):
        if len(white) or stored.values[0] != 0:
            met = f"a palette in which index 0 is {first} and no index is black"
            raise ambiguous(met, ("palette", "rgb"), where)
        raise InputError(
            "The background of a palette is black, white, or named",
            met=f"index 0 is {first}, and no index is black or white",
            where=where,
            remedy="If index 0 is the background, say so with --mask-format palette, in Python "
            "mask_format; else paint the background black",
        )
    if not edge_values(stored.index, len(colors)).any():
        return stored
    flat = analyze_colors(colors[stored.index], False, where)
    if flat.is_noisy:
        met = f"a palette of {len(colors)} colors, some of which occur at edges only"
        raise ambiguous(met, ("palette", "rgb"), where)
    # Some indices belong to soft edges: each pixel has the index of the flat color nearby.
    position = {
        int(value): int(id_) for value, id_ in zip(pack(colors), stored.values, strict=True)
    }
    values = np.array([position[int(value)] for value in pack(flat.colors)])
    order = np.argsort(values)
    rank = np.argsort(order)
    return Levels(values[order], rank[flat.index], is_palette=True, notes=flat.notes)


def _palette_entries(picture: Image.Image) -> np.ndarray:
    return np.array(picture.getpalette("RGB") or [], np.uint8).reshape(-1, 3)[:256]


def in_order_of_palette(content: Colors, picture: Image.Image) -> Colors:
    """Returns colors in the order of the palette of the picture, which is that of their ids."""
    entries = _palette_entries(picture)
    order = np.argsort(nearest_colors(content.colors, entries)[0], kind="stable")
    rank = np.append(np.argsort(order), -1)
    return replace(
        content, colors=content.colors[order], index=rank[content.index], is_palette=True
    )
