"""Writing of videos: H.264, VP9, and ProRes 4444; the latter two with alpha."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Self, cast

import av
import cv2
import numpy as np
from av.video.reformatter import ColorRange, Colorspace

from deeplab_gygo.errors import InputError, StorageError, UsageError
from deeplab_gygo.io.alpha_video import AlphaPlanes, frame_of_10_bits
from deeplab_gygo.io.atomic import replacing, storage_error
from deeplab_gygo.io.sound import Sound

DEFAULT_FRAME_RATE = Fraction(24)  # of DAVIS
# Time base of MPEG systems, in which all usual frame rates are integers; that of Matroska.
_TIME_BASE = Fraction(1, 90000)
_MATROSKA_TIME_BASE = Fraction(1, 1000)
_BT709 = 1  # code point of primaries, transfer and matrix alike: ITU-T H.273
_LIMITED_RANGE = 1
_CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}


@dataclass(frozen=True)
class _Codec:
    """How a kind of video is coded.

    Attributes:
        name: Encoder.
        pixel_format: Of the coded frames.
        max_side: Largest width and height that the encoder takes, pixels.
        options: Options of the encoder.
    """

    name: str
    pixel_format: str
    max_side: int
    options: dict[str, str] = field(default_factory=dict)


# Without B-frames the decoding order is the presentation order; with them, containers of a variable
# frame rate would declare a duration that ends before the last frames. With macroblock trees the
# same frames give different files when other encoders run beside.
_H264 = _Codec(
    "libx264", "yuv420p", 16384, {"crf": "20", "preset": "veryfast", "bf": "0", "mbtree": "0"}
)
_VP9 = _Codec(
    "libvpx-vp9",
    "yuv420p",
    65535,
    {"crf": "30", "b": "0", "deadline": "good", "cpu-used": "5", "row-mt": "1"},
)
# Alpha and colors are coded apart, and alternate references would give them different packets.
_VP9_ALPHA = _Codec("libvpx-vp9", "yuva420p", 65535, _VP9.options | {"auto-alt-ref": "0"})
_PRORES = _Codec(
    "prores_ks", "yuva444p10le", 65535, {"profile": "4444", "alpha_bits": "16", "vendor": "apl0"}
)
_ALPHA_CODECS = {".webm": _VP9_ALPHA, ".mov": _PRORES}


class _Aborted(Exception):
    """The body of a writer failed."""


class VideoWriter:
    """Writes a video frame by frame. A context manager: an aborted video leaves no file.

    The codec follows from the suffix: H.264 for .mp4, .m4v, .mov and .mkv, VP9 for .webm, ProRes
    4444 for .mov with alpha. Alpha is coded without loss. Colors are converted and tagged as
    BT.709. An odd height or width grows by one pixel to be even, as 4:2:0 needs: the last row or
    column is repeated, transparent where there is alpha.

    Args:
        path: Destination; the file appears when it is complete.
        size: Height and width of the frames in pixels.
        times: Presentation time of each frame in seconds, ascending. Excludes `frame_rate`.
        frame_rate: Frames per second; 24 by default if there are no times.
        alpha: Whether frames are RGBA with straight alpha; needs .webm or .mov.
        crf: Constant rate factor of H.264 and VP9, less is better; None is that of the codec.
        pixel_aspect: Width of a pixel divided by its height. Matroska and WebM get square pixels:
            their frames are resampled to the width at which they are shown.
        sound: Sound to keep, opened.

    Raises:
        InputError: The frames are too wide or high for the codec.
        UsageError: The suffix is unknown or cannot have alpha, times and a frame rate are both
            given, times descend, or the frame rate is not positive.
    """

    def __init__(
        self,
        path: str | Path,
        size: tuple[int, int],
        *,
        times: Sequence[float] | None = None,
        frame_rate: Fraction | float | None = None,
        alpha: bool = False,
        crf: int | None = None,
        pixel_aspect: Fraction = Fraction(1),
        sound: Sound | None = None,
    ):
        self.path = Path(path)
        self.size = size
        self.frames_written = 0
        suffix = self.path.suffix.lower()
        if suffix not in _CONTAINERS:
            raise UsageError(
                f"A video is written to a file with one of the suffixes {', '.join(_CONTAINERS)}",
                met=suffix or "none",
                where=path,
            )
        if alpha and suffix not in _ALPHA_CODECS:
            allowed = " or ".join(_ALPHA_CODECS)
            raise UsageError(f"A video with alpha is written as {allowed}", met=suffix, where=path)
        self._format, self._alpha = _CONTAINERS[suffix], alpha
        self._codec = _VP9 if suffix == ".webm" else _H264
        if alpha:
            self._codec = _ALPHA_CODECS[suffix]
        if max(size) > self._codec.max_side:
            raise InputError(
                f"The frames of a {suffix} video have at most {self._codec.max_side} pixels a side",
                met=f"{size[1]}x{size[0]}",
                where=path,
                remedy="Leave out the video, or reduce the size of the frames",
            )
        self._options = dict(self._codec.options)
        if crf is not None and "crf" in self._options:
            self._options["crf"] = str(crf)
        self.sound = sound
        self._pixel_aspect = pixel_aspect
        self._coded_size = size
        if self._format in ("matroska", "webm"):  # FFmpeg's muxer of them does not get the ratio
            self._coded_size, self._pixel_aspect = square_size(size, pixel_aspect), Fraction(1)
        self._planes: AlphaPlanes | None = None
        self._times, self._rate = times, _rate_of(times, frame_rate)
        is_matroska = self._format in ("matroska", "webm")
        self._time_base = _MATROSKA_TIME_BASE if is_matroska else _TIME_BASE
        self._last_stamp = -1

    def __enter__(self) -> Self:
        muxing = {"fflags": "+bitexact"}  # no random numbers: the same frames give the same file
        if self._format in ("mp4", "mov"):
            muxing["movflags"] = "+faststart"
        with ExitStack() as stack:
            side = stack.enter_context(replacing(self.path))
            with self._storage_errors():
                self._container = av.open(str(side), "w", format=self._format, options=muxing)
                added = self._container.add_stream(
                    self._codec.name, rate=self._rate, options=dict(self._options)
                )
            self._stack = stack.pop_all()
        stream = self._stream = cast(av.VideoStream, added)
        stream.height, stream.width = (length + length % 2 for length in self._coded_size)
        stream.pix_fmt = self._codec.pixel_format
        context = stream.codec_context
        context.time_base = 1 / self._rate if self._times is None else self._time_base
        context.color_primaries = context.color_trc = context.colorspace = _BT709
        context.color_range = _LIMITED_RANGE
        context.sample_aspect_ratio = self._pixel_aspect
        if self._codec is _VP9_ALPHA:
            size = stream.height, stream.width
            self._planes = AlphaPlanes(size, context.time_base, self._rate, self._options)
        if self.sound is not None:
            with self._storage_errors():
                self.sound.add_to(self._container)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Flushes the encoder and writes the index, unless an error ends the video."""
        with suppress(_Aborted), self._stack:
            try:
                if kind is not None:
                    # Not the error itself: `replacing` would take any OSError for its own.
                    raise _Aborted
                if not self.frames_written:
                    raise UsageError("A video needs at least one frame", where=self.path)
                with self._storage_errors():
                    self._mux(self._stream.encode(), is_last=True)
                    if self.sound is not None:
                        self.sound.write()
                    self._container.close()
            finally:
                with suppress(av.FFmpegError, OSError, ValueError):
                    self._container.close()

    def write(self, image: np.ndarray, time: float | None = None) -> None:
        """Appends a frame.

        Args:
            image: uint8 [H, W, 3] RGB, or [H, W, 4] RGBA of a writer with alpha.
            time: Presentation time in seconds, instead of that of `times`.

        Raises:
            UsageError: The image has another form, or there are fewer times than frames.
            StorageError: The file cannot be written: disk full.
        """
        expected = (*self.size, 4 if self._alpha else 3)
        if image.shape != expected or image.dtype != np.uint8:
            raise UsageError(
                f"A frame of this video is uint8 {list(expected)}",
                met=f"{image.dtype} {list(image.shape)}",
                where=self.path,
            )
        image, stamp = self._padded(image), self._stamp(time)
        frame = self._frame(image)
        frame.pts, frame.time_base = stamp, self._stream.codec_context.time_base
        with self._storage_errors():
            if self._planes is not None:
                self._planes.encode(image[..., 3], stamp)
            self._mux(self._stream.encode(frame))
            if self.sound is not None:
                self.sound.write(float(stamp * frame.time_base))
        self.frames_written += 1

    def _mux(self, packets: list[av.Packet], *, is_last: bool = False) -> None:
        if self._planes is not None:
            packets = list(self._planes.join(packets, is_last=is_last))
        for packet in packets:
            self._container.mux(packet)

    def _padded(self, image: np.ndarray) -> np.ndarray:
        """Returns an image of the coded size, of even height and width."""
        height, width = self._coded_size
        if self._coded_size != self.size:
            image = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
        if height % 2 or width % 2:
            image = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
            if self._alpha:
                image[height:, :, 3] = 0
                image[:, width:, 3] = 0
        return np.ascontiguousarray(image)

    def _frame(self, image: np.ndarray) -> av.VideoFrame:
        """Returns an image as a frame in the format of the stream."""
        if self._codec is _PRORES:
            return frame_of_10_bits(image)
        form = "rgba" if self._alpha else "rgb24"
        return av.VideoFrame.from_ndarray(image, form).reformat(
            format=self._stream.pix_fmt,
            src_color_range=ColorRange.JPEG,
            dst_color_range=ColorRange.MPEG,
            dst_colorspace=Colorspace.ITU709,
        )

    def _stamp(self, time: float | None) -> int:
        """Returns the time stamp of the next frame, in units of the stream."""
        if self._times is None:
            return self.frames_written
        if time is None:
            if self.frames_written >= len(self._times):
                raise UsageError(
                    "Every frame needs a time", met=f"{len(self._times)} times", where=self.path
                )
            time = self._times[self.frames_written]
        # Broken recorders write two frames with one time: the second moves by one unit.
        self._last_stamp = max(round(time / self._time_base), self._last_stamp + 1)
        return self._last_stamp

    @contextmanager
    def _storage_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise storage_error(self.path, error) from error
        except av.FFmpegError as error:
            raise StorageError("A video must be writable", met=error, where=self.path) from error


