"""The kernel of the depthwise convolution; turned around, of its input's gradient at stride 1.

It is bound by memory, so that what counts is to read each value from it once. A program computes
several rows of a tile of columns and channels. For that it reads every input row of its tile once
for each column of the kernel, into registers; what neighbours read again comes from the caches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas

from deeplab_gygo.backend.kernels.launch import (
    ceil_div,
    launch,
    load,
    span,
    store,
    unravelled,
    within,
)
from deeplab_gygo.backend.kernels.window import Window


def reader(ref: Any, gate: Any | None, sizes: Sequence[int]) -> Callable[..., Any]:
    """Makes `read(index, mask)`, float32; where a gate has reached 0 or 6, it reads 0."""

    def read(index: tuple[Any, ...], mask: Any) -> Any:
        values = load(ref, sizes, index, mask)
        if gate is None:
            return values
        reached = load(gate, sizes, index, mask)
        return jnp.where((reached > 0.0) & (reached < 6.0), values, 0.0)

    return read


def _correlation_kernel(
    *refs: Any, window: Window, before: tuple[int, int], gated: bool, flipped: bool, relu6: bool
) -> None:
    """Computes a few output rows, `rate` apart, so that they share their input rows."""
    values, gate = refs[0], refs[1] if gated else None
    weights_ref, bias_ref, out_ref = refs[1 + gated :]
    (height, width), (out_height, out_width) = window.size, window.output
    side, stride, rate = window.side, window.stride, window.rate
    (columns, channels), lines = window.tile, window.tiling.rows
    place = unravelled(
        pallas.program_id(0),
        (
            ceil_div(window.channels, channels),
            ceil_div(out_width, columns),
            ceil_div(out_height, lines * rate) * rate,
            window.batch,
        ),
    )
    first = lax.div(place[2], jnp.int32(rate)) * (lines * rate) + lax.rem(place[2], jnp.int32(rate))
    across, depth = span(place[1] * columns, columns), span(place[0] * channels, channels)
    exists, read = depth < window.channels, reader(values, gate, window.inputs)

    def add_column(tap: Any, sums: tuple[Any, ...]) -> tuple[Any, ...]:
        def weights(row: int) -> Any:
            index = (side - 1 - row, side - 1 - tap) if flipped else (row, tap)
            return load(weights_ref, window.weights, (*index, depth), exists)[None, :]

        taps, sums = [weights(row) for row in range(side)], list(sums)
        x = across * stride + tap * rate - before[1]
        mask = within(x, width)[:, None] & exists[None, :]
        for line in range(stride * (lines - 1) + side):
            users = [r for r in range(lines) if 0 <= line - stride * r < side]
            if not users:  # a stride beyond the kernel leaves rows out
                continue
            y = first * stride + line * rate - before[0]
            tile = read((place[3], y, x[:, None], depth[None, :]), mask & within(y, height))
            for r in users:
                sums[r] = sums[r] + tile * taps[line - stride * r]
        return tuple(sums)

    bias = load(bias_ref, (window.channels,), (depth,), exists)
    sums = (jnp.broadcast_to(bias[None, :], (columns, channels)),) * lines
    if window.tiling.unrolled:
        for tap in range(side):
            sums = add_column(tap, sums)
    else:  # a loop keeps the weights of one column in registers
        sums = lax.fori_loop(0, side, add_column, sums)
    mask = (across < out_width)[:, None] & exists[None, :]
    for r in range(lines):
        y = first + r * rate
        result = jnp.minimum(jnp.maximum(sums[r], 0.0), 6.0) if relu6 else sums[r]
        index = (place[3], y, across[:, None], depth[None, :])
        store(out_ref, window.outputs, index, result, mask & (y < out_height))


def correlation(
    values: jax.Array,
    gate: jax.Array | None,
    kernel: jax.Array,
    bias: jax.Array,
    *,
    window: Window,
    before: tuple[int, int],
    flipped: bool = False,
    relu6: bool = False,
    name: str,
    interpret: bool,
) -> jax.Array:
    """Correlates every channel with its own kernel and adds the bias.

    Args:
        values: [B, H, W, C].
        gate: None, or like `values`, which count as 0 where it is not between 0 and 6.
        kernel: [k, k, C].
        bias: [C].
        window: Sizes and steps.
        before: Rows above and columns left of the values that count as 0.
        flipped: Whether the kernel is turned by 180 degrees.
        relu6: Whether the sums are cut to 0..6.
        name: Name of the kernel in profiles.
        interpret: Whether the interpreter runs it.

    Returns:
        [B, H', W', C] in the dtype of the values.
    """
    window = window.tiled("forward")
    columns, channels = window.tile
    lines = ceil_div(window.output[0], window.tiling.rows * window.rate) * window.rate
    lines *= window.batch
    grid = ceil_div(window.channels, channels) * ceil_div(window.output[1], columns) * lines
    options = {"window": window, "before": before, "flipped": flipped, "relu6": relu6}
    body = partial(_correlation_kernel, gated=gate is not None, **options)
    out = jax.ShapeDtypeStruct(window.outputs, values.dtype)
    inputs = (values, kernel, bias) if gate is None else (values, gate, kernel, bias)
    options = {"name": name, "warps": window.tiling.warps, "interpret": interpret}
    return launch(body, grid, [out], *inputs, **options)[0]
