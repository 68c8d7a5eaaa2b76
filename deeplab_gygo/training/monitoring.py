"""Monitoring of a training: losses and input wait, scalars as CSV and TensorBoard events."""

from __future__ import annotations

import csv
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from deeplab_gygo import backend
from deeplab_gygo.backend.extras import EventFile
from deeplab_gygo.errors import DeepLabGygoError
from deeplab_gygo.training.examples import Batch

logger = logging.getLogger(__name__)

STEPS_IN_FLIGHT = 2
"""Steps that a device may have queued before their losses are read: with none it would be idle
between steps; with many, their batches would fill its memory."""


class ThroughputMeter:
    """Collects losses, and the time that the trainer waits for its input, since the last summary.

    Args:
        in_flight: Steps with a loss that need not be known yet.
        clock: Monotonic clock, seconds.
    """

    def __init__(
        self, in_flight: int = STEPS_IN_FLIGHT, clock: Callable[[], float] = time.monotonic
    ):
        self._in_flight, self._clock = in_flight, clock
        self._pending: deque[tuple[int, Any]] = deque()
        self._losses: list[float] = []
        self._waited, self._seconds = 0.0, 0.0
        self._waited_before, self._seconds_before = 0.0, 0.0

    def timed(self, feed: Iterator[Batch]) -> Iterator[Batch]:
        """Yields batches and measures the time that the trainer waits for them."""
        while True:
            start = self._clock()
            batch = next(feed, None)
            self._waited += self._clock() - start
            if batch is None:
                return
            yield batch

    def add_time(self, seconds: float) -> None:
        """Adds training time, waiting included."""
        self._seconds += seconds

    def add_loss(self, step: int, loss: Any) -> None:
        """Adds the loss of a step and waits for all but the last few steps.

        Args:
            step: Number of the step, for the message.
            loss: Scalar of the backend, possibly not computed yet.

        Raises:
            DeepLabGygoError: A loss is not finite.
        """
        self._pending.append((step, loss))
        self._read_losses(self._in_flight)

    def synchronize(self) -> None:
        """Waits for all steps; what is saved afterwards is known to be finite.

        Raises:
            DeepLabGygoError: A loss is not finite.
        """
        self._read_losses(0)

    def _read_losses(self, in_flight: int) -> None:
        while len(self._pending) > in_flight:
            step, pending = self._pending.popleft()
            loss = float(pending)
            if not math.isfinite(loss):
                self._pending.clear()
                raise DeepLabGygoError(
                    "The loss of a training is finite",
                    met=loss,
                    where=f"step {step}",
                    remedy="Lower the learning rates, or train in float32; the last checkpoint is "
                    "complete",
                )
            self._losses.append(loss)

    def summary(self) -> dict[str, float]:
        """Returns and resets the figures since the last call.

        Returns:
            `input_wait`, the fraction of time spent waiting for examples, 0..1, and `loss`, the
            mean of the losses that are known, if there are any.
        """
        values = {"input_wait": _fraction(self._waited, self._seconds)}
        if self._losses:
            values["loss"] = float(np.mean(self._losses))
        self._losses.clear()
        self._waited_before += self._waited
        self._seconds_before += self._seconds
        self._waited = self._seconds = 0.0
        return values

    @property
    def input_wait(self) -> float:
        """Fraction of all time spent waiting for examples, 0..1."""
        return _fraction(self._waited_before + self._waited, self._seconds_before + self._seconds)


def _fraction(waited: float, seconds: float) -> float:
    return min(1.0, waited / seconds) if seconds > 0 else 0.0


class ScalarLog:
    """Appends scalars to `log.csv` (rows of step, name, value) and to TensorBoard events.

    The event writer is TensorFlow's own and needs the package `tensorboard`; without either, only
    the CSV file is written.

    Args:
        folder: Folder of the training.
    """

    def __init__(self, folder: Path):
        path = folder / "log.csv"
        is_new = not path.is_file()
        self._stream = open(path, "a", newline="", encoding="utf-8")
        self._rows = csv.writer(self._stream)
        if is_new:
            self._rows.writerow(["step", "name", "value"])
        self._events = None
        if backend.name() == "tensorflow" and find_spec("tensorboard"):
            self._events = EventFile(folder / "events")
        else:
            logger.warning("no TensorBoard events: they need 'deeplab-gygo[train]' on TensorFlow")

    def write(self, step: int, values: dict[str, float]) -> None:
        """Appends one row per scalar of a step."""
        for name, value in values.items():
            self._rows.writerow([step, name, f"{value:.6g}"])
        self._stream.flush()
        if self._events is not None:
            self._events.write(step, values)

    def close(self) -> None:
        """Closes both files."""
        self._stream.close()
        if self._events is not None:
            self._events.close()
