"""Guided filter as a layer without weights: aligns a map with the edges of features.

He, Sun and Tang, "Guided Image Filtering", TPAMI 2013: in every window the map is modelled as a
linear function of the guide, fitted by least squares, so that the appearance of object and
background is estimated anew in every window of every frame. The fit is made at the coarse size of
the map and applied at the fine size of the guide (He and Sun, "Fast Guided Filter",
arXiv:1505.00996); backpropagation through it to a learned guide is due to Wu et al., "Fast
End-to-End Trainable Guided Filter", CVPR 2018.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from deeplab_gygo import backend


@keras.saving.register_keras_serializable("deeplab_gygo")
class GuidedFilter(keras.layers.Layer):
    """Filters a map with a guide of twice its size.

    Inputs: guide float32 [B, 2h, 2w, K] and map float32 [B, h, w, 1]; output: float32
    [B, 2h, 2w, 1].

    Args:
        radius: Radius of the windows, at the size of the map.
        epsilon: Regularization: variance of the guide below which a window counts as flat, and the
            map is averaged over it.
        **options: Options of every layer.
    """

    def __init__(self, radius: int, epsilon: float = 1e-3, **options: Any):
        super().__init__(**options)
        self.radius, self.epsilon = radius, epsilon

    def call(self, inputs):
        guide, values = inputs
        count = guide.shape[-1]
        small = ops.average_pool(guide, (2, 2), strides=(2, 2))
        squares = [small[..., i : i + 1] * small[..., i:] for i in range(count)]
        means = self._mean(ops.concatenate([small, values, small * values, *squares], axis=-1))
        mean, value = means[..., :count], means[..., count : count + 1]
        together = means[..., count + 1 : 2 * count + 1] - mean * value
        slope = _solve(
            self._covariance(mean, means[..., 2 * count + 1 :]), channels(together), self.epsilon
        )
        offset = value - ops.sum(slope * mean, axis=-1, keepdims=True)
        # Every position is in many windows: their linear functions are averaged.
        lines = self._mean(ops.concatenate([slope, offset], axis=-1))
        shape = ops.shape(guide)
        lines = backend.resize(lines, shape[1], shape[2])
        return ops.sum(lines[..., :count] * guide, axis=-1, keepdims=True) + lines[..., count:]

    def _mean(self, values: Any) -> Any:
        """Averages over the part of every window inside the image, one axis after the other."""
        side = 2 * self.radius + 1
        values = ops.average_pool(values, (side, 1), strides=(1, 1), padding="same")
        return ops.average_pool(values, (1, side), strides=(1, 1), padding="same")

    def _covariance(self, mean: Any, squares: Any) -> list[list[Any]]:
        """Lower triangle, row by row, of the guide's covariance, [B, h, w, 1] each."""
        count = mean.shape[-1]
        means, products = channels(mean), iter(channels(squares))
        columns = [
            [next(products) - means[i] * means[j] for j in range(i, count)] for i in range(count)
        ]
        for column in columns:
            column[0] = column[0] + self.epsilon
        return [[columns[j][i - j] for j in range(i + 1)] for i in range(count)]

    def compute_output_shape(self, input_shape):
        return (*input_shape[0][:3], 1)

    def get_config(self):
        return {**super().get_config(), "radius": self.radius, "epsilon": self.epsilon}


def channels(values: Any) -> list[Any]:
    """Returns the channels of [B, h, w, C] as C maps [B, h, w, 1]."""
    return [values[..., i : i + 1] for i in range(values.shape[-1])]


def _solve(matrix: list[list[Any]], right: list[Any], least: float) -> Any:
    """Solves one small symmetric positive definite system per position.

    An L D L^T decomposition written out over maps: export formats have no operation for it, and
    `solve` of small matrices is slow on every backend.

    Args:
        matrix: Lower triangle, row by row: [B, h, w, 1] each.
        right: Right-hand sides: [B, h, w, 1] each.
        least: Lower bound of every eigenvalue; prevents division by zero after rounding.

    Returns:
        [B, h, w, K].
    """
    count = len(right)
    lower: list[list[Any]] = [[] for _ in range(count)]
    diagonal, half = [], []
    for i in range(count):
        for j in range(i):
            value = matrix[i][j] - sum(lower[i][k] * lower[j][k] * diagonal[k] for k in range(j))
            lower[i].append(value / diagonal[j])
        pivot = matrix[i][i] - sum(lower[i][k] ** 2 * diagonal[k] for k in range(i))
        diagonal.append(ops.maximum(pivot, least))
        half.append(right[i] - sum(lower[i][k] * half[k] for k in range(i)))
    solution: list[Any] = [None] * count
    for i in reversed(range(count)):
        later = sum(lower[k][i] * solution[k] for k in range(i + 1, count))
        solution[i] = half[i] / diagonal[i] - later
    return ops.concatenate(solution, axis=-1)
