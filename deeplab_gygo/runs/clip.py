"""One sequence with its annotated frame, checked before anything is computed."""

from __future__ import annotations

import hashlib
import logging
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from deeplab_gygo.errors import InputError, UsageError
from deeplab_gygo.io.listing import list_images
from deeplab_gygo.io.masks import as_mask, check_first_mask, read_mask
from deeplab_gygo.io.names import expanded
from deeplab_gygo.io.prefetch import prefetched
from deeplab_gygo.io.reading import check_regular
from deeplab_gygo.io.sequence import Frame, Sequence
from deeplab_gygo.io.video import open_input

if TYPE_CHECKING:
    from deeplab_gygo.datasets.dataset import Dataset

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Clip:
    """A sequence and the mask of one of its frames.

    Attributes:
        sequence: The frames.
        start: Index of the annotated frame; frames before it are not segmented.
        mask: uint8 [H, W] of object ids, of the size of the frames; None for zero-shot
            segmentation without a mask.
        mask_source: File of the mask, or "<memory>"; None without a mask.
        truth: Returns the annotation uint8 [H, W] of a frame by index, for scores; None unless
            every frame from `start` on has one.
        multi_object: Whether the ids of the annotations distinguish objects.
    """

    sequence: Sequence
    start: int = 0
    mask: np.ndarray | None = None
    mask_source: Path | None = None
    truth: Callable[[int], np.ndarray] | None = None
    multi_object: bool = False

    @property
    def object_ids(self) -> list[int]:
        """Ids of the objects in the mask; `[1]` without a mask."""
        return [1] if self.mask is None else [int(i) for i in np.unique(self.mask) if i]

    def hashes(self) -> dict[str, str]:
        """Returns the SHA-256 of `input` and `mask`, hexadecimal.

        That of the input is of a video file, of the names and contents of a folder's frames, or of
        frames in memory; that of the mask includes the index of its frame.

        Raises:
            InputError: The input cannot be read.
        """
        source, frames, mask = Path(self.sequence.source), hashlib.sha256(), hashlib.sha256()
        if self.mask is not None:
            mask.update(np.array(self.mask.shape, np.int64).tobytes())
            mask.update(np.ascontiguousarray(self.mask).tobytes())
        mask.update(np.array([self.start], np.int64).tobytes())
        if not source.exists():
            for frame in self.sequence:
                frames.update(frame.name.encode() + b"\0" + frame.image.tobytes())
            return {"input": frames.hexdigest(), "mask": mask.hexdigest()}
        try:
            for path in list_images(source) if source.is_dir() else [source]:
                check_regular(path)
                with open(path, "rb") as file:
                    content = hashlib.file_digest(file, "sha256").digest()
                frames.update(path.stem.encode() + b"\0" + content)
        except OSError as error:
            where = error.filename or source
            raise InputError(
                "The input must be readable", met=error.strerror, where=where
            ) from error
        return {"input": frames.hexdigest(), "mask": mask.hexdigest()}


def open_clip(
    source: str | Path | Sequence,
    mask: str | Path | np.ndarray | None,
    *,
    frame: str | None = None,
    name: str | None = None,
    needs_mask: bool = True,
    keep_going: bool = False,
) -> Clip:
    """Opens a video or a folder of frames with the mask of one frame.

    Args:
        source: The video or folder, or an open sequence.
        mask: Mask file in any encoding that `io.masks` reads, or bool or uint8 [H, W] of object
            ids; None for zero-shot segmentation.
        frame: Name or index of the annotated frame; None is the first.
        name: Name of the sequence; by default that of the source.
        needs_mask: Whether a clip without a mask is an error.
        keep_going: Whether the frames that can be decoded are taken of a damaged video.

    Raises:
        InputError: The source or the mask is unusable, or their sizes differ.
        UsageError: The mask is missing, there is no such frame, or a frame is named without a mask.
    """
    if isinstance(source, Sequence):
        sequence = source
    else:
        sequence = open_input(source, name=name, keep_going=keep_going)
    if sequence.read_once:
        raise UsageError(
            "The frames of a run are read twice, for their hash and for their masks",
            met="a stream",
            where=sequence.name,
            remedy="Give a list, a folder or a video, or segment it with Model.segment",
        )
    if mask is None:
        if needs_mask:
            raise UsageError(
                "A clip starts from a mask of its first frame", met="no --mask",
                where=sequence.source,
                remedy="Give --mask: a picture that is white where the object is, or labelme JSON; "
                "or --mode zero-shot, which finds the most salient object",
            )  # fmt: skip
        if frame is not None:
            raise UsageError(
                "--frame names the frame of the mask",
                met="no mask",
                where=sequence.source,
                remedy="Give --mask, or leave --frame out",
            )
        return Clip(sequence)
    start = 0 if frame is None else find_frame(sequence, frame)
    if isinstance(mask, np.ndarray):
        ids = as_mask(mask, size=sequence.size, where="mask")
        check_first_mask(ids, sequence.size, "mask")
        return Clip(sequence, start, ids, Path("<memory>"))
    path = expanded(mask)
    ids = read_mask(path, size=sequence.size)
    if frame is None and path.stem in sequence.frame_names[1:]:
        logger.warning(
            "%s is named as frame %s but is used for the first one, %s; give --frame %s if it is "
            "the mask of that frame", path, path.stem, sequence.frame_names[0], path.stem,
        )  # fmt: skip
    check_first_mask(ids, sequence.size, path)
    return Clip(sequence, start, ids, path)


