"""Animated GIF and WebP with transparency, written frame by frame."""

from __future__ import annotations

import io
import struct
from contextlib import AbstractContextManager, ExitStack, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO, Self, cast

import av
import numpy as np
from PIL import Image

from deeplab_gygo.errors import InputError, UsageError
from deeplab_gygo.io.atomic import replacing, storage_error
from deeplab_gygo.io.video_writer import DEFAULT_FRAME_RATE

WEBP_QUALITY = 90
"""Quality of the colors of WebP, 0..100; alpha is coded without loss."""

_GIF_UNIT, _WEBP_UNIT = Fraction(1, 100), Fraction(1, 1000)  # seconds
_MAX_GIF_SIDE, _MAX_WEBP_SIDE = 65535, 16383  # pixels
_HALF = 128  # GIF has no partial transparency: alpha from here on is opaque
_TRANSPARENT = 255  # index of the palette
_ALPHA_FLAG, _ANIMATION_FLAG, _NO_BLENDING = 0x10, 0x02, 0x02


class _Aborted(Exception):
    """The body of a writer failed."""


def webp_bytes(image: np.ndarray) -> bytes:
    """Codes a picture, uint8 [H, W, 4] RGBA with straight alpha, as WebP."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "webp", quality=WEBP_QUALITY, alpha_quality=100)
    return buffer.getvalue()


class AnimationWriter(AbstractContextManager):
    """Writes an animation that repeats without end; a frame is held, none is kept.

    The format follows from the suffix, .gif or .webp. An aborted animation leaves no file.

    Args:
        path: Destination; the file appears when it is complete.
        size: Height and width in pixels.

    Raises:
        InputError: The frames are too large for the format.
        UsageError: The suffix is another one.
    """

    def __init__(self, path: str | Path, size: tuple[int, int]):
        self.path, self.size = Path(path), size
        kinds = {".gif": (_Gif, _MAX_GIF_SIDE), ".webp": (_Webp, _MAX_WEBP_SIDE)}
        suffix = self.path.suffix.lower()
        if suffix not in kinds:
            rule = "An animation is written to a file with the suffix .gif or .webp"
            raise UsageError(rule, met=suffix or "none", where=path)
        self._kind, most = kinds[suffix]
        if max(size) > most:
            raise InputError(
                f"The frames of a {suffix} have at most {most} pixels a side",
                met=f"{size[1]}x{size[0]}",
                where=path,
                remedy="Leave out the animation, or reduce the size of the frames",
            )
        self._pending: tuple[np.ndarray, int] | None = None
        self._frames = 0
        self._last = 0  # duration of a frame, in units of the format

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            side = stack.enter_context(replacing(self.path))
            self._file = stack.enter_context(self._kind(side, self.size))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Writes the last frame, unless an error ends the animation."""
        with suppress(_Aborted), self._stack:
            if kind is not None:
                # Not the error itself: `replacing` would take any OSError for its own.
                raise _Aborted
            if self._pending is None:
                raise UsageError("An animation needs at least one frame", where=self.path)
            usual = round(1 / (DEFAULT_FRAME_RATE * self._file.unit))
            self._write(*self._pending, self._last or usual)

    def write(self, image: np.ndarray, time: float | None = None) -> None:
        """Appends a frame.

        Args:
            image: uint8 [H, W, 4] RGBA with straight alpha.
            time: Presentation time in seconds, ascending, from 0; by default at 24 per second.

        Raises:
            UsageError: The image has another form.
            StorageError: The file cannot be written.
        """
        expected = (*self.size, 4)
        if image.shape != expected or image.dtype != np.uint8:
            raise UsageError(
                f"A frame of this animation is uint8 {list(expected)}",
                met=f"{image.dtype} {list(image.shape)}",
                where=self.path,
            )
        if time is None:
            time = float(self._frames / DEFAULT_FRAME_RATE)
        stamp = round(time / self._file.unit)
        if self._pending is not None:
            before, began = self._pending
            stamp = max(stamp, began + 1)
            self._last = stamp - began
            self._write(before, began, self._last)
        self._pending = image, stamp
        self._frames += 1

    def _write(self, image: np.ndarray, stamp: int, duration: int) -> None:
        try:
            self._file.write(image, stamp, duration)
        except OSError as error:
            raise storage_error(self.path, error) from error


