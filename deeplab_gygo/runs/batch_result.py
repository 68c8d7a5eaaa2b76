"""Results of a batch: an outcome per sequence, their means, and the table of both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from tabulate import SEPARATING_LINE, tabulate

from deeplab_gygo.evaluation import SequenceScore
from deeplab_gygo.io.escaping import printable
from deeplab_gygo.runs.run_record import RunRecord

Status = Literal["done", "skipped", "failed"]

_COLUMNS = {
    "sequence": "", "status": "", "frames": "", "adaptation_seconds": ".1f",
    "amortized_fps": ".2f", "J": ".3f", "F": ".3f",
}  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """Result of one sequence of a batch.

    Attributes:
        name: Name of the sequence.
        status: `skipped` if the folder holds the result of the same input and settings.
        record: Record of the result, without its values of single frames and files; None for a
            failed one.
        score: J and F; None unless every frame has an annotation.
        error: The error as plain values; None unless it failed.
        warnings: What is the matter with a result that was kept.
    """

    name: str
    status: Status
    record: RunRecord | None = None
    score: SequenceScore | None = None
    error: dict[str, Any] | None = None
    warnings: tuple[str, ...] = ()

    def row(self) -> dict[str, Any]:
        """Returns the row of the summary, as plain values; None for unknown values."""
        record, score = self.record, self.score
        objects = [] if score is None or not score.counted else score.objects()
        return {
            "sequence": self.name,
            "status": self.status,
            "frames": record and record.masks,
            "adaptation_seconds": record and record.adaptation_seconds,
            "amortized_fps": record and record.amortized_fps,
            "J": _mean([row.region.mean for row in objects]),
            "F": _mean([row.contour.mean for row in objects]),
            "error": self.error and self.error["message"],
            "warnings": list(self.warnings),
        }


@dataclass(frozen=True)
class BatchResult:
    """Result of a batch.

    Attributes:
        outcomes: One per sequence, in the order of the plan.
        seconds: Wall time of the whole batch.
        failures_file: List of the failures, one JSON object per line, a file or a URL; None without
            failures.
    """

    outcomes: list[Outcome]
    seconds: float
    failures_file: Path | str | None = None

    def count(self, status: Status) -> int:
        """Returns the number of sequences with a status."""
        return sum(outcome.status == status for outcome in self.outcomes)

    @property
    def scores(self) -> list[SequenceScore]:
        """The scores of the sequences that have one."""
        return [outcome.score for outcome in self.outcomes if outcome.score is not None]

    def mean_row(self) -> dict[str, Any]:
        """Returns the means over sequences; frames are summed, FPS is over all frames."""
        rows = [outcome.row() for outcome in self.outcomes]
        records = [outcome.record for outcome in self.outcomes if outcome.record is not None]
        frames = sum(record.frames for record in records)
        seconds = sum(record.total_seconds for record in records)
        objects = [row for score in self.scores if score.counted for row in score.objects()]
        return {
            "sequence": f"mean of {len(records)}",
            "status": "",
            "frames": sum(record.masks for record in records),
            "adaptation_seconds": _mean([r["adaptation_seconds"] for r in rows]),
            "amortized_fps": frames / seconds if seconds else None,
            "J": _mean([row.region.mean for row in objects]),
            "F": _mean([row.contour.mean for row in objects]),
            "error": None,
        }

    def summary(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Returns everything as plain values.

        Args:
            settings: Of the batch.
        """
        return {
            "sequences": [outcome.row() for outcome in self.outcomes],
            "mean": self.mean_row(),
            **{status: self.count(status) for status in get_args(Status)},
            "seconds": self.seconds,
            "settings": dict(settings),
        }

    def table(self) -> str:
        """Formats the rows and their means as a table for the terminal."""
        rows = [
            [
                "-" if row[key] is None else printable(format(row[key], form))
                for key, form in _COLUMNS.items()
            ]
            for row in [outcome.row() for outcome in self.outcomes] + [self.mean_row()]
        ]
        return tabulate(
            [*rows[:-1], SEPARATING_LINE, rows[-1]],
            headers=["sequence", "status", "frames", "adapt s", "FPS", "J", "F"],
            colalign=("left", "left", *["right"] * 5),
            disable_numparse=True,
        ) + (
            f"\n{self.count('done')} done, {self.count('skipped')} skipped, "
            f"{self.count('failed')} failed in {self.seconds:.1f} s. FPS counts adaptation, "
            "decoding and writing.\n"
        )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None and value == value]
    return float(sum(known) / len(known)) if known else None
