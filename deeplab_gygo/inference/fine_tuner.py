"""Fine-tuning of any network: one compiled step for the process, exact reset between objects."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from deeplab_gygo import backend
from deeplab_gygo.errors import UsageError
from deeplab_gygo.inference.prediction import Adaptation, ProgressCallback

INITIAL_LOSS_SCALE = 2.0**10
"""Initial scale of a float16 loss. Keras starts at 2^15; an overflow costs one of few steps."""


class FineTuner:
    """Fine-tunes some variables of a network for one object, and resets them bit by bit.

    The step is compiled once; between objects variables, optimizer slots and the loss scale return
    to a snapshot. BatchNorm runs on its moving statistics (official DeepLab FAQ for small batches)
    and dropout is off.

    Args:
        network: Network; its weights at this moment are the parent's.
        groups: Peak learning rate and variables of every parameter group.
        loss: `loss(outputs, targets)`.
        steps: Number of steps.
        seconds: Time limit; 0: none.
        final_rate: Fraction of the learning rate at the end of a cosine; 1: constant rate.
        regularizer: `regularizer(values)` of all variables, added to the loss; None: none.
        optimizer: Makes an optimizer of a learning rate.

    Attributes:
        variables: Fine-tuned variables.
    """

    def __init__(
        self,
        network: keras.Model,
        groups: list[tuple[float, list[keras.Variable]]],
        loss: Callable[[Any, Any], Any],
        *,
        steps: int,
        seconds: float = 0.0,
        final_rate: float = 1.0,
        regularizer: Callable[[list[Any]], Any] | None = None,
        optimizer: Callable[[float], keras.optimizers.Optimizer] = keras.optimizers.Adam,
    ):
        self._steps, self._seconds, self._final_rate = steps, seconds, final_rate
        self._peak_rates = [rate for rate, _ in groups]
        made = backend.make_optimizers(optimizer, groups)
        self._groups = [(o, variables) for o, (_, variables) in zip(made, groups, strict=True)]
        if keras.config.dtype_policy().name == "mixed_float16":
            self._groups = [
                (keras.optimizers.LossScaleOptimizer(o, initial_scale=INITIAL_LOSS_SCALE), v)
                for o, v in self._groups
            ]
        self.variables = [v for _, variables in self._groups for v in variables]
        self._step = backend.GradientStep(
            network, loss, self._groups, training=False, regularizer=regularizer
        )
        self._state = self.variables + [v for o, _ in self._groups for v in o.variables]
        self._snapshot = self.state()
        self._mean = backend.compiled_function(_weighted_mean)

    def reset(self) -> None:
        """Restores the parent's weights and fresh optimizers, bit by bit."""
        self.set_state(self._snapshot)

    def weights(self) -> list[Any]:
        """Returns the values of the fine-tuned variables, for `set_weights`.

        They are copies, numpy arrays on TensorFlow; on JAX they stay on the device.
        """
        return backend.values_of(self.variables)

    def set_weights(self, values: list[Any]) -> None:
        """Sets the values that `weights` returned."""
        backend.set_values(self.variables, values)

    def average_with_parent(self, share: float) -> None:
        """Averages the weights with those of the parent.

        Due to WiSE-FT (Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022).

        Args:
            share: Share of the fine-tuned weights, 0..1.
        """
        parent, share = self._snapshot[: len(self.variables)], np.float32(share)
        average = self._mean if backend.name() == "jax" else _weighted_mean
        self.set_weights(average(parent, self.weights(), share))

    def state(self) -> list[Any]:
        """Returns the values of the fine-tuned variables and of the optimizer slots."""
        return backend.values_of(self._state)

    def set_state(self, values: list[Any]) -> None:
        """Sets the values that `state` returned."""
        backend.set_values(self._state, values)

    def tune(
        self,
        draw: Callable[[], tuple[Any, Any]],
        *,
        started: float,
        progress: ProgressCallback | None = None,
        steps: int | None = None,
        sweep: Callable[[list[list[float]]], list[float]] | None = None,
        sweep_steps: int = 1,
    ) -> Adaptation:
        """Fine-tunes from the current weights until the number of steps or the time limit.

        Args:
            draw: Draws inputs of the network and targets, one sample per step.
            started: Reading of the monotonic clock from which the time limit counts.
            progress: Called after every step.
            steps: Number of steps, if fewer than that of the constructor; None: that.
            sweep: Runs several steps as one program in place of `draw`: from the learning rates
                of every step and group to the losses. None: step by step.
            sweep_steps: Largest number of steps of one sweep.

        Returns:
            Steps, losses and seconds.

        Raises:
            UsageError: The loss is no longer finite.
        """
        losses: list[float] = []
        pace = 0.0
        count = self._steps if steps is None else min(steps, self._steps)
        while len(losses) < count:
            step, elapsed = len(losses), time.monotonic() - started
            # The limit is met best by stopping where half of the next steps would pass it.
            if self._seconds and step and elapsed + 0.5 * pace >= self._seconds:
                break
            planned = min(sweep_steps, count - step)
            rates = [self._rates(step + i, elapsed, count) for i in range(planned)]
            if sweep is not None:
                losses += sweep(rates)
            else:
                for (optimizer, _), rate in zip(self._groups, rates[0], strict=True):
                    optimizer.learning_rate = rate
                losses.append(self._step(*draw()))
            pace = time.monotonic() - started - elapsed
            for done in range(step, len(losses)):
                if not math.isfinite(losses[done]):
                    raise UsageError(
                        "The loss of fine-tuning stays finite",
                        met=losses[done],
                        where=f"step {done + 1}",
                        remedy="Lower --online.learning_rate, or use --precision float32",
                    )
                if progress is not None:
                    progress(done + 1, count, losses[done])
        return Adaptation(len(losses), losses, time.monotonic() - started)

    def _rates(self, step: int, elapsed: float, steps: int | None = None) -> list[float]:
        """Returns the learning rate of every group: a cosine over steps or time."""
        done = step / max(1, self._steps if steps is None else steps)
        if self._seconds:
            done = max(done, elapsed / self._seconds)
        cosine = 0.5 * (1.0 + math.cos(math.pi * min(1.0, done)))
        factor = self._final_rate + (1.0 - self._final_rate) * cosine
        return [rate * factor for rate in self._peak_rates]


def _weighted_mean(parent: list[Any], tuned: list[Any], share: Any) -> list[Any]:
    return [start + share * (value - start) for start, value in zip(parent, tuned, strict=True)]
