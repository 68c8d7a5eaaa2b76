"""Opening and decoding of videos with PyAV, and what must hold of a file before it is trusted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from deeplab_gygo.errors import InputError

# Formats in which FFmpeg reads text as the film of a terminal, images, or lists of other files.
_NO_VIDEO = frozenset({"tty", "image2", "hls", "dash", "concat", "sdp"})
_SEGMENT = 0x18538067  # element that holds a whole Matroska file (RFC 9559)


@dataclass(frozen=True)
class VideoScan:
    """What is known of a video before it is decoded.

    Attributes:
        size: Height and width of the frames in pixels, after rotation.
        times: When each frame is shown, in seconds, in order.
        frame_rate: Average frames per second; None where the file does not say.
        turn: How stored frames are turned to be upright, see `orientation`.
    """

    size: tuple[int, int]
    times: list[float]
    frame_rate: Fraction | None
    turn: tuple[bool, bool, bool]


@dataclass
class _Packets:
    """What reading the packets of a video stream without decoding them tells."""

    times: list[float]
    total: int = 0
    end: float = 0.0
    last_is_corrupt: bool = False


@contextmanager
def open_container(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Opens a file and finds its video stream; cover pictures of music are none.

    Args:
        path: The file.

    Yields:
        The container and the stream, which decodes with several threads.

    Raises:
        InputError: The file is absent, cannot be read, or is no video.
    """
    try:
        # Whatever a crafted file points to: nothing is fetched from a network.
        container = av.open(str(path.resolve()), container_options={"protocol_whitelist": "file"})
    except (av.FFmpegError, OSError) as error:
        raise _not_openable(path, error) from error
    with container:
        streams = [s for s in container.streams.video if not _is_cover(s)]
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
    """Decodes a stream to its end, frames that the decoder delays included.

    What cannot be decoded before the first frame is passed over: a recording that was cut out of a
    broadcast begins in the middle of a group of pictures.

    Args:
        container: An open container.
        stream: Its video stream.

    Yields:
        Frames in the order of showing, as stored: not rotated.

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
    """Reads how a frame must be turned to be upright.

    The display matrix of a file maps stored to shown coordinates: x' = a x + c y, y' = b x + d y
    (ISO/IEC 14496-12, section 6.2.2). Only turns by 90 degrees and mirrors are applied. It is a
    property of the stream: to ask every frame would cost memory, because a frame that was asked
    for its side data lives until the garbage collector finds it.

    Args:
        frame: A decoded frame.

    Returns:
        Whether to transpose; then whether to reverse the rows; then the columns.
    """
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return False, False, False
    a, b, _, c, d = np.frombuffer(matrix, np.int32)[:5] / 65536
    if abs(a) < 0.5 and abs(d) < 0.5:
        return True, b < 0, c < 0
    return False, d < 0, a < 0


def upright(image: np.ndarray, turn: tuple[bool, bool, bool]) -> np.ndarray:
    """Turns an image.

    Args:
        image: Any [H, W, C].
        turn: As `orientation` gives it.

    Returns:
        The image [H, W, C] or [W, H, C], contiguous.
    """
    transpose, reverse_rows, reverse_columns = turn
    image = image.swapaxes(0, 1) if transpose else image
    image = image[::-1] if reverse_rows else image
    image = image[:, ::-1] if reverse_columns else image
    return np.ascontiguousarray(image)


def scan_video(path: Path) -> VideoScan:
    """Counts the frames by reading all packets, checks that the file is whole, decodes one frame.

    Args:
        path: The video.

    Returns:
        Size, times and rate.

    Raises:
        InputError: The file is absent, no video, truncated or damaged.
    """
    with open_container(path) as (container, stream):
        rate = stream.average_rate or stream.guessed_rate
        packets = _read_packets(container, stream, float(rate or 25))
        expected = _frames_expected(path, container, stream, packets)
        if expected is not None:
            raise incomplete(path, expected, len(packets.times))
    with open_container(path) as (container, stream):
        try:
            first = next(decode_frames(container, stream), None)
        except av.FFmpegError as error:
            raise incomplete(path, len(packets.times), 0, error) from error
        if first is None:
            raise incomplete(path, len(packets.times), 0)
        turn = orientation(first)
        size = (first.width, first.height) if turn[0] else (first.height, first.width)
        if first.pts is not None:  # what precedes the first frame cannot be decoded
            packets.times = [time for time in packets.times if time >= first.time - 1e-6]
    return VideoScan(size, packets.times, rate or None, turn)


def incomplete(
    path: Path, expected: int, decoded: int, error: Exception | None = None
) -> InputError:
    """Words that a video ends before its end, or is damaged in between.

    Args:
        path: The video.
        expected: Number of frames that it announces.
        decoded: Number of frames that can be had.
        error: What the decoder said.

    Returns:
        The error to raise.
    """
    reason = f" ({getattr(error, 'strerror', None) or error})" if error else ""
    return InputError(
        "The video must be whole",
        met=f"{expected} frames expected, {decoded} decoded{reason}: truncated or damaged",
        where=path,
        remedy="Copy or download it again, or repair it by recoding it with ffmpeg",
    )


def _is_cover(stream: VideoStream) -> bool:
    return Disposition.attached_pic in stream.disposition


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
            if not packet.size or packet.is_discard:
                continue  # the last one; a repeated frame of AVI; what an edit list cuts off
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
    """Number of frames that a truncated file announces, None where nothing is missing.

    Counting packets is not enough: a truncated file simply has fewer. But most formats say
    elsewhere what there should be.
    """
    length = path.stat().st_size
    names = container.format.name.split(",")
    counted = len(packets.times)
    if "mov" in names:  # its index has the place of every frame
        entries = stream.index_entries
        if any(entry.pos + entry.size > length for entry in entries):
            return max(stream.frames, len(entries))
    elif "avi" in names and stream.frames > packets.total:
        return stream.frames
    elif "matroska" in names and (_segment_end(path) or 0) > length:
        shown = _announced_seconds(container, stream)
        if counted and shown - packets.end > 0.5 * packets.end / counted:
            return round(counted * shown / packets.end)
    if packets.last_is_corrupt:
        return max(stream.frames, counted)
    return None


def _announced_seconds(container: InputContainer, stream: VideoStream) -> float:
    """Duration of a Matroska stream: its own tag, or that of the whole file; 0 if unknown."""
    parts = stream.metadata.get("DURATION", "").split(":")
    try:
        hours, minutes, seconds = (float(part) for part in parts)
        return 3600 * hours + 60 * minutes + seconds
    except ValueError:
        return (container.duration or 0) / av.time_base


def _segment_end(path: Path) -> int | None:
    """Where a Matroska or WebM file says that it ends, in bytes; None where it does not."""
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
    """Reads a number of variable length (RFC 8794): its value, what follows, if it is all ones."""
    width = 9 - data[position].bit_length()
    value = int.from_bytes(data[position : position + width], "big")
    bits = 7 * width
    plain = value & ((1 << bits) - 1)
    return value if keep_marker else plain, position + width, plain == (1 << bits) - 1
