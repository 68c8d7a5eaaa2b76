"""Frames in memory as sequences: lists and streams of arrays."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path

import numpy as np

from deeplab_gygo.errors import InputError, UsageError
from deeplab_gygo.io.sequence import (
    Annotations,
    Frame,
    IndexedSequence,
    MaskSource,
    Sequence,
    frame_name,
    pair_masks,
)


class ArraySequence(IndexedSequence):
    """Frames in memory, named 00000, 00001, ...

    Args:
        frames: Images, uint8 [H, W, 3] RGB, all of one size; or one array [N, H, W, 3]. They are
            not copied.
        name: Name of the sequence.
        annotations: As in `Sequence`.

    Raises:
        InputError: There is no frame, or one has another dtype, shape or size.
        UsageError: A mask belongs to no frame.

    Example:
        >>> frames = np.zeros((3, 32, 48, 3), np.uint8)
        >>> sequence = ArraySequence(frames, annotations={0: np.eye(32, 48, dtype=np.uint8)})
        >>> sequence
        ArraySequence('memory', 3 frames of 48x32)
        >>> [frame.name for frame in sequence], sequence.first_annotated
        (['00000', '00001', '00002'], 0)
    """

    def __init__(
        self,
        frames: Iterable[np.ndarray],
        *,
        name: str = "memory",
        annotations: Annotations = None,
    ):
        self._frames = list(frames)
        if not self._frames:
            raise InputError("A sequence must have frames", met="none", where=name)
        size = _checked_size(self._frames[0], 0, None, name)
        for index, frame in enumerate(self._frames):
            _checked_size(frame, index, size, name)
        names = [frame_name(index) for index in range(len(self._frames))]
        super().__init__(name, Path("<memory>"), size, names, annotations)

    def _read(self, index: int) -> np.ndarray:
        return self._frames[index].view()  # that becomes read-only, the given array does not


class StreamSequence(Sequence):
    """Frames of an iterator, named 00000, 00001, ...; they can be iterated once and are not kept.

    The first frame is taken from the iterator at once, for its size. `len()` raises TypeError
    unless the length is given.

    Args:
        frames: Iterator of images, uint8 [H, W, 3] RGB, all of one size, each a new array.
        name: Name of the sequence.
        annotations: Masks by frame index, as in `Sequence`.
        length: Number of frames for `len()`, not checked; None if unknown.

    Raises:
        InputError: There is no frame, or the first is no uint8 [H, W, 3]; so does the iteration.
        UsageError: A mask belongs to no frame; the frames are iterated again.

    Example:
        >>> frames = (np.full((32, 48, 3), level, np.uint8) for level in range(3))
        >>> sequence = StreamSequence(frames)
        >>> sequence.size
        (32, 48)
        >>> [int(frame.image.max()) for frame in sequence]
        [0, 1, 2]
    """

    read_once = True

    def __init__(
        self,
        frames: Iterable[np.ndarray],
        *,
        name: str = "stream",
        annotations: Mapping[int, MaskSource] | None = None,
        length: int | None = None,
    ):
        iterator = iter(frames)
        first = next(iterator, None)
        if first is None:
            raise InputError("A sequence must have frames", met="none", where=name)
        size = _checked_size(first, 0, None, name)
        names = [frame_name(index) for index in range(length or 0)]
        super().__init__(name, Path("<stream>"), size, names)
        if annotations and length is None:
            names = [frame_name(index) for index in range(max(annotations) + 1)]
        self.annotations = pair_masks(annotations, names)
        self._length = length
        self._frames: Iterator[np.ndarray] | None = chain(iter([first]), iterator)

    def __repr__(self) -> str:
        height, width = self.size
        frames = "frames" if self._length is None else f"{self._length} frames"
        return f"{type(self).__name__}({self.name!r}, {frames} of {width}x{height})"

    def __len__(self) -> int:
        if self._length is None:
            raise TypeError(f"the length of the stream {self.name!r} is unknown")
        return self._length

    def __iter__(self) -> Iterator[Frame]:
        frames, self._frames = self._frames, None
        if frames is None:
            raise self._not_again("a second iteration")
        return self._stream(frames)

    def _stream(self, frames: Iterator[np.ndarray]) -> Iterator[Frame]:
        for index, image in enumerate(frames):
            _checked_size(image, index, self.size, self.name)
            yield Frame(index, frame_name(index), decode=image.view)

    def frame(self, index: int) -> Frame:
        """Raises `UsageError`: a stream has no random access."""
        raise self._not_again(f"random access to frame {index}")

    def _not_again(self, met: str) -> UsageError:
        return UsageError(
            "The frames of a stream are iterated once",
            met=met,
            where=self.name,
            remedy="Give a list of frames, a folder or a video",
        )


def _checked_size(
    image: np.ndarray, index: int, size: tuple[int, int] | None, name: str
) -> tuple[int, int]:
    """Returns height and width of a frame; raises `InputError` if it is no image of that size."""
    where = f"frame {index} of {name}"
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.shape[2:] != (3,):
        form = getattr(image, "shape", None)
        raise InputError(
            "A frame is a NumPy array, uint8 [H, W, 3], RGB",
            met=type(image).__name__ if form is None else f"{image.dtype} {list(form)}",
            where=where,
        )
    height, width = image.shape[:2]
    if not image.size or (height, width) != (size or (height, width)):
        expected = "" if size is None else f", the first is {size[1]}x{size[0]}"
        raise InputError(
            "All frames of a sequence must have one size, not empty",
            met=f"{width}x{height}{expected}",
            where=where,
        )
    return height, width
