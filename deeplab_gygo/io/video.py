"""Videos as sequences, and the opening of any input.

Frames are upright (rotation and mirroring of phones applied), have presentation times and are RGB
of BT.709: HDR is tone mapped. They keep the pixels of the file, which may not be square.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Generator, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Self
from weakref import WeakSet

import av
import numpy as np

from deeplab_gygo.errors import InputError
from deeplab_gygo.io.animation import AnimationSequence, image_kind, is_animation
from deeplab_gygo.io.escaping import printable
from deeplab_gygo.io.frame_folder import FolderSequence, sequence_from_folder
from deeplab_gygo.io.images import image_size
from deeplab_gygo.io.listing import list_images
from deeplab_gygo.io.names import expanded
from deeplab_gygo.io.scratch import scratch
from deeplab_gygo.io.sequence import Annotations, Frame, Sequence, frame_name
from deeplab_gygo.io.storage import is_url
from deeplab_gygo.io.tone_mapping import HLG, PQ, tone_map
from deeplab_gygo.io.video_reading import (
    END_MISSING,
    MAX_DAMAGED_FRACTION,
    DecodingReport,
    decode_frames,
    describe_damage,
    incomplete,
    open_container,
    upright,
)
from deeplab_gygo.io.video_scan import scan_video
from deeplab_gygo.io.video_writer import VideoWriter

__all__ = ["VideoSequence", "VideoWriter", "open_input", "open_video"]

logger = logging.getLogger(__name__)

_TOLERANCE = 1e-4  # seconds, of the comparison of times


class VideoSequence(Sequence):
    """Frames of a video file, named 00000, 00001, ...; see `open_video`.

    Iteration decodes one frame at a time and keeps none. `frame(index)` decodes from the beginning.

    The number of frames is counted without decoding. In the rare case that the decoder yields
    another number, though nothing is damaged, the first complete iteration corrects the length.

    Attributes:
        frame_rate: Average frames per second; None if unknown.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        name: str | None = None,
        annotations: Annotations = None,
        keep_going: bool = False,
    ):
        path = Path(path)
        scan = scan_video(path)
        names = [frame_name(index) for index in range(len(scan.times))]
        super().__init__(name or path.stem, path, scan.size, names, annotations)
        self.times: list[float] = scan.times
        self.frame_rate = scan.frame_rate
        self.pixel_aspect = scan.pixel_aspect
        self._scan = scan
        self._keep_going = keep_going
        self._decoded = (len(scan.times), 0, scan.damage)  # frames, damaged ones, what is damaged
        self._check_loss(*self._decoded, is_cut=scan.damage == END_MISSING)
        self._warned = False
        self._iterations: WeakSet[Generator[Frame]] = WeakSet()

    @property
    def files(self) -> list[Path]:
        """The video."""
        return [self.source]

    @property
    def warnings(self) -> tuple[str, ...]:
        """How many frames are missing or were decoded with errors; see `Sequence`."""
        decoded, damaged, reason = self._decoded
        counts = describe_damage(self._scan.expected, decoded, damaged)
        return (f"{self.source}: {counts}: {reason}",) if reason else ()

    def _check_loss(self, decoded: int, damaged: int, reason: str, *, is_cut: bool = False) -> None:
        """Raises `InputError` if more is missing or damaged than may be, unless it is to go on."""
        expected = self._scan.expected
        loss = expected - decoded + damaged
        if not self._keep_going and (is_cut or loss > MAX_DAMAGED_FRACTION * expected):
            raise incomplete(self.source, expected, decoded, reason, damaged=damaged)

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
        report, counted = DecodingReport(), self._scan.times
        step = float(1 / self.frame_rate) if self.frame_rate else 0.0
        times: list[float] = []
        position = skipped = 0
        with open_container(self.source) as (container, stream):
            for decoded in decode_frames(container, stream, report, self._scan.damaged_stamps):
                index = len(times)
                time = counted[index] if index < len(counted) else times[-1] + step
                if decoded.pts is not None:
                    time = float(decoded.time)
                    start = position
                    while position < len(counted) and counted[position] < time - _TOLERANCE:
                        position += 1
                    # A single one is a field of a frame, or a reference that is not shown.
                    skipped += position - start if position - start > 1 else 0
                    position += 1
                if report.damaged or report.errors:
                    reason = f"{report.reason or 'errors of the decoder'}, up to frame {index}"
                    found = len(counted) - max(report.errors, skipped)
                    self._check_loss(found, report.damaged, reason)
                times.append(time)
                decode = partial(self._convert, decoded, index)
                yield Frame(index, frame_name(index), time, decode=decode)
        self._finish(times, skipped, report)

    def _finish(self, times: list[float], skipped: int, report: DecodingReport) -> None:
        """Compares a complete decoding with the packets; corrects names and times."""
        counted, reason = self._scan.times, self._scan.damage
        is_cut = len(times) < len(counted) and max(times, default=0) < counted[-1] - _TOLERANCE
        if is_cut or skipped or report.errors or report.damaged:
            reason = reason or report.reason or (END_MISSING if is_cut else "damaged")
        elif len(times) != len(self) and not reason:
            logger.warning("%s has %d frames, not %d", self.source, len(times), len(self))
        if reason:
            self._decoded = len(times), report.damaged, reason
            self._check_loss(*self._decoded, is_cut=is_cut)
        if len(times) != len(self):
            self.frame_names = [frame_name(index) for index in range(len(times))]
            self.times = times

    def frame(self, index: int) -> Frame:
        """Returns one frame; decodes the video from its beginning. See `Sequence.frame`."""
        for frame in self if 0 <= index < len(self) else ():
            if frame.index == index:
                return frame
        raise IndexError(f"frame {index} of a video of {len(self)} frames ({self.source})")

    def _convert(self, decoded: av.VideoFrame, index: int) -> np.ndarray:
        try:
            image = decoded.to_ndarray(format="rgb24")
        except (av.FFmpegError, OSError, ValueError) as error:
            raise InputError(
                "Every frame of a video can be converted to RGB",
                met=f"frame {index} of {decoded.format.name}: {error}",
                where=self.source,
                remedy="Re-encode it with ffmpeg",
            ) from error
        image = upright(image, self._scan.rotation)
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
    path: str | Path,
    *,
    name: str | None = None,
    annotations: Annotations = None,
    keep_going: bool = False,
) -> VideoSequence:
    """Opens a video file as a sequence of frames that are decoded one at a time.

    Containers: MP4, MOV, MKV, WebM, AVI, FLV, MPEG transport and program streams, H.264 without a
    container, GIF. All packets are read once, to count the frames and to check that the file is
    complete. The sequence is a context manager: leaving it ends unfinished iterations, which
    closes the file.

    A file whose end is missing is refused, and one of which more than 5 % of the frames are missing
    or damaged: when it is opened where the container tells, else when so many were met. Less is a
    warning, see `Sequence.warnings`. Frames that cannot be decoded are left out, and the others
    numbered in order. Damage that is valid code, as most in H.265 is, cannot be noticed.

    Args:
        path: The file.
        name: Name of the sequence; by default that of the file without suffix.
        annotations: Masks by frame index, or a folder of masks named 00000.png and so on.
        keep_going: Use the frames that can be decoded, however many are missing.

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
    return VideoSequence(path, name=name, annotations=annotations, keep_going=keep_going)


def open_input(
    path: str | Path,
    *,
    name: str | None = None,
    annotations: Annotations = None,
    keep_going: bool = False,
    exclude: Collection[str | Path] = (),
) -> Sequence:
    """Opens a video, a folder of frames, an animation, or an image as a clip of one frame.

    An animated WebP or PNG, or a TIFF file of several pages, is distinguished from a single image
    by its content. A folder that holds nothing but an animation is opened as that.

    Args:
        path: The file or folder, or its URL: a copy is kept as long as the sequence lives.
        name: Name of the sequence; by default that of the folder, or of the file without suffix.
        annotations: Masks by frame index, or a folder of masks named as the frames.
        keep_going: As in `open_video`; images must be intact.
        exclude: Files in the folder that are no frames, such as a mask in their folder; so are
            those of `annotations` by index.

    Returns:
        The sequence.

    Raises:
        InputError: The path is absent or damaged, or is no video, image or folder of frames.
        UsageError: A mask belongs to no frame.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> folder = Path(tempfile.mkdtemp())
        >>> for index in range(3):
        ...     Image.new("RGB", (48, 32)).save(folder / f"{index:05d}.png")
        >>> open_input(folder, name="bag")
        FolderSequence('bag', 3 frames of 48x32)
        >>> open_input(folder, exclude=[folder / "00000.png"]).frame_names
        ['00001', '00002']
    """
    if is_url(path):
        lease = scratch().lease(str(path))
        try:
            sequence = open_input(
                lease.path, name=name, annotations=annotations, keep_going=keep_going,
                exclude=exclude,
            )  # fmt: skip
        except BaseException:
            lease.close()
            raise
        sequence.lease = lease  # and of what is derived from it
        return sequence
    path = expanded(path)
    if os.path.isdir(path):
        given = annotations.values() if isinstance(annotations, Mapping) else ()
        exclude = [*exclude, *(mask for mask in given if isinstance(mask, (str, Path)))]
        files = list_images(path, exclude)
        if len(files) != 1 or not is_animation(files[0]):
            return sequence_from_folder(path, name=name, annotations=annotations, exclude=exclude)
        logger.info("%s: its only image, %s, is opened as an animation", path, files[0].name)
        path, name = files[0], name or path.resolve().name
    if not os.path.exists(path):  # unlike pathlib, False for names that cannot be
        raise InputError(
            "The input must be a video or a folder of frames",
            met="no such file",
            where=printable(path),
        )
    kind = image_kind(path)
    if kind is None:
        return open_video(path, name=name, annotations=annotations, keep_going=keep_going)
    if kind == "image" or not is_animation(path):
        logger.info("%s: a clip of one frame; give its folder if it is one of several", path)
        size = image_size(path)
        name = name or path.stem
        return FolderSequence([path], size, name=name, source=path, annotations=annotations)
    return AnimationSequence(path, name=name, annotations=annotations)
