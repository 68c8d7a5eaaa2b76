"""Workers of a batch as processes of this machine."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Hashable
from contextlib import suppress
from dataclasses import replace
from multiprocessing import connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deeplab_gygo._version import __version__
from deeplab_gygo.errors import UsageError
from deeplab_gygo.io.local_names import remove_name_folders
from deeplab_gygo.runs.worker_process import WorkerProcess, WorkerStart
from deeplab_gygo.runs.workers import Event, WorkerDied, WorkerOptions, worker_start

if TYPE_CHECKING:
    from deeplab_gygo.runs.batch_worker import BatchWorker

_STOP_SECONDS = 4.0  # in which a process cleans up before it is killed


class Processes:
    """Segments in processes of this machine; see `workers.Executor`."""

    def __init__(self, options: WorkerOptions, worker: BatchWorker):
        self.size = options.number or 1
        self._start = worker_start(worker, options.local_cpus(), options.sharing())
        self._devices = _devices(options, self.size)  # a dictionary for each process
        self._running: dict[connection.Connection, tuple[Any, dict[str, str]]] = {}

    def start(self) -> Hashable:
        # Not by fork: the libraries of this process have threads.
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        devices = self._devices.pop()
        start = replace(self._start, environment=self._start.environment | devices)
        process = context.Process(target=_serve, args=(theirs, start), daemon=True)
        process.start()
        theirs.close()  # so that the end of the process is the end of the connection
        self._running[ours] = process, devices
        return ours

    def submit(self, worker: Any, index: int, report_in_use: bool) -> None:
        with suppress(OSError):  # it ended meanwhile, which is an event
            worker.send((index, report_in_use))

    def events(self, timeout: float) -> list[Event]:
        events: list[Event] = []
        for worker in connection.wait(list(self._running), timeout):
            assert isinstance(worker, connection.Connection)
            try:
                events.append((worker, worker.recv()))
            except (EOFError, OSError):
                events.append((worker, WorkerDied(self._remove(worker))))
        return events

    def _remove(self, worker: connection.Connection) -> str:
        """Forgets a process that ended, and returns how it did."""
        process, devices = self._running.pop(worker)
        self._devices.append(devices)
        worker.close()
        process.join(_STOP_SECONDS)
        code = process.exitcode
        process.kill()
        if code is None or code >= 0:
            return f"its process ended with status {code}"
        return f"its process was killed by {signal.Signals(-code).name}"

    def close(self) -> None:
        deadline = time.monotonic() + _STOP_SECONDS
        processes = [process for process, _ in self._running.values()]
        for process in processes:
            process.terminate()
        for process in processes:
            process.join(max(0.0, deadline - time.monotonic()))
            process.kill()
            process.join()
        for worker in self._running:
            worker.close()
        self._running.clear()


def _serve(pipe: connection.Connection, start: WorkerStart) -> None:
    """Segments what comes from a pipe until it is closed."""

    def stop(number: int, frame: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started it
    signal.signal(signal.SIGTERM, stop)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        process = WorkerProcess(start)
        pipe.send(__version__)
        while True:
            pipe.send(process.segment(*pipe.recv()))
    except (EOFError, OSError, KeyboardInterrupt):
        remove_name_folders()
        os._exit(0)  # threads of libraries may still be at work


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _devices(options: WorkerOptions, size: int) -> list[dict[str, str]]:
    """Returns the environment that gives each worker its GPUs, in turn."""
    if not options.gpus:
        return [{}] * size
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is None:
        count = sum(path.name[6:].isdigit() for path in Path("/dev").glob("nvidia*"))
        devices = [str(index) for index in range(count)]
    else:
        devices = [name for name in given.split(",") if name.strip()]
    if size * options.gpus > len(devices):
        raise UsageError(
            "The workers of a machine have its GPUs",
            met=f"{size} workers with {options.gpus:g} each, of {len(devices)}",
            where="--gpus-per-worker",
            remedy="Give fewer workers, or a fraction",
        )
    if options.gpus < 1:
        each = int(1 / options.gpus)
        groups = [[device] for device in devices for _ in range(each)]
    else:
        step = int(options.gpus)
        groups = [devices[first : first + step] for first in range(0, len(devices), step)]
    return [{"CUDA_VISIBLE_DEVICES": ",".join(group)} for group in groups[:size]]
