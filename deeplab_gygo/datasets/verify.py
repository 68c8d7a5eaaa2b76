"""Verification of a data set on disk: what is there, what belongs together, what can be decoded."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field

from deeplab_gygo.datasets.registry import Dataset
from deeplab_gygo.datasets.sequence_check import ERROR, WARNING, Problem, SequenceCheck
from deeplab_gygo.errors import InputError

__all__ = ["Problem", "VerifyReport", "verify_dataset"]

_MOST_WORKERS = 8  # reading from one disk gains nothing from more
_SHOWN_PROBLEMS = 30  # in the summary; the JSON has them all


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


def verify_dataset(
    dataset: Dataset,
    *,
    decode: bool = True,
    progress: Callable[[int, int, str], None] | None = None,
) -> VerifyReport:
    """Verifies lists, pairing of frames and masks, sizes, contents and separation of the splits.

    Args:
        dataset: The opened data set.
        decode: Decode every frame and mask; else only their headers and the first masks.
        progress: Called after each sequence with the number done, the number of all, and its name.

    Returns:
        The report; bad data is never raised.
    """
    problems, listed = _check_lists(dataset)
    names = dataset.names_on_disk()
    # Published test splits have masks for the first frames only.
    partly = {
        name
        for name in names
        if {split for split in listed if name in listed[split]}
        and all(split.startswith("test") for split in listed if name in listed[split])
    }
    problems += _check_presence(dataset, listed, names)

    def check(name: str) -> SequenceCheck:
        found = SequenceCheck(dataset, name, decode=decode, only_first_mask=name in partly)
        found.run(frames for frames in (lists.get(name) for lists in listed.values()) if frames)
        return found

    checks: list[SequenceCheck] = []
    pool = ThreadPoolExecutor(max_workers=min(_MOST_WORKERS, os.cpu_count() or 1))
    try:
        for found in pool.map(check, names):
            checks.append(found)
            if progress is not None:
                progress(len(checks), len(names), found.name)
    finally:
        pool.shutdown(cancel_futures=True)  # on Ctrl-C the sequences that wait are given up
    problems += _check_separation(listed, {found.name: found.fingerprint for found in checks})
    for found in checks:
        problems += found.problems
    return VerifyReport(
        kind=dataset.kind,
        root=str(dataset.root),
        resolution=dataset.resolution,
        decoded=decode,
        split_counts={split: len(lists) for split, lists in listed.items()},
        expected_counts=dict(dataset.published_counts),
        sequences=len(names),
        frames=sum(len(found.frames) for found in checks),
        masks=sum(len(found.masks) for found in checks),
        problems=problems,
    )


def _check_lists(dataset: Dataset) -> tuple[list[Problem], dict[str, dict[str, list[str]]]]:
    """Reads the lists and compares their lengths with the published ones."""
    problems, listed = [], {}
    for split in dataset.splits():
        try:
            listed[split] = dataset.listed(split)
        except InputError as error:
            problems.append(Problem.of(error))
    for split, expected in dataset.published_counts.items():
        count = len(listed.get(split, ()))
        if count != expected:
            problems.append(
                Problem(
                    WARNING,
                    f"The split '{split}' of the published {dataset.kind} has {expected} sequences",
                    f"{count} in the list" if split in listed else "no such list",
                    file=str(dataset.list_file(split)) if split in listed else None,
                    remedy="Scores on it are not comparable with published ones",
                )
            )
    return problems, listed


def _check_presence(
    dataset: Dataset, listed: dict[str, dict[str, list[str]]], names: list[str]
) -> list[Problem]:
    """Compares what the lists name with what is on disk."""
    problems, on_disk = [], set(names)
    for split, sequences in listed.items():
        absent = [name for name in sequences if name not in on_disk]
        if absent:
            problems.append(
                Problem(
                    ERROR,
                    "Every sequence that a list names must be on disk",
                    f"{len(absent)} absent: {', '.join(absent)}",
                    file=str(dataset.list_file(split)),
                    remedy="Fetch the data set again, or remove the names from the list",
                )
            )
    unlisted = [name for name in names if not any(name in lists for lists in listed.values())]
    if unlisted:
        problems.append(
            Problem(
                WARNING,
                "Every sequence on disk is named by a list",
                f"{len(unlisted)} unlisted: {', '.join(unlisted)}",
                file=str(dataset.image_folder),
                remedy="They are used by no split; add them to a list if they should be",
            )
        )
    return problems


def _check_separation(
    listed: dict[str, dict[str, list[str]]], fingerprints: dict[str, str | None]
) -> list[Problem]:
    """Looks for sequences that serve for training and for measuring, under one name or two."""
    problems = []
    train = listed.get("train", {})
    owners = {fingerprints[name]: name for name in train if fingerprints.get(name)}
    for split, sequences in listed.items():
        if "train" in split:
            continue
        for name in sequences:
            twin = name if name in train else owners.get(fingerprints.get(name))
            if twin is not None:
                problems.append(
                    Problem(
                        ERROR,
                        f"No sequence may be in 'train' and in '{split}'",
                        "both lists name it"
                        if twin == name
                        else f"its first frame equals that of '{twin}' in 'train'",
                        sequence=name,
                        remedy="Take it out of the list for training, or measure without it",
                    )
                )
    return problems
