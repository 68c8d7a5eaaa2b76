"""Whether the kernels can be used on this machine."""

from __future__ import annotations

import jax
import numpy as np

from deeplab_gygo.backend.kernels.depthwise import depthwise

_TOLERANCE = 1e-4
"""Of float32 sums of nine products."""


def failure(*, interpret: bool = False) -> str | None:
    """Compiles the kernels for a small array, runs them and compares what they compute.

    Args:
        interpret: Whether the interpreter of Pallas runs them.

    Returns:
        Why the kernels cannot be used; None where they can.
    """
    x, kernel = (np.random.default_rng(0).normal(size=s).astype("f4") for s in [(6, 7, 16), (3, 3)])

    @jax.jit
    def ends(x, kernel, bias):
        output, pull = jax.vjp(
            lambda *a: depthwise(*a, relu6=False, interpret=interpret), x, kernel, bias
        )
        return output, *pull(output)

    try:
        found = ends(x[None], np.repeat(kernel[..., None], 16, axis=2), np.zeros(16, np.float32))
        found = [np.asarray(values) for values in found]
    except Exception as error:  # of the compiler, of the driver, or memory
        return f"{type(error).__name__}: {error}".splitlines()[0][:300]
    for place, (values, wanted) in enumerate(zip(found, _expected(x, kernel), strict=True)):
        gap = np.linalg.norm(values - wanted) / np.linalg.norm(wanted)
        if not gap < _TOLERANCE:
            return f"result {place} of a depthwise convolution is off by {gap:.2g}"
    return None


def _expected(x: np.ndarray, kernel: np.ndarray) -> tuple[np.ndarray, ...]:
    """Returns the output, and with it as its own gradient, those of the three arguments."""
    height, width, _ = x.shape
    taps = [(i, j) for i in range(3) for j in range(3)]

    def part(values: np.ndarray, i: int, j: int) -> np.ndarray:
        return np.pad(values, ((1, 1), (1, 1), (0, 0)))[i : i + height, j : j + width]

    output = sum(part(x, i, j) * kernel[i, j] for i, j in taps)
    of_x = sum(part(output, 2 - i, 2 - j) * kernel[i, j] for i, j in taps)
    of_kernel = np.stack([(part(x, i, j) * output).sum((0, 1)) for i, j in taps])
    return output[None], of_x[None], of_kernel.reshape(3, 3, -1), output.sum((0, 1))
