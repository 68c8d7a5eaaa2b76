"""Properties of videos before they are decoded, and detection of truncated and damaged files."""

from __future__ import annotations

import statistics
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from deeplab_gygo.io.container_checks import find_damage
from deeplab_gygo.io.video_reading import END_MISSING, incomplete, open_container, orientation

# Containers that state neither a number of frames nor the sizes of their parts.
_UNDECLARED = frozenset({"mpeg", "h264"})
_MIN_TAIL, _MAX_TAIL = 8, 300  # packets; the first frames of a group may refer to the one before


@dataclass(frozen=True)
class VideoScan:
    """Properties of a video that are known before it is decoded.

    Attributes:
        size: Height and width of the frames in pixels, after rotation.
        times: Presentation times in seconds, ascending.
        frame_rate: Average frames per second; None if unknown.
        rotation: As `orientation` returns it.
        pixel_aspect: Width of a pixel as displayed, after rotation, over its height.
        expected: Number of frames that the file states, or has in its duration; at least the
            number of times.
        damage: What is damaged; empty if nothing is.
        damaged_stamps: Time stamps of packets that the container marks as damaged.
    """

    size: tuple[int, int]
    times: list[float]
    frame_rate: Fraction | None
    rotation: tuple[bool, bool, bool]
    pixel_aspect: Fraction
    expected: int
    damage: str
    damaged_stamps: frozenset[int]


@dataclass
class _Packets:
    """Statistics of the packets of a video stream, and its first frame."""

    times: list[float] = field(default_factory=list)
    first: av.VideoFrame | None = None
    total: int = 0
    end: float = 0.0
    last_is_corrupt: bool = False
    corrupt: set[int] = field(default_factory=set)
    tail: list[av.Packet] = field(default_factory=list)


def scan_video(path: Path) -> VideoScan:
    """Counts the frames by their packets, checks that the file is complete, decodes one frame.

    Raises:
        InputError: The file is absent, no video, or has no frame that can be decoded.
    """
    with open_container(path) as (container, stream):
        # With several threads the errors of the last frame may be known after it.
        stream.thread_type = "NONE"
        rate = stream.average_rate or stream.guessed_rate
        packets = _read_packets(container, stream, float(rate or 25))
        expected, damage = _frames_expected(path, container, stream, packets)
        times, first = packets.times, packets.first
        if first is None:
            raise incomplete(path, expected, 0, damage)
        rotation = orientation(first)
        size = (first.width, first.height) if rotation[0] else (first.height, first.width)
        aspect = stream.sample_aspect_ratio
        aspect = aspect if aspect and aspect > 0 else Fraction(1)
        aspect = 1 / aspect if rotation[0] else aspect
        if first.pts is not None:  # packets before the first frame cannot be decoded
            times = [time for time in times if time >= first.time - 1e-6]
        expected -= len(packets.times) - len(times)
    stamps = frozenset(packets.corrupt)
    return VideoScan(size, times, rate or None, rotation, aspect, expected, damage, stamps)


def _read_packets(container: InputContainer, stream: VideoStream, rate: float) -> _Packets:
    packets = _Packets()
    unit = float(stream.time_base or 1 / rate)
    groups: list[list[av.Packet]] = [[], []]  # of pictures, the last two
    try:
        for packet in container.demux(stream):
            packets.total += packet.dts is not None or packet.size > 0
            if packets.first is None:
                with suppress(av.FFmpegError):  # as in decode_frames
                    packets.first = next(iter(packet.decode()), None)
            if not packet.size or packet.is_discard or _is_hidden(packet, stream):
                continue  # the last one; a repeated frame of AVI; frames that an edit list removes
            stamp = packet.pts if packet.pts is not None else packet.dts
            time = len(packets.times) / rate if stamp is None else stamp * unit
            packets.times.append(time)
            packets.end = max(packets.end, time + (packet.duration or 0) * unit)
            packets.last_is_corrupt = packet.is_corrupt
            if packet.is_corrupt and packet.pts is not None:
                packets.corrupt.add(packet.pts)
            if container.format.name in _UNDECLARED:
                groups = [groups[1], []] if packet.is_keyframe else groups
                groups[1].append(packet)
                del groups[1][_MAX_TAIL + 1 :]
    except av.FFmpegError:
        packets.last_is_corrupt = True
    packets.times.sort()
    packets.tail = groups[1] if len(groups[1]) >= _MIN_TAIL else groups[0] + groups[1]
    return packets


def _is_hidden(packet: av.Packet, stream: VideoStream) -> bool:
    """Checks whether a packet of VP8 is a reference that is not shown (RFC 6386, section 9.1)."""
    return stream.codec_context.name == "vp8" and not memoryview(packet)[0] & 0x10


def _frames_expected(
    path: Path, container: InputContainer, stream: VideoStream, packets: _Packets
) -> tuple[int, str]:
    """Returns the number of frames that a file should have, and what is damaged.

    Counting packets is not enough: a truncated file has fewer.
    """
    length = path.stat().st_size
    names = set(container.format.name.split(","))
    counted = len(packets.times)
    if "mov" in names and stream.frames:  # its index has the position of every frame
        entries = stream.index_entries
        if any(entry.pos + entry.size > length for entry in entries):
            return max(stream.frames, len(entries)), END_MISSING
    if "avi" in names and stream.frames > packets.total:
        return stream.frames, END_MISSING
    damage = find_damage(path, names)
    end = packets.end
    if damage and names & {"matroska", "flv"}:
        end = max(end, _declared_seconds(container, stream))
    if packets.last_is_corrupt or _tail_is_corrupt(stream, packets.tail):
        return max(stream.frames, _frames_in(packets.times, end), counted), END_MISSING
    if damage is None:
        return counted, f"{len(packets.corrupt)} damaged packets" if packets.corrupt else ""
    expected = max(stream.frames, _frames_in(packets.times, end), counted)
    is_cut = damage.at_end or expected > _frames_in(packets.times, packets.end)
    return expected, END_MISSING if is_cut else f"damaged at byte {damage.position}"


def _frames_in(times: list[float], end: float) -> int:
    """Returns the number of frames up to a time, of a constant rate, from some of their times."""
    steps = [after - before for before, after in zip(times, times[1:], strict=False)]
    step = statistics.median(steps) if steps else 0
    return round((end - times[0]) / step) if step > 0 else len(times)


def _tail_is_corrupt(stream: VideoStream, packets: list[av.Packet]) -> bool:
    """Decodes the last packets and checks whether the last of them is incomplete."""
    if not packets or len(packets) > _MAX_TAIL:
        return False
    stream.codec_context.flush_buffers()
    frames: list[av.VideoFrame] = []
    for packet in [*packets, None]:
        with suppress(av.FFmpegError):
            frames += stream.codec_context.decode(packet)
    last = packets[-1].pts
    if last is None:  # the last one may be shown before a few others
        return any(frame.is_corrupt for frame in frames[-4:])
    return any(frame.is_corrupt and frame.pts == last for frame in frames)


def _declared_seconds(container: InputContainer, stream: VideoStream) -> float:
    """Returns the duration of a Matroska stream: its tag, or that of the file; 0 if unknown."""
    parts = stream.metadata.get("DURATION", "").split(":")
    try:
        hours, minutes, seconds = (float(part) for part in parts)
        return 3600 * hours + 60 * minutes + seconds
    except ValueError:
        return (container.duration or 0) / av.time_base
