"""Sequences of still images: what has more than 8 bits gets one scale for the whole clip."""

from __future__ import annotations

import logging
from abc import abstractmethod
from functools import cached_property
from pathlib import Path

import numpy as np

from deeplab_gygo.io.bit_depth import to_8_bits, white_level
from deeplab_gygo.io.sequence import Annotations, IndexedSequence, MaskFormat

logger = logging.getLogger(__name__)

_SAMPLES = 16  # frames that the scale of a clip is decided from
_FULL = 2.0**16 - 1  # what ffmpeg takes as white in such files
_LEAST_RANGE = 1 / 8  # of white; the network distinguishes few levels of less


class StillFrames(IndexedSequence):
    """A sequence whose frames are decoded one by one to values as stored, by `_read_stored`.

    Where files have more than 8 bits per channel, white is decided once, from up to 16 frames,
    evenly spread: the smallest of 8, 10, 12, 14 and 16 bits that holds their largest value. So a
    clip that fades to black gets darker from frame to frame.
    """

    def __init__(
        self,
        name: str,
        source: Path,
        size: tuple[int, int],
        frame_names: list[str],
        annotations: Annotations = None,
        mask_format: MaskFormat = "auto",
    ):
        super().__init__(name, source, size, frame_names, annotations, mask_format)
        self._warned: dict[str, str] = {}  # by kind

    @property
    def warnings(self) -> tuple[str, ...]:
        """Values above white, and a small range of values; see `Sequence`."""
        return tuple(self._warned.values())

    @abstractmethod
    def _read_stored(self, index: int) -> np.ndarray:
        """Returns the image of an index as `read_stored` does."""

    def _read(self, index: int) -> np.ndarray:
        return self._reduced(self._read_stored(index), index)

    def _reduced(self, image: np.ndarray, index: int) -> np.ndarray:
        """Reduces the stored image of a frame to uint8 [H, W, 3]."""
        if image.dtype == np.uint8:
            return image
        if (largest := image.max()) > self._white:
            self._warn(
                "white",
                f"frame {self.frame_names[index]} has values up to {largest:g}, those above "
                f"{self._white:g} are shown as white; reduce all frames to 8 bits alike before",
            )
        return to_8_bits(image, self._white)

    @cached_property
    def _white(self) -> float:
        """The value that becomes 255; logs it, and warns where little of the range is used."""
        count = min(_SAMPLES, len(self))
        chosen = np.linspace(0, len(self) - 1, count).round().astype(int)
        sampled = [self._range(int(index)) for index in chosen]
        found = [values for values in sampled if values is not None]
        white = white_level(max(largest for *_, largest in found))
        low, high = min(low for low, *_ in found), max(high for _, high, _ in found)
        bits = f"{round(np.log2(white + 1))} bits" if white > 1 else "fractions"
        logger.info(
            "%s: the frames are taken as %s, %g is white; decided from %d of %d frames",
            self.name, bits, white, count, len(self),
        )  # fmt: skip
        if high - low < _LEAST_RANGE * white:
            full = white if white == 1 else max(white, _FULL)
            stretch = ":".join(
                f"{channel}i{end}={value / full:.5f}"
                for end, value in (("min", low), ("max", high))
                for channel in "rgb"
            )
            self._warn(
                "range",
                f"the values of the frames extend over {low:g} to {high:g} of 0 to {white:g} and "
                "are hardly distinguished; stretch all frames alike before, as ffmpeg does with "
                f"-vf colorlevels={stretch}",
            )
        return white

    def _range(self, index: int) -> tuple[float, float, float] | None:
        """Returns the range of a frame without outliers, and its largest value; None of 8 bits."""
        image = self._read_stored(index)
        if image.dtype == np.uint8:
            return None
        low, high = np.percentile(image, (0.1, 99.9))
        return float(low), float(high), image.max()

    def _warn(self, kind: str, text: str) -> None:
        if kind not in self._warned:
            self._warned[kind] = f"{self.source}: {text}"
            logger.warning("%s", self._warned[kind])
