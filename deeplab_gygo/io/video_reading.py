"""Decoding of videos with PyAV; damage that the decoder meets is counted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.container import InputContainer
from av.stream import Disposition
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from deeplab_gygo.errors import InputError
from deeplab_gygo.io.reading import check_regular

CONTAINERS = "mov,matroska,avi,flv,mpegts,mpeg,h264,gif"
"""Containers that are read, by FFmpeg's names: MP4 and MOV, Matroska and WebM, AVI, FLV, MPEG
transport and program streams, H.264 without a container, GIF. Playlists, which name other files,
are none of them, nor are formats whose damage cannot be noticed."""

MAX_FRAME_PIXELS = 100_000_000
"""Most pixels of a frame: 12K cameras have 80 million. Decoders keep a few frames per thread."""

MAX_DAMAGED_FRACTION = 0.05
"""Missing or damaged frames, as a fraction of all, up to which a video is used with a warning. One
packet lost in a broadcast damages up to half a second, 5 % of a clip of 10 s."""

END_MISSING = "the end is missing, the file is truncated"


@dataclass
class DecodingReport:
    """Counts of a decoding, in progress.

    Attributes:
        damaged: Frames that were decoded with errors, and those after them up to the next key
            frame, which are predicted from them.
        errors: Errors of the decoder, each of which loses one frame or more.
        reason: First of these errors.
    """

    damaged: int = 0
    errors: int = 0
    reason: str = ""

    def add(self, error: Exception) -> None:
        """Counts an error."""
        self.errors += 1
        self.reason = self.reason or str(getattr(error, "strerror", None) or error)


@contextmanager
def open_container(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Opens a file and yields its container and video stream; cover images of music are no video.

    Raises:
        InputError: The file is absent, cannot be read, is no video, or its frames are too large.
    """
    length = check_regular(path)
    # A crafted file may name addresses and other files: nothing but the file itself is read.
    limits = {"protocol_whitelist": "file", "format_whitelist": CONTAINERS}
    pixels = {"max_pixels": str(MAX_FRAME_PIXELS)}
    try:
        container = av.open(str(path.resolve()), options=pixels, container_options=limits)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise _not_openable(path, length, error) from error
    with container:
        streams = [
            s for s in container.streams.video if Disposition.attached_pic not in s.disposition
        ]
        if not streams:
            raise InputError(
                "The input must be a video",
                met=f"a file of the format '{container.format.name}' without video",
                where=path,
                remedy="Give a video file or a folder of frames",
            )
        stream = container.streams.best("video")
        stream = stream if stream in streams else streams[0]
        context = stream.codec_context
        if context is None:  # FFmpeg has no decoder for it
            raise _not_openable(path, length, "a codec that is not known")
        if context.width * context.height > MAX_FRAME_PIXELS:
            raise InputError(
                f"A frame of a video has at most {MAX_FRAME_PIXELS / 1e6:g} million pixels",
                met=f"{context.width}x{context.height}",
                where=path,
                remedy="Scale it down with ffmpeg",
            )
        # The decoder of JPEG hides its errors otherwise.
        strict = {"err_detect": "explode"} if context.name == "mjpeg" else {}
        context.options = {**context.options, **pixels, **strict}
        stream.thread_type = "AUTO"
        yield container, stream


def decode_frames(
    container: InputContainer,
    stream: VideoStream,
    report: DecodingReport,
    damaged_stamps: frozenset[int] = frozenset(),
) -> Iterator[av.VideoFrame]:
    """Decodes a stream to its end and yields the frames in presentation order, not rotated.

    What cannot be decoded is left out. Packets before the first frame are not counted as damaged: a
    recording that was cut out of a broadcast begins in the middle of a group of pictures.

    Args:
        container: The container.
        stream: Its video.
        report: Counts to update.
        damaged_stamps: Time stamps of packets that the container marks as damaged.
    """
    decoder = _decoder(stream)
    found = is_damaged = False
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError as error:
            report.add(error)
            return
        if packet is None:
            return
        try:  # the last one is empty and drains the decoder
            frames = decoder.decode(packet)
        except av.FFmpegError as error:
            if found:
                report.add(error)
                is_damaged = True
            continue
        for frame in frames:
            is_corrupt = frame.is_corrupt or frame.pts in damaged_stamps
            is_damaged = is_corrupt or (is_damaged and not frame.key_frame)
            found = found or not is_corrupt
            report.damaged += is_damaged and found
            yield frame


def _decoder(stream: VideoStream) -> VideoCodecContext:
    """Returns the decoder of a stream; for VP9 that of libvpx, which notices damage."""
    context = stream.codec_context
    if context.name != "vp9" or "libvpx-vp9" not in av.codecs_available:
        return context
    decoder = av.CodecContext.create("libvpx-vp9", "r")
    decoder.options = context.options
    return decoder


def orientation(frame: av.VideoFrame) -> tuple[bool, bool, bool]:
    """Returns how a stored frame is made upright: transpose, then reverse rows, reverse columns.

    The display matrix maps stored to displayed coordinates: x' = a x + c y, y' = b x + d y (ISO/IEC
    14496-12, section 6.2.2). Only rotations by 90 degrees and mirrors are applied. It is
    read once per stream: a frame whose side data was accessed lives until the garbage collector
    finds it.
    """
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return False, False, False
    a, b, _, c, d = np.frombuffer(cast(bytes, matrix), np.int32)[:5] / 65536
    if abs(a) < 0.5 and abs(d) < 0.5:
        return True, b < 0, c < 0
    return False, d < 0, a < 0


def upright(image: np.ndarray, rotation: tuple[bool, bool, bool]) -> np.ndarray:
    """Applies a rotation of `orientation` to an image [H, W, C]; the result is contiguous."""
    transpose, reverse_rows, reverse_columns = rotation
    image = image.swapaxes(0, 1) if transpose else image
    image = image[::-1] if reverse_rows else image
    image = image[:, ::-1] if reverse_columns else image
    return np.ascontiguousarray(image)


def incomplete(
    path: Path, expected: int, decoded: int, reason: str = "", *, damaged: int = 0
) -> InputError:
    """Returns the error for a video that is truncated or damaged.

    Args:
        path: The video.
        expected: Number of frames that it should have.
        decoded: Number of frames that can be decoded.
        reason: What is damaged.
        damaged: Number of frames that were decoded with errors.
    """
    return InputError(
        "The video must be complete",
        met=f"{describe_damage(expected, decoded, damaged)}: {reason or 'truncated or damaged'}",
        where=path,
        remedy="Copy or download it again, or repair it by re-encoding it with ffmpeg"
        + (", or give --keep-going to use the frames that can be decoded" if decoded else ""),
    )


def describe_damage(expected: int, decoded: int, damaged: int) -> str:
    """Returns the counts of a damaged video for messages."""
    with_errors = f", {damaged} of them with errors" if damaged else ""
    if decoded >= expected:
        return f"{decoded} frames found{with_errors}"
    return f"{expected} frames expected, {decoded} decoded{with_errors}"


def _not_openable(path: Path, length: int, error: Exception | str) -> InputError:
    met: object = getattr(error, "strerror", None) or error
    if isinstance(error, (av.error.InvalidDataError, ValueError)):
        met = "not a video, or truncated before its index" if length else "empty file"
    return InputError(
        "The input must be a video in MP4, MOV, MKV, WebM, AVI, FLV, MPEG, H.264 or GIF",
        met=met,
        where=path,
        remedy="Give an intact video file or a folder of frames, or convert it with ffmpeg",
    )
