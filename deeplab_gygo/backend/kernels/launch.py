"""How every kernel is launched, and how its tiles and its indices are made."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas
from jax.experimental.pallas import triton

FLOATS = ("bfloat16", "float16", "float32")
"""Types that kernels read and write; they compute in float32."""

LARGEST = 2**31 - 1
"""Most elements of an array: offsets are int32."""


def launch(
    kernel: Callable[..., None],
    grid: int,
    outputs: Sequence[jax.ShapeDtypeStruct],
    *inputs: jax.Array,
    name: str,
    warps: int = 4,
    interpret: bool = False,
) -> list[jax.Array]:
    """Runs a kernel once for every index of a grid.

    Every array reaches the kernel whole and flat, and it loads what it needs by `load`: blocks
    that Pallas cuts itself have no mask, and sizes here are of any kind.

    Args:
        kernel: Takes references of the inputs, then of the outputs.
        grid: Number of programs; one dimension, because the others hold 65,535 at most.
        outputs: Shapes and dtypes of the outputs.
        inputs: Arrays.
        name: Name of the kernel in profiles.
        warps: Groups of 32 threads that work on a program.
        interpret: Whether the interpreter runs it, on any device.

    Returns:
        The outputs.
    """
    # Without parameters of Triton, JAX on CUDA takes Mosaic GPU. There is one stage because no
    # loop here has a matrix product whose operands could be fetched ahead.
    parameters = triton.CompilerParams(num_warps=warps, num_stages=1)
    call = pallas.pallas_call(
        kernel,
        out_shape=[jax.ShapeDtypeStruct((math.prod(o.shape),), o.dtype) for o in outputs],
        grid=(grid,),
        compiler_params=parameters,
        interpret=interpret,
        name=name,
    )
    found = call(*(jnp.reshape(values, -1) for values in inputs))
    return [jnp.reshape(v, o.shape) for v, o in zip(found, outputs, strict=True)]


def load(ref: Any, sizes: Sequence[int], index: Sequence[Any], mask: Any) -> Any:
    """Loads float32 from a flat array by an index of the array of `sizes` that it was.

    The index has an int32 scalar or array per axis, broadcast to the shape of the bool mask;
    outside the mask it may be any, and 0 is loaded.
    """
    offsets = _offsets(sizes, index)
    return triton.load(ref.at[offsets], mask=mask, other=0).astype(jnp.float32)


def store(ref: Any, sizes: Sequence[int], index: Sequence[Any], values: Any, mask: Any) -> None:
    """Stores values, cast to the dtype of the array, where the mask is; as `load`."""
    triton.store(ref.at[_offsets(sizes, index)], values.astype(ref.dtype), mask=mask)


def _offsets(sizes: Sequence[int], index: Sequence[Any]) -> Any:
    offsets = index[0]
    for size, step in zip(sizes[1:], index[1:], strict=True):
        offsets = offsets * size + step
    return offsets


def unravelled(index: Any, sizes: tuple[int, ...]) -> tuple[Any, ...]:
    """Turns a flat index, int32 and not negative, to one for each size; the first runs fastest.

    `lax` instead of `//`, whose care for negative numbers costs instructions.
    """
    found = []
    for size in sizes[:-1]:
        found.append(lax.rem(index, jnp.int32(size)))
        index = lax.div(index, jnp.int32(size))
    return (*found, index)


def within(values: Any, size: int) -> Any:
    """Tells which indices, int32, are in 0..size - 1."""
    return (values >= 0) & (values < size)


def span(start: Any, length: int) -> Any:
    """Returns the indices int32 [length] from a start on."""
    return start + jnp.arange(length, dtype=jnp.int32)


def ceil_div(numerator: int, denominator: int) -> int:
    """Returns the quotient rounded up."""
    return -(-numerator // denominator)
