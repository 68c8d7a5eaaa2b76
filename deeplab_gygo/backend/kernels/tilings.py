"""How a kernel's work is shared out among programs and threads, as measured for each layer."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Tiling:
    """Shares of a program.

    Attributes:
        elements: Elements of a tile, columns times channels. 8 for each thread are 16 bytes of
            half precision in one load.
        rows: Output rows of a program. With a 5x5 kernel it reads 8 input rows for 4 of them
            instead of 20.
        warps: Groups of 32 threads of a program.
        widest: Most channels of a tile.
        unrolled: Whether the columns of the kernel are no loop, so that all loads can be issued
            before the first is awaited; the weights then need more registers.
        sums: Most sums of the kernel's gradient that a program holds. A larger kernel is shared
            out by its rows.
        programs: Fewest programs for the kernel's gradient, where there are as many rows.
    """

    elements: int = 1024
    rows: int = 4
    warps: int = 4
    widest: int = 64
    unrolled: bool = False
    sums: int = 9
    programs: int = 1024


CANDIDATES: dict[str, tuple[Tiling, ...]] = {
    "forward": (
        Tiling(),
        Tiling(rows=3),
        Tiling(rows=5),
        Tiling(rows=6),
        Tiling(elements=512, rows=6),
        Tiling(elements=512, rows=8),
        Tiling(elements=512, rows=6, warps=2),
        Tiling(unrolled=True),
    ),
    "strided_gradient": (
        Tiling(),
        Tiling(elements=512, warps=2),
        Tiling(elements=512),
        Tiling(elements=2048, warps=8),
    ),
    "kernel_gradient": (
        Tiling(),
        Tiling(programs=4096),
        Tiling(elements=512, warps=2, programs=4096),
        Tiling(elements=512, sums=25, programs=2048),
        Tiling(warps=8, sums=25),
        Tiling(elements=2048, warps=8),
    ),
}
"""Tilings that `tools/measure_kernels.py --sweep` compares, by kernel; the first is the default."""

MEASURED: dict[tuple[str, int, int, int], Tiling] = {}
"""Fastest candidates by kernel, side, stride and channels, where one beats the default. Empty: no
sweep has run to its end on a GPU yet, so that every layer has the default."""


def measured_tiling(kernel: str, side: int, stride: int, channels: int) -> Tiling:
    """Returns the tiling of a kernel of `CANDIDATES` for a layer."""
    return MEASURED.get((kernel, side, stride, channels), CANDIDATES[kernel][0])
