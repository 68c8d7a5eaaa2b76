"""Relative errors of the depthwise kernels against float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

ENDS = ("output", "input", "kernel", "bias")
"""What is compared: the output, and the gradients of the three arguments."""

LIMITS = {"float32": 1e-5, "bfloat16": 1e-2, "float16": 2e-3}
"""Largest relative error of a right kernel by dtype; NaN is above it."""


def noise(shapes: dict[str, tuple[int, ...]], dtype: str, seed: int) -> dict[str, Any]:
    """Draws normal arrays by name; `kernel` and `bias` are float32, as folded weights are."""
    import jax.numpy as jnp

    generator, made = np.random.default_rng(seed), {}
    for name, shape in shapes.items():
        values = generator.standard_normal(shape, np.float32)
        made[name] = jnp.asarray(values, "float32" if name in ("kernel", "bias") else dtype)
    return made


def relative_error(found: Any, wanted: Any) -> float:
    """Returns the Euclidean norm of the difference divided by that of what is wanted."""
    found, wanted = (np.asarray(values).astype(np.float64) for values in (found, wanted))
    return float(np.linalg.norm(found - wanted) / max(float(np.linalg.norm(wanted)), 1e-300))


def relative_errors(
    form: Callable[..., Any], window: Any, dtype: str, *, relu6: bool, seed: int
) -> dict[str, float]:
    """Compares a depthwise convolution and its gradients with float64 on random arrays.

    ReLU6 passes a gradient where the output of `form` is between 0 and 6: a sum within a rounding
    of 0 or 6 would otherwise pass a whole gradient in one of the two and none in the other.

    Args:
        form: Function of x, kernel and bias.
        window: `Window` of the convolution.
        dtype: Of x and of the gradient of the output.
        relu6: Whether `form` cuts its sums to 0..6.
        seed: Seed of the arrays.

    Returns:
        Relative error by name in `ENDS`.
    """
    import jax
    import jax.numpy as jnp

    shapes = {"x": window.inputs, "kernel": window.weights, "bias": (window.channels,)}
    arrays = noise(shapes | {"gradient": window.outputs}, dtype, seed)

    @jax.jit
    def found(x, kernel, bias, gradient):
        output, pull = jax.vjp(form, x, kernel, bias)
        return output, *pull(gradient)

    @jax.jit
    def expected(x, kernel, bias, gradient, reached):
        sums, pull = jax.vjp(lambda *a: _sums(*a, window), x, kernel, bias)
        if not relu6:
            return sums, *pull(gradient)
        return jnp.clip(sums, 0, 6), *pull(gradient * ((reached > 0) & (reached < 6)))

    ends = found(*arrays.values())
    with jax.enable_x64(True):
        doubles = [jnp.asarray(np.asarray(v).astype(np.float64)) for v in arrays.values()]
        reached = jnp.asarray(np.asarray(ends[0]).astype(np.float64))
        wanted = [np.asarray(values) for values in expected(*doubles, reached)]
    pairs = zip(ENDS, ends, wanted, strict=True)
    return {name: relative_error(end, values) for name, end, values in pairs}


def _sums(x: Any, kernel: Any, bias: Any, window: Any) -> Any:
    """Computes the convolution and adds the bias, in the dtype of x."""
    import jax.numpy as jnp
    from jax import lax

    padded, steps = jnp.pad(x, ((0, 0), *window.padding, (0, 0))), (1, *[window.stride] * 2, 1)
    reach = [(size - 1) * window.stride + 1 for size in window.output]
    sums = jnp.zeros(window.outputs, x.dtype) + bias
    for i in range(window.side):
        for j in range(window.side):
            start = (0, i * window.rate, j * window.rate, 0)
            end = (window.batch, start[1] + reach[0], start[2] + reach[1], window.channels)
            sums = sums + lax.slice(padded, start, end, steps) * kernel[i, j]
    return sums
