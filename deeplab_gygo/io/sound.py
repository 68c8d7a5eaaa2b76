"""The sound of a video, kept in the videos that are made of it."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from fractions import Fraction
from pathlib import Path
from typing import Self, cast

import av
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer

logger = logging.getLogger(__name__)

_QUICKTIME = frozenset({"aac", "mp3", "ac3", "eac3", "alac"})
_MP4 = _QUICKTIME | {"opus", "flac"}
_COPIED = {
    "mp4": _MP4,
    "mov": _QUICKTIME,  # and PCM
    "matroska": _MP4 | {"vorbis"},
    "webm": frozenset({"opus", "vorbis"}),
}
_OPUS_RATE = 48000  # Hz, the rate at which Opus is coded


class Sound(AbstractContextManager):
    """The first sound track of a file, written into another one beside its video.

    The packets are copied where the container takes their codec, else coded anew: as Opus for WebM,
    as AAC for the others. They are read while the video is written, so that memory stays flat.

    Args:
        path: The file; it may have no sound, or be no video.
        start: Time in the file that becomes 0, seconds; what is heard before is left out.
    """

    def __init__(self, path: str | Path, start: float = 0.0):
        self._path, self._start = path, start
        self._source: InputContainer | None = None
        self._input: AudioStream | None = None
        self._pending: tuple[float, av.Packet] | None = None
        self._packets: Iterator[tuple[float, av.Packet]] = iter(())
        self._container: OutputContainer | None = None

    def __enter__(self) -> Self:
        with suppress(av.FFmpegError, OSError):
            self._source = av.open(str(self._path))
            if self._source.streams.audio:
                self._input = self._source.streams.audio[0]
        return self

    def __exit__(self, *_: object) -> None:
        if self._source is not None:
            self._source.close()

    def add_to(self, container: OutputContainer) -> None:
        """Adds the track to a container before its first packet is written."""
        if self._input is None:
            return
        self._container, form = container, container.format.name
        codec = self._input.codec_context.codec.canonical_name
        if codec in _COPIED[form] or (form == "mov" and codec.startswith("pcm_")):
            self._packets = self._copied(container.add_stream_from_template(self._input))
            return
        name, rate = ("libopus", _OPUS_RATE) if form == "webm" else ("aac", self._input.rate)
        logger.info("the sound of %s is coded anew as %s", self._path, name.removeprefix("lib"))
        self._packets = self._encoded(cast(AudioStream, container.add_stream(name, rate=rate)))

    def write(self, until: float = math.inf) -> None:
        """Writes what is heard up to a time in seconds after `start`; by default, the rest.

        Damaged sound ends the track with a warning.
        """
        while self._container is not None:
            try:
                self._pending = self._pending or next(self._packets, None)
            except av.FFmpegError as error:
                logger.warning("the sound of %s ends where it is damaged: %s", self._path, error)
                self._packets = iter(())
            if self._pending is None or self._pending[0] > until:
                break
            self._container.mux(self._pending[1])
            self._pending = None

    def _copied(self, output: AudioStream) -> Iterator[tuple[float, av.Packet]]:
        assert self._source is not None
        last = -math.inf
        for packet in self._source.demux(self._input):
            # Files that were joined without new stamps go back in time, which no container can.
            if packet.dts is None or packet.pts is None or packet.dts <= last:
                continue
            last = packet.dts
            unit = packet.time_base
            shift = round(Fraction(self._start) / unit)
            end = (packet.pts + (packet.duration or 0) - shift) * unit
            # The packet before the first one is needed to decode it, and lies before the start.
            if end < 0 or (end == 0 and self._start > 0):
                continue
            packet.pts -= shift
            packet.dts -= shift
            time = float(packet.pts * unit)
            packet.stream = output
            yield time, packet

    def _encoded(self, output: AudioStream) -> Iterator[tuple[float, av.Packet]]:
        time = 0.0
        for frame in self._frames():
            for packet in output.encode(frame):
                time = float((packet.pts or 0) * packet.time_base)
                yield time, packet
        for packet in output.encode(None):
            yield time, packet

    def _frames(self) -> Iterator[AudioFrame]:
        assert self._source is not None
        for frame in self._source.decode(self._input):
            if not isinstance(frame, AudioFrame) or frame.pts is None or not frame.time_base:
                continue
            frame.pts -= round(Fraction(self._start) / frame.time_base)
            if frame.pts >= 0:
                yield frame
