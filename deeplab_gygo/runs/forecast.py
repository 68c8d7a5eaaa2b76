"""What a batch would do, and how long it would take, without doing it."""

from __future__ import annotations

import heapq
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Literal

from tabulate import tabulate

from deeplab_gygo.errors import DeepLabGygoError, InputError
from deeplab_gygo.io import storage
from deeplab_gygo.io.escaping import printable
from deeplab_gygo.io.images import IMAGE_SUFFIXES, read_header
from deeplab_gygo.io.listing import is_stray
from deeplab_gygo.io.names import expanded
from deeplab_gygo.io.storage import display, is_url
from deeplab_gygo.io.video_reading import open_container
from deeplab_gygo.runs.item import Item, OpenRow, Unusable
from deeplab_gygo.runs.progress_displays import duration
from deeplab_gygo.runs.remote_batch import PER_FRAME, RemoteBatch
from deeplab_gygo.runs.run_record import RunRecord, is_complete
from deeplab_gygo.runs.settings import RunSettings

_SHOWN = 10  # sequences of each kind

Status = Literal["to do", "finished", "refused"]


@dataclass(frozen=True)
class Expected:
    """What is expected of one sequence.

    Attributes:
        item: The sequence.
        status: Whether it would be segmented, skipped or listed as failed.
        frames: Number of its frames; None if unknown.
        error: Why it would be refused; empty otherwise.
    """

    item: Item
    status: Status
    frames: int | None = None
    error: str = ""


@dataclass(frozen=True)
class Pace:
    """Mean times of finished clips.

    Attributes:
        adaptation: Fine-tuning of a clip, seconds.
        frame: A frame with decoding and writing, seconds.
        frames: Mean number of frames of a clip.
        clips: Number of clips they are the means of.
    """

    adaptation: float
    frame: float
    frames: float
    clips: int

    @classmethod
    def of(cls, records: Sequence[RunRecord]) -> Pace | None:
        """Returns the means over records; None where nothing was timed."""
        frames = sum(record.frames for record in records)
        adaptation = math.fsum(record.adaptation_seconds for record in records)
        total = math.fsum(record.total_seconds for record in records)
        if not total:
            return None
        count = len(records)
        # Of pictures with a mask no frame is made by the network.
        rest = max(total - adaptation, 0.0)
        return cls(adaptation / count, rest / max(frames, count), frames / count, count)

    def seconds(self, frames: int | None) -> float:
        """Returns the time of a clip; one of unknown length has as many frames as the mean."""
        return self.adaptation + self.frame * (self.frames if frames is None else frames)


@dataclass(frozen=True)
class Forecast:
    """What a batch would do.

    Attributes:
        expected: What is expected of every sequence, in order.
        pace: Times of clips that are finished with the same method, preset and mode; None without.
        workers: Number of workers.
    """

    expected: Sequence[Expected]
    pace: Pace | None
    workers: int = 1

    def only(self, status: Status) -> list[Expected]:
        """Returns the sequences with a status."""
        return [each for each in self.expected if each.status == status]

    @property
    def seconds(self) -> float | None:
        """Expected time of the batch once its workers have started; None without a pace."""
        if self.pace is None:
            return None
        return makespan((self.pace.seconds(e.frames) for e in self.only("to do")), self.workers)

    def text(self) -> str:
        """Formats it for the terminal: numbers, the first sequences of each kind, the time."""
        to_do, refused = self.only("to do"), self.only("refused")
        lines = [
            f"{len(self.expected)} sequences: {len(to_do)} to do, "
            f"{len(self.only('finished'))} finished, {len(refused)} would be refused"
        ]
        if to_do:
            rows = [
                [
                    printable(each.item.name),
                    "?" if each.frames is None else each.frames,
                    "?" if self.pace is None else f"{self.pace.seconds(each.frames):.1f}",
                    printable(display(each.item.video)),
                ]
                for each in to_do[:_SHOWN]
            ]
            lines += ["", tabulate(rows, ["to do", "frames", "seconds", "input"])]
            lines += _more(to_do)
        if refused:
            lines += ["", *(printable(f"refused: {each.error}") for each in refused[:_SHOWN])]
            lines += _more(refused)
        return "\n".join([*lines, "", self._time()]) + "\n"

    def _time(self) -> str:
        to_do = self.only("to do")
        if not to_do:
            return "nothing is to do"
        unknown = sum(each.frames is None for each in to_do)
        frames = sum(each.frames or 0 for each in to_do)
        counted = f"frames to do: {frames}"
        if unknown:
            counted += f", and those of {unknown} sequences of unknown length"
        if self.seconds is None or self.pace is None:
            return (
                f"{counted}\ntime: unknown until a clip is finished in the output folder with this "
                "preset; segment one, and ask again"
            )
        pace, workers = self.pace, "1 worker" if self.workers == 1 else f"{self.workers} workers"
        return (
            f"{counted}\ntime: about {duration(self.seconds)} with {workers}, from "
            f"{pace.clips} finished here: {pace.adaptation:.1f} s of fine-tuning a clip and "
            f"{pace.frame:.3f} s a frame; the start of the workers comes on top"
        )


