"""The moving average of the trained weights, on the host or on the device."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from deeplab_gygo import backend

EVERY = 10
"""Steps between updates: on the host every step would cost more than it changes."""


class MovingAverage:
    """An exponential moving average of variables, updated every `EVERY` steps.

    On an accelerator it is kept there: to fetch the weights the device would have to finish what
    it was given, and stand idle for as long as the fetching takes.

    Args:
        variables: Variables by name.
        momentum: Part of the average that a step keeps; 0 averages nothing.
        on_device: Keep it where the variables are.
    """

    def __init__(self, variables: dict[str, keras.Variable], momentum: float, on_device: bool):
        self._variables = dict(variables) if momentum else {}
        self._momentum, self._on_device = momentum, on_device
        self._blend = backend.compiled_function(_blended) if on_device else _blended
        self._averages: list[Any] = []
        self.set_values({n: v.numpy() for n, v in self._variables.items()})

    def update(self, step: int) -> None:
        """Takes the variables in, if it is time to.

        Args:
            step: Steps done.
        """
        if step % EVERY or not self._variables:
            return
        # In the beginning the average follows closely, or it would remember the initial weights.
        keep = min(self._momentum, (1 + step) / (10 + step)) ** EVERY
        fetch = ops.convert_to_tensor if self._on_device else ops.convert_to_numpy
        values = [fetch(variable) for variable in self._variables.values()]
        self._averages = self._blend(self._averages, values, np.float32(1.0 - keep))

    def values(self) -> dict[str, np.ndarray]:
        """Returns the averages by name, float32; empty where nothing is averaged."""
        arrays = (np.array(ops.convert_to_numpy(average)) for average in self._averages)
        return dict(zip(self._variables, arrays, strict=True))

    def set_values(self, values: dict[str, np.ndarray]) -> None:
        """Sets what `values` returned."""
        # Copies: a step may overwrite the memory of a variable.
        arrays = [np.array(values[name], np.float32) for name in self._variables]
        self._averages = [ops.convert_to_tensor(a) for a in arrays] if self._on_device else arrays


def _blended(averages: list[Any], values: list[Any], part: Any) -> list[Any]:
    return [a + part * (v - a) for a, v in zip(averages, values, strict=True)]
