"""Where a depthwise convolution reads, and the tiles in which it is computed."""

from __future__ import annotations

from dataclasses import dataclass

from deeplab_gygo.backend.kernels.launch import ceil_div

_TILE = 1024
"""Elements of a tile: 8 for each of 128 threads, 16 bytes of half precision in one load."""


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
    """

    batch: int
    size: tuple[int, int]
    channels: int
    side: int
    stride: int
    rate: int

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

    @property
    def tile(self) -> tuple[int, int]:
        """Columns and channels of a tile, powers of two.

        The widest run of channels, for the longest reads, of which an eighth at most is masked.
        """
        fits = (n for n in (64, 32) if ceil_div(self.channels, n) * n <= 1.125 * self.channels)
        channels = next(fits, 16)
        return _TILE // channels, channels