class _Gif(AbstractContextManager):
    """A GIF: 255 colors a frame, with transparency."""

    unit = _GIF_UNIT

    def __init__(self, path: Path, size: tuple[int, int]):
        self._path, self._size = path, size

    def __enter__(self) -> Self:
        self._container = av.open(str(self._path), "w", format="gif", options={"loop": "0"})
        stream = self._container.add_stream("gif", rate=24)
        stream.height, stream.width = self._size
        stream.pix_fmt, stream.codec_context.time_base = "pal8", _GIF_UNIT
        self._stream = stream
        return self

    def __exit__(self, *error: object) -> None:
        try:
            if error[0] is None:
                self._container.mux(self._stream.encode())
        finally:
            self._container.close()

    def write(self, image: np.ndarray, stamp: int, duration: int) -> None:
        opaque = image[..., 3] >= _HALF
        shown = np.where(opaque[..., None], image[..., :3], 0)
        quantized = Image.fromarray(shown).quantize(_TRANSPARENT)
        colors = np.array(quantized.getpalette(), np.uint8).reshape(-1, 3)
        palette = np.zeros((256, 4), np.uint8)  # ARGB
        palette[:_TRANSPARENT, 0] = 255
        palette[: len(colors), 1:] = colors[:256]
        palette[_TRANSPARENT] = 0
        indices = np.where(opaque, np.asarray(quantized), np.uint8(_TRANSPARENT))
        frame = av.VideoFrame.from_ndarray(cast(Any, (indices, palette)), "pal8")
        frame.pts, frame.time_base = stamp, _GIF_UNIT
        for packet in self._stream.encode(frame):
            packet.duration = duration
            self._container.mux(packet)


class _Webp(AbstractContextManager):
    """An animated WebP, each frame a whole picture.

    The muxer of FFmpeg blends every frame with the one before, which shows through; its encoder of
    animations keeps all frames in memory.
    """

    unit = _WEBP_UNIT

    def __init__(self, path: Path, size: tuple[int, int]):
        self._path, self._size = path, size

    def __enter__(self) -> Self:
        self._file: BinaryIO = open(self._path, "wb")  # noqa: SIM115
        canvas = _uint24(self._size[1] - 1) + _uint24(self._size[0] - 1)
        self._file.write(b"RIFF\0\0\0\0WEBP")
        self._chunk(b"VP8X", bytes([_ALPHA_FLAG | _ANIMATION_FLAG, 0, 0, 0]) + canvas)
        self._chunk(b"ANIM", struct.pack("<IH", 0, 0))  # transparent; repeated without end
        return self

    def __exit__(self, *error: object) -> None:
        with self._file:
            if error[0] is None:
                length = self._file.tell()
                self._file.seek(4)
                self._file.write(struct.pack("<I", length - 8))

    def write(self, image: np.ndarray, stamp: int, duration: int) -> None:
        height, width = self._size
        head = _uint24(0) * 2 + _uint24(width - 1) + _uint24(height - 1)
        head += _uint24(min(duration, 0xFFFFFF)) + bytes([_NO_BLENDING])
        picture = webp_bytes(image)
        begin = 12  # after RIFF, the length, and WEBP
        if picture[begin : begin + 4] == b"VP8X":  # which the animation has itself
            begin += 18
        self._chunk(b"ANMF", head + picture[begin:])

    def _chunk(self, name: bytes, content: bytes) -> None:
        self._file.write(
            name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)
        )


def _uint24(value: int) -> bytes:
    return struct.pack("<I", value)[:3]
