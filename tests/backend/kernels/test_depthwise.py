"""The depthwise kernels and their twin compute what float64 says, at any size, and so do gradients.

Float32 may be off by 2e-6 of the largest value, which is rounding of sums; bfloat16 by 1/128, one
rounding of its 8 bits, and where two stages round, by twice that.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pytest

jax = pytest.importorskip("jax")

import jax.numpy as jnp  # noqa: E402

from deeplab_gygo.backend.kernels.depthwise import depthwise, plain_depthwise  # noqa: E402
from deeplab_gygo.errors import UsageError  # noqa: E402


class Case(NamedTuple):
    shape: tuple[int, int, int, int]
    side: int
    stride: int = 1
    rate: int = 1
    relu6: bool = True
    dtype: str = "float32"


CASES = [
    Case((2, 7, 11, 5), 3),
    Case((1, 9, 35, 31), 3, relu6=False),  # two tiles of columns, 32 channels each
    Case((1, 11, 10, 40), 5, rate=2),
    Case((2, 5, 6, 16), 3, rate=6, dtype="bfloat16"),  # most taps lie beyond the image
    Case((1, 9, 12, 33), 3, stride=2, relu6=False),
    Case((2, 8, 11, 20), 5, stride=2, dtype="bfloat16"),
    Case((1, 8, 7, 3), 2, stride=3),  # rows that no tap reaches
    Case((1, 6, 19, 64), 4, dtype="float16"),  # an even kernel; two tiles, 64 channels
]


def arrays(case, seed=0):
    """Input, kernel, bias and gradient of the output, float64, as the dtype holds them."""
    generator, channels = np.random.default_rng(seed), case.shape[3]
    out = [case.shape[0], *(math.ceil(n / case.stride) for n in case.shape[1:3]), channels]
    made = [
        generator.normal(size=case.shape),
        generator.normal(size=(case.side, case.side, channels)),
        generator.normal(size=channels) + 2.0,
        generator.normal(size=out),
    ]
    return [values.astype(jnp.dtype(case.dtype)).astype(np.float64) for values in made]


def padded(x, case):
    pads = []
    for size in case.shape[1:3]:
        reach = (case.side - 1) * case.rate + 1
        total = max((math.ceil(size / case.stride) - 1) * case.stride + reach - size, 0)
        pads.append((total // 2, total - total // 2))
    return np.pad(x, ((0, 0), *pads, (0, 0))), pads


def windows(case, out):
    """The part of the padded input that every tap sees."""
    for i in range(case.side):
        for j in range(case.side):
            rows = slice(i * case.rate, i * case.rate + (out[1] - 1) * case.stride + 1, case.stride)
            across = slice(
                j * case.rate, j * case.rate + (out[2] - 1) * case.stride + 1, case.stride
            )
            yield i, j, (slice(None), rows, across)


def reference(x, kernel, bias, case):
    """Forward pass in numpy."""
    out = (x.shape[0], *(math.ceil(n / case.stride) for n in x.shape[1:3]), x.shape[3])
    field, sums = padded(x, case)[0], np.zeros(out) + bias
    for i, j, part in windows(case, out):
        sums += field[part] * kernel[i, j]
    return np.clip(sums, 0, 6) if case.relu6 else sums


def reference_gradients(x, kernel, bias, gradient, case):
    """Gradients in numpy; ReLU6 is flat where its output, as the dtype holds it, is 0 or 6."""
    if case.relu6:
        y = reference(x, kernel, bias, case).astype(jnp.dtype(case.dtype)).astype(np.float64)
        gradient = gradient * ((y > 0) & (y < 6))
    field, pads = padded(x, case)
    of_field, of_kernel = np.zeros_like(field), np.zeros_like(kernel)
    for i, j, part in windows(case, gradient.shape):
        of_field[part] += gradient * kernel[i, j]
        of_kernel[i, j] = (gradient * field[part]).sum((0, 1, 2))
    height, width = x.shape[1:3]
    of_x = of_field[:, pads[0][0] :, pads[1][0] :][:, :height, :width]
    return of_x, of_kernel, gradient.sum((0, 1, 2))


def assert_close(found, expected, dtype, roundings=1):
    unit = {"float32": 2e-6, "float16": 1 / 1024, "bfloat16": 1 / 128}[dtype]
    assert found.dtype == jnp.dtype(dtype) and found.shape == expected.shape
    error = np.abs(np.asarray(found, np.float64) - expected).max()
    assert error <= roundings * unit * max(1.0, np.abs(expected).max())


def with_gradients(function):
    def both(x, kernel, bias, gradient):
        out, pull = jax.vjp(function, x, kernel, bias)
        return out, *pull(gradient)

    return both


def options(case):
    return {"stride": case.stride, "rate": case.rate, "relu6": case.relu6}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_kernel_and_its_gradients_are_those_of_float64(case, run):
    values = arrays(case)
    x, kernel, bias, gradient = (jnp.asarray(v, case.dtype) for v in values)
    both = with_gradients(lambda *a: depthwise(*a, **options(case), interpret=True))
    out, *gradients = run(both, x, kernel, bias, gradient)
    assert_close(out, reference(*values[:3], case), case.dtype)
    for found, expected in zip(gradients, reference_gradients(*values, case), strict=True):
        assert_close(found, expected, case.dtype)


@pytest.mark.parametrize("shifted", [False, True], ids=["convolution", "shifted"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_twin_is_that_of_float64(case, shifted, run):
    values = arrays(case)
    x, kernel, bias = (jnp.asarray(v, case.dtype) for v in values[:3])
    out = run(lambda *a: plain_depthwise(*a, **options(case), shifted=shifted), x, kernel, bias)
    assert_close(out, reference(*values[:3], case), case.dtype, roundings=2)


@pytest.mark.parametrize("case", [CASES[0], CASES[4]], ids=str)
def test_the_twin_has_the_gradients_of_float64(case, run):
    values = arrays(case)
    both = with_gradients(lambda *a: plain_depthwise(*a, **options(case)))
    _, *gradients = run(both, *(jnp.asarray(v, case.dtype) for v in values))
    for found, expected in zip(gradients, reference_gradients(*values, case), strict=True):
        assert_close(found, expected, case.dtype)


@pytest.mark.parametrize("case", CASES[::2], ids=str)
def test_the_references_gradients_are_finite_differences(case):
    case = case._replace(dtype="float64")
    *values, gradient = arrays(case)
    gradients = reference_gradients(*values, gradient, case)
    generator = np.random.default_rng(1)
    for place, of_one in enumerate(gradients):
        direction, step = generator.normal(size=of_one.shape), 1e-7
        ends = []
        for sign in (1, -1):
            moved = list(values)
            moved[place] = moved[place] + sign * step * direction
            ends.append((reference(*moved, case) * gradient).sum())
        slope = (ends[0] - ends[1]) / (2 * step)
        assert slope == pytest.approx((of_one * direction).sum(), rel=1e-5, abs=1e-5)


def test_folded_weights_may_be_finer_than_the_features(run):
    case = CASES[0]._replace(dtype="bfloat16")
    x, kernel, bias, gradient = arrays(case)
    kernel, bias = kernel * 1.001, bias * 1.001  # not values of bfloat16
    given = [jnp.asarray(v, t) for v, t in ((x, "bfloat16"), (kernel, "float32"))]
    given += [jnp.asarray(bias, "float32"), jnp.asarray(gradient, "bfloat16")]
    out, *gradients = run(with_gradients(lambda *a: depthwise(*a, interpret=True)), *given)
    assert_close(out, reference(x, kernel, bias, case), "bfloat16")
    expected = reference_gradients(x, kernel, bias, gradient, case)
    assert_close(gradients[0], expected[0], "bfloat16")
    assert_close(gradients[1], expected[1], "float32")
    assert_close(gradients[2], expected[2], "float32")


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
@pytest.mark.parametrize("side, stride, rate", [(3, 1, 1), (5, 2, 1), (5, 1, 2)])
def test_all_passes_lower_to_triton(side, stride, rate, dtype, lowered_to_cuda):
    shape, channels = (4, 30, 54, 144), 144
    out = (4, math.ceil(30 / stride), math.ceil(54 / stride), channels)
    shapes = [
        jax.ShapeDtypeStruct(s, t)
        for s, t in (
            (shape, dtype), ((side, side, channels), "float32"), ((channels,), "float32"),
            (out, dtype),
        )
    ]  # fmt: skip
    both = with_gradients(lambda *a: depthwise(*a, stride=stride, rate=rate))
    assert lowered_to_cuda(both, *shapes) == 3


@pytest.mark.parametrize(
    "shapes, given",
    [
        (((4, 4, 3), (3, 3, 3), (3,)), {}),
        (((1, 4, 4, 3), (3, 3, 4), (3,)), {}),
        (((1, 4, 4, 3), (3, 5, 3), (3,)), {}),
        (((1, 4, 4, 3), (3, 3, 3), (4,)), {}),
        (((1, 4, 4, 3), (3, 3, 3), (3,)), {"stride": 2, "rate": 2}),
        (((1, 4, 4, 3), (3, 3, 3), (3,)), {"stride": 0}),
    ],
)
@pytest.mark.parametrize("function", [depthwise, plain_depthwise])
def test_what_is_no_depthwise_convolution_is_refused(function, shapes, given):
    with pytest.raises(UsageError):
        function(*(jnp.ones(shape) for shape in shapes), **given)


def test_integers_are_refused():
    with pytest.raises(UsageError, match="dtype"):
        depthwise(jnp.ones((1, 4, 4, 3), jnp.int32), jnp.ones((3, 3, 3)), jnp.ones(3))
