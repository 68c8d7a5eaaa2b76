"""Every tiling of a kernel computes what the default one does, which is tested against float64."""

import numpy as np
import pytest

jax = pytest.importorskip("jax")

import jax.numpy as jnp  # noqa: E402

from deeplab_gygo.backend.kernels.correlation import correlation  # noqa: E402
from deeplab_gygo.backend.kernels.depthwise_gradients import (  # noqa: E402
    input_gradient,
    kernel_gradient,
)
from deeplab_gygo.backend.kernels.tilings import (  # noqa: E402
    CANDIDATES,
    MEASURED,
    Tiling,
    measured_tiling,
)
from deeplab_gygo.backend.kernels.window import Window  # noqa: E402


def _arrays(window):
    generator = np.random.default_rng(0)
    shapes = (window.inputs, window.weights, (window.channels,), window.outputs)
    x, kernel, bias, gradient = (jnp.asarray(generator.normal(size=s), jnp.float32) for s in shapes)
    return x, kernel, bias, gradient, jnp.asarray(generator.normal(size=window.outputs), "f4")


def _calls(window):
    """Functions of arrays by the name of the kernel."""
    x, kernel, bias, gradient, gate = _arrays(window)
    options = {"window": window, "interpret": True}
    ends = {"before": window.before, "name": "forward"}
    return {
        "forward": (lambda *a: correlation(a[0], None, *a[1:], **ends, **options), x, kernel, bias),
        "strided_gradient": (lambda *a: input_gradient(*a, **options), gradient, kernel, gate),
        "kernel_gradient": (lambda *a: kernel_gradient(*a, **options), gradient, x, gate),
    }


@pytest.mark.parametrize(
    ("kernel", "place"),
    [(name, place) for name, all_of_it in CANDIDATES.items() for place in range(1, len(all_of_it))],
)
def test_every_tiling_gives_the_same(run, kernel, place):
    stride, rate = (1, 2) if kernel == "forward" else (2, 1)
    made = []
    for tiling in (CANDIDATES[kernel][0], CANDIDATES[kernel][place]):
        function, *arrays = _calls(Window(2, (11, 37), 130, 5, stride, rate, tiling))[kernel]
        made.append(jax.tree.leaves(run(function, *arrays)))
    for found, expected in zip(*reversed(made), strict=True):
        assert found.shape == expected.shape
        gap = np.linalg.norm(np.asarray(found) - np.asarray(expected))
        assert gap <= 1e-6 * np.linalg.norm(np.asarray(expected))


def test_programs_that_sum_several_rows_stop_at_the_last_one(run):
    made = []  # 10 rows in chunks of 3, and one a chunk; two tiles of columns
    for programs in (3, 1024):
        window = Window(2, (5, 170), 6, 3, 1, 1, Tiling(programs=programs))
        function, *arrays = _calls(window)["kernel_gradient"]
        made.append(run(function, *arrays))
    for found, expected in zip(*made, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_tiles_are_as_wide_as_the_channels_allow():
    for channels, expected in ((480, 64), (1152, 128), (32, 32), (33, 16), (144, 32), (96, 32)):
        tiling = Tiling(widest=128 if channels == 1152 else 64)
        assert Window(1, (8, 8), channels, 3, 1, 1, tiling).tile == (1024 // expected, expected)


def test_a_measured_tiling_is_used_for_its_layer_alone(monkeypatch):
    fast = Tiling(rows=8)
    monkeypatch.setitem(MEASURED, ("forward", 5, 1, 480), fast)
    assert Window(1, (30, 54), 480, 5, 1, 2).tiled("forward").tiling == fast
    assert Window(1, (30, 54), 480, 5, 1, 2).tiled("kernel_gradient").tiling == Tiling()
    assert Window(1, (30, 54), 240, 5, 1, 2).tiled("forward").tiling == Tiling()
    assert Window(1, (8, 8), 480, 5, 1, 2, Tiling(rows=2)).tiled("forward").tiling.rows == 2


def test_measured_tilings_are_candidates():
    for (kernel, *layer), tiling in MEASURED.items():
        assert tiling in CANDIDATES[kernel]
        assert measured_tiling(kernel, *layer) == tiling
