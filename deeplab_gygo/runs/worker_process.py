"""A process that segments sequences of a batch: what runs in it, whoever started it.

The module imports nothing that makes threads: their number is set before.
"""

from __future__ import annotations

import logging
import os
import pickle
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deeplab_gygo.runs.batch_result import Outcome
    from deeplab_gygo.runs.batch_worker import BatchWorker

_PACKAGE = "deeplab_gygo"


@dataclass(frozen=True)
class Answer:
    """What a worker returns of a sequence.

    Attributes:
        outcome: The outcome; None if another run works on it.
        notes: Level and text of the messages meanwhile.
        fatal: The error for which no other sequence could be finished either.
    """

    outcome: Outcome | None = None
    notes: list[tuple[int, str]] = field(default_factory=list)
    fatal: Exception | None = None


@dataclass(frozen=True)
class WorkerStart:
    """What a worker process needs to begin; small and picklable.

    Attributes:
        worker: A pickled `BatchWorker`.
        cpus: Number of threads that its libraries use.
        paths: Folders of modules, beside those of the process.
        environment: Environment variables.
        level: Level of the messages that it returns.
    """

    worker: bytes
    cpus: int
    paths: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    level: int = logging.INFO


class WorkerProcess:
    """The state of a worker process: a `BatchWorker`, and the messages of one sequence.

    Args:
        start: What it begins from.
    """

    def __init__(self, start: WorkerStart):
        os.environ.update(start.environment)
        limit_threads(start.cpus)
        sys.path.extend(path for path in start.paths if path not in sys.path)
        self._worker: BatchWorker = pickle.loads(start.worker)
        self._notes = _Notes()
        package = logging.getLogger(_PACKAGE)
        package.handlers, package.propagate = [self._notes], False
        package.setLevel(start.level)

    def segment(self, index: int, report_in_use: bool) -> Answer:
        """Segments or skips a sequence, see `BatchWorker.process`."""
        self._notes.taken = []
        try:
            outcome = self._worker.process(index, report_in_use=report_in_use)
        except Exception as error:
            return Answer(None, self._notes.taken, error)
        return Answer(outcome, self._notes.taken)


class _Notes(logging.Handler):
    """Keeps messages as text."""

    def __init__(self) -> None:
        super().__init__()
        self.taken: list[tuple[int, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.taken.append((record.levelno, record.getMessage()))


def limit_threads(cpus: int) -> None:
    """Limits the threads of the libraries in this process; before Keras is loaded.

    Args:
        cpus: Number of threads. TensorFlow, OpenMP and JAX read theirs from the environment.
    """
    names = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "NPROC")
    os.environ.update(dict.fromkeys(names, str(cpus)))
    import cv2

    cv2.setNumThreads(cpus)
