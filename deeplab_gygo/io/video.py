"""Videos as sequences, and the opening of any input.

Frames are upright (rotation and mirroring of phones applied), have presentation times and are RGB
of BT.709: HDR is tone mapped. Pixels are taken as square.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator
from functools import partial
from pathlib import Path
from typing import Self
from weakref import WeakSet

import av
import numpy as np

from deeplab_gygo.errors import InputError
from deeplab_gygo.io.frame_folder import sequence_from_folder
from deeplab_gygo.io.images import IMAGE_SUFFIXES
from deeplab_gygo.io.sequence import Annotations, Frame, Sequence, frame_name
from deeplab_gygo.io.tone_mapping import HLG, PQ, tone_map
from deeplab_gygo.io.video_reading import (
    decode_frames,
    incomplete,
    open_container,
    scan_video,
    upright,
)
from deeplab_gygo.io.video_writer import VideoWriter

__all__ = ["VideoSequence", "VideoWriter", "open_input", "open_video"]

logger = logging.getLogger(__name__)


class VideoSequence(Sequence):
    """Frames of a video file, named 00000, 00001, ...; see `open_video`.

    Iteration decodes one frame at a time and keeps none. `frame(index)` decodes from the beginning.

    The number of frames is counted without decoding. In the rare case that the decoder yields
    another number, though nothing is damaged, the first complete iteration corrects the length.

    Attributes:
        frame_rate: Average frames per second; None if unknown.
    """

    def __init__(
        self, path: str | Path, *, name: str | None = None, annotations: Annotations = None
    ):
        path = Path(path)
        scan = scan_video(path)
        names = [frame_name(index) for index in range(len(scan.times))]
        super().__init__(name or path.stem, path, scan.size, names, annotations)
        self.times: list[float] = scan.times
        self.frame_rate = scan.frame_rate
        self._rotation = scan.rotation
        self._warned = False
        self._iterations: WeakSet[Generator[Frame]] = WeakSet()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """Ends unfinished iterations, which close the file."""
        for frames in list(self._iterations):
            frames.close()

    def __iter__(self) -> Iterator[Frame]:
        frames = self._decode()
        self._iterations.add(frames)
        return frames

    def _decode(self) -> Generator[Frame]:
        index, time = 0, 0.0
        with open_container(self.source) as (container, stream):
            frames = decode_frames(container, stream)
            while True:
                try:
                    decoded = next(frames, None)
                except av.FFmpegError as error:
                    raise incomplete(self.source, len(self), index, error) from error
                if decoded is None:
                    break
                time = self.times[min(index, len(self.times) - 1)]
                if decoded.pts is not None:
                    time = float(decoded.time)
                decode = partial(self._convert, decoded, index)
                yield Frame(index, frame_name(index), time, decode=decode)
                index += 1
        counted = len(self)
        if index == counted:
            return
        if index < counted and time < self.times[-1] - 1e-6:
            raise incomplete(self.source, counted, index)
        logger.warning("%s has %d frames, not %d", self.source, index, counted)
        self.frame_names = [frame_name(k) for k in range(index)]
        step = float(1 / self.frame_rate) if self.frame_rate else 0.0
        extra = [time + step * k for k in range(1, index - counted + 1)]
        self.times = self.times[:index] + extra

    def frame(self, index: int) -> Frame:
        """Returns one frame; decodes the video from its beginning. See `Sequence.frame`."""
        for frame in self if 0 <= index < len(self) else ():
            if frame.index == index:
                return frame
        raise IndexError(f"frame {index} of a video of {len(self)} frames ({self.source})")

    def _convert(self, decoded: av.VideoFrame, index: int) -> np.ndarray:
        image = decoded.to_ndarray(format="rgb24")
        image = upright(image, self._rotation)
        if image.shape[:2] != self.size:
            raise InputError(
                "All frames of a video must have one size",
                met=f"frame {index} is {image.shape[1]}x{image.shape[0]}, "
                f"the first is {self.size[1]}x{self.size[0]}",
                where=self.source,
                remedy="Re-encode it to one size with ffmpeg",
            )
        if decoded.color_trc in (PQ, HLG):
            if not self._warned:
                self._warned = True
                logger.warning("%s is HDR; its frames are tone mapped to BT.709", self.source)
            image = tone_map(image, decoded.color_trc)
        return image


def open_video(
    path: str | Path, *, name: str | None = None, annotations: Annotations = None
) -> VideoSequence:
    """Opens a video file as a sequence of frames that are decoded one at a time.

    All packets are read once, to count the frames and to check that the file is complete. The
    sequence is a context manager: leaving it ends unfinished iterations, which closes the file.

    Args:
        path: The file.
        name: Name of the sequence; by default that of the file without suffix.
        annotations: Masks by frame index, or a folder of masks named 00000.png and so on.

    Returns:
        The sequence.

    Raises:
        InputError: The file is absent, no video, truncated or damaged; or the masks do not fit.
        UsageError: A mask belongs to no frame.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "clip.mp4"
        >>> with VideoWriter(path, (32, 48), frame_rate=10) as writer:
        ...     for level in (0, 128):
        ...         writer.write(np.full((32, 48, 3), level, np.uint8))
        >>> with open_video(path) as video:
        ...     print(video, [frame.image.shape for frame in video])
        VideoSequence('clip', 2 frames of 48x32) [(32, 48, 3), (32, 48, 3)]
    """
    return VideoSequence(path, name=name, annotations=annotations)


def open_input(
    path: str | Path, *, name: str | None = None, annotations: Annotations = None
) -> Sequence:
    """Opens a video, or a folder of frames.

    Args:
        path: The file or folder.
        name: Name of the sequence; by default that of the folder, or of the video without suffix.
        annotations: Masks by frame index, or a folder of masks named as the frames.

    Returns:
        The sequence.

    Raises:
        InputError: The path is absent or damaged, or is neither a video nor a folder of frames.
        UsageError: A mask belongs to no frame.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> folder = Path(tempfile.mkdtemp())
        >>> for index in range(3):
        ...     Image.new("RGB", (48, 32)).save(folder / f"{index:05d}.png")
        >>> open_input(folder, name="bag")
        FolderSequence('bag', 3 frames of 48x32)
    """
    path = Path(path).expanduser()
    if path.is_dir():
        return sequence_from_folder(path, name=name, annotations=annotations)
    if not path.exists() or path.suffix.lower() in IMAGE_SUFFIXES:
        raise InputError(
            "The input must be a video or a folder of frames",
            met="a single image" if path.exists() else "no such file",
            where=path,
            remedy="Give the folder that holds the frames" if path.exists() else None,
        )
    return open_video(path, name=name, annotations=annotations)
