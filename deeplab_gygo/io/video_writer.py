"""Writing of videos: H.264, or VP9 with alpha."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import Self, cast

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace

from deeplab_gygo.errors import InputError, StorageError, UsageError
from deeplab_gygo.io.atomic import replacing, storage_error

DEFAULT_FRAME_RATE = Fraction(24)  # of DAVIS
# Time base of MPEG systems, in which all usual frame rates are integers; that of Matroska.
_TIME_BASE = Fraction(1, 90000)
_MATROSKA_TIME_BASE = Fraction(1, 1000)
_BT709 = 1  # code point of primaries, transfer and matrix alike: ITU-T H.273
_LIMITED_RANGE = 1
_CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
# Without B-frames the decoding order is the presentation order; with them, containers of a variable
# frame rate would declare a duration that ends before the last frames.
_H264_OPTIONS = {"crf": "20", "preset": "veryfast", "bf": "0"}
_VP9_OPTIONS = {"crf": "30", "b": "0", "deadline": "good", "cpu-used": "5", "row-mt": "1"}
_MAX_H264_SIDE, _MAX_VP9_SIDE = 16384, 65535  # pixels; of libx264 and libvpx
_ALPHA_OPTIONS = {"auto-alt-ref": "0"}  # libvpx does not code alpha with alternate references


class _Aborted(Exception):
    """The body of a writer failed."""


class VideoWriter:
    """Writes a video frame by frame. A context manager: an aborted video leaves no file.

    The codec follows from the suffix: H.264 for .mp4, .m4v, .mov and .mkv, VP9 for .webm. Colors
    are converted and tagged as BT.709. An odd height or width grows by one pixel to be even, as
    4:2:0 needs: the last row or column is repeated, transparent where there is alpha.

    Args:
        path: Destination; the file appears when it is complete.
        size: Height and width of the frames in pixels.
        times: Presentation time of each frame in seconds, ascending. Excludes `frame_rate`.
        frame_rate: Frames per second; 24 by default if there are no times.
        alpha: Whether frames are RGBA with straight alpha; needs .webm.

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
        if alpha and suffix != ".webm":
            raise UsageError("A video with alpha is written as .webm", met=suffix, where=path)
        self._format, self._alpha = _CONTAINERS[suffix], alpha
        most = _MAX_VP9_SIDE if suffix == ".webm" else _MAX_H264_SIDE
        if max(size) > most:
            raise InputError(
                f"The frames of a {suffix} video have at most {most} pixels a side",
                met=f"{size[1]}x{size[0]}",
                where=path,
                remedy="Leave out the video, or reduce the size of the frames",
            )
        self._times, self._rate = times, _rate_of(times, frame_rate)
        is_matroska = self._format in ("matroska", "webm")
        self._time_base = _MATROSKA_TIME_BASE if is_matroska else _TIME_BASE
        self._last_stamp = -1

    def __enter__(self) -> Self:
        muxing = {"movflags": "+faststart"} if self._format in ("mp4", "mov") else {}
        codec, coding = "libx264", _H264_OPTIONS
        if self._format == "webm":
            codec, coding = "libvpx-vp9", _VP9_OPTIONS | (_ALPHA_OPTIONS if self._alpha else {})
        with ExitStack() as stack:
            side = stack.enter_context(replacing(self.path))
            with self._storage_errors():
                self._container = av.open(str(side), "w", format=self._format, options=muxing)
                added = self._container.add_stream(codec, rate=self._rate, options=dict(coding))
            self._stack = stack.pop_all()
        stream = self._stream = cast(av.VideoStream, added)
        stream.height, stream.width = (length + length % 2 for length in self.size)
        stream.pix_fmt = "yuva420p" if self._alpha else "yuv420p"
        context = stream.codec_context
        context.time_base = 1 / self._rate if self._times is None else self._time_base
        context.color_primaries = context.color_trc = context.colorspace = _BT709
        context.color_range = _LIMITED_RANGE
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
                    for packet in self._stream.encode():
                        self._container.mux(packet)
                    self._container.close()
            finally:
                with suppress(av.FFmpegError, OSError, ValueError):
                    self._container.close()

    def write(self, image: np.ndarray) -> None:
        """Appends a frame.

        Args:
            image: uint8 [H, W, 3] RGB, or [H, W, 4] RGBA of a writer with alpha.

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
        frame = self._frame(image)
        with self._storage_errors():
            for packet in self._stream.encode(frame):
                self._container.mux(packet)
        self.frames_written += 1

    def _frame(self, image: np.ndarray) -> av.VideoFrame:
        """Returns the next frame, in the format of the stream and with its presentation time."""
        height, width = self.size
        if height % 2 or width % 2:
            image = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
            if self._alpha:
                image[height:, :, 3] = 0
                image[:, width:, 3] = 0
        form = "rgba" if self._alpha else "rgb24"
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), form).reformat(
            format=self._stream.pix_fmt,
            src_color_range=ColorRange.JPEG,
            dst_color_range=ColorRange.MPEG,
            dst_colorspace=Colorspace.ITU709,
        )
        stamp = self.frames_written
        if self._times is not None:
            if stamp >= len(self._times):
                raise UsageError(
                    "Every frame needs a time", met=f"{len(self._times)} times", where=self.path
                )
            # Broken recorders write two frames with one time: the second moves by one unit.
            stamp = max(round(self._times[stamp] / self._time_base), self._last_stamp + 1)
            self._last_stamp = stamp
        frame.pts, frame.time_base = stamp, self._stream.codec_context.time_base
        return frame

    @contextmanager
    def _storage_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise storage_error(self.path, error) from error
        except av.FFmpegError as error:
            raise StorageError("A video must be writable", met=error, where=self.path) from error


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
