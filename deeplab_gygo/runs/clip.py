"""One sequence with its annotated frames, checked before anything is computed."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from deeplab_gygo.errors import InputError, UsageError
from deeplab_gygo.io.listing import list_images
from deeplab_gygo.io.masks import check_first_mask, object_ids
from deeplab_gygo.io.prefetch import prefetched
from deeplab_gygo.io.reading import check_regular
from deeplab_gygo.io.sequence import Frame, Sequence
from deeplab_gygo.io.video import open_input
from deeplab_gygo.runs.given_masks import (
    MEMORY,
    Annotation,
    GivenMasks,
    find_frame,
    mask_files,
    read_given_masks,
)

if TYPE_CHECKING:
    from deeplab_gygo.datasets.dataset import Dataset


@dataclass(frozen=True)
class Clip:
    """A sequence and the masks of some of its frames.

    Attributes:
        sequence: The frames.
        annotations: Masks of the annotated frames by index, ascending; empty for zero-shot
            segmentation.
        both_ways: Whether masks are propagated to the frames before them too; otherwise the frames
            before the first annotated one are not segmented.
        truth: Returns the annotation uint8 [H, W] of a frame by index, for scores; None unless
            every frame from `start` on has one.
        multi_object: Whether the ids of the annotations distinguish objects.
        needs_mask: Whether the objects of the masks are segmented; otherwise the salient one is.
    """

    sequence: Sequence
    annotations: Mapping[int, Annotation] = field(default_factory=dict)
    both_ways: bool = True
    truth: Callable[[int], np.ndarray] | None = None
    multi_object: bool = False
    needs_mask: bool = True

    @property
    def first_annotated(self) -> int:
        """Index of the first annotated frame; 0 without a mask."""
        return min(self.annotations, default=0)

    @property
    def start(self) -> int:
        """Index of the first frame that is segmented."""
        return 0 if self.both_ways else self.first_annotated

    @property
    def mask(self) -> np.ndarray | None:
        """Mask of the first annotated frame, uint8 [H, W] of object ids; None without a mask."""
        return self.annotations[self.first_annotated].mask if self.annotations else None

    @property
    def mask_source(self) -> Path | None:
        """File of that mask, or `given_masks.MEMORY`; None without a mask."""
        return self.annotations[self.first_annotated].source if self.annotations else None

    @property
    def object_ids(self) -> list[int]:
        """Ids of the objects that are segmented: in the masks, or `[1]` of the salient one."""
        masks = [each.mask for each in self.annotations.values()]
        return object_ids(*masks) if masks and self.needs_mask else [1]

    def hashes(self) -> dict[str, str]:
        """Returns the SHA-256 of `input` and `mask`, hexadecimal.

        That of the input is of a video file, of the names and contents of a folder's frames, or of
        frames in memory; that of the masks includes the indices of their frames.

        Raises:
            InputError: The input cannot be read.
        """
        source, frames, mask = Path(self.sequence.source), hashlib.sha256(), hashlib.sha256()
        for index, each in self.annotations.items():
            mask.update(np.array([index, *each.mask.shape], np.int64).tobytes())
            mask.update(np.ascontiguousarray(each.mask).tobytes())
        mask.update(np.array([self.start], np.int64).tobytes())
        if not source.exists():
            for frame in self.sequence:
                frames.update(frame.name.encode() + b"\0" + frame.image.tobytes())
            return {"input": frames.hexdigest(), "mask": mask.hexdigest()}
        try:
            of_folder = list_images(source) if source.is_dir() else [source]
            for path in self.sequence.files or of_folder:
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
    mask: GivenMasks | None,
    *,
    frame: str | None = None,
    name: str | None = None,
    needs_mask: bool = True,
    keep_going: bool = False,
    mask_format: str = "auto",
    both_ways: bool = True,
) -> Clip:
    """Opens a video or a folder of frames with masks of some frames.

    Args:
        source: The video or folder, or an open sequence.
        mask: Masks in any encoding that `io.masks` reads; None for zero-shot segmentation without
            a mask. Files of masks that lie in the folder of the frames are no frames.
        frame: Name or index of the frame of a single mask; None is the first.
        name: Name of the sequence; by default that of the source.
        needs_mask: Whether a clip without a mask is an error.
        keep_going: Whether the frames that can be decoded are taken of a damaged video.
        mask_format: Encoding of the masks, as in `read_mask`.
        both_ways: As in `Clip`.

    Raises:
        InputError: The source or a mask is unusable, or their sizes differ.
        UsageError: The mask is missing, there is no such frame, or a frame is named without a mask.
    """
    if isinstance(source, Sequence):
        sequence = source
    else:
        exclude = mask_files(mask)
        sequence = open_input(source, name=name, keep_going=keep_going, exclude=exclude)
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
                "A clip starts from a mask of one of its frames", met="no --mask",
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
    given = read_given_masks(mask, sequence, frame, mask_format)
    # In zero-shot a mask only sets where to start, for scores.
    return Clip(sequence, given, both_ways and needs_mask, needs_mask=needs_mask)


def open_dataset_clip(
    dataset: Dataset,
    name: str,
    *,
    mask: GivenMasks | None = None,
    frame: str | None = None,
    needs_mask: bool = True,
    mask_format: str = "auto",
) -> Clip:
    """Opens a sequence of a dataset, whose objects exist from their first annotation on.

    Args:
        dataset: The dataset.
        name: Name of the sequence.
        mask: Masks to start from instead of the annotations of the dataset.
        frame: Name or index of the frame to start from; None is the first annotated one, or the
            first where a mask is given.
        needs_mask: Whether a sequence without any annotation is an error; else it has no mask.
        mask_format: Encoding of the given masks, as in `read_mask`.

    Returns:
        The clip, with annotations for scores if every frame has one.

    Raises:
        InputError: The sequence is absent, has no mask, or is unusable.
        UsageError: There is no such frame.
    """
    sequence = dataset.sequence(name)
    if mask is not None or not (needs_mask or sequence.annotations):
        clip = open_clip(
            sequence, mask, frame=frame, needs_mask=needs_mask, mask_format=mask_format,
            both_ways=False,
        )  # fmt: skip
    else:
        start = sequence.first_annotated if frame is None else find_frame(sequence, frame)
        masks = _joining(sequence, start, dataset.multi_object)
        clip = Clip(sequence, masks, both_ways=False, needs_mask=needs_mask)
    if any(index not in sequence.annotations for index in range(clip.start, len(sequence))):
        return clip
    return replace(
        clip,
        truth=lambda index: dataset.annotation(name, index),
        multi_object=dataset.multi_object,
    )


def _joining(sequence: Sequence, start: int, multi_object: bool) -> dict[int, Annotation]:
    """Returns the first annotation, and of later ones the objects that no earlier one shows."""
    first = sequence.annotation(start)
    check_first_mask(first, sequence.size, sequence.annotations[start])
    masks = {start: Annotation(first, _source(sequence, start))}
    known = set(object_ids(first))
    for index in sorted(sequence.annotations) if multi_object else ():
        if index > start:
            mask = sequence.annotation(index)
            new = set(object_ids(mask)) - known
            if new:
                shown = mask * np.isin(mask, list(new))
                masks[index] = Annotation(shown, _source(sequence, index))
                known |= new
    return masks


def _source(sequence: Sequence, index: int) -> Path:
    mask = sequence.annotations[index]
    return mask if isinstance(mask, Path) else MEMORY


class ClipStream(Sequence):
    """The frames of a clip, decoded ahead, and kept until their results are written.

    Args:
        clip: The clip.
        ahead: Number of frames decoded ahead.
    """

    def __init__(self, clip: Clip, ahead: int):
        source = clip.sequence
        masks = {index: each.mask for index, each in clip.annotations.items()}
        super().__init__(source.name, source.source, source.size, source.frame_names, masks)
        self.random_access = source.random_access
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
