"""What the verification of a data set reports: the problems, the counts, as text and as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field

from deeplab_gygo.errors import DeepLabGygoError

ERROR, WARNING = "error", "warning"
_SHOWN_PROBLEMS = 30  # in the summary; the JSON has them all


@dataclass(frozen=True)
class Problem:
    """One rule that a data set breaks.

    Attributes:
        severity: "error" where results would be wrong or impossible, else "warning".
        rule: What must hold.
        met: What was met instead.
        sequence: The sequence concerned; None for the data set as a whole.
        file: The file or folder concerned.
        remedy: What to do.
    """

    severity: str
    rule: str
    met: str | None = None
    sequence: str | None = None
    file: str | None = None
    remedy: str | None = None

    @classmethod
    def of(cls, error: DeepLabGygoError, sequence: str | None = None) -> Problem:
        """Makes a problem of an error that a reader raised."""
        met = None if error.met is None else str(error.met)
        file = None if error.where is None else str(error.where)
        return cls(ERROR, error.rule, met, sequence, file, error.remedy)

    def __str__(self) -> str:
        text = f"{self.severity}: {self.rule}"
        text += f"; met: {self.met}" if self.met else ""
        place = self.file or self.sequence
        text += f" ({place})." if place else "."
        return f"{text} {self.remedy}." if self.remedy else text


@dataclass(frozen=True)
class VerifyReport:
    """What the verification of a data set found.

    Attributes:
        kind: Kind of the data set.
        root: Its folder.
        resolution: The resolution that was looked at.
        decoded: Whether every image was decoded, not only its header read.
        split_counts: Split -> number of sequences that its list names.
        expected_counts: Split -> number of sequences of the published data set. A subset is no
            error; its scores are not comparable with published ones.
        sequences: Sequences on disk.
        frames: Frames on disk.
        masks: Masks on disk.
        problems: What is wrong, the data set as a whole first, then by sequence.
    """

    kind: str
    root: str
    resolution: str
    decoded: bool
    split_counts: dict[str, int]
    expected_counts: dict[str, int]
    sequences: int
    frames: int
    masks: int
    problems: list[Problem] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """True where there is no error; warnings are allowed."""
        return not any(problem.severity == ERROR for problem in self.problems)

    def summary(self) -> str:
        """Writes the report as text of a few lines, the first problems included."""
        counts = []
        for split, count in sorted(self.split_counts.items()):
            expected = self.expected_counts.get(split)
            counts.append(f"{split} {count}" + (f" (published: {expected})" if expected else ""))
        lines = [
            f"{self.kind} {self.resolution} in {self.root}",
            f"{self.sequences} sequences, {self.frames} frames, {self.masks} masks, "
            + ("all decoded" if self.decoded else "headers read only"),
            "splits: " + (", ".join(counts) or "none"),
        ]
        ordered = sorted(self.problems, key=lambda problem: problem.severity != ERROR)
        lines += [str(problem) for problem in ordered[:_SHOWN_PROBLEMS]]
        if len(ordered) > _SHOWN_PROBLEMS:
            lines.append(f"and {len(ordered) - _SHOWN_PROBLEMS} more problems")
        errors = sum(problem.severity == ERROR for problem in self.problems)
        lines.append(f"{errors} errors, {len(self.problems) - errors} warnings")
        return "\n".join(lines)

    def to_json(self) -> str:
        """Writes the whole report as JSON."""
        return json.dumps({"ok": self.ok, **asdict(self)}, indent=2)
