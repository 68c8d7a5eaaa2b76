"""The kernels of the depthwise convolution's gradients: of its input, its kernel and its bias."""

from __future__ import annotations

from functools import partial
from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas

from deeplab_gygo.backend.kernels.correlation import correlation, reader
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


@partial(jax.jit, static_argnames=("window", "interpret"))
def input_gradient(
    gradient: jax.Array,
    kernel: jax.Array,
    reached: jax.Array | None,
    *,
    window: Window,
    interpret: bool,
) -> jax.Array:
    """Computes the gradient of the input, [B, H, W, C] in the dtype of the output's gradient.

    Args:
        gradient: Gradient of the output, [B, H', W', C].
        kernel: [k, k, C].
        reached: The output, where it went through ReLU6.
        window: The convolution.
        interpret: Whether the interpreter runs it.
    """
    if window.stride == 1:
        # The same correlation with the kernel turned around, and the padding's ends swapped.
        return correlation(
            gradient,
            reached,
            kernel,
            jnp.zeros((window.channels,), jnp.float32),
            window=window,
            before=tuple(after for _, after in window.padding),
            flipped=True,
            name="depthwise_input_gradient",
            interpret=interpret,
        )
    window = window.tiled("strided_gradient")
    inputs = [gradient] + ([] if reached is None else [reached]) + [kernel]
    out = jax.ShapeDtypeStruct(window.inputs, gradient.dtype)
    columns, channels = window.tile
    tiles = ceil_div(window.channels, channels) * ceil_div(window.output[1], columns)
    return launch(
        partial(_strided_gradient_kernel, window=window, gated=reached is not None),
        tiles * window.output[0] * window.batch,
        [out],
        *inputs,
        name="depthwise_strided_input_gradient",
        warps=window.tiling.warps,
        interpret=interpret,
    )[0]


