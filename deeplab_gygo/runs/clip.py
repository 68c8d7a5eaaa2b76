"""One sequence with the mask that it starts from, checked before anything is computed."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deeplab_gygo.datasets.registry import Dataset
from deeplab_gygo.io.masks import (check_first_mask, read_mask_with_notes)
from deeplab_gygo.io.sequence import (Sequence, open_input)
from deeplab_gygo.datasets.dataset import list_images
from deeplab_gygo.errors import (InputError, UsageError)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Clip:
    """A sequence and the mask of one of its frames.

    Attributes:
        sequence: The frames.
        start: Index of the annotated frame; what comes before it is not segmented.
        mask: uint8 [H, W] of object ids, of the size of the frames.
        mask_source: The file of the mask.
        truth: Gives the annotation uint8 [H, W] of a frame by index, for scores; None where not
            every frame from `start` on has one.
        multi_object: Whether the ids of the annotations tell objects apart.
    """

    sequence: Sequence
    start: int
    mask: np.ndarray
    mask_source: Path
    truth: Callable[[int], np.ndarray] | None = None
    multi_object: bool = False

    @property
    def name(self) -> str:
        """Name of the sequence."""
        return self.sequence.name

    @property
    def objects(self) -> int:
        """Number of objects in the mask."""
        return len(np.unique(self.mask[self.mask > 0]))

    def hashes(self) -> dict[str, str]:
        """Returns the SHA-256 of the input and of the mask, in hexadecimal."""
        shape = np.array([*self.mask.shape, self.start], np.int64).tobytes()
        mask = hashlib.sha256(shape + np.ascontiguousarray(self.mask).tobytes())
        return {"input": source_hash(self.sequence.source), "mask": mask.hexdigest()}


def open_clip(
    source: str | Path,
    mask: str | Path,
    *,
    frame: str | None = None,
    name: str | None = None,
) -> Clip:
    """Opens a video or a folder of frames with its first mask.

    Args:
        source: The video or folder.
        mask: The mask, in any encoding that `data.masks` knows.
        frame: Name or index of the frame that the mask belongs to; None is the first.
        name: Name of the sequence; by default that of the source.

    Returns:
        The clip.

    Raises:
        InputError: The source or the mask cannot be used, or they do not fit.
        UsageError: There is no such frame.
    """
    sequence = open_input(source, name=name)
    return _with_mask(sequence, Path(mask).expanduser(), frame)


def open_dataset_clip(
    dataset: Dataset, name: str, *, mask: str | Path | None = None, frame: str | None = None
) -> Clip:
    """Opens a sequence of a data set.

    Args:
        dataset: The data set.
        name: Name of the sequence.
        mask: Mask to start from instead of the data set's own first annotation.
        frame: Name or index of the frame to start from; None is the first annotated one, or the
            first where a mask is given.

    Returns:
        The clip, with annotations for scores where every frame has one.

    Raises:
        InputError: The sequence is absent, has no mask, or cannot be used.
        UsageError: There is no such frame.
    """
    sequence = dataset.sequence(name)
    if mask is not None:
        clip = _with_mask(sequence, Path(mask).expanduser(), frame)
    else:
        start = sequence.first_annotated if frame is None else find_frame(sequence, frame)
        annotation = sequence.annotation(start)
        clip = _checked(sequence, start, annotation, sequence.annotations[start])
    if any(index not in sequence.annotations for index in range(clip.start, len(sequence))):
        return clip
    return Clip(
        sequence,
        clip.start,
        clip.mask,
        clip.mask_source,
        truth=lambda index: dataset.annotation(name, index),
        multi_object=dataset.multi_object,
    )


def find_frame(sequence: Sequence, frame: str) -> int:
    """Finds a frame by its name, or else by its index.

    Raises:
        UsageError: There is no such frame.
    """
    if frame in sequence.frame_names:
        return sequence.frame_names.index(frame)
    if frame.isdecimal() and int(frame) < len(sequence):
        return int(frame)
    names = sequence.frame_names
    raise UsageError(
        f"A frame is a name from {names[0]} to {names[-1]}, or an index from 0 to {len(names) - 1}",
        met=frame,
        where=sequence.source,
        remedy="Give the frame that the mask was drawn on",
    )


def source_hash(source: str | Path) -> str:
    """Hashes a video file, or the names and contents of a folder's frames.

    Args:
        source: The file or folder.

    Returns:
        SHA-256, hexadecimal.

    Raises:
        InputError: A file cannot be read.
    """
    source = Path(source)
    digest = hashlib.sha256()
    try:
        for path in list_images(source) if source.is_dir() else [source]:
            with open(path, "rb") as file:
                content = hashlib.file_digest(file, "sha256").digest()
            digest.update(path.stem.encode() + b"\0" + content)
    except OSError as error:
        raise InputError(
            "The input must be readable", met=error.strerror, where=error.filename or source
        ) from error
    return digest.hexdigest()


def _with_mask(sequence: Sequence, path: Path, frame: str | None) -> Clip:
    start = 0 if frame is None else find_frame(sequence, frame)
    mask, notes = read_mask_with_notes(path, size=sequence.size)
    for note in notes:
        logger.info("%s: %s", path, note)
    if frame is None and path.stem in sequence.frame_names[1:]:
        logger.warning(
            "%s is named as frame %s but is taken for the first one, %s; say --frame %s if it is "
            "not", path, path.stem, sequence.frame_names[0], path.stem,
        )  # fmt: skip
    return _checked(sequence, start, mask, path)


def _checked(sequence: Sequence, start: int, mask: np.ndarray, path: Path) -> Clip:
    check_first_mask(mask, sequence.size, path)
    return Clip(sequence, start, mask, path)