def forecast(
    items: Sequence[Item], settings: RunSettings, out: str | Path, *, workers: int = 1
) -> Forecast:
    """Finds out what a batch would do. Of a video its header is read, of a URL nothing.

    Hashes are not compared: a result counts as finished if its record is of these settings.

    Args:
        items: The sequences.
        settings: Their settings.
        out: Folder of the results, or its URL.
        workers: Number of workers.

    Raises:
        StorageError: The results at a URL cannot be read.
    """
    records = dict(_records(items, settings, out))
    timed = [record for record in records.values() if _is_alike(record, settings)]
    return Forecast(
        [_expected(item, records.get(item.name), settings) for item in items],
        Pace.of(timed),
        workers,
    )


def makespan(seconds: Iterable[float], workers: int, start: float = 0.0) -> float:
    """Returns when the last worker has finished, where the longest clips are begun first.

    Args:
        seconds: Time of each clip.
        workers: Number of workers.
        start: Time until a worker is ready.

    Example:
        >>> makespan([3, 2, 2, 1], 2)
        4.0
    """
    ends = [float(start)] * workers
    for each in sorted(seconds, reverse=True):
        heapq.heapreplace(ends, ends[0] + each)
    return max(ends)


def _more(expected: Sequence[Expected]) -> list[str]:
    return [f"... and {len(expected) - _SHOWN} more"] if len(expected) > _SHOWN else []


def _records(
    items: Sequence[Item], settings: RunSettings, out: str | Path
) -> Iterator[tuple[str, RunRecord]]:
    """Yields the records of sequences, without their values of single frames and files."""
    names = [item.name for item in items if not isinstance(item.open, Unusable)]
    if is_url(out):
        remote, top = RemoteBatch(str(out), settings), set(storage.list_names(str(out)))
        known = [name for name in names if name.partition("/")[0] in top]
        for name, record in zip(known, storage.each(known, remote.record), strict=True):
            if record is not None:
                yield name, record
        return
    for name in names:
        try:
            record = RunRecord.read(expanded(out) / name)
        except InputError:  # segmented again
            continue
        if record is not None and is_complete(record):
            yield name, replace(record, **PER_FRAME)


def _is_alike(record: RunRecord, settings: RunSettings) -> bool:
    """Whether the times of a result hold for others."""
    online = record.config.get("online")
    mode = online.get("mode") if isinstance(online, dict) else None
    kind = (record.method, record.preset, mode)
    return kind == (settings.method, settings.preset, settings.online.mode)


def _expected(item: Item, record: RunRecord | None, settings: RunSettings) -> Expected:
    if record is not None and not settings.overwrite:
        same = record.seed == settings.seed and record.config == settings.identity
        if same and record.hashes["weights"] == settings.weights_hash:
            return Expected(item, "finished", record.masks)
        error = f"{item.name}: finished with other settings; give --overwrite to replace it"
        return Expected(item, "refused", error=error)
    try:
        return Expected(item, "to do", _count_frames(item))
    except DeepLabGygoError as error:
        return Expected(item, "refused", error=f"{item.name}: {error}")


def _count_frames(item: Item) -> int | None:
    """Returns the number of frames of a sequence as its header states it.

    Raises:
        DeepLabGygoError: The sequence cannot be opened, as far as that is known without reading it.
    """
    if isinstance(item.open, Unusable):
        raise item.open.error
    for place in item.open.masks.values() if isinstance(item.open, OpenRow) else ():
        if not is_url(place) and not os.path.exists(place):
            raise InputError("The mask of a clip exists", met="no such file", where=place)
    if is_url(item.video) or not item.video:
        return None
    path = Path(item.video)
    if path.is_dir():
        names = [name for name in os.listdir(path) if not is_stray(name)]
        if count := sum(Path(name).suffix.lower() in IMAGE_SUFFIXES for name in names):
            return count
        raise InputError("A folder of frames has some", met="no picture", where=path)
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return None if read_header(path).is_animated else 1
    with open_container(path) as (container, stream):
        if stream.frames:
            return stream.frames
        length = container.duration and Fraction(container.duration, 1_000_000)
        return round(length * stream.average_rate) if length and stream.average_rate else None
