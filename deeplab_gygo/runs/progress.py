"""Progress of a clip and of a batch, on standard error."""

from __future__ import annotations

import sys
import time
from typing import TextIO

from deeplab_gygo.inference.config import UNLIMITED_STEPS
from deeplab_gygo.runs.progress_displays import (
    Clock,
    Count,
    Progress,
    ProgressKind,
    json_line,
    make_progress,
    write_line,
)


class ClipProgress:
    """Shows the fine-tuning of each object of a clip, then its frames.

    As JSON, leaving a `with` statement is an event too: `done`, or `stopped` after an error.

    Args:
        kind: How it is shown.
        name: Name of the clip.
        frames: Number of frames that get a mask.
        objects: Number of objects.
        keep: Whether full bars, or lines at the end, remain.
        stream: As in `make_progress`.
        clock: As in `make_progress`.

    Example:
        >>> with ClipProgress("json", "dog", 2, stream=sys.stdout, clock=lambda: 5.0) as progress:
        ...     progress.segmented()  # doctest: +ELLIPSIS
        {"event": "segment", "clip": "dog", "frame": 1, "frames": 2, "seconds": 0.0, ...
        {"event": "done", "clip": "dog", "frame": 1, "frames": 2, "seconds": 0.0}
    """

    def __init__(
        self, kind: ProgressKind, name: str, frames: int, *, objects: int = 1,
        keep: bool = True, stream: TextIO | None = None, clock: Clock = time.monotonic,
    ):  # fmt: skip
        self._kind, self._name, self._frames, self._objects = kind, name, frames, objects
        self._done, self._object, self._keep = 0, 0, keep
        self._stream, self._clock = stream, clock
        self._begun = self._before = clock()
        self._tuning: Progress | None = None
        self._running: Progress | None = None

    def tuned(self, step: int, steps: int, loss: float) -> None:
        """Shows a step of fine-tuning; the first one of an object begins a count."""
        if step == 1 or self._tuning is None:
            self._object += 1
            several = f" object {self._object}/{self._objects}" if self._objects > 1 else ""
            values = {"clip": self._name, "object": self._object, "objects": self._objects}
            total = steps if steps < UNLIMITED_STEPS else None
            title = self._name + several
            self._tuning = self._begin(
                Count("fine-tune", "step", total, 0, self._keep, title, values)
            )
        self._tuning.update(step, loss=float(loss))
        self._before = self._clock()

    def segmented(self) -> None:
        """Counts a frame."""
        if self._running is None:
            count = Count("segment", "frame", self._frames, 0, self._keep, self._name)
            count.values["clip"] = self._name
            self._running = self._begin(count)
        self._done += 1
        self._running.update(self._done)
        self._before = self._clock()

    def _begin(self, count: Count) -> Progress:
        """Ends what was shown before; the time of the first unit counts from there."""
        self.close()
        count.begun = self._before
        return make_progress(self._kind, count, stream=self._stream, clock=self._clock)

    def close(self) -> None:
        """Ends what is shown."""
        for progress in (self._tuning, self._running):
            if progress is not None:
                progress.close()
        self._tuning = self._running = None

    def __enter__(self) -> ClipProgress:
        return self

    def __exit__(self, error: type[BaseException] | None, *details: object) -> None:
        self.close()
        stream = sys.stderr if self._stream is None else self._stream
        if self._kind == "json" and stream is not None:
            text = json_line(
                event="done" if error is None else "stopped", clip=self._name, frame=self._done,
                frames=self._frames, seconds=self._clock() - self._begun,
            )  # fmt: skip
            write_line(text, stream)


class BatchProgress:
    """Shows the clips of a batch, to be used in a `with` statement.

    Args:
        kind: How it is shown.
        clips: Number of clips.
        stream: As in `make_progress`.
        clock: As in `make_progress`.
    """

    def __init__(
        self, kind: ProgressKind, clips: int, *, stream: TextIO | None = None,
        clock: Clock = time.monotonic,
    ):  # fmt: skip
        self._count, self._done, self._failed = Count("batch", "clip", clips), 0, 0
        self._is_json, self._clock, self._begun = kind == "json", clock, clock()
        self._progress = make_progress(kind, self._count, stream=stream, clock=clock)

    def finished(self, name: str, status: str) -> None:
        """Counts a clip that is `done`, `skipped` or `failed`."""
        self._done += 1
        self._failed += status == "failed"
        self._count.start += status == "skipped"  # for the time of the rest
        minutes = (self._clock() - self._begun) / 60
        rate = (self._done - self._count.start) / minutes if minutes > 0 else 0.0
        if self._is_json:
            self._progress.update(self._done, clip=name, status=status, clips_per_minute=rate)
        else:
            failed = {"failed": self._failed} if self._failed else {}
            self._progress.update(self._done, **{"clips/min": f"{rate:.1f}"}, **failed)

    def __enter__(self) -> BatchProgress:
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.close()
