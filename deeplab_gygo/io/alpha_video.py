"""Frames of videos with alpha: VP9 whose alpha is coded without loss, and those of ProRes 4444."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Final

import av
import cv2
import numpy as np

# What Matroska calls a block addition: the coded alpha of a frame.
_ALPHA: Final = "matroska_block_additional"

# R'G'B' 0..255 to Y'CbCr of ITU-R BT.709, limited range of 10 bits: 64..940 and 64..960.
_TO_YCBCR = (
    np.array(
        [
            [0.2126 * 876, 0.7152 * 876, 0.0722 * 876, 64 * 255],
            [-0.2126 / 1.8556 * 896, -0.7152 / 1.8556 * 896, 0.5 * 896, 512 * 255],
            [0.5 * 896, -0.7152 / 1.5748 * 896, -0.0722 / 1.5748 * 896, 512 * 255],
        ]
    )
    / 255
)


def frame_of_10_bits(image: np.ndarray) -> av.VideoFrame:
    """Returns RGBA uint8 [H, W, 4] as a frame of yuva444p10le, BT.709.

    The threads of FFmpeg's conversion overwrite each other's pixels in this format.
    """
    frame = av.VideoFrame(image.shape[1], image.shape[0], "yuva444p10le")
    values = cv2.transform(image[..., :3].astype(np.float32), _TO_YCBCR.astype(np.float32))
    for plane, component in zip(frame.planes, np.rint(values).transpose(2, 0, 1), strict=False):
        _fill(plane, component.astype(np.uint16))
    # The encoder writes the code points of its frames, ITU-T H.273, into the stream.
    frame.color_primaries = frame.color_trc = frame.colorspace = 1
    frame.color_range = 1
    alpha = image[..., 3].astype(np.uint16)
    _fill(frame.planes[3], alpha << 2 | alpha >> 6)
    return frame


def _fill(plane: av.video.plane.VideoPlane, values: np.ndarray) -> None:
    """Copies [H, W] into a plane, whose lines may be longer."""
    line = plane.line_size // values.itemsize
    plane.update(np.pad(values, ((0, 0), (0, line - values.shape[1]))).tobytes())


class AlphaPlanes:
    """Codes the alpha of a VP9 video and joins it to the packets of its colors.

    libvpx codes alpha at the quality of the colors, whose error at soft edges is visible. Here a
    second encoder codes frames of one color with the alpha, without loss; it replaces the alpha in
    the packets of the first.

    Args:
        size: Height and width in pixels, even.
        time_base: Unit of the time stamps, seconds.
        rate: Frames per second, a hint.
        options: Options of libvpx for both encoders.
    """

    def __init__(
        self,
        size: tuple[int, int],
        time_base: Fraction,
        rate: Fraction,
        options: Mapping[str, str],
    ):
        context = av.VideoCodecContext.create("libvpx-vp9", "w")
        context.height, context.width = size
        context.pix_fmt, context.time_base, context.framerate = "yuva420p", time_base, rate
        kept = {key: value for key, value in options.items() if key != "crf"}
        context.options = {**kept, "lossless": "1"}
        self._context, self._time_base = context, time_base
        self._frame = av.VideoFrame(size[1], size[0], "yuva420p")
        for plane in self._frame.planes[:3]:
            plane.update(bytes([128]) * plane.buffer_size)
        self._colors: deque[av.Packet] = deque()
        self._alphas: dict[int, av.Packet] = {}

    def encode(self, alpha: np.ndarray, stamp: int) -> None:
        """Codes the alpha uint8 [H, W] of a frame with a time stamp."""
        _fill(self._frame.planes[3], alpha)
        self._frame.pts, self._frame.time_base = stamp, self._time_base
        self._keep(self._context.encode(self._frame))

    def join(self, colors: list[av.Packet], *, is_last: bool = False) -> Iterator[av.Packet]:
        """Yields the packets of colors whose alpha is coded, in order.

        Args:
            colors: Further packets of the colors.
            is_last: Whether no more will come.
        """
        if is_last:
            self._keep(self._context.encode(None))
        self._colors.extend(colors)
        while self._colors and self._colors[0].pts in self._alphas:
            packet = self._colors.popleft()
            alpha = self._alphas.pop(packet.pts or 0)
            packet.set_sidedata(alpha.get_sidedata(_ALPHA))
            yield packet

    def _keep(self, packets: list[av.Packet]) -> None:
        for packet in packets:
            self._alphas[packet.pts or 0] = packet
