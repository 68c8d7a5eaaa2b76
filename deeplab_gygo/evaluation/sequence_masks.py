"""The masks of one sequence, read with one meaning of their values: ids, one object, or colors.

Values of ids are taken as they are stored, as the official code does. Other encodings are read by
`io.masks`. Where the ids are only numbers of colors, or of values above 255, the ids of results are
matched with those of the ground truth: by color, or else by the masks of the frames of which the
mask is given.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from deeplab_gygo.errors import InputError
from deeplab_gygo.evaluation.measures import jaccard
from deeplab_gygo.io.images import open_picture
from deeplab_gygo.io.listing import shorten
from deeplab_gygo.io.masks import VOID, MaskReader, davis_palette

Label = tuple[int, ...]
"""A color R, G, B, or a single gray value."""

_SURE_GRAY_ID = 10  # larger values of a gray image may be gray levels; DAVIS has 10 objects
_SURE_INDEX = 64  # larger indices of a palette may be gray levels too
_COLOR_NOISE = 12  # per channel; JPEG moves the median of a flat color less than that
_GRAY_SPREAD = 24  # of R, G and B, in an image that is in fact gray
_WHITE = 65535  # of 16 bits
_LOSSY = ("JPEG", "MPO")
_VOID_NOTE = "%s: 255 beside ids is void, taken as background"
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SequenceMasks:
    """Masks by frame name.

    Attributes:
        where: Name of the sequence and of the side, for messages.
        read: Reads the mask of a frame, uint8 [H, W] of ids, 0 background.
        first: Name of the first frame that shows an id, by id.
        kind: "ids": ids as stored; "single": one object, of id 1; "numbered": ids that only number
            the colors or values of the objects.
        labels: These colors or values by id.
    """

    where: str
    read: Callable[[str], NDArray[np.uint8]]
    first: Mapping[int, str]
    kind: Literal["ids", "single", "numbered"] = "ids"
    labels: Mapping[int, Label] = field(default_factory=dict)

    def listed(self, ids: Collection[int]) -> str:
        """Returns the colors or values of objects, or their ids, for a message."""
        return shorten(
            "#{:02x}{:02x}{:02x}".format(*label) if len(label) == 3 else f"{label[0]}"
            for label in (self.labels.get(id_, (id_,)) for id_ in sorted(ids))
        )

    def renumbered(self, table: Mapping[int, int]) -> SequenceMasks:
        """Returns the same masks with other ids; `table` has all of them."""
        lookup = np.arange(256, dtype=np.uint8)
        lookup[list(table)] = list(table.values())
        first = {table[label]: frame for label, frame in self.first.items()}
        return replace(self, read=lambda name: lookup[self.read(name)], first=first)

    def merged(self) -> SequenceMasks:
        """Returns the same masks with all objects as one, of id 1; void stays void."""

        def read(name: str) -> NDArray[np.uint8]:
            mask = self.read(name)
            return np.where(mask == VOID, VOID, mask != 0).astype(np.uint8)

        return replace(self, read=read, first=dict.fromkeys([1], *list(self.first.values())[:1]))


def open_masks(
    where: str,
    files: Mapping[str, Path],
    *,
    mask_format: str = "auto",
    keep_void: bool = False,
    expected: Collection[int] = (),
    given: Mapping[str, Path] | None = None,
) -> SequenceMasks:
    """Finds out what the values of the masks of a sequence mean.

    Args:
        where: Name of the sequence and of the side, for messages.
        files: Mask files by frame name, in temporal order.
        mask_format: Encoding of the files, as in `io.masks.read_mask`.
        keep_void: Whether 255 beside ids stays; otherwise it becomes background.
        expected: Ids that the masks show if they store ids; files that store no other value do.
        given: Files that can be read too, but are not looked at before.

    Returns:
        The masks. Assumptions are logged, once for the sequence.

    Raises:
        InputError: A file is damaged, is no mask, or contradicts the others.
    """
    if mask_format == "auto":
        stored = {}
        is_sure = True
        for name, path in files.items():
            if (found := _stored_values(path)) is None:
                break
            stored[name], sure = found
            is_sure &= sure or stored[name] <= {0, *expected}
        else:
            known = {**(given or {}), **files}
            if is_sure and (
                masks := _stored_masks(where, known, stored, keep_void, bool(expected))
            ):
                return masks
    masks, shows_void = _decoded_masks(where, files, mask_format, keep_void, given or {})
    if shows_void and expected:
        _logger.warning(_VOID_NOTE, where)
    return masks


def match_ids(found: SequenceMasks, truth: SequenceMasks) -> SequenceMasks:
    """Gives the masks of a result the ids of the ground truth, where one side only numbers them.

    Two sides in colors are matched by color. Otherwise an object of the truth is the one that
    covers it, with J above one half, in the frame of which its mask is given.

    Args:
        found: Masks of the result; `read` also takes the names of given frames, and raises
            `KeyError` if there is none.
        truth: Masks of the ground truth.

    Returns:
        The masks of the result with the ids of the truth.

    Raises:
        InputError: An object of the result cannot be matched.
    """
    if "numbered" not in (found.kind, truth.kind):
        return found
    table = _same_labels(found.labels, truth.labels)
    is_by_color = table is not None
    if table is None:
        table = _covered(found, truth)
    if missing := [label for label in found.first if label not in table]:
        raise InputError(
            "The objects of results are recognized by ids, by the colors of the ground truth, or "
            "by the masks of the frames in which the ground truth first shows them",
            met=f"no object for {found.listed(missing)}",
            where=found.where,
            remedy="Write the results as ids, or in the colors, of the ground truth",
        )
    if table and not is_by_color:
        pairs = (f"{found.listed([label])} is {truth.listed([table[label]])}" for label in table)
        _logger.warning("%s: matched by the given masks: %s", found.where, shorten(pairs))
    return found.renumbered(table)


def _stored_values(path: Path) -> tuple[set[int], bool] | None:
    """Returns the values of a file that may store ids, and whether it does without doubt."""
    picture = open_picture(path)
    if picture.format in _LOSSY or picture.mode not in ("P", "L", "1"):
        return None
    pixels = np.asarray(picture)
    used = np.flatnonzero(np.bincount(pixels.ravel().astype(np.uint8), minlength=256))
    values = set(used.tolist())
    largest = max(values - {VOID}, default=0)
    if picture.mode != "P":
        return values, largest <= _SURE_GRAY_ID and (largest == 0 or VOID not in values)
    palette = np.zeros((256, 3), np.uint8)
    entries = np.array(picture.getpalette("RGB") or [], np.uint8).reshape(-1, 3)
    palette[: len(entries)] = entries
    is_davis = np.array_equal(palette[used], davis_palette()[used])
    return values, is_davis and largest <= _SURE_INDEX


def _stored_masks(
    where: str,
    files: Mapping[str, Path],
    values: Mapping[str, set[int]],
    keep_void: bool,
    is_result: bool,
) -> SequenceMasks | None:
    """Makes masks of the values as they are stored; None if 255 may be void or an object."""
    ids: set[int] = set().union(*values.values()) - {0, VOID}
    has_white = any(VOID in found for found in values.values())
    with_void = any(VOID in found and found & ids for found in values.values())
    is_single = has_white and not with_void and ids <= {1}
    if has_white and not with_void and not is_single:
        return None
    if with_void and is_result:
        _logger.warning(_VOID_NOTE, where)
    if is_single and ids:
        _logger.warning("%s: some masks have 0 and 1, others 0 and 255; both are the object", where)
    first: dict[int, str] = {}
    for name, found in values.items():
        for label in found - {0} if is_single else found - {0, VOID}:
            first.setdefault(1 if is_single else label, name)

    def read(name: str) -> NDArray[np.uint8]:
        mask = np.array(open_picture(files[name]), np.uint8)
        if is_single:
            return (mask != 0).astype(np.uint8)
        if not keep_void:
            mask[mask == VOID] = 0
        return mask

    return SequenceMasks(where, read, first, "single" if is_single else "ids")


def _decoded_masks(
    where: str,
    files: Mapping[str, Path],
    mask_format: str,
    keep_void: bool,
    given: Mapping[str, Path],
) -> tuple[SequenceMasks, bool]:
    """Makes masks of files in any encoding; also returns whether they show void."""
    reader = MaskReader(mask_format)
    reader.scan(files.values())
    first: dict[int, str] = {}
    labels: dict[int, Label] = {}
    soft, grays, shows_void = "", set[int](), False
    known = {**given, **files}
    for name, path in files.items():
        mask = reader.read(path, keep_void=True)
        shows_void |= bool((mask == VOID).any())
        pixels = _pixels(path, mask)
        for label in np.setdiff1d(mask, [0, VOID]).tolist():
            first.setdefault(label, name)
            if pixels is not None and label not in labels:
                labels[label] = tuple(np.median(pixels[mask == label], axis=0).astype(int).tolist())
        if pixels is not None and pixels.shape[-1] == 1 and mask.max(initial=0) <= 1:
            grays.update(np.unique(pixels[mask > 0])[:2].tolist())
            if (
                mask_format == "auto"
                and not soft
                and np.setdiff1d(pixels, [0, 1, VOID, _WHITE]).size > 1
            ):
                soft = name
    is_instance = len(grays) == 1 and VOID < min(grays) < _WHITE  # an id, not a brightness
    if grays - {1} and set(first) <= {1} and not is_instance:
        if soft:
            _logger.warning(
                "%s: the edges are soft or noisy (first in frame %s); what is above one half is "
                "the object", where, soft,
            )  # fmt: skip
        found = SequenceMasks(where, lambda name: reader.read(known[name]), first, "single")
        return found, False

    def read(name: str) -> NDArray[np.uint8]:
        return reader.read(known[name], keep_void=keep_void)

    palette = davis_palette()
    if all(
        _distance(label, tuple(palette[id_].tolist()) if len(label) == 3 else (id_,)) == 0
        for id_, label in labels.items()
    ):
        return SequenceMasks(where, read, first), shows_void
    return SequenceMasks(where, read, first, "numbered", labels), shows_void


def _pixels(path: Path, mask: NDArray[np.uint8]) -> NDArray[np.integer] | None:
    """Returns the pixels that a mask was decoded from, [H, W, 1 or 3]; None if they are its ids."""
    try:
        picture = open_picture(path)
    except InputError:  # a file of annotations, which the reader has read
        return None
    if picture.mode == "P" and np.array_equal(np.asarray(picture), mask):
        return None
    if picture.mode in ("RGBA", "LA", "PA") and mask.max(initial=0) <= 1:
        alpha = np.asarray(picture.convert("RGBA"))[..., 3:]
        if alpha.min(initial=VOID) < VOID:
            return alpha
    if picture.mode in ("1", "L", "I", "F") or picture.mode.startswith("I;"):
        return np.asarray(picture)[..., None]
    rgb = np.asarray(picture.convert("RGB"))
    spread = rgb.max(axis=2).astype(int) - rgb.min(axis=2)
    return rgb[..., :1] if spread.max(initial=0) <= _GRAY_SPREAD else rgb


def _distance(one: Label, other: Label) -> int:
    """Returns the largest difference of two colors in a channel, 0 within the noise of JPEG."""
    if len(one) != len(other):
        return 256
    largest = max(abs(a - b) for a, b in zip(one, other, strict=True))
    return 0 if len(one) == 3 and largest <= _COLOR_NOISE else largest


def _same_labels(found: Mapping[int, Label], truth: Mapping[int, Label]) -> dict[int, int] | None:
    """Returns ids of the truth by ids of the result with the same labels; None unless all have."""
    table = {}
    for label, color in found.items():
        same = [other for other, met in truth.items() if _distance(color, met) == 0]
        if len(same) != 1:
            return None
        table[label] = same[0]
    return table if table and len(set(table.values())) == len(table) else None


def _covered(found: SequenceMasks, truth: SequenceMasks) -> dict[int, int]:
    """Returns ids of the truth by ids of the result that cover them in the given frames."""
    table: dict[int, int] = {}
    for label, frame in truth.first.items():
        try:
            mask = found.read(frame)
        except KeyError:
            continue
        true = truth.read(frame) == label
        if mask.shape != true.shape:
            continue
        for candidate in np.setdiff1d(mask[true], [0, VOID]).tolist():
            if candidate not in table and jaccard(mask == candidate, true) > 0.5:
                table[candidate] = label
    return table
