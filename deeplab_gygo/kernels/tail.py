"""From a network's coarse logits to the mask at full size, in one pass over memory."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas

from deeplab_gygo.errors import UsageError
from deeplab_gygo.kernels.launch import LARGEST, ceil_div, launch, load, span, store, unravelled

_TILE = 1024
"""Pixels of a program: 8 for each of 128 threads."""


def mask_of_logits(
    logits: jax.Array,
    height: int,
    width: int,
    threshold: float = 0.5,
    interpret: bool = False,
) -> tuple[jax.Array, jax.Array]:
    """Enlarges logits and makes mask and probability of them; a GPU kernel without gradient.

    The logits are resized, not the probabilities: bilinear, half-pixel centres, the edge repeated,
    no smoothing where it gets smaller, as `tf.image.resize` and `jax.image.resize` with
    `antialias=False`. All is float32. Neither resized logits nor probabilities touch the memory.

    Args:
        logits: float32, bfloat16 or float16 [B, h, w].
        height: Height of the result, pixels.
        width: Width of the result, pixels.
        threshold: Probability above which a pixel is object.
        interpret: Whether the interpreter of Pallas runs it: on any device, slowly.

    Returns:
        The mask, uint8 [B, height, width], 1 where the probability is above the threshold, else 0;
        and the probability in 256 levels, likewise: its 256-fold without fraction, 255 at most.

    Raises:
        UsageError: the logits have another shape, or a size is not positive.
    """
    _check(logits, height, width)
    sizes = int(height), int(width)
    return _mask_of_logits(logits, sizes, float(threshold), bool(interpret))


def plain_mask_of_logits(
    logits: jax.Array, height: int, width: int, threshold: float = 0.5
) -> tuple[jax.Array, jax.Array]:
    """Computes what `mask_of_logits` does in plain operations; same arguments, values and errors.

    Where XLA multiplies float32 matrices in another order than the kernel adds, a probability may
    be one level apart, and a pixel just at the threshold on its other side.
    """
    _check(logits, height, width)
    shape = (logits.shape[0], int(height), int(width))
    fine = jax.image.resize(logits.astype(jnp.float32), shape, method="bilinear", antialias=False)
    return _coded(fine, threshold)


def _check(logits: jax.Array, height: int, width: int) -> None:
    if logits.ndim != 3 or 0 in logits.shape or not jnp.issubdtype(logits.dtype, jnp.floating):
        raise UsageError(
            "The logits must be floating-point [B, h, w], not empty",
            met=f"{logits.dtype} {logits.shape}",
        )
    if height < 1 or width < 1 or logits.shape[0] * height * width > LARGEST:
        raise UsageError(
            "Height and width must be 1 or more, under 2^31 pixels in all",
            met=f"{height} x {width}",
        )


def _coded(fine: Any, threshold: float) -> tuple[Any, Any]:
    """Makes mask and probability, uint8, of logits, float32 of any shape."""
    # Written out, since not every lowering of Pallas has the sigmoid. A large exponential is
    # infinite, and the probability rightly 0.
    probability = 1.0 / (1.0 + jnp.exp(-fine))
    levels = jnp.minimum(probability * 256.0, 255.0)
    # By way of int32: Triton converts floats to nothing smaller everywhere.
    levels = levels.astype(jnp.int32).astype(jnp.uint8)
    return (probability > threshold).astype(jnp.uint8), levels


@partial(jax.jit, static_argnums=(1, 2, 3))
def _mask_of_logits(
    logits: jax.Array, size: tuple[int, int], threshold: float, interpret: bool
) -> tuple[jax.Array, jax.Array]:
    shape = (logits.shape[0], *size)
    body = partial(_kernel, coarse=logits.shape, size=size, threshold=threshold)
    out = jax.ShapeDtypeStruct(shape, jnp.uint8)
    grid = ceil_div(shape[0] * size[0] * size[1], _TILE)
    mask, levels = launch(
        body, grid, [out, out], logits, name="mask_of_logits", interpret=interpret
    )
    return mask, levels


def _kernel(
    logits: Any,
    mask_ref: Any,
    levels_ref: Any,
    *,
    coarse: tuple[int, int, int],
    size: tuple[int, int],
    threshold: float,
) -> None:
    """Computes `_TILE` pixels in the order of memory, over the ends of rows and of images.

    So every store is aligned, however wide the image is.
    """
    count = coarse[0] * size[0] * size[1]
    pixels = span(pallas.program_id(0) * _TILE, _TILE)
    exists = pixels < count
    x, y, image = unravelled(pixels, (size[1], size[0], coarse[0]))
    top, bottom, down = _neighbours(y, coarse[1], size[0])
    left, right, along = _neighbours(x, coarse[2], size[1])

    def row(line: Any) -> Any:
        first = load(logits, coarse, (image, line, left), exists)
        second = load(logits, coarse, (image, line, right), exists)
        return first + (second - first) * along

    upper = row(top)
    mask, levels = _coded(upper + (row(bottom) - upper) * down, threshold)
    store(mask_ref, (count,), (pixels,), mask, exists)
    store(levels_ref, (count,), (pixels,), levels, exists)


def _neighbours(place: Any, coarse: int, fine: int) -> tuple[Any, Any, Any]:
    """Finds the two coarse pixels around fine ones, int32, and the second one's share, float32."""
    source = (place.astype(jnp.float32) + 0.5) * (coarse / fine) - 0.5
    source = jnp.minimum(jnp.maximum(source, 0.0), coarse - 1.0)
    before = source.astype(jnp.int32)  # not negative, so that cutting is rounding down
    return before, jnp.minimum(before + 1, coarse - 1), source - before.astype(jnp.float32)
