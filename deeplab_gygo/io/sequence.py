"""Sequences of frames: what a video, a folder of images and a data set all become."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property, partial
from itertools import islice
from pathlib import Path

import numpy as np

from deeplab_gygo.datasets.layout import shorten
from deeplab_gygo.errors import InputError
from deeplab_gygo.io.frame_folder import Annotations, list_frames, pair_masks
from deeplab_gygo.io.images import IMAGE_SUFFIXES, image_size, read_image
from deeplab_gygo.io.masks import read_mask


@dataclass(frozen=True)
class Frame:
    """One frame of a sequence.

    Attributes:
        index: Position in the sequence, from 0.
        name: Name without suffix, e.g. "00000"; results carry it too.
        time: When it is shown, in seconds; None where the source does not say.
        decode: Makes the image.
    """

    index: int
    name: str
    time: float | None = None
    decode: Callable[[], np.ndarray] = field(kw_only=True, repr=False, compare=False)

    @cached_property
    def image(self) -> np.ndarray:
        """uint8 [H, W, 3], RGB; decoded at the first request, kept with the frame, read-only.

        Raises:
            InputError: The image is damaged or has another size than its sequence.
        """
        image = self.decode()
        image.flags.writeable = False
        return image


class Sequence(ABC):
    """Frames in the order of time, some with a mask. Iterating streams in constant memory.

    Args:
        name: Name; may contain slashes.
        source: The folder or video.
        size: Height and width of every frame in pixels.
        frame_names: Name of every frame, without suffix.
        annotations: Masks by index of frame, or a folder of masks named as the frames.

    Attributes:
        name: As given.
        source: As given.
        size: As given.
        frame_names: As given.
        annotations: Mask file of every annotated frame, by index, in order.

    Raises:
        InputError: The folder of masks is absent or has none for these frames.
        UsageError: A mask belongs to no frame.
    """

    def __init__(
        self,
        name: str,
        source: Path,
        size: tuple[int, int],
        frame_names: list[str],
        annotations: Annotations = None,
    ):
        self.name = name
        self.source = source
        self.size = size
        self.frame_names = frame_names
        self.annotations = pair_masks(annotations, frame_names)

    def __repr__(self) -> str:
        height, width = self.size
        return f"{type(self).__name__}({self.name!r}, {len(self)} frames of {width}x{height})"

    def __len__(self) -> int:
        return len(self.frame_names)

    @abstractmethod
    def __iter__(self) -> Iterator[Frame]:
        """Streams the frames from the first; several iterations do not disturb each other.

        Raises:
            InputError: The source is damaged.
        """

    def preview(self, start: int = 0) -> Generator[Frame]:
        """Streams the frames to look over them, beside the iteration that results follow.

        Args:
            start: Index of the first frame to give.

        Yields:
            The frames from there on. Closing the generator ends the reading.
        """
        yield from islice(iter(self), start, None)

    @abstractmethod
    def frame(self, index: int) -> Frame:
        """Gives one frame; what it costs depends on the source.

        Args:
            index: From 0.

        Returns:
            The frame.

        Raises:
            IndexError: There is no such frame.
            InputError: The source is damaged.
        """

    @property
    def frame_rate(self) -> Fraction | None:
        """Average frames per second; None where the source does not say."""
        return None

    @property
    def times(self) -> list[float] | None:
        """When each frame is shown, in seconds; None where the source does not say."""
        return None

    @property
    def first_annotated(self) -> int:
        """Index of the first frame with a mask.

        Raises:
            InputError: No frame has one.
        """
        if not self.annotations:
            raise InputError(
                "The sequence must have a mask for some frame",
                met="none",
                where=self.source,
                remedy="Give a mask of the first frame",
            )
        return min(self.annotations)

    def annotation(self, index: int) -> np.ndarray:
        """Reads the mask of a frame.

        Args:
            index: Index of an annotated frame.

        Returns:
            uint8 [H, W] of object ids, of the size of the frames; void is background.

        Raises:
            InputError: The frame has no mask, or it is no mask of this frame.
        """
        if index not in self.annotations:
            raise InputError(
                f"Frame {index} must have a mask",
                met=f"masks for the frames {shorten(map(str, self.annotations)) or 'none'}",
                where=self.source,
            )
        return read_mask(self.annotations[index], size=self.size)

    def with_annotations(self, annotations: Annotations) -> Sequence:
        """Makes the same sequence with other masks; nothing is read again.

        Args:
            annotations: Masks by index of frame, or a folder of masks named as the frames.

        Returns:
            The new sequence.

        Raises:
            InputError: As the constructor.
            UsageError: As the constructor.
        """
        other = copy.copy(self)
        other.annotations = pair_masks(annotations, self.frame_names)
        return other

    def _require(self, index: int) -> None:
        if not 0 <= index < len(self):
            raise IndexError(f"frame {index} of a sequence of {len(self)} frames ({self.source})")


class FolderSequence(Sequence):
    """Image files of a folder, one a frame. Access to any frame costs one decoding.

    Args:
        files: The images in order, all of one size.
        size: Height and width in pixels, upright.
        name: Name of the sequence.
        source: The folder.
        annotations: As in `Sequence`.
    """

    def __init__(
        self,
        files: list[Path],
        size: tuple[int, int],
        *,
        name: str,
        source: Path,
        annotations: Annotations = None,
    ):
        super().__init__(name, source, size, [path.stem for path in files], annotations)
        self._files = files

    def __iter__(self) -> Iterator[Frame]:
        return (self.frame(index) for index in range(len(self)))

    def frame(self, index: int) -> Frame:
        """Gives one frame; nothing is decoded yet. See `Sequence.frame`."""
        self._require(index)
        return Frame(index, self.frame_names[index], decode=partial(self._decode, index))

    def _decode(self, index: int) -> np.ndarray:
        image = read_image(self._files[index])
        if image.shape[:2] != self.size:
            raise _mixed_sizes(self._files[index], image.shape[:2], self._files[0], self.size)
        return image


def sequence_from_folder(
    folder: str | Path, *, name: str | None = None, annotations: Annotations = None
) -> FolderSequence:
    """Opens a folder of frames (JPEG, PNG, WebP, BMP) in natural order: 2 before 10.

    Only the headers of the images are read. Hidden files and files of other kinds are ignored.
    Frames that are named by numbers alone must follow each other in equal steps (1, or 5 as in
    YouTube-VOS).

    Args:
        folder: The folder.
        name: Name of the sequence; by default that of the folder.
        annotations: Masks by index of frame, or a folder of masks named as the frames.

    Returns:
        The sequence.

    Raises:
        InputError: The folder is absent, has no frames, a gap, two files of one name, an
            unreadable image or images of different sizes; or the masks do not fit, see `Sequence`.
        UsageError: A mask belongs to no frame.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(
            "A folder of frames must exist",
            met="a file" if folder.exists() else "no such folder",
            where=folder,
        )
    files = list_frames(folder)
    size = image_size(files[0])
    for path in files[1:]:
        if (other := image_size(path)) != size:
            raise _mixed_sizes(path, other, files[0], size)
    name = name or folder.resolve().name
    return FolderSequence(files, size, name=name, source=folder, annotations=annotations)


