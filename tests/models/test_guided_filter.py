"""The guided filter: least squares in every window, and what that does to an edge."""

import cv2
import keras
import numpy as np
import pytest

from deeplab_gygo import backend
from deeplab_gygo.models.guided_filter import GuidedFilter

HEIGHT, WIDTH, GUIDES = 11, 15, 3


def _guide(seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(0, 0.4, (1, 2 * HEIGHT, 2 * WIDTH, GUIDES)).astype(np.float32)


def _filtered(guide: np.ndarray, values: np.ndarray, **options) -> np.ndarray:
    return backend.to_numpy(GuidedFilter(**options)([guide, values]))


def _window_means(values: np.ndarray, radius: int) -> np.ndarray:
    """Means over windows cut off at the border, float64 [h, w, C]."""
    padded = np.pad(values, ((radius,) * 2, (radius,) * 2, (0, 0)))
    inside = np.pad(np.ones(values.shape[:2]), radius)
    result = np.zeros(values.shape)
    count = np.zeros(values.shape[:2])
    for down in range(2 * radius + 1):
        for across in range(2 * radius + 1):
            here = (slice(down, down + HEIGHT), slice(across, across + WIDTH))
            result += padded[here]
            count += inside[here]
    return result / count[..., None]


def _reference(guide: np.ndarray, values: np.ndarray, radius: int, epsilon: float) -> np.ndarray:
    """He and Sun's filter in float64, with a solver for the methods."""
    guide, values = guide[0].astype(float), values[0].astype(float)
    small = guide.reshape(HEIGHT, 2, WIDTH, 2, GUIDES).mean((1, 3))
    mean, value = _window_means(small, radius), _window_means(values, radius)
    squares = (small[..., None] * small[..., None, :]).reshape(HEIGHT, WIDTH, -1)
    covariance = _window_means(squares, radius).reshape(HEIGHT, WIDTH, GUIDES, GUIDES)
    covariance -= mean[..., None] * mean[..., None, :]
    covariance += epsilon * np.eye(GUIDES)
    together = _window_means(small * values, radius) - mean * value
    slope = np.linalg.solve(covariance, together[..., None])[..., 0]
    offset = value - (slope * mean).sum(-1, keepdims=True)
    lines = _window_means(np.concatenate([slope, offset], -1), radius)
    lines = cv2.resize(lines, (2 * WIDTH, 2 * HEIGHT), interpolation=cv2.INTER_LINEAR)
    return (lines[..., :-1] * guide).sum(-1, keepdims=True) + lines[..., -1:]


@pytest.mark.parametrize(("radius", "epsilon"), [(1, 1e-3), (2, 0.1), (4, 1e-2)])
def test_it_is_least_squares_in_every_window(radius, epsilon):
    guide = _guide()
    values = np.random.default_rng(1).uniform(-1, 1, (1, HEIGHT, WIDTH, 1)).astype(np.float32)
    expected = _reference(guide, values, radius, epsilon)
    filtered = _filtered(guide, values, radius=radius, epsilon=epsilon)
    assert filtered.shape == (1, 2 * HEIGHT, 2 * WIDTH, 1)
    np.testing.assert_allclose(filtered[0], expected, atol=2e-4)


def test_an_edge_moves_to_that_of_the_guide():
    guide = np.zeros((1, 32, 32, GUIDES), np.float32)
    guide[:, :, 15:, 1] = 1.0
    values = np.full((1, 16, 16, 1), -1.0, np.float32)
    values[:, :, 9:] = 1.0  # at stride 2 the edge is at 18
    filtered = _filtered(guide, values, radius=3)[0, 16, :, 0]
    assert np.flatnonzero(filtered > 0)[0] == 15
    assert np.diff(filtered)[14] > 5 * np.abs(np.diff(filtered))[17], "and the old one is gone"


def test_where_the_guide_is_flat_the_map_is_averaged():
    guide = np.full((1, 32, 32, GUIDES), 0.3, np.float32)
    values = np.zeros((1, 16, 16, 1), np.float32)
    values[0, 8, 8] = 1.0
    filtered = _filtered(guide, values, radius=1)[0, ..., 0]
    assert filtered.max() < 1 / 8 and filtered.sum() == pytest.approx(4.0, rel=1e-3)


def test_guides_that_say_the_same_divide_by_nothing():
    once = _guide()[..., :1]
    guide = np.repeat(once, GUIDES, axis=-1) * 30
    values = np.sign(_guide(3)[:, ::2, ::2, :1])
    filtered = _filtered(guide, values, radius=2)
    assert np.isfinite(filtered).all()
    alone = _filtered(once * 30, values, radius=2)
    np.testing.assert_allclose(filtered, alone, atol=0.02)


def test_it_can_be_stored():
    layer = GuidedFilter(3, 0.5, name="filter")
    assert GuidedFilter.from_config(layer.get_config()).get_config() == layer.get_config()
    shapes = keras.Input((None, None, GUIDES)), keras.Input((None, None, 1))
    assert layer(list(shapes)).shape == (None, None, None, 1)
