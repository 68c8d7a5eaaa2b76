"""Scalars of a training as CSV and as TensorBoard events."""

from __future__ import annotations

import csv
import logging
from importlib.util import find_spec
from pathlib import Path

from deeplab_gygo import backend

logger = logging.getLogger(__name__)


class Summaries:
    """Appends scalars to `log.csv` (long form: step, name, value) and to TensorBoard events.

    TensorBoard's writer is TensorFlow's own and needs the package `tensorboard`; without either,
    only the CSV is written, and the log says so.

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
            import tensorflow as tf

            self._events = tf.summary.create_file_writer(str(folder / "events"))
        else:
            logger.warning("no TensorBoard events: that needs 'deeplab-gygo[train]' on TensorFlow")

    def write(self, step: int, values: dict[str, float]) -> None:
        """Appends one value a name at a step."""
        for name, value in values.items():
            self._rows.writerow([step, name, f"{value:.6g}"])
        self._stream.flush()
        if self._events is not None:
            import tensorflow as tf

            with self._events.as_default():
                for name, value in values.items():
                    tf.summary.scalar(name, value, step=step)
            self._events.flush()

    def close(self) -> None:
        """Closes both files."""
        self._stream.close()
        if self._events is not None:
            self._events.close()
