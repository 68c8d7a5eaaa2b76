"""Sequences of frames: the common interface of videos, folders, datasets and arrays in memory."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import ClassVar

import numpy as np

from deeplab_gygo.errors import InputError, UsageError
from deeplab_gygo.io.listing import is_stray, shorten
from deeplab_gygo.io.masks import MASK_SUFFIXES, MaskReader, as_mask, read_mask

MaskSource = str | Path | np.ndarray
"""A mask file, or a mask as uint8 or bool [H, W] of object ids."""

MaskFormat = str | Callable[[Path], str]

Annotations = Mapping[int, MaskSource] | str | Path | None
"""Masks by frame index, or a folder of masks named as the frames."""


@dataclass(frozen=True)
class Frame:
    """One frame of a sequence.

    Attributes:
        index: Position in the sequence, from 0.
        name: Name without suffix, e.g. "00000"; also the name of its results.
        time: Presentation time in seconds; None where the source has none.
        decode: Returns the image.
    """

    index: int
    name: str
    time: float | None = None
    decode: Callable[[], np.ndarray] = field(kw_only=True, repr=False, compare=False)

    @cached_property
    def image(self) -> np.ndarray:
        """uint8 [H, W, 3], RGB; decoded at the first access and kept with the frame, read-only.

        Raises:
            InputError: The image is damaged or has another size than its sequence.
        """
        image = self.decode()
        image.flags.writeable = False
        return image


class Sequence(ABC):
    """Frames in temporal order, some with a mask. Iteration streams in constant memory.

    All arguments but `mask_format` are attributes: the encoding of the masks as in `read_mask`, or
    a function that returns that of a file.

    Attributes:
        name: Name; may contain slashes.
        source: The folder or video; "<memory>" or "<stream>" for arrays.
        size: Height and width of every frame in pixels.
        frame_names: Name of every frame, without suffix.
        annotations: Mask of every annotated frame, by index, in order: a file, or an array. May be
            given as a folder of masks named as the frames.
        times: Presentation time of each frame in seconds; None where the source has none.
        pixel_aspect: Width of a pixel as displayed, over its height.

    Raises:
        InputError: The folder of masks is absent or has none for these frames.
        UsageError: A mask belongs to no frame.
    """

    read_once: ClassVar[bool] = False
    """Whether the frames can be iterated only once."""

    random_access: bool = False
    """Whether any frame costs one decoding."""

    pixel_aspect: Fraction = Fraction(1)

    lease: object = None
    """Keeps what the frames are read from, such as the local copy of what a URL leads to."""

    def __init__(
        self,
        name: str,
        source: Path,
        size: tuple[int, int],
        frame_names: list[str],
        annotations: Annotations = None,
        mask_format: MaskFormat = "auto",
    ):
        self.name = name
        self.source = source
        self.size = size
        self.frame_names = frame_names
        self.annotations = pair_masks(annotations, frame_names)
        self.times: list[float] | None = None
        self._mask_format = mask_format

    @property
    def warnings(self) -> tuple[str, ...]:
        """Faults of the source that do not end the reading; complete after an iteration."""
        return ()

    @property
    def files(self) -> list[Path]:
        """The files that the frames are read from, in order; none for frames in memory."""
        return []

    def __repr__(self) -> str:
        height, width = self.size
        return f"{type(self).__name__}({self.name!r}, {len(self)} frames of {width}x{height})"

    def __len__(self) -> int:
        return len(self.frame_names)

    @abstractmethod
    def __iter__(self) -> Iterator[Frame]:
        """Streams the frames from the first; raises `InputError` where the source is damaged."""

    def preview(self, start: int = 0) -> Generator[Frame]:
        """Streams the frames from index `start`, beside the iteration that yields the results.

        Closing the generator closes the source.
        """
        yield from islice(iter(self), start, None)

    @abstractmethod
    def frame(self, index: int) -> Frame:
        """Returns the frame of an index from 0; the cost depends on the source.

        Raises:
            IndexError: There is no such frame.
            InputError: The source is damaged.
        """

    @property
    def first_annotated(self) -> int:
        """Index of the first frame with a mask; raises `InputError` if there is none."""
        if not self.annotations:
            raise InputError(
                "The sequence must have a mask for some frame",
                met="none",
                where=self.source,
                remedy="Give a mask of the first frame",
            )
        return min(self.annotations)

    def annotation(self, index: int, *, keep_void: bool = False) -> np.ndarray:
        """Reads the mask of a frame.

        Args:
            index: Index of an annotated frame.
            keep_void: Keep 255, void, in mask files rather than making it background.

        Returns:
            uint8 [H, W] of object ids, of the size of the frames.

        Raises:
            InputError: The frame has no mask, or the mask is damaged or does not fit the frame.
        """
        if index not in self.annotations:
            raise InputError(
                f"Frame {index} must have a mask",
                met=f"masks for the frames {shorten(map(str, self.annotations)) or 'none'}",
                where=self.source,
            )
        mask = self.annotations[index]
        if isinstance(mask, Path):
            return self._read_mask(mask, keep_void)
        return as_mask(mask, size=self.size, where=f"mask of frame {index} of {self.name}")

    def _read_mask(self, path: Path, keep_void: bool) -> np.ndarray:
        if self._mask_reader is not None:
            return self._mask_reader.read(path, self.size, keep_void)
        form = self._mask_format if isinstance(self._mask_format, str) else self._mask_format(path)
        return read_mask(path, size=self.size, mask_format=form, keep_void=keep_void)

    @cached_property
    def _mask_reader(self) -> MaskReader | None:
        """The reader of several masks, in which a color or gray is the same object."""
        files = [mask for mask in self.annotations.values() if isinstance(mask, Path)]
        form = self._mask_format
        if len(files) < 2 or not isinstance(form, str) or form not in ("auto", "rgb"):
            return None
        reader = MaskReader(form)
        reader.scan(files)
        return reader

    def with_annotations(self, annotations: Annotations) -> Sequence:
        """Returns the same sequence with other masks, of any format; no frame is read again."""
        other = copy.copy(self)
        other.annotations = pair_masks(annotations, self.frame_names)
        other._mask_format = "auto"
        other.__dict__.pop("_mask_reader", None)
        return other


class IndexedSequence(Sequence):
    """A sequence whose frames are read one by one, in any order, by `_read`."""

    random_access = True

    def __iter__(self) -> Iterator[Frame]:
        return (self.frame(index) for index in range(len(self)))

    def frame(self, index: int) -> Frame:
        """Returns one frame, see `Sequence.frame`."""
        if not 0 <= index < len(self):
            raise IndexError(f"frame {index} of a sequence of {len(self)} frames ({self.source})")
        return Frame(index, self.frame_names[index], decode=partial(self._read, index))

    @abstractmethod
    def _read(self, index: int) -> np.ndarray:
        """Returns the image of an index, uint8 [H, W, 3] RGB."""


def frame_name(index: int) -> str:
    """Returns the name of a frame without a file name: five digits, from 00000."""
    return f"{index:05d}"


def pair_masks(annotations: Annotations, frame_names: list[str]) -> dict[int, Path | np.ndarray]:
    """Assigns every mask to its frame: a mapping by index, a folder by name.

    Masks in the folder that belong to no frame are left out; of several for one frame the PNG is
    taken.
    """
    if annotations is None:
        return {}
    if isinstance(annotations, Mapping):
        unknown = [index for index in annotations if not 0 <= index < len(frame_names)]
        if unknown:
            raise UsageError(
                f"A mask belongs to one of the frames 0 to {len(frame_names) - 1}",
                met=f"a mask for frame {shorten(map(str, unknown))}",
            )
        given = {index: annotations[index] for index in sorted(annotations)}
        return {
            index: mask if isinstance(mask, np.ndarray) else Path(mask)
            for index, mask in given.items()
        }
    folder = Path(annotations)
    if not folder.is_dir():
        raise InputError("The folder of masks must exist", met="no such folder", where=folder)
    masks: dict[str, Path] = {}
    files = [path for path in folder.iterdir() if path.suffix.lower() in MASK_SUFFIXES]
    for path in sorted(files, key=lambda p: (MASK_SUFFIXES.index(p.suffix.lower()), p.name)):
        if not is_stray(path.name):
            masks.setdefault(path.stem, path)
    paired: dict[int, Path | np.ndarray] = {
        index: masks[name] for index, name in enumerate(frame_names) if name in masks
    }
    if not paired:
        raise InputError(
            f"Masks must be named as their frames, {frame_names[0]}.png for the first",
            met=shorten(sorted(masks)) or "no masks",
            where=folder,
            remedy="Rename the masks, or give the folder that holds them",
        )
    return paired
