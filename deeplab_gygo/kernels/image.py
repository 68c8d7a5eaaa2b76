"""From decoded frames to what the network's first layer takes, in one pass over memory."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas

from deeplab_gygo.errors import UsageError
from deeplab_gygo.kernels.launch import FLOATS, LARGEST, ceil_div, launch, load, span, store

_TILE = 2048
"""Values of a program: 16 for each of 128 threads, 16 bytes of the image in one load."""


def normalized(
    image: jax.Array, scale: float, offset: float, dtype: Any, interpret: bool = False
) -> jax.Array:
    """Scales and shifts an image, computed in float32; a GPU kernel without gradient.

    XLA makes the same pass by itself of `plain_normalized`, and may fuse it with what comes before
    it. This kernel pays where it does not: compare them by tools/measure_kernels.py.

    Args:
        image: uint8 [B, H, W, 3]; any shape will do.
        scale: Factor.
        offset: Added after the factor.
        dtype: bfloat16, float16 or float32.
        interpret: Whether the interpreter of Pallas runs it: on any device, slowly.

    Returns:
        image * scale + offset, of that dtype.

    Raises:
        UsageError: the image is not uint8, or the dtype none of these.
    """
    _check(image, dtype)
    return _normalized(
        image, float(scale), float(offset), jnp.dtype(dtype).name, bool(interpret)
    )  # fmt: skip


def plain_normalized(image: jax.Array, scale: float, offset: float, dtype: Any) -> jax.Array:
    """Computes what `normalized` does in plain operations; same arguments, values and errors."""
    _check(image, dtype)
    return (image.astype(jnp.float32) * scale + offset).astype(dtype)


def _check(image: jax.Array, dtype: Any) -> None:
    if image.dtype != jnp.uint8 or image.size == 0 or image.size > LARGEST:
        raise UsageError(
            "The image must be uint8, not empty, under 2^31 values",
            met=f"{image.dtype} {image.shape}",
        )
    if jnp.dtype(dtype).name not in FLOATS:
        raise UsageError(f"The dtype must be one of {', '.join(FLOATS)}", met=jnp.dtype(dtype))


@partial(jax.jit, static_argnums=(1, 2, 3, 4))
def _normalized(
    image: jax.Array, scale: float, offset: float, dtype: str, interpret: bool
) -> jax.Array:
    body = partial(_kernel, count=image.size, scale=scale, offset=offset)
    out = jax.ShapeDtypeStruct(image.shape, dtype)
    grid = ceil_div(image.size, _TILE)
    return launch(body, grid, [out], image, name="normalized", interpret=interpret)[0]


def _kernel(image: Any, out: Any, *, count: int, scale: float, offset: float) -> None:
    places = span(pallas.program_id(0) * _TILE, _TILE)
    exists = places < count
    values = load(image, (count,), (places,), exists)
    store(out, (count,), (places,), values * scale + offset, exists)