def square_size(size: tuple[int, int], pixel_aspect: Fraction) -> tuple[int, int]:
    """Returns height and width that show a frame at its shape with square pixels.

    Example:
        >>> square_size((576, 720), Fraction(16, 15))
        (576, 768)
    """
    return size[0], max(1, round(size[1] * pixel_aspect))


def _rate_of(times: Sequence[float] | None, frame_rate: Fraction | float | None) -> Fraction:
    """Returns frames per second; of times the average, as a hint for the encoder."""
    if times is not None and frame_rate is not None:
        raise UsageError("A video has times or a frame rate, not both", met=f"rate {frame_rate}")
    if times is None:
        rate = DEFAULT_FRAME_RATE if frame_rate is None else Fraction(frame_rate)
        if rate <= 0:
            raise UsageError("A frame rate is positive", met=frame_rate)
        return rate.limit_denominator(1001)
    falling = [k for k in range(1, len(times)) if not times[k] >= times[k - 1]]
    if falling:
        k = falling[0]
        raise UsageError("Times ascend from frame to frame", met=f"{times[k - 1]}, then {times[k]}")
    seconds = times[-1] - times[0] if len(times) > 1 else 0
    return Fraction((len(times) - 1) / seconds).limit_denominator(1001) if seconds else Fraction(24)
