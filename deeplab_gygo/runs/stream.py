"""A clip as a segmenter runs through it: decoded ahead, in bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from contextlib import closing
from typing import Self

import numpy as np

from deeplab_gygo.runs.clip import Clip
from deeplab_gygo.io.prefetch import prefetched
from deeplab_gygo.io.sequence import (Frame, Sequence)


class ClipStream(Sequence):
    """The frames of a clip, decoded ahead, and kept until their results are written.

    A context manager: leaving it ends the decoding.

    Args:
        clip: The clip.
        ahead: Frames that may wait decoded.
    """

    def __init__(self, clip: Clip, ahead: int):
        source = clip.sequence
        # A segmenter that is told nothing starts where the mask is, and else at the first frame.
        given = None if clip.mask is None else {clip.start: clip.mask_source}
        super().__init__(source.name, source.source, source.size, source.frame_names, given)
        self._clip, self._ahead = clip, ahead
        self._frames: Iterator[Frame] | None = None
        self._passed: deque[Frame] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._frames is not None:
            self._frames.close()
        self._passed.clear()

    def __iter__(self) -> Iterator[Frame]:
        start = self._clip.start
        self._frames = prefetched(self._clip.sequence, depth=self._ahead, first=start)
        for frame in self._frames:
            if frame.index >= start:
                self._passed.append(frame)
            yield frame

    def preview(self, start: int = 0) -> Generator[Frame]:
        """Streams frames ahead of the results, without keeping them, see `Sequence.preview`."""
        with closing(prefetched(self._clip.sequence, depth=self._ahead, first=start)) as frames:
            yield from (frame for frame in frames if frame.index >= start)

    def frame(self, index: int) -> Frame:
        """Gives one frame, see `Sequence.frame`."""
        return self._clip.sequence.frame(index)

    @property
    def first_annotated(self) -> int:
        """Index of the annotated frame."""
        return self._clip.start

    def annotation(self, index: int) -> np.ndarray:
        """Returns the mask, uint8 [H, W] of object ids; there is one only."""
        return self._clip.mask

    def take(self, index: int) -> Frame:
        """Returns a frame that the segmenter has seen, and forgets it and those before it."""
        while self._passed[0].index < index:
            self._passed.popleft()
        return self._passed.popleft()
