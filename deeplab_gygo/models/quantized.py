"""Quantization of kernels to eight bits, for small weight files."""

from __future__ import annotations

import numpy as np

LEVELS = 127
"""Largest magnitude of an eight-bit kernel; without -128 the range is symmetric."""

SCALE = "//scale"
"""Suffix of the names of scales; variable names never have it."""


def quantize(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Quantizes kernels to eight bits with one scale per output channel.

    Args:
        arrays: float32, by name.

    Returns:
        Kernels (more than one axis) as int8, their scales float32 [channels] under the name with
        `SCALE`, and the other arrays unchanged.
    """
    stored = {}
    for name, array in arrays.items():
        if array.ndim < 2:
            stored[name] = array
            continue
        channel = _channel_axis(array.shape)
        others = tuple(axis for axis in range(array.ndim) if axis != channel)
        scale = np.abs(array).max(others) / LEVELS
        scale = np.where(scale > 0, scale, 1.0).astype(np.float32)
        stored[name] = np.rint(array / _along(scale, array.ndim, channel)).astype(np.int8)
        stored[name + SCALE] = scale
    return stored


def dequantize(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Reverts `quantize`; arrays without scales are unchanged.

    Args:
        arrays: By name.

    Returns:
        Arrays by name; quantized kernels as float32.

    Raises:
        ValueError: There are scales without a kernel, or they do not fit it.
    """
    values = {name: array for name, array in arrays.items() if not name.endswith(SCALE)}
    for name in arrays.keys() - values.keys():
        kernel = values.get(name.removesuffix(SCALE))
        if kernel is None or kernel.ndim < 2:
            raise ValueError(f"{name} without a kernel")
        channel = _channel_axis(kernel.shape)
        if arrays[name].shape != (kernel.shape[channel],):
            raise ValueError(f"{name} of {arrays[name].shape} for a kernel of {kernel.shape}")
        scale = _along(arrays[name], kernel.ndim, channel)
        values[name.removesuffix(SCALE)] = kernel.astype(np.float32) * scale
    return values


def _channel_axis(shape: tuple[int, ...]) -> int:
    """Returns the axis of output channels: the last, except of depthwise kernels [H, W, C, 1]."""
    return len(shape) - 2 if shape[-1] == 1 and len(shape) == 4 else len(shape) - 1


def _along(scale: np.ndarray, axes: int, channel: int) -> np.ndarray:
    return scale.reshape([-1 if axis == channel else 1 for axis in range(axes)])
