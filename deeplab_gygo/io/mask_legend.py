"""The ids of the masks of one sequence: values and colors are the same object in every file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from deeplab_gygo.errors import InputError
from deeplab_gygo.io.mask_values import (
    GRAY_READINGS,
    HALF,
    MAX_ID,
    READINGS,
    Colors,
    Content,
    Decoded,
    Fixed,
    Levels,
    Matte,
    ambiguous,
    check_count,
    hexadecimal,
    listed,
    look_up,
    nearest_colors,
)
from deeplab_gygo.io.palette import VOID, davis_palette

_LEAST_BRIGHT = 10  # levels up to it are ids or noise, never a mask of brightness
_COLOR_NOISE = 12  # per channel, of flat colors in JPEG; the colors of the first ids are 64 apart


class Legend:
    """The meaning of values and colors in the masks of one sequence."""

    def __init__(self) -> None:
        self._levels: set[int] = set()
        self._indices: set[int] = set()
        self._void_beside_ids = self._has_ids = False
        self._has_matte = self._has_fixed = False
        self._wide: dict[int, int] = {}
        self._colors: list[np.ndarray] = []
        self._ranks: list[int] = []  # positions in a palette
        self._color_ids: list[int] | None = None
        self._has_layer = self._is_noisy = False

    def add(self, content: Content) -> None:
        """Adds the values of a file; ids that were assigned before do not change."""
        if isinstance(content, Levels):
            values = {int(value) for value in content.values}
            (self._indices if content.is_palette else self._levels).update(values)
            self._has_ids |= content.doubt is None and len(values - {0, VOID}) > 0
            self._void_beside_ids |= VOID in values and len(values - {0, VOID}) > 0
        elif isinstance(content, Matte):
            self._has_matte |= content.doubt is None and bool(content.above.any())
        elif isinstance(content, Colors):
            self._is_noisy |= content.is_noisy
            self._has_layer |= content.is_layer
            for rank, color in enumerate(content.colors):
                if self._find_color(color) is None:
                    self._colors.append(color)
                    self._ranks.append(rank if content.is_palette else 0)
        else:
            self._has_fixed = self._has_fixed or bool(content.ids.any())

    def decode(self, content: Content, where: Path) -> Decoded:
        """Assigns the ids of a file whose values were added.

        Raises:
            InputError: The values have several readings, or contradict another file.
        """
        if isinstance(content, Fixed):
            return content.ids, list(content.notes)
        if isinstance(content, Matte):
            return self._decode_matte(content, where)
        if isinstance(content, Levels):
            if content.doubt is not None and not self._has_ids:
                raise content.doubt
            table, notes = self._ids_of_levels(content, where)
            return look_up(table, content.index), content.notes + notes
        table, notes = self._ids_of_colors(content, where)
        return np.append(table, np.uint8(0))[content.index], content.notes + notes

    def _decode_matte(self, matte: Matte, where: Path) -> Decoded:
        if matte.doubt is not None and not self._has_matte:
            raise matte.doubt
        is_alone = not (self._has_matte or self._has_fixed or matte.is_forced)
        if is_alone and not matte.above.any():
            raise InputError(
                f"Gray and alpha up to {HALF} of 255 count as background",
                met=f"{matte.description}, nothing above {HALF}",
                where=where,
                remedy="Paint the object white and opaque",
            )
        note = f"the mask has {matte.description}; those above one half are taken as the object"
        return matte.above.astype(np.uint8), [note]

    def _ids_of_levels(self, content: Levels, where: Path) -> Decoded:
        values = content.values
        seen = self._indices if content.is_palette else self._levels
        objects = seen - {0}
        if objects and max(objects) > VOID:
            return self._ids_of_wide_values(values, objects, where)
        if content.is_forced:
            return values.astype(np.uint8), []
        if objects <= {VOID}:
            return (values != 0).astype(np.uint8), []
        if content.is_palette:
            return values.astype(np.uint8), []
        if self._has_matte:
            if 0 < values.max() <= _LEAST_BRIGHT:
                raise _contradiction(f"values up to {values.max()}", "soft gray", where)
            return (values > HALF).astype(np.uint8), []
        ids = objects - {VOID}
        if len(objects) == 1 and max(objects) > MAX_ID:
            note = f"the mask has the gray levels 0 and {max(objects)}; {max(objects)} is taken "
            return (values != 0).astype(np.uint8), [note + "as the object"] if 0 in seen else []
        if max(ids) > MAX_ID:
            raise ambiguous(f"the gray levels {listed(seen)}", GRAY_READINGS, where)
        if VOID not in objects:
            return values.astype(np.uint8), []
        if not self._void_beside_ids:
            raise _contradiction("0 and 255", "ids", where)
        note = f"255 beside the ids {listed(ids)} is void, neither object nor background"
        return values.astype(np.uint8), [note]

    def _ids_of_wide_values(self, values: np.ndarray, objects: set[int], where: Path) -> Decoded:
        for value in sorted(objects - self._wide.keys()):
            self._wide[value] = len(self._wide) + 1
        check_count(len(self._wide), where)
        table = np.array([self._wide.get(int(value), 0) for value in values], np.uint8)
        pairs = listed(f"{value} is {id_}" for value, id_ in self._wide.items())
        return table, [f"the values are instance ids above 255; their ids: {pairs}"]

    def _find_color(self, color: np.ndarray) -> int | None:
        noise = _COLOR_NOISE if self._is_noisy else 0
        for position, known in enumerate(self._colors):
            if np.abs(known.astype(int) - color.astype(int)).max() <= noise:
                return position
        return None

    def _ids_of_colors(self, content: Colors, where: Path) -> Decoded:
        colors = np.array(self._colors, np.uint8).reshape(-1, 3)
        ids, notes = self._number(colors, content, where)
        positions = [self._find_color(color) for color in content.colors]
        return ids[np.array(positions, np.intp)].astype(np.uint8), notes

    def _number(self, colors: np.ndarray, content: Colors, where: Path) -> Decoded:
        """Assigns ids, uint8 [N], to the colors of the sequence."""
        noise = _COLOR_NOISE if self._is_noisy else 0
        known = np.r_[int(self._has_layer) : MAX_ID + 1, VOID]
        nearest, distance = nearest_colors(colors, davis_palette()[known])
        if not len(colors) or distance.max() <= noise:
            ids = known[nearest].astype(np.uint8)
            self._color_ids = ids.tolist()
            if ids.size and set(ids.tolist()) <= {0, VOID} and VOID in ids:
                return (ids != 0).astype(np.uint8), ["the color of void is taken as the object"]
            return ids, []
        background = np.zeros(len(colors), bool)
        if self._has_layer and not content.is_forced:
            if len(colors) == 1:
                return np.ones(1, np.uint8), []
            levels = colors[:, 0]
            if (colors == levels[:, None]).all() and 0 < levels.min() <= levels.max() <= MAX_ID:
                return levels.astype(np.uint8), []
            met = f"the colors {listed(map(hexadecimal, colors))} on a transparent background"
            formats = ("alpha", "palette", "rgb") if content.is_palette else ("alpha", "rgb")
            raise ambiguous(met, formats, where)
        if not self._has_layer:
            background = _background(colors, noise, where)
        if self._color_ids is None:
            order = np.lexsort([*colors.T[::-1], np.array(self._ranks)])
            check_count(len(colors), where)
            self._color_ids = [0] * len(colors)
            for id_, position in enumerate(order[~background[order]], start=1):
                self._color_ids[position] = id_
        for position in range(len(self._color_ids), len(colors)):
            is_object = not background[position]
            following = 1 + max(id_ for id_ in [0, *self._color_ids] if id_ < VOID)
            check_count(following, where)
            self._color_ids.append(following if is_object else 0)
        pairs = zip(colors, self._color_ids, strict=True)
        named = sorted((id_, f"{hexadecimal(color)} is {id_}") for color, id_ in pairs)
        note = f"the colors are not those of DAVIS; their ids: {listed(text for _, text in named)}"
        return np.array(self._color_ids, np.uint8), [note]


def _background(colors: np.ndarray, noise: int, where: Path) -> np.ndarray:
    """Finds the background among flat colors: black, else white: bool [N]."""
    extremes, distance = nearest_colors(colors, np.array([[0, 0, 0], [255, 255, 255]], np.uint8))
    is_black = (extremes == 0) & (distance <= noise)
    is_white = (extremes == 1) & (distance <= noise)
    background = is_black if is_black.any() else is_white
    if not background.any():
        raise InputError(
            "A mask in colors has a black or white background, or the colors of DAVIS",
            met=f"the colors {listed(map(hexadecimal, colors))}",
            where=where,
            remedy="Paint the background black",
        )
    return background


def _contradiction(met: str, others: str, where: Path) -> InputError:
    return InputError(
        "The masks of a sequence have one encoding",
        met=f"{met} here, {others} in other files",
        where=where,
        remedy="Save them alike, or name the encoding with --mask-format "
        f"ids ({READINGS['ids']}) or matte ({READINGS['matte']})",
    )
