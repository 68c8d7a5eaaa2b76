"""Monitoring of a training: losses and input wait, scalars as CSV and TensorBoard events."""

from __future__ import annotations

import csv
import io
import logging
import math
from collections import deque
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from deeplab_gygo import backend
from deeplab_gygo.backend.extras import EventFile
from deeplab_gygo.errors import DeepLabGygoError, UsageError
from deeplab_gygo.io.atomic import replacing, replacing_folder
from deeplab_gygo.io.reading import read_text

logger = logging.getLogger(__name__)

DIVERGED = (
    "Start again with another --out and lower learning rates, or precision: float32; the last "
    "checkpoint and weights of this folder are whole"
)
"""Remedy for losses and weights that are not finite."""

STEPS_IN_FLIGHT = 2
"""Steps that a GPU may have queued before their losses are read: with none it would be idle between
steps; with many, their batches would fill its memory."""


class ThroughputMeter:
    """Collects losses, and the time that the trainer waits for its input, since the last summary.

    Args:
        in_flight: Steps with a loss that need not be known yet.
    """

    def __init__(self, in_flight: int = STEPS_IN_FLIGHT):
        self._in_flight = in_flight
        self._pending: deque[tuple[int, Any]] = deque()
        self._losses: list[float] = []
        self._waited, self._seconds, self._examples = 0.0, 0.0, 0
        self._waited_before, self._seconds_before, self._examples_before = 0.0, 0.0, 0

    def add_time(self, seconds: float, waited: float, examples: int) -> None:
        """Adds the time of a step, the part of it spent waiting for its examples, and their number.

        Args:
            seconds: Time of the step, seconds.
            waited: Part of it that passed until its examples were there, seconds.
            examples: Number of examples.
        """
        self._seconds += seconds
        self._waited += waited
        self._examples += examples

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
                    remedy=DIVERGED,
                )
            self._losses.append(loss)

    def state(self) -> dict[str, Any]:
        """Returns the figures since the last summary as JSON values; waits for all steps."""
        self.synchronize()
        return {
            "losses": list(self._losses),
            "waited": self._waited,
            "seconds": self._seconds,
            "examples": self._examples,
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Sets the figures since the last summary as returned by `state`; entries may lack."""
        self._losses = [float(loss) for loss in state.get("losses", [])]
        self._waited = float(state.get("waited", 0.0))
        self._seconds = float(state.get("seconds", 0.0))
        self._examples = int(state.get("examples", 0))

    def summary(self) -> dict[str, float]:
        """Returns and resets the figures since the last call.

        Returns:
            `input_wait`, the fraction of time spent waiting for examples, 0..1,
            `examples_per_second`, and `loss`, the mean of the losses of all but the last steps, if
            there are any. Those of the last steps count in the next summary even if they are known,
            so that the means do not depend on when the training waited for its device.
        """
        values = {
            "input_wait": _fraction(self._waited, self._seconds),
            "examples_per_second": self._examples / self._seconds if self._seconds > 0 else 0.0,
        }
        ready = len(self._losses) + len(self._pending) - self._in_flight
        if ready > 0:
            values["loss"] = float(np.mean(self._losses[:ready]))
            del self._losses[:ready]
        self._waited_before += self._waited
        self._seconds_before += self._seconds
        self._examples_before += self._examples
        self._waited, self._seconds, self._examples = 0.0, 0.0, 0
        return values

    @property
    def input_wait(self) -> float:
        """Fraction of all time spent waiting for examples, 0..1."""
        return _fraction(self._waited_before + self._waited, self._seconds_before + self._seconds)

    @property
    def examples_per_second(self) -> float:
        """Examples of all steps by their time, waits for input included; 0 before the first."""
        seconds = self._seconds_before + self._seconds
        return (self._examples_before + self._examples) / seconds if seconds > 0 else 0.0


_COLUMNS = ["step", "name", "value"]
_HEADER = "step,name,value\r\n"
_MAX_LOG_BYTES = 256 << 20

VALIDATION = "validation/"
"""Start of the names of validation scores in the log."""


def _fraction(waited: float, seconds: float) -> float:
    return min(1.0, waited / seconds) if seconds > 0 else 0.0


class ScalarLog:
    """Appends scalars to `log.csv` (rows of step, name, value) and to TensorBoard events.

    Rows that are not of the training up to its checkpoint are removed: those that a killed training
    wrote after it are written again. The event writer is TensorFlow's own and needs the package
    `tensorboard`; without either, only the CSV file is written.

    Args:
        folder: Folder of the training.
        step: Number of finished steps.
        validated: Last step whose validation is finished.

    Raises:
        UsageError: The folder has a `log.csv` of another kind.
        StorageError: A file cannot be written.
    """

    def __init__(self, folder: Path, step: int, validated: int):
        path, events = folder / "log.csv", folder / "events"
        has_events = backend.name() == "tensorflow" and find_spec("tensorboard") is not None
        rows, is_whole = _read_rows(path, step, validated)
        if not is_whole:
            # First the events: if this is interrupted, the CSV file still shows what to remove.
            if has_events and rows:
                _write_events(events, rows)
            with replacing(path) as side, open(side, "w", newline="", encoding="utf-8") as stream:
                csv.writer(stream).writerows([_COLUMNS, *rows])
        self._stream = open(path, "a", newline="", encoding="utf-8")
        self._rows = csv.writer(self._stream)
        self._events = None
        if has_events:
            self._events = EventFile(events)
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


def _read_rows(path: Path, step: int, validated: int) -> tuple[list[list[str]], bool]:
    """Returns the rows of a log up to a step, and whether the file has exactly these."""
    if not path.exists():
        return [], False
    text = read_text(path, _MAX_LOG_BYTES)
    if not text.startswith((_HEADER, _HEADER.replace("\r", ""))):
        if _HEADER.startswith(text):
            return [], False
        raise UsageError(
            f"The log of a training has the columns {', '.join(_COLUMNS)}",
            met=ascii(text[:60]),
            where=path,
            remedy="Give another --out, or rename this file",
        )
    try:
        rows = list(csv.reader(io.StringIO(text, newline="")))[1:]
    except csv.Error as error:
        raise UsageError(
            "The log of a training is a table in CSV",
            met=error,
            where=path,
            remedy="Rename this file; the training begins another",
        ) from error
    is_whole = text.endswith("\n")
    finished = rows if is_whole else rows[:-1]
    kept = [row for row in finished if _is_of_training(row, step, validated)]
    return kept, is_whole and len(kept) == len(rows)


def _is_of_training(row: list[str], step: int, validated: int) -> bool:
    try:
        number, name, _ = int(row[0]), row[1], float(row[2])
    except (ValueError, IndexError):
        return False
    is_pending = validated < number and name.startswith(VALIDATION)
    return number <= step and not is_pending


def _write_events(folder: Path, rows: list[list[str]]) -> None:
    """Replaces the events of a training by those of its log."""
    with replacing_folder(folder) as side:
        events = EventFile(side)
        for number, name, value in rows:
            events.write(int(number), {name: float(value)})
        events.close()
