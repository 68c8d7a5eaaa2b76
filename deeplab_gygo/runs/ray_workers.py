"""Workers of a batch as actors of Ray, on this machine or on a cluster."""

from __future__ import annotations

import logging
import os
import signal
import socket
import tempfile
from collections.abc import Hashable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deeplab_gygo._version import __version__
from deeplab_gygo.errors import DeepLabGygoError, UsageError
from deeplab_gygo.io.local_names import remove_name_folders
from deeplab_gygo.runs.worker_process import Answer, WorkerProcess, WorkerStart
from deeplab_gygo.runs.workers import Event, WorkerDied, WorkerOptions, worker_start

if TYPE_CHECKING:
    from deeplab_gygo.runs.batch_worker import BatchWorker

_STORE_BYTES = 80_000_000  # about the least that Ray takes: no frames pass through its store
_STOP_SECONDS = 4.0  # in which actors clean up before they are killed
_KILL_SECONDS = 1.0
_ANSWER_SECONDS = 10.0
_PASSED_ON = ("KERAS_BACKEND", "DEEPLAB_GYGO_KERNELS", "TF_CPP_MIN_LOG_LEVEL")
"""Environment variables that workers on other machines have too, where they are set."""


Place = tuple[str | None, int]
"""Machine of an actor, see `_machine`, and its process id."""