def open_dataset_clip(
    dataset: Dataset,
    name: str,
    *,
    mask: str | Path | None = None,
    frame: str | None = None,
    needs_mask: bool = True,
) -> Clip:
    """Opens a sequence of a dataset.

    Args:
        dataset: The dataset.
        name: Name of the sequence.
        mask: Mask to start from instead of the first annotation of the dataset.
        frame: Name or index of the frame to start from; None is the first annotated one, or the
            first where a mask is given.
        needs_mask: Whether a sequence without any annotation is an error; else it has no mask.

    Returns:
        The clip, with annotations for scores if every frame has one.

    Raises:
        InputError: The sequence is absent, has no mask, or is unusable.
        UsageError: There is no such frame.
    """
    sequence = dataset.sequence(name)
    if mask is not None or not (needs_mask or sequence.annotations):
        clip = open_clip(sequence, mask, frame=frame, needs_mask=needs_mask)
    else:
        start = sequence.first_annotated if frame is None else find_frame(sequence, frame)
        annotation, source = sequence.annotation(start), sequence.annotations[start]
        check_first_mask(annotation, sequence.size, source)
        clip = Clip(sequence, start, annotation, source)
    if any(index not in sequence.annotations for index in range(clip.start, len(sequence))):
        return clip
    return replace(
        clip,
        truth=lambda index: dataset.annotation(name, index),
        multi_object=dataset.multi_object,
    )


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


class ClipStream(Sequence):
    """The frames of a clip, decoded ahead, and kept until their results are written.

    Args:
        clip: The clip.
        ahead: Number of frames decoded ahead.
    """

    def __init__(self, clip: Clip, ahead: int):
        source = clip.sequence
        # Without a mask the sequence has no annotation, and segmentation starts at frame 0.
        masks = None if clip.mask is None else {clip.start: clip.mask}
        super().__init__(source.name, source.source, source.size, source.frame_names, masks)
        self._clip, self._ahead = clip, ahead
        self._frames: Generator[Frame] | None = None
        self._pending: deque[Frame] = deque()

    def close(self) -> None:
        """Ends the decoding."""
        if self._frames is not None:
            self._frames.close()
        self._pending.clear()

    def __iter__(self) -> Iterator[Frame]:
        start = self._clip.start
        self._frames = prefetched(self._clip.sequence, depth=self._ahead, first=start)
        for frame in self._frames:
            if frame.index >= start:
                self._pending.append(frame)
            yield frame

    def preview(self, start: int = 0) -> Generator[Frame]:
        """Streams frames ahead of the results, without keeping them, see `Sequence.preview`."""
        with closing(prefetched(self._clip.sequence, depth=self._ahead, first=start)) as frames:
            yield from (frame for frame in frames if frame.index >= start)

    def frame(self, index: int) -> Frame:
        """Returns one frame, see `Sequence.frame`."""
        return self._clip.sequence.frame(index)

    def take(self, index: int) -> Frame:
        """Returns a frame that was iterated, and drops it and those before it."""
        while self._pending[0].index < index:
            self._pending.popleft()
        return self._pending.popleft()
