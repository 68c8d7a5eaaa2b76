"""Decoding of videos with PyAV, and detection of truncated files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from deeplab_gygo.errors import InputError

# Formats in which FFmpeg reads text as a terminal recording, images, or lists of other files.
_NO_VIDEO = frozenset({"tty", "image2", "hls", "dash", "concat", "sdp"})
_SEGMENT = 0x18538067  # root element of a Matroska file (RFC 9559)


@dataclass(frozen=True)
class VideoScan:
    """Properties of a video that are known before it is decoded.

    Attributes:
        size: Height and width of the frames in pixels, after rotation.
        times: Presentation times in seconds, ascending.
        frame_rate: Average frames per second; None if unknown.
        rotation: As `orientation` returns it.
    """

    size: tuple[int, int]
    times: list[float]
    frame_rate: Fraction | None
    rotation: tuple[bool, bool, bool]


@dataclass
class _Packets:
    """Statistics of the packets of a video stream, and its first frame."""

    times: list[float]
    first: av.VideoFrame | None = None
    total: int = 0
    end: float = 0.0
    last_is_corrupt: bool = False


@contextmanager
def open_container(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Opens a file and yields its container and video stream; cover images of music are no video.

    Raises:
        InputError: The file is absent, cannot be read, or is no video.
    """
    try:
        # A crafted file may point to addresses: nothing is fetched from a network.
        container = av.open(str(path.resolve()), container_options={"protocol_whitelist": "file"})
    except (av.FFmpegError, OSError) as error:
        raise _not_openable(path, error) from error
    with container:
        streams = [
            s for s in container.streams.video if Disposition.attached_pic not in s.disposition
        ]
        names = set(container.format.name.split(","))
        if not streams or names & _NO_VIDEO or any(name.endswith("_pipe") for name in names):
            raise InputError(
                "The input must be a video",
                met=f"a file of the format '{container.format.name}' without video",
                where=path,
                remedy="Give a video file or a folder of frames",
            )
        stream = container.streams.best("video")
        stream = stream if stream in streams else streams[0]
        stream.thread_type = "AUTO"
        yield container, stream


def decode_frames(container: InputContainer, stream: VideoStream) -> Iterator[av.VideoFrame]:
    """Decodes a stream to its end and yields the frames in presentation order, not rotated.

    Packets that cannot be decoded before the first frame are skipped: a recording that was cut out
    of a broadcast begins in the middle of a group of pictures.

    Raises:
        av.FFmpegError: The stream is damaged.
    """
    found = False
    for packet in container.demux(stream):  # the last one is empty and drains the decoder
        try:
            frames = packet.decode()
        except av.error.InvalidDataError:
            if found:
                raise
            continue
        for frame in frames:
            found = True
            yield frame


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


def scan_video(path: Path) -> VideoScan:
    """Counts the frames by their packets, checks that the file is complete, decodes one frame.

    Raises:
        InputError: The file is absent, no video, truncated or damaged.
    """
    with open_container(path) as (container, stream):
        rate = stream.average_rate or stream.guessed_rate
        packets = _read_packets(container, stream, float(rate or 25))
        expected = _frames_expected(path, container, stream, packets)
        times, first = packets.times, packets.first
        if expected is not None:
            raise incomplete(path, expected, len(times))
        if first is None:
            raise incomplete(path, len(times), 0)
        rotation = orientation(first)
        size = (first.width, first.height) if rotation[0] else (first.height, first.width)
        if first.pts is not None:  # packets before the first frame cannot be decoded
            times = [time for time in times if time >= first.time - 1e-6]
    return VideoScan(size, times, rate or None, rotation)


def incomplete(
    path: Path, expected: int, decoded: int, error: Exception | None = None
) -> InputError:
    """Returns the error for a video that is truncated or damaged.

    Args:
        path: The video.
        expected: Number of frames that it declares.
        decoded: Number of frames that can be decoded.
        error: Error of the decoder.
    """
    reason = f" ({getattr(error, 'strerror', None) or error})" if error else ""
    return InputError(
        "The video must be complete",
        met=f"{expected} frames expected, {decoded} decoded{reason}: truncated or damaged",
        where=path,
        remedy="Copy or download it again, or repair it by re-encoding it with ffmpeg",
    )