def _machine() -> str | None:
    """Returns what this machine, or container, has of its own; None if it is not known."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii")
        return f"{boot.strip()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return None


class _Actor:
    """A worker process; Ray calls its methods one after the other in its main thread."""

    def __init__(self) -> None:
        self._process: WorkerProcess | None = None

    def begin(self, start: WorkerStart) -> tuple[str, Place]:
        self._process = WorkerProcess(start)
        return __version__, (_machine(), os.getpid())

    def segment(self, index: int, report_in_use: bool) -> Answer:
        assert self._process is not None
        return self._process.segment(index, report_in_use)

    def end(self) -> None:
        remove_name_folders()


class RayActors:
    """Segments in actors of Ray; see `workers.Executor`.

    Ray chooses their machines. A clip whose actor or machine ends is handed out again by the batch:
    Ray itself would repeat it on the same actor, together with what waits behind it.
    """

    def __init__(self, options: WorkerOptions, worker: BatchWorker):
        self._ray: Any = import_module("ray")
        self._cpus = options.cpus or (1 if options.several_machines else options.local_cpus())
        self._gpus = options.gpus
        self._actors: dict[Any, Place] = {}
        self._pending: dict[Future[Any], Hashable] = {}
        self._connected = not self._ray.is_initialized()
        if self._connected:
            with _kept_signals():
                _connect(self._ray, options, self._cpus)
        try:
            room = self._room()
            self.size = options.number or max(1, room)
            if self.size > room and not options.several_machines:
                raise UsageError(
                    "The workers of a machine have its GPUs",
                    met=f"{self.size} workers with {self._gpus:g} each, and room for {room}",
                    where="--gpus-per-worker",
                    remedy="Give fewer workers, or a fraction",
                )
            known = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
            start = worker_start(worker, self._cpus, known | options.sharing())
            self._start = self._ray.put(start)  # once a machine, not once an actor
        except BaseException:
            self.close()
            raise
        self._kind = self._ray.remote(
            num_cpus=self._cpus, num_gpus=self._gpus, max_restarts=0, max_task_retries=0,
            scheduling_strategy="SPREAD",
        )(_Actor)  # fmt: skip

    def start(self) -> Hashable:
        actor = self._kind.remote()
        self._actors[actor] = None, 0  # until it has begun
        self._pending[actor.begin.remote(self._start).future()] = actor
        return actor

    def submit(self, worker: Any, index: int, report_in_use: bool) -> None:
        self._pending[worker.segment.remote(index, report_in_use).future()] = worker

    def events(self, timeout: float) -> list[Event]:
        done, _ = wait(self._pending, timeout, FIRST_COMPLETED)
        return [(self._pending[future], self._taken(future)) for future in done]

    def _taken(self, future: Future[Any]) -> str | Answer | WorkerDied:
        worker, kinds = self._pending.pop(future), self._ray.exceptions
        try:
            result = future.result()
            if isinstance(result, Answer):
                return result
            version, self._actors[worker] = result
            return version
        except (kinds.RayActorError, kinds.ObjectLostError) as error:
            self._actors.pop(worker, None)
            with suppress(Exception):  # it may only be out of reach, and must not go on
                self._ray.kill(worker)
            return WorkerDied(_first_line(error))
        except kinds.RayTaskError as error:
            raise DeepLabGygoError(
                "A worker on a cluster starts",
                met=f"{type(error.cause).__name__}: {_first_line(error.cause)}",
                where="--cluster",
                remedy="Install this package and its extras on the machines of the cluster, in "
                f"version {__version__}",
            ) from error

    def close(self) -> None:
        busy, here = set(self._pending.values()), _machine()
        for actor, (machine, process) in self._actors.items():
            with suppress(Exception):
                if actor not in busy:
                    self._pending[actor.end.remote().future()] = actor
                elif machine == here is not None:
                    os.kill(process, signal.SIGTERM)  # Ray makes it an exception: it cleans up
                else:
                    self._ray.kill(actor)
        wait(self._pending, _STOP_SECONDS)  # what they were doing has ended then
        for actor in self._actors:
            with suppress(Exception):
                self._ray.kill(actor)
        wait(self._pending, _KILL_SECONDS)
        if self._connected:
            self._ray.shutdown()

    def _room(self) -> int:
        """Returns how many workers the cluster has room for."""
        total = self._ray.cluster_resources()
        numbers = [total.get("CPU", 0) // self._cpus]
        if self._gpus:
            numbers.append(total.get("GPU", 0) // self._gpus)
        return int(min(numbers))


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _connect(ray: Any, options: WorkerOptions, cpus: int) -> None:
    """Connects to a cluster of Ray, or starts one on this machine."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    local: dict[str, Any] = {
        "address": "local", "include_dashboard": False, "object_store_memory": _STORE_BYTES,
    }  # fmt: skip
    if options.number is not None:  # those of this machine, or more: threads are what counts
        local["num_cpus"] = options.number * cpus
    if options.cluster is None:
        ray.init(**local, **quiet)
        return
    address = "auto" if options.cluster == "ray" else options.cluster
    try:
        _check_answer(_running_cluster() if address == "auto" else address)
        ray.init(address, **quiet)
    except (OSError, RuntimeError, ValueError) as error:
        if options.cluster == "ray":
            ray.init(**local, **quiet)
            return
        raise UsageError(
            "A cluster of Ray answers at its address",
            met=_first_line(error),
            where=f"--cluster {options.cluster}",
            remedy="Start one with `ray start` on its first machine, or see `ray status`; Ray and "
            "Python have the same versions on all machines, and where the cluster asks for a token "
            "RAY_AUTH_MODE is token",
        ) from error


def _running_cluster() -> str:
    """Returns the address that Ray takes for `auto`; a file of `ray start` has it."""
    if os.environ.get("RAY_ADDRESS"):
        return os.environ["RAY_ADDRESS"]
    folder = Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir())
    return (folder / "ray" / "ray_current_cluster").read_text("utf-8").strip()


def _check_answer(address: str) -> None:
    """Raises `OSError` if nothing listens at an address; Ray itself would wait for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    with socket.create_connection((host.strip("[]"), int(port)), _ANSWER_SECONDS):
        pass


@contextmanager
def _kept_signals() -> Iterator[None]:
    """Keeps the handlers of signals, which Ray replaces."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            with suppress(ValueError, TypeError):  # not the main thread, or not set by Python
                signal.signal(number, handler)
