"""Ways to show a count that rises: a bar on a terminal, lines elsewhere, JSON for programs."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TextIO

from tqdm import tqdm

from deeplab_gygo.io.escaping import printable

ProgressKind = Literal["auto", "json", "none"]
"""Bars on a terminal and lines elsewhere; JSON lines; nothing."""

LINE_SECONDS = 10.0
"""Time between two lines of one count, seconds."""

JSON_SECONDS = 0.5
"""Time between two JSON lines of one count, seconds; its first and last are always written."""

Clock = Callable[[], float]


@dataclass
class Count:
    """What is counted.

    Attributes:
        event: What is done, such as `fine-tune`, `segment` or `batch`.
        unit: `step`, `frame`, `clip` or `sequence`.
        total: Number of units; None if it is not known.
        start: Number of units that were done before and took no time.
        keep: Whether the full bar, or a line at the end, remains.
        title: What bars and lines say of it, after the event.
        values: What JSON lines say of it.
        begun: Time at which it began; None for now.
    """

    event: str
    unit: str
    total: int | None
    start: int = 0
    keep: bool = True
    title: str = ""
    values: dict[str, Any] = field(default_factory=dict)
    begun: float | None = None

    @property
    def label(self) -> str:
        """The event and the title, on one line."""
        return printable(f"{self.event} {self.title}".rstrip())


class Progress(Protocol):
    """Shows a count as it rises."""

    def update(self, done: int, **values: Any) -> None:
        """Shows the number of units done, and values such as `loss`."""
        ...

    def close(self) -> None:
        """Shows the last number."""
        ...


def make_progress(
    kind: ProgressKind, count: Count, *, stream: TextIO | None = None, clock: Clock = time.monotonic
) -> Progress:
    """Makes what shows a count.

    Args:
        kind: `auto` takes a bar where the stream is a terminal, and lines elsewhere.
        count: What is counted.
        stream: Where it is shown; None takes standard error.
        clock: Returns seconds.
    """
    stream = sys.stderr if stream is None else stream
    if kind == "none" or stream is None:  # a process without a console has no standard error
        return NoProgress()
    if kind == "json":
        return JsonLines(count, stream, clock)
    return Bar(count, stream) if stream.isatty() else Lines(count, stream, clock)


class NoProgress:
    """Shows nothing."""

    def update(self, done: int, **values: Any) -> None: ...

    def close(self) -> None: ...


class Bar:
    """Shows a count as a bar on a terminal; see `make_progress`."""

    def __init__(self, count: Count, stream: TextIO):
        self._bar = tqdm(
            total=count.total, initial=count.start, desc=count.label, unit=count.unit,
            leave=count.keep, file=stream,
        )  # fmt: skip

    def update(self, done: int, **values: Any) -> None:
        if values:
            words = {k: f"{v:.3f}" if isinstance(v, float) else v for k, v in values.items()}
            self._bar.set_postfix(words, refresh=False)
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        self._bar.close()


class _Timed:
    """A count and its times; see `make_progress`."""

    def __init__(self, count: Count, stream: TextIO, clock: Clock):
        self._count, self._stream, self._clock = count, stream, clock
        self._done, self._values = count.start, dict[str, Any]()
        self._begun = clock() if count.begun is None else count.begun
        self._written_at = self._begun
        self._first: tuple[int, float] | None = None

    def update(self, done: int, **values: Any) -> None:
        self._done, self._values = done, values
        if self._first is None and done > self._count.start:
            self._first = done - self._count.start, self._clock()

    def _seconds_left(self, now: float) -> float | None:
        """Returns the time of the rest at the mean speed so far; None if it is not known.

        The first unit does not count: programs are compiled in it.
        """
        if self._count.total is None or self._first is None:
            return None
        rest, units = self._count.total - self._done, self._done - self._count.start
        if not rest:
            return 0.0
        known, since = self._first
        return rest * (now - since) / (units - known) if units > known else None


class Lines(_Timed):
    """Shows a count as a line every `LINE_SECONDS`, and one at its end; see `make_progress`."""

    def update(self, done: int, **values: Any) -> None:
        super().update(done, **values)
        now, total = self._clock(), self._count.total
        if done != total and now - self._written_at >= LINE_SECONDS:
            self._written_at, left = now, self._seconds_left(now)
            rest = [] if left is None else [f"{duration(left)} left"]
            of_all = "" if total is None else f" of {total}"
            self._write(f"{done}{of_all} {self._count.unit}s", now, rest)

    def close(self) -> None:
        if self._count.keep and self._done > self._count.start:
            now, total = self._clock(), self._count.total
            of_all = "" if total in (None, self._done) else f" of {total}"
            took = duration(now - self._begun)
            self._write(f"{self._done}{of_all} {self._count.unit}s in {took}", now, [])

    def _write(self, counted: str, now: float, rest: list[str]) -> None:
        words = [counted]
        if self._count.unit == "frame" and now > self._begun:
            speed = (self._done - self._count.start) / (now - self._begun)
            words.append(f"{speed:.{0 if speed >= 100 else 2}f} frames/s")
        for name, value in self._values.items():
            words.append(f"{name} {value:.3f}" if isinstance(value, float) else f"{value} {name}")
        write_line(f"{self._count.label}: {', '.join(words + rest)}", self._stream)


class JsonLines(_Timed):
    """Shows a count as JSON objects, one a line; see `make_progress`."""

    def __init__(self, count: Count, stream: TextIO, clock: Clock):
        super().__init__(count, stream, clock)
        self._written = count.start

    def update(self, done: int, **values: Any) -> None:
        super().update(done, **values)
        is_first = self._written == self._count.start
        is_late = self._clock() - self._written_at >= JSON_SECONDS
        # Every clip of a batch is an event of its own.
        if is_first or is_late or done == self._count.total or self._count.unit == "clip":
            self._write()

    def close(self) -> None:
        if self._done != self._written:
            self._write()

    def _write(self) -> None:
        count, now = self._count, self._clock()
        self._written, self._written_at = self._done, now
        unit = "number" if count.unit == "clip" else count.unit
        counted = {unit: self._done, f"{count.unit}s": count.total}
        text = json_line(
            event=count.event, **count.values, **counted, **self._values,
            seconds=now - self._begun, eta_seconds=self._seconds_left(now),
        )  # fmt: skip
        write_line(text, self._stream)


def json_line(**values: Any) -> str:
    """Returns an event as JSON: seconds with 3 decimals, others with 5, null for NaN.

    Example:
        >>> json_line(event="segment", frame=3, seconds=1.23456, loss=float("nan"))
        '{"event": "segment", "frame": 3, "seconds": 1.235, "loss": null}'
    """
    for name, value in values.items():
        if isinstance(value, float):
            digits = 3 if name.endswith("seconds") else 5
            values[name] = round(value, digits) if math.isfinite(value) else None
    return json.dumps(values)


def duration(seconds: float) -> str:
    """Returns a duration in words, of two or three digits.

    Example:
        >>> duration(4.26), duration(81), duration(400), duration(10800)
        ('4.3 s', '81 s', '7 min', '3.0 h')
    """
    if seconds < 99.5:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5970 else f"{seconds / 3600:.1f} h"


def write_line(text: str, stream: TextIO) -> None:
    """Writes a line at once; an error of the stream does not end the work."""
    with suppress(OSError, ValueError):  # its reader is gone
        print(text, file=stream, flush=True)