def _not_openable(path: Path, error: Exception) -> InputError:
    met: object = getattr(error, "strerror", None) or error
    if isinstance(error, av.error.InvalidDataError):
        met = "not a video, or truncated before its index" if path.stat().st_size else "empty file"
    return InputError(
        "The input must be a video",
        met=met,
        where=path,
        remedy="Give an intact video file or a folder of frames",
    )


def _read_packets(container: InputContainer, stream: VideoStream, rate: float) -> _Packets:
    packets = _Packets([])
    unit = float(stream.time_base or 1 / rate)
    try:
        for packet in container.demux(stream):
            packets.total += packet.dts is not None or packet.size > 0
            if packets.first is None:
                with suppress(av.error.InvalidDataError):  # as in decode_frames
                    packets.first = next(iter(packet.decode()), None)
            if not packet.size or packet.is_discard:
                continue  # the last one; a repeated frame of AVI; frames that an edit list removes
            stamp = packet.pts if packet.pts is not None else packet.dts
            time = len(packets.times) / rate if stamp is None else stamp * unit
            packets.times.append(time)
            packets.end = max(packets.end, time + (packet.duration or 0) * unit)
            packets.last_is_corrupt = packet.is_corrupt
    except av.FFmpegError:
        packets.last_is_corrupt = True
    packets.times.sort()
    return packets


def _frames_expected(
    path: Path, container: InputContainer, stream: VideoStream, packets: _Packets
) -> int | None:
    """Returns the number of frames that a truncated file declares; None if nothing is missing.

    Counting packets is not enough: a truncated file has fewer. But most formats declare the length
    elsewhere.
    """
    length = path.stat().st_size
    names = container.format.name.split(",")
    counted = len(packets.times)
    if "mov" in names:  # its index has the position of every frame
        entries = stream.index_entries
        if any(entry.pos + entry.size > length for entry in entries):
            return max(stream.frames, len(entries))
    elif "avi" in names and stream.frames > packets.total:
        return stream.frames
    elif "matroska" in names and (_segment_end(path) or 0) > length:
        shown = _declared_seconds(container, stream)
        if counted and shown - packets.end > 0.5 * packets.end / counted:
            return round(counted * shown / packets.end)
    if packets.last_is_corrupt:
        return max(stream.frames, counted)
    return None


def _declared_seconds(container: InputContainer, stream: VideoStream) -> float:
    """Returns the duration of a Matroska stream: its tag, or that of the file; 0 if unknown."""
    parts = stream.metadata.get("DURATION", "").split(":")
    try:
        hours, minutes, seconds = (float(part) for part in parts)
        return 3600 * hours + 60 * minutes + seconds
    except ValueError:
        return (container.duration or 0) / av.time_base


def _segment_end(path: Path) -> int | None:
    """Returns the declared end of a Matroska or WebM file in bytes; None if it declares none."""
    with open(path, "rb") as file:
        head = file.read(4096)
    position = 0
    while position + 12 <= len(head):
        identifier, position, _ = _element_number(head, position, keep_marker=True)
        size, position, is_unknown = _element_number(head, position, keep_marker=False)
        if identifier == _SEGMENT:
            return None if is_unknown else position + size
        position += size
    return None


def _element_number(data: bytes, position: int, *, keep_marker: bool) -> tuple[int, int, bool]:
    """Reads a variable-length number (RFC 8794): value, next position, whether all bits are one."""
    width = 9 - data[position].bit_length()
    value = int.from_bytes(data[position : position + width], "big")
    bits = 7 * width
    plain = value & ((1 << bits) - 1)
    return value if keep_marker else plain, position + width, plain == (1 << bits) - 1
