"""Where a depthwise convolution reads, and the tiles in which it is computed."""

from __future__ import annotations

from dataclasses import dataclass, replace

from deeplab_gygo.backend.kernels.launch import ceil_div
from deeplab_gygo.backend.kernels.tilings import Tiling, measured_tiling


@dataclass(frozen=True)
class Window:
    """Where a depthwise convolution with "same" padding reads.

    Attributes:
        batch: Number of images.
        size: Input height and width, pixels.
        channels: Number of channels.
        side: Side of the kernel, taps.
        stride: Input pixels for each output pixel.
        rate: Input pixels from tap to tap.
        tiling: How programs share the work; None for what was measured.
    """

    batch: int
    size: tuple[int, int]
    channels: int
    side: int
    stride: int
    rate: int
    tiling: Tiling | None = None

    @property
    def output(self) -> tuple[int, int]:
        """Output height and width, pixels."""
        return ceil_div(self.size[0], self.stride), ceil_div(self.size[1], self.stride)

    @property
    def inputs(self) -> tuple[int, int, int, int]:
        """Shape of the input."""
        return self.batch, *self.size, self.channels

    @property
    def outputs(self) -> tuple[int, int, int, int]:
        """Shape of the output."""
        return self.batch, *self.output, self.channels

    @property
    def weights(self) -> tuple[int, int, int]:
        """Shape of the kernel."""
        return self.side, self.side, self.channels

    @property
    def padding(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Rows above and below, columns left and right; TensorFlow puts the odd one last."""
        pairs = []
        for size, out in zip(self.size, self.output, strict=True):
            reach = (self.side - 1) * self.rate + 1
            total = max((out - 1) * self.stride + reach - size, 0)
            pairs.append((total // 2, total - total // 2))
        return tuple(pairs)

    @property
    def before(self) -> tuple[int, int]:
        """Rows above and columns left of the input that are padding."""
        return self.padding[0][0], self.padding[1][0]

    def tiled(self, kernel: str) -> Window:
        """Returns the window with the tiling that was measured for a kernel, unless it has one."""
        if self.tiling is not None:
            return self
        tiling = measured_tiling(kernel, self.side, self.stride, self.channels)
        return replace(self, tiling=tiling)

    @property
    def tile(self) -> tuple[int, int]:
        """Columns and channels of a tile, powers of two.

        The widest run of channels, for the longest reads, of which an eighth at most is masked.
        """
        tiling, count = self.tiling or Tiling(), self.channels
        widths = (n for n in (128, 64, 32) if n <= tiling.widest)
        channels = next((n for n in widths if ceil_div(count, n) * n <= 1.125 * count), 16)
        return tiling.elements // channels, channels
