"""Mask and probability are those of a bilinear resize in float64.

Float32 leaves the probability within one of 256 levels, and the mask may differ only where the
probability is within 1e-5 of the threshold.
"""

from __future__ import annotations

import numpy as np
import pytest

jax = pytest.importorskip("jax")

import jax.numpy as jnp  # noqa: E402

from deeplab_gygo.errors import UsageError  # noqa: E402
from deeplab_gygo.kernels.tail import mask_of_logits, plain_mask_of_logits  # noqa: E402

SIZES = [
    ((2, 5, 7), (17, 23)),
    ((1, 9, 6), (36, 24)),
    ((3, 8, 11), (3, 4)),  # smaller, without smoothing
    ((1, 6, 5), (6, 5)),
    ((2, 1, 1), (3, 400)),  # more than one program, and they end within rows
]


def interpreted(*arguments):
    return mask_of_logits(*arguments, interpret=True)


def weights(coarse, fine):
    """Shares of coarse pixels in fine ones, [fine, coarse]."""
    found = np.zeros((fine, coarse))
    for place in range(fine):
        source = min(max((place + 0.5) * coarse / fine - 0.5, 0), coarse - 1)
        for neighbour in range(coarse):
            found[place, neighbour] = max(0.0, 1.0 - abs(source - neighbour))
    return found


def reference(logits, size):
    """Probability in float64, [B, height, width]."""
    rows, columns = weights(logits.shape[1], size[0]), weights(logits.shape[2], size[1])
    fine = np.einsum("yh,bhw,xw->byx", rows, logits.astype(np.float64), columns)
    return 1 / (1 + np.exp(-fine))


@pytest.mark.parametrize("function", [interpreted, plain_mask_of_logits])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("coarse, size", SIZES, ids=str)
def test_mask_and_probability_are_those_of_float64(function, dtype, coarse, size, run):
    threshold = 0.4
    logits = jnp.asarray(4 * np.random.default_rng(0).normal(size=coarse), dtype)
    mask, levels = run(lambda x: function(x, *size, threshold), logits)
    expected = reference(np.asarray(logits, np.float64), size)
    assert mask.dtype == levels.dtype == jnp.uint8
    assert mask.shape == levels.shape == (coarse[0], *size)
    sure = np.abs(expected - threshold) > 1e-5
    assert (np.asarray(mask)[sure] == (expected > threshold)[sure]).all()
    wanted = np.minimum(np.floor(expected * 256), 255)
    apart = np.abs(np.asarray(levels, int) - wanted)
    assert apart.max() <= 1 and (apart > 0).mean() < 0.01


@pytest.mark.parametrize("function", [interpreted, plain_mask_of_logits])
def test_large_logits_end_at_the_ends(function, run):
    logits = jnp.asarray([[[-1e4, -1e4], [1e4, 1e4]]], jnp.float32)
    mask, levels = run(lambda x: function(x, 4, 2), logits)
    assert np.asarray(mask)[0, :, 0].tolist() == [0, 0, 1, 1]
    assert np.asarray(levels)[0, :, 0].tolist() == [0, 0, 255, 255]


@pytest.mark.parametrize("function", [interpreted, plain_mask_of_logits])
def test_the_threshold_itself_is_background(function, run):
    mask, levels = run(lambda x: function(x, 2, 2), jnp.zeros((1, 1, 1)))
    assert not np.asarray(mask).any() and (np.asarray(levels) == 128).all()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_it_lowers_to_triton(dtype, lowered_to_cuda):
    shape = jax.ShapeDtypeStruct((4, 120, 216), dtype)
    assert lowered_to_cuda(lambda x: mask_of_logits(x, 480, 854), shape) == 1


@pytest.mark.parametrize("function", [interpreted, plain_mask_of_logits])
@pytest.mark.parametrize(
    "logits, size",
    [
        (np.zeros((2, 3)), (4, 4)),
        (np.zeros((1, 2, 3), int), (4, 4)),
        (np.zeros((1, 2, 3)), (0, 4)),
    ],
)
def test_what_are_no_logits_is_refused(function, logits, size):
    with pytest.raises(UsageError):
        function(jnp.asarray(logits), *size)
