"""The masks that a user gives for a clip: of one frame or several, one file or one per object."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from collections.abc import Sequence as Collection
from pathlib import Path
from typing import NamedTuple

import numpy as np

from deeplab_gygo.errors import InputError, UsageError
from deeplab_gygo.io.listing import shorten
from deeplab_gygo.io.masks import VOID, MaskReader, as_mask, check_first_mask
from deeplab_gygo.io.names import expanded
from deeplab_gygo.io.sequence import MaskSource, Sequence, pair_masks

logger = logging.getLogger(__name__)

GivenMasks = MaskSource | Collection[str | Path] | Mapping[int | str, MaskSource]
"""A mask of the first frame as a file or as uint8 [H, W]; a folder of masks named as the frames; a
list of these and of `FRAME=FILE`; or masks by index or name of their frames."""

MEMORY = Path("<memory>")


class Annotation(NamedTuple):
    """The mask of a frame.

    Attributes:
        mask: uint8 [H, W] of object ids.
        source: Its file, or `MEMORY`.
    """

    mask: np.ndarray
    source: Path


def mask_files(given: GivenMasks | None) -> list[Path]:
    """Returns the files of masks, which are no frames of the clip where they lie among them."""
    if given is None or isinstance(given, np.ndarray):
        return []
    if isinstance(given, Mapping):
        return [expanded(m) for m in given.values() if not isinstance(m, np.ndarray)]
    words = [given] if isinstance(given, (str, Path)) else given
    return [_split(word)[1] for word in words]


def read_given_masks(
    given: GivenMasks, sequence: Sequence, frame: str | None, mask_format: str = "auto"
) -> dict[int, Annotation]:
    """Reads the masks of a clip.

    Args:
        given: The masks.
        sequence: The frames.
        frame: Name or index of the frame of a single mask; None is the first.
        mask_format: Encoding of the files, as in `read_mask`.

    Returns:
        The masks by index of their frame, ascending.

    Raises:
        InputError: A mask is unusable, or does not fit the frames.
        UsageError: There is no such frame, or it is unclear which frame a mask belongs to.
    """
    files: dict[int, list[MaskSource]] = {}
    if isinstance(given, Mapping):
        for key, mask in given.items():
            files[find_frame(sequence, str(key))] = [
                expanded(mask) if isinstance(mask, str) else mask
            ]
    elif isinstance(given, np.ndarray):
        files[_start(sequence, frame)] = [given]
    else:
        words = [given] if isinstance(given, (str, Path)) else list(given)
        files = _files_of(words, sequence, frame)
    # Colors and labels mean the same object in all masks of a clip.
    reader = MaskReader(mask_format, warn_inverted=True)
    reader.scan([path for each in files.values() for path in each if isinstance(path, Path)])
    masks = {index: _read(files[index], sequence, index, reader) for index in sorted(files)}
    first = next((index for index, each in masks.items() if each.mask.any()), min(masks))
    check_first_mask(masks[first].mask, sequence.size, masks[first].source)
    return masks


def find_frame(sequence: Sequence, frame: str) -> int:
    """Returns the index of a frame by its name, or else by its index as text.

    Raises:
        UsageError: There is no such frame.
    """
    names = sequence.frame_names
    if frame in names:
        return names.index(frame)
    if frame.isdecimal() and int(frame) < len(names):
        return int(frame)
    raise UsageError(
        f"A frame is a name from {names[0]} to {names[-1]}, or an index from 0 to {len(names) - 1}",
        met=frame,
        where=sequence.source,
        remedy="Give the frame that the mask was drawn on",
    )


def _start(sequence: Sequence, frame: str | None) -> int:
    return 0 if frame is None else find_frame(sequence, frame)


def _split(word: str | Path) -> tuple[str | None, Path]:
    """Splits `FRAME=FILE`; a file whose own name has an equals sign is a file."""
    path = expanded(word)
    frame, equals, rest = str(word).partition("=")
    if isinstance(word, Path) or not equals or path.exists():
        return None, path
    return frame, expanded(rest)


def _files_of(
    words: Collection[str | Path], sequence: Sequence, frame: str | None
) -> dict[int, list[MaskSource]]:
    """Assigns files to frames."""
    split = [_split(word) for word in words]
    files: dict[int, list[MaskSource]] = {}
    unnamed = [path for name, path in split if name is None]
    for path in [path for path in unnamed if path.is_dir()]:
        unnamed.remove(path)
        for index, mask in pair_masks(path, sequence.frame_names).items():
            files.setdefault(index, []).append(mask)
    for name, path in split:
        if name is not None:
            files.setdefault(find_frame(sequence, name), []).append(path)
    names = {name: index for index, name in enumerate(sequence.frame_names)}
    by_name = [path.stem in names for path in unnamed]
    if len(unnamed) > 1 and frame is None and any(by_name):
        if not all(by_name):
            raise UsageError(
                "Several masks are named as their frames, or all are of one frame",
                met=shorten(path.name for path in unnamed),
                where=sequence.source,
                remedy="Give --mask FRAME=FILE for each",
            )
        for path in unnamed:
            files.setdefault(names[path.stem], []).append(path)
        return files
    if unnamed:
        index, stem = _start(sequence, frame), unnamed[0].stem
        if frame is None and stem in sequence.frame_names[1:]:
            logger.warning(
                "%s is named as frame %s but is used for the first one, %s; give --mask %s=%s if "
                "it is the mask of that frame", unnamed[0], stem, sequence.frame_names[0], stem,
                unnamed[0],
            )  # fmt: skip
        files.setdefault(index, []).extend(unnamed)
    return files


def _read(
    sources: list[MaskSource], sequence: Sequence, index: int, reader: MaskReader
) -> Annotation:
    """Reads the mask of a frame; of several files each is one object, in their order."""
    name, size = sequence.frame_names[index], sequence.size
    masks, paths = [], []
    for source in sources:
        if isinstance(source, np.ndarray):
            masks.append(as_mask(source, size=size, where=f"mask of frame {name}"))
            paths.append(MEMORY)
        else:
            paths.append(expanded(source))
            masks.append(reader.read(paths[-1], size, frame=name))
    if len(masks) == 1:
        return Annotation(masks[0], paths[0])
    mask = np.zeros(size, np.uint8)
    for label, (single, path) in enumerate(zip(masks, paths, strict=True), 1):
        inside = (single != 0) & (single != VOID)
        if len(np.unique(single[inside])) > 1:
            raise InputError(
                "Of several masks of one frame each shows one object",
                met=f"objects {shorten(map(str, np.unique(single[inside])))}",
                where=path,
                remedy="Give one mask with all objects, or one per object",
            )
        if (mask[inside] != 0).any():
            logger.warning("%s covers a part of another object, which it hides", path)
        mask[inside] = label
    listed = ", ".join(f"{path.name} is {label}" for label, path in enumerate(paths, 1))
    logger.info("frame %s: one object per mask: %s", name, listed)
    return Annotation(mask, paths[0])