def open_input(
    path: str | Path, *, name: str | None = None, annotations: Annotations = None
) -> Sequence:
    """Opens a folder of frames or a video.

    Args:
        path: The folder or file.
        name: Name of the sequence; by default that of the folder, or of the video without suffix.
        annotations: Masks by index of frame, or a folder of masks named as the frames.

    Returns:
        The sequence.

    Raises:
        InputError: There is nothing, or what is there is neither, or it is damaged.
        UsageError: A mask belongs to no frame.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise InputError(
            "The input must be a video or a folder of frames", met="no such file", where=path
        )
    if path.is_dir():
        return sequence_from_folder(path, name=name, annotations=annotations)
    if path.suffix.lower() in IMAGE_SUFFIXES:
        raise InputError(
            "The input must be a video or a folder of frames",
            met="a single image",
            where=path,
            remedy="Give the folder that holds the frames",
        )
    from deeplab_gygo.io.video import (
        sequence_from_video,  # costs time that a folder of frames need not pay
    )

    return sequence_from_video(path, name=name, annotations=annotations)


def _mixed_sizes(
    path: Path, size: tuple[int, ...], first: Path, first_size: tuple[int, int]
) -> InputError:
    return InputError(
        "All frames of a sequence must have one size",
        met=f"{size[1]}x{size[0]}, but {first.name} is {first_size[1]}x{first_size[0]}",
        where=path,
        remedy="Put the frames of each size in a folder of their own",
    )
