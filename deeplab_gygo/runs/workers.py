"""The workers of a batch: this process, processes of this machine, or actors of Ray."""

from __future__ import annotations

import logging
import os
import pickle
import sys
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol

from deeplab_gygo._version import __version__
from deeplab_gygo.errors import DependencyError, UsageError
from deeplab_gygo.io.atomic import cache_folder
from deeplab_gygo.io.scratch import FOLDER_VARIABLE, SIZE_VARIABLE, scratch
from deeplab_gygo.runs.worker_process import Answer, WorkerStart, limit_threads

if TYPE_CHECKING:
    from deeplab_gygo.runs.batch_worker import BatchWorker

PROCESSES = "processes"
"""Place of workers that are processes of this machine."""


@dataclass(frozen=True)
class WorkerOptions:
    """How many workers segment a batch, and where.

    Attributes:
        number: Number of workers; None is one, and on a cluster as many as have room.
        cpus: Threads of each; None shares the cores of this machine, and is 1 on a cluster.
        gpus: GPUs of each; a fraction shares one.
        cluster: `ray` for the Ray cluster that runs here, or a Ray of this machine alone; `auto`
            for the former only; `ray://HOST:PORT` or `HOST:PORT` for another; `processes` for
            processes of this machine; None for a Ray of this machine where Ray is installed, and
            else processes.
        retries: How often a sequence is begun again whose worker ended.

    Raises:
        UsageError: A value is out of range.
        DependencyError: Ray is asked for, and not installed.

    Example:
        >>> WorkerOptions().in_process, WorkerOptions(2, cpus=1).in_process
        (True, False)
    """

    number: int | None = None
    cpus: int | None = None
    gpus: float = 0.0
    cluster: str | None = None
    retries: int = 1

    def __post_init__(self) -> None:
        for flag, value, least in (
            ("--workers", self.number, 1),
            ("--cpus-per-worker", self.cpus, 1),
            ("--gpus-per-worker", self.gpus, 0),
            ("--retries", self.retries, 0),
        ):
            if value is not None and not least <= value < 1_000_000:
                raise UsageError(f"{flag} is {least} or more", met=value)
        if self.gpus > 1 and self.gpus != int(self.gpus):
            raise UsageError("A worker has whole GPUs, or a part of one", met=self.gpus)
        if self.cluster not in (None, PROCESSES, "ray", "auto") and ":" not in self.cluster:
            raise UsageError(
                "A cluster is ray, auto, processes or an address ray://HOST:PORT",
                met=self.cluster,
                where="--cluster",
            )
        if self.cluster not in (None, PROCESSES) and find_spec("ray") is None:
            raise DependencyError("ray", "cluster", "--cluster")

    @property
    def in_process(self) -> bool:
        """Whether this process segments alone."""
        return self.cluster is None and self.number in (None, 1)

    @property
    def several_machines(self) -> bool:
        """Whether the workers may be on other machines."""
        return self.cluster not in (None, PROCESSES)

    def local_cpus(self) -> int:
        """Returns the threads of each of several workers on this machine."""
        return self.cpus or max(1, _cores() // (self.number or 1))

    def sharing(self) -> dict[str, str]:
        """Returns the environment in which workers that share a GPU leave each other memory."""
        if not 0 < self.gpus < 1:
            return {}
        part = f"{0.9 * self.gpus:.3f}"
        return {"TF_FORCE_GPU_ALLOW_GROWTH": "true", "XLA_PYTHON_CLIENT_MEM_FRACTION": part}


class WorkerDied(Exception):
    """A worker ended while it had work; its text is how."""


Event = tuple[Hashable, str | Answer | WorkerDied]
"""A worker, and what came from it: its version when it has started, an answer, or its end."""


class Executor(Protocol):
    """Starts workers and hands sequences to them, one at a time to each.

    Attributes:
        size: Number of workers.
    """

    size: int

    def start(self) -> Hashable:
        """Begins to start a worker; when it has, its version is an event."""
        ...

    def submit(self, worker: Any, index: int, report_in_use: bool) -> None:
        """Hands a sequence to a worker that has none; the answer is an event."""
        ...

    def events(self, timeout: float) -> list[Event]:
        """Waits for events; returns none after `timeout` seconds."""
        ...

    def close(self) -> None:
        """Stops all workers, whatever they do."""
        ...


@contextmanager
def opened_executor(options: WorkerOptions, worker: BatchWorker) -> Iterator[Executor]:
    """Opens the executor that the options ask for; all its workers are stopped at the end.

    Args:
        options: Number and place of the workers.
        worker: What segments, for each worker.
    """
    executor: Executor
    if options.in_process:
        executor = InProcess(options, worker)
    elif options.cluster == PROCESSES or find_spec("ray") is None:
        from deeplab_gygo.runs.process_workers import Processes

        executor = Processes(options, worker)
    else:
        from deeplab_gygo.runs.ray_workers import RayActors

        executor = RayActors(options, worker)
    try:
        yield executor
    finally:
        executor.close()


class InProcess:
    """Segments in this process; see `Executor`."""

    size = 1

    def __init__(self, options: WorkerOptions, worker: BatchWorker):
        self._worker = worker
        self._events: list[Event] = []
        if options.cpus is not None:
            limit_threads(options.cpus)

    def start(self) -> Hashable:
        self._events.append((0, __version__))
        return 0

    def submit(self, worker: Any, index: int, report_in_use: bool) -> None:
        outcome = self._worker.process(index, report_in_use=report_in_use)
        self._events.append((worker, Answer(outcome)))

    def events(self, timeout: float) -> list[Event]:
        events, self._events = self._events, []
        return events

    def close(self) -> None: ...


def worker_start(worker: BatchWorker, cpus: int, environment: dict[str, str]) -> WorkerStart:
    """Makes what workers begin from; they show no progress of their own."""
    settings = replace(worker.settings, progress=False, json_progress=False)
    place = scratch()
    environment |= {SIZE_VARIABLE: str(place.max_bytes / 1e9)}
    if place.folder != cache_folder() / "scratch":  # else each machine has its own cache folder
        environment |= {FOLDER_VARIABLE: str(place.folder)}
    level = logging.getLogger("deeplab_gygo").getEffectiveLevel()
    pickled = pickle.dumps(replace(worker, settings=settings))
    return WorkerStart(pickled, cpus, list(sys.path), environment, level)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
