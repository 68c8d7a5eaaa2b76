"""A normalized image is that of float64 but for one rounding of its dtype."""

from __future__ import annotations

import numpy as np
import pytest

jax = pytest.importorskip("jax")

import jax.numpy as jnp  # noqa: E402

from deeplab_gygo.errors import UsageError  # noqa: E402
from deeplab_gygo.kernels.image import normalized, plain_normalized  # noqa: E402

# Largest rounding relative to the value, beside that of float32's product and sum.
UNITS = {"float32": 0.0, "float16": 2.0**-11, "bfloat16": 2.0**-8}


def interpreted(*arguments):
    return normalized(*arguments, interpret=True)


@pytest.mark.parametrize("function", [interpreted, plain_normalized])
@pytest.mark.parametrize("dtype", UNITS)
@pytest.mark.parametrize("shape", [(1, 1, 1, 3), (2, 19, 37, 3)], ids=str)
@pytest.mark.parametrize("scale, offset", [(1 / 128, -127 / 128), (1 / 127.5, -1.0)])
def test_it_is_that_of_float64(function, dtype, shape, scale, offset, run):
    image = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    image.flat[0], image.flat[1] = 0, 255
    found = run(lambda x: function(x, scale, offset, dtype), jnp.asarray(image))
    expected = image.astype(np.float64) * scale + offset
    assert found.dtype == jnp.dtype(dtype) and found.shape == shape
    error = np.abs(np.asarray(found, np.float64) - expected)
    assert (error <= UNITS[dtype] * np.abs(expected) + 3e-7).all()


@pytest.mark.parametrize("dtype", UNITS)
def test_it_lowers_to_triton(dtype, lowered_to_cuda):
    shape = jax.ShapeDtypeStruct((4, 480, 864, 3), "uint8")
    assert lowered_to_cuda(lambda x: normalized(x, 1 / 128, -127 / 128, dtype), shape) == 1


@pytest.mark.parametrize("function", [interpreted, plain_normalized])
def test_other_types_are_refused(function):
    with pytest.raises(UsageError):
        function(jnp.zeros((1, 2, 2, 3), jnp.float32), 1.0, 0.0, "float32")
    with pytest.raises(UsageError):
        function(jnp.zeros((1, 2, 2, 3), jnp.uint8), 1.0, 0.0, "int32")