def _taps_by_offset(stride: int, side: int, before: int) -> dict[int, list[tuple[int, int]]]:
    """Returns places in a block of `stride` pixels and taps, by offset of the output reached."""
    found: dict[int, list[tuple[int, int]]] = {}
    for place in range(stride):
        for tap in range(side):
            if (place + before - tap) % stride == 0:
                found.setdefault((place + before - tap) // stride, []).append((place, tap))
    return found


def _strided_gradient_kernel(*refs: Any, window: Window, gated: bool) -> None:
    """Computes a row of blocks of `stride` x `stride` input pixels, one for each output pixel.

    Which taps reach a place in a block is known beforehand, so that nothing is added in vain.
    """
    gradient, gate = refs[0], refs[1] if gated else None
    weights_ref, out_ref = refs[1 + gated :]
    (height, width), (out_height, out_width) = window.size, window.output
    (above, left), side, stride = window.before, window.side, window.stride
    columns, channels = window.tile
    depth_tiles, tiles = ceil_div(window.channels, channels), ceil_div(out_width, columns)
    depth_tile, tile, row, image = unravelled(
        pallas.program_id(0), (depth_tiles, tiles, out_height, window.batch)
    )
    across, depth = span(tile * columns, columns), span(depth_tile * channels, channels)
    exists, read = depth < window.channels, reader(gradient, gate, window.outputs)
    offsets = sorted(_taps_by_offset(stride, side, left))
    rows = sorted(_taps_by_offset(stride, side, above).items())

    def add_column(step: Any, sums: tuple[Any, ...]) -> tuple[Any, ...]:
        right, sums = step + offsets[0], list(sums)
        x = across + right
        mask = within(x, out_width)[:, None] & exists[None, :]
        for down, users in rows:
            y = row + down
            values = read((image, y, x[:, None], depth[None, :]), mask & within(y, out_height))
            for (block_y, i), block_x in product(users, range(stride)):
                j, place = block_x + left - stride * right, block_y * stride + block_x
                weights = load(weights_ref, window.weights, (i, j, depth), exists & within(j, side))
                sums[place] = sums[place] + values * weights[None, :]
        return tuple(sums)

    # A loop for the same reason as in the correlation.
    nothing = jnp.zeros((columns, channels), jnp.float32)
    count = offsets[-1] - offsets[0] + 1
    sums = lax.fori_loop(0, count, add_column, (nothing,) * stride**2)
    for (block_y, block_x), total in zip(product(range(stride), repeat=2), sums, strict=True):
        y, x = row * stride + block_y, across * stride + block_x
        mask = (x < width)[:, None] & exists[None, :] & (y < height)
        store(out_ref, window.inputs, (image, y, x[:, None], depth[None, :]), total, mask)


def _kernel_gradient_kernel(*refs: Any, window: Window, gated: bool, taps: int, rows: int) -> None:
    """Sums `taps` rows of the kernel's gradient over `rows` rows of the output, images in turn."""
    gradient, gate = refs[0], refs[1] if gated else None
    x_ref, out_ref, bias_ref = refs[1 + gated :]
    (height, width), (out_height, out_width) = window.size, window.output
    side, stride, rate = window.side, window.stride, window.rate
    columns, channels = window.tile
    tiles, groups = ceil_div(out_width, columns), side // taps
    depth_tiles = ceil_div(window.channels, channels)
    depth_tile, group, chunk = unravelled(pallas.program_id(0), (depth_tiles, groups, 0))
    depth = span(depth_tile * channels, channels)
    exists, read = depth < window.channels, reader(gradient, gate, window.outputs)
    read_x = reader(x_ref, None, window.inputs)

    def add(step: Any, sums: tuple[Any, ...]) -> tuple[Any, ...]:
        tile, line = unravelled(step, (tiles, 0))
        line = chunk * rows + line
        y, image = unravelled(line, (out_height, 0))
        across = span(tile * columns, columns)
        mask = (across < out_width)[:, None] & exists[None, :] & (image < window.batch)
        values = read((image, y, across[:, None], depth[None, :]), mask)
        sums = list(sums)
        for tap in range(taps * side):
            source_y = y * stride + (group * taps + tap // side) * rate - window.before[0]
            source_x = across * stride + (tap % side) * rate - window.before[1]
            inside = mask & within(source_x, width)[:, None] & within(source_y, height)
            index = (image, source_y, source_x[:, None], depth[None, :])
            sums[tap] = sums[tap] + values * read_x(index, inside)
        sums[-1] = sums[-1] + values
        return tuple(sums)

    nothing = jnp.zeros((columns, channels), jnp.float32)
    sums = lax.fori_loop(0, rows * tiles, add, (nothing,) * (taps * side + 1))
    for tap in range(taps * side):
        index = (chunk, group * taps + tap // side, tap % side, depth)
        store(out_ref, (0, *window.weights), index, jnp.sum(sums[tap], axis=0), exists)
    sizes = (0, groups, window.channels)
    store(bias_ref, sizes, (chunk, group, depth), jnp.sum(sums[-1], axis=0), exists)


@partial(jax.jit, static_argnames=("window", "interpret"))
def kernel_gradient(
    gradient: jax.Array,
    x: jax.Array,
    reached: jax.Array | None,
    *,
    window: Window,
    interpret: bool,
) -> tuple[jax.Array, jax.Array]:
    """Computes the gradients of the kernel, float32 [k, k, C], and of the bias, float32 [C].

    Programs write sums of their own, which are added at the end: no atomic additions, whose order
    would change the last digits from run to run.

    Arguments are those of `input_gradient`, with the input x [B, H, W, C] for the kernel.
    """
    window = window.tiled("kernel_gradient")
    side, count, tiling = window.side, window.channels, window.tiling
    taps = side if side * side <= tiling.sums else 1
    others = ceil_div(count, window.tile[1]) * (side // taps)
    lines = window.batch * window.output[0]
    rows = max(1, lines // ceil_div(tiling.programs, others))
    chunks = ceil_div(lines, rows)
    outputs = [
        jax.ShapeDtypeStruct((chunks, side, side, count), jnp.float32),
        jax.ShapeDtypeStruct((chunks, side // taps, count), jnp.float32),
    ]
    body = partial(
        _kernel_gradient_kernel, window=window, gated=reached is not None, taps=taps, rows=rows
    )
    inputs = [gradient] + ([] if reached is None else [reached]) + [x]
    parts, bias_parts = launch(
        body, others * chunks, outputs, *inputs, name="depthwise_kernel_gradient",
        warps=tiling.warps, interpret=interpret,
    )  # fmt: skip
    # Every group of taps has summed the whole gradient of the bias; one of them is enough.
    return jnp.sum(parts, axis=0), jnp.sum(bias_parts[:, 0], axis=0)
