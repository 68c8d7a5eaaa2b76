"""Hands the sequences of a batch out to workers, and those of a worker that ended again."""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from collections.abc import Hashable, Iterator, Sequence

from deeplab_gygo._version import __version__
from deeplab_gygo.errors import DeepLabGygoError, UsageError
from deeplab_gygo.io.escaping import printable
from deeplab_gygo.runs.batch_result import Outcome
from deeplab_gygo.runs.batch_worker import failed
from deeplab_gygo.runs.item import Item
from deeplab_gygo.runs.worker_process import Answer
from deeplab_gygo.runs.workers import Executor, WorkerDied

logger = logging.getLogger(__name__)

POLL_SECONDS = 1.0
"""Time between two looks at sequences that another run works on."""

_SIZING_SECONDS = 5.0  # for sizes of files: those of a slow file system are left unknown
_START_SECONDS = 60.0  # after which it is said that workers do not start
_FAILED_STARTS = 3  # in a row, for each worker


def longest_first(items: Sequence[Item]) -> list[int]:
    """Returns the indices of sequences, those with large files first, otherwise as they are.

    The last ones to be handed out are short, so that all workers end at about the same time.
    """
    deadline = time.monotonic() + _SIZING_SECONDS
    sizes = [item.size_hint() if time.monotonic() < deadline else 0 for item in items]
    return sorted(range(len(items)), key=lambda index: -sizes[index])


class HandOut:
    """Hands sequences out, each to one worker, until all have an outcome.

    Args:
        executor: Starts the workers.
        items: All sequences.
        order: Indices in the order in which they are handed out.
        retries: How often a sequence is begun again whose worker ended.
        patience: Seconds to wait for a sequence that another run works on.

    Attributes:
        given_up: Names of the sequences whose workers ended too often.
    """

    def __init__(
        self, executor: Executor, items: Sequence[Item], order: Sequence[int], *,
        retries: int, patience: float,
    ):  # fmt: skip
        self._executor, self._items = executor, items
        self._retries, self._patience = retries, patience
        self._waiting, self._postponed = deque(order), list[int]()
        self._idle: list[Hashable] = []
        self._starting: set[Hashable] = set()
        self._busy: dict[Hashable, int] = {}
        self._deaths: Counter[int] = Counter()
        self._failed_starts = 0
        self.given_up: list[str] = []

    @property
    def in_progress(self) -> list[str]:
        """Names of the sequences that workers have."""
        return [self._items[index].name for index in self._busy.values()]

    def outcomes(self) -> Iterator[tuple[int, Outcome]]:
        """Yields index and outcome as they come; what another run works on at the end.

        Raises:
            StorageError: A worker cannot write, so that no other sequence could be finished either.
            UsageError: A worker has another version of the package.
            DeepLabGygoError: Workers end while they start.
        """
        yield from self._round(report_in_use=False)
        if self._postponed:
            logger.info(
                "waiting for %d sequences of another run, %.0f s at most for each",
                len(self._postponed), self._patience,
            )  # fmt: skip
        deadline = time.monotonic() + self._patience
        while self._postponed:
            self._waiting.extend(self._postponed)
            self._postponed.clear()
            for index, outcome in self._round(report_in_use=time.monotonic() > deadline):
                deadline = time.monotonic() + self._patience
                yield index, outcome
            if self._postponed:
                time.sleep(POLL_SECONDS)

    def _round(self, report_in_use: bool) -> Iterator[tuple[int, Outcome]]:
        """Hands out what waits, and yields the outcomes."""
        while self._waiting or self._busy:
            while len(self._idle) + len(self._starting) < len(self._waiting) and (
                len(self._idle) + len(self._starting) + len(self._busy) < self._executor.size
            ):
                self._starting.add(self._executor.start())
            while self._idle and self._waiting:
                worker, following = self._idle.pop(), self._waiting.popleft()
                self._busy[worker] = following
                self._executor.submit(worker, following, report_in_use)
            events = self._executor.events(_START_SECONDS)
            if not events and not self._busy:
                logger.warning(
                    "no worker has started for %.0f s: see whether the cluster has room for one",
                    _START_SECONDS,
                )
            for worker, event in events:
                index = self._busy.pop(worker, None)
                self._starting.discard(worker)
                if isinstance(event, WorkerDied):
                    outcome = self._died(index, event)
                else:
                    self._idle.append(worker)
                    outcome = self._taken(index, event)
                if outcome is not None:
                    assert index is not None
                    yield index, outcome

    def _taken(self, index: int | None, event: str | Answer) -> Outcome | None:
        """Takes what a worker returned."""
        if isinstance(event, str):
            if event != __version__:
                raise UsageError(
                    "All workers have the version of the package that hands out the sequences",
                    met=event,
                    where=__version__,
                    remedy="Install the same version on all machines",
                )
            self._failed_starts = 0
            return None
        for level, text in event.notes:
            logger.log(level, "%s", text)
        if event.fatal is not None:
            raise event.fatal
        assert index is not None
        if event.outcome is None:
            name = printable(self._items[index].name)
            logger.info("%s: another run works on it; looked at again at the end", name)
            self._postponed.append(index)
        return event.outcome

    def _died(self, index: int | None, event: WorkerDied) -> Outcome | None:
        """Hands the sequence of a worker that ended out again, or gives it up."""
        if index is None:
            self._failed_starts += 1
            if self._failed_starts >= _FAILED_STARTS * self._executor.size:
                raise DeepLabGygoError(
                    "A worker starts",
                    met=f"{self._failed_starts} ended before they had; the last: {event}",
                    remedy="Give fewer --workers where the memory may be short",
                )
            return None
        self._deaths[index] += 1
        item = self._items[index]
        if self._deaths[index] <= self._retries:
            logger.warning("%s: begun again: its worker ended: %s", printable(item.name), event)
            self._waiting.appendleft(index)
            return None
        self.given_up.append(item.name)
        error = DeepLabGygoError(
            "The worker of a sequence lives until it is segmented",
            met=f"{self._deaths[index]} ended; the last: {event}",
            where=printable(item.name),
            remedy="Give fewer --workers where the memory may be short, or segment it alone",
        )
        return failed(item, error)
