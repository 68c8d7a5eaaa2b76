"""Exponential moving average of the trained weights, on the host or on the device."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from deeplab_gygo import backend

UPDATE_EVERY = 10
"""Steps between updates: on the host, an update per step would cost more than it changes."""


class MovingAverage:
    """An exponential moving average of variables, updated every `UPDATE_EVERY` steps.

    On an accelerator it stays there: fetching the weights would make the device finish its queue
    and then be idle until the transfer ends.

    Args:
        variables: Variables by name.
        momentum: Weight of the average per step; 0 disables it.
        on_device: Whether it is stored on the device of the variables.
    """

    def __init__(self, variables: dict[str, keras.Variable], momentum: float, on_device: bool):
        self._variables = dict(variables) if momentum else {}
        self._momentum, self._on_device = momentum, on_device
        self._blend = backend.compiled_function(_blended) if on_device else _blended
        self._averages: list[Any] = []
        self.set_values({n: v.numpy() for n, v in self._variables.items()})

    def update(self, step: int) -> None:
        """Updates the average if it is due after `step` steps."""
        if step % UPDATE_EVERY or not self._variables:
            return
        # A lower momentum at first, or the average would keep the initial weights.
        momentum = min(self._momentum, (1 + step) / (10 + step)) ** UPDATE_EVERY
        fetch = ops.convert_to_tensor if self._on_device else ops.convert_to_numpy
        values = [fetch(variable) for variable in self._variables.values()]
        self._averages = self._blend(self._averages, values, np.float32(1.0 - momentum))

    def values(self) -> dict[str, np.ndarray]:
        """Returns the averages by name, float32; empty if it is disabled."""
        arrays = (np.array(ops.convert_to_numpy(average)) for average in self._averages)
        return dict(zip(self._variables, arrays, strict=True))

    def set_values(self, values: dict[str, np.ndarray]) -> None:
        """Sets averages as returned by `values`."""
        # Copies: a step may overwrite the memory of a variable.
        arrays = [np.array(values[name], np.float32) for name in self._variables]
        self._averages = [ops.convert_to_tensor(a) for a in arrays] if self._on_device else arrays


def _blended(averages: list[Any], values: list[Any], weight: Any) -> list[Any]:
    return [a + weight * (v - a) for a, v in zip(averages, values, strict=True)]
