"""Losses that are still being computed, and the time that a trainer waits for its input."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np

from deeplab_gygo.errors import DeepLabGygoError
from deeplab_gygo.training.examples import Batch

IN_FLIGHT = 2
"""Steps that a device may have been given before their losses are looked at: with none it would
stand idle between steps; with many, their batches would fill its memory, and the trainer would
wait for its input while the device is busy."""


class Pace:
    """What happened since the last line of the log: losses, and how long input was waited for.

    Args:
        in_flight: Steps whose losses need not be known yet.
    """

    def __init__(self, in_flight: int = IN_FLIGHT):
        self._in_flight = in_flight
        self._pending: deque[tuple[int, Any]] = deque()
        self._losses: list[float] = []
        self._waited, self._seconds = 0.0, 0.0
        self._waited_before, self._seconds_before = 0.0, 0.0

    def timed(self, feed: Iterator[Batch]) -> Iterator[Batch]:
        """Passes batches on and measures how long they let the trainer wait."""
        while True:
            asked = time.monotonic()
            batch = next(feed, None)
            self._waited += time.monotonic() - asked
            if batch is None:
                return
            yield batch

    def count(self, seconds: float) -> None:
        """Counts time of training, waiting included."""
        self._seconds += seconds

    def add(self, step: int, loss: Any) -> None:
        """Takes the loss of a step and waits until all but the last few steps are computed.

        Args:
            step: Number of the step, for the message.
            loss: Scalar of the backend, perhaps still being computed.

        Raises:
            DeepLabGygoError: A loss is not finite.
        """
        self._pending.append((step, loss))
        self._settle(self._in_flight)

    def settle(self) -> None:
        """Waits until all steps are computed; what is saved afterwards is known to be finite.

        Raises:
            DeepLabGygoError: A loss is not finite.
        """
        self._settle(0)

    def _settle(self, left: int) -> None:
        while len(self._pending) > left:
            step, pending = self._pending.popleft()
            loss = float(pending)
            if not math.isfinite(loss):
                self._pending.clear()
                raise DeepLabGygoError(
                    "The loss of a training stays finite",
                    met=loss,
                    where=f"step {step}",
                    remedy="Lower head_rate and backbone_rate, or train in float32; the last "
                    "checkpoint is whole",
                )
            self._losses.append(loss)

    def take(self) -> dict[str, float]:
        """Sums up and starts anew.

        Returns:
            `loss`, the mean over the steps since, and `input_wait`, the part of their time that
            the trainer waited for examples, 0..1; `loss` only where some loss is known.
        """
        summary = {"input_wait": _part(self._waited, self._seconds)}
        if self._losses:
            summary["loss"] = float(np.mean(self._losses))
        self._losses.clear()
        self._waited_before += self._waited
        self._seconds_before += self._seconds
        self._waited = self._seconds = 0.0
        return summary

    @property
    def input_wait(self) -> float:
        """Part of all time that the trainer waited for examples, 0..1."""
        return _part(self._waited_before + self._waited, self._seconds_before + self._seconds)


def _part(waited: float, seconds: float) -> float:
    return min(1.0, waited / seconds) if seconds > 0 else 0.0
