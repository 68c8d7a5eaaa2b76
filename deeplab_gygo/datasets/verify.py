"""Verification of a dataset on disk: lists, pairing of frames and masks, sizes, contents."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace

from deeplab_gygo.datasets.registry import Dataset
from deeplab_gygo.datasets.sequence_check import ERROR, WARNING, Problem, SequenceCheck
from deeplab_gygo.errors import InputError
from deeplab_gygo.io.escaping import printable
from deeplab_gygo.io.local_names import cited, shown

__all__ = ["Problem", "VerifyReport", "verify_dataset"]

_MOST_WORKERS = 8  # more do not read faster from one disk
_SHOWN_PROBLEMS = 30  # in the summary; the JSON has them all


@dataclass(frozen=True)
class VerifyReport:
    """Result of the verification of a dataset.

    Attributes:
        kind: Kind of the dataset.
        root: Its folder.
        resolution: The verified resolution.
        decoded: Whether every image was decoded, rather than only its header read.
        split_counts: Split -> number of sequences that its list names.
        expected_counts: Split -> number of sequences of the published dataset. A subset is no
            error; its scores are not comparable with published ones.
        sequences: Sequences on disk.
        frames: Frames on disk.
        masks: Masks on disk.
        problems: Violated rules: those of the dataset first, then by sequence.
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
        """True if there is no error; warnings are allowed."""
        return not any(problem.severity == ERROR for problem in self.problems)

    def summary(self) -> str:
        """Returns the report as text of a few lines with the first problems."""
        counts = []
        for split, count in sorted(self.split_counts.items()):
            expected = self.expected_counts.get(split)
            counts.append(f"{split} {count}" + (f" (published: {expected})" if expected else ""))
        lines = [
            printable(" ".join([*filter(None, (self.kind, self.resolution)), f"in {self.root}"])),
            f"{self.sequences} sequences, {self.frames} frames, {self.masks} masks, "
            + ("all decoded" if self.decoded else "headers read only"),
            printable("splits: " + (", ".join(counts) or "none")),
        ]
        ordered = sorted(self.problems, key=lambda problem: problem.severity != ERROR)
        lines += [str(problem) for problem in ordered[:_SHOWN_PROBLEMS]]
        if len(ordered) > _SHOWN_PROBLEMS:
            lines.append(f"and {len(ordered) - _SHOWN_PROBLEMS} more problems")
        errors = sum(problem.severity == ERROR for problem in self.problems)
        lines.append(f"{errors} errors, {len(self.problems) - errors} warnings")
        return "\n".join(lines)

    def to_json(self) -> str:
        """Returns the complete report as JSON."""
        return json.dumps({"ok": self.ok, **asdict(self)}, indent=2)


def verify_dataset(
    dataset: Dataset,
    *,
    decode: bool = True,
    progress: Callable[[int, int, str], None] | None = None,
) -> VerifyReport:
    """Verifies lists, pairing of frames and masks, sizes, contents and separation of the splits.

    Args:
        dataset: The opened dataset.
        decode: Decode every frame and mask; else only headers and the first masks.
        progress: Called after each sequence with the number done, the total, and its name.

    Returns:
        The report; bad data raises no error.
    """
    problems, listed = _check_lists(dataset)
    names = dataset.names_on_disk()
    # Published test splits have masks of the first frames only, and so have others.
    only_first = set()
    for name in names:
        splits = [split for split in listed if name in listed[split]]
        if splits and all(split.startswith(dataset.sparse_splits) for split in splits):
            only_first.add(name)
    problems += _check_presence(dataset, listed, names)

    def check(name: str) -> SequenceCheck:
        found = SequenceCheck(dataset, name, decode=decode, only_first_mask=name in only_first)
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
        pool.shutdown(cancel_futures=True)  # Ctrl-C cancels the sequences that wait
    problems += _check_separation(listed, {found.name: found.fingerprint for found in checks})
    for found in checks:
        problems += found.problems
    return VerifyReport(
        kind=dataset.kind,
        root=shown(dataset.root),
        resolution=dataset.resolution,
        decoded=decode,
        split_counts={split: len(lists) for split, lists in listed.items()},
        expected_counts=dict(dataset.published_counts),
        sequences=len(names),
        frames=sum(len(found.frames) for found in checks),
        masks=sum(len(found.masks) for found in checks),
        problems=[_cited(problem) for problem in problems],
    )


def _cited(problem: Problem) -> Problem:
    """Returns a problem with URLs instead of their local copies."""
    texts = {name: getattr(problem, name) for name in ("met", "file")}
    return replace(problem, **{name: text and cited(text) for name, text in texts.items()})


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
    """Compares the lists with the sequences on disk."""
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
                    remedy="Fetch the dataset again, or remove the names from the list",
                )
            )
    unlisted = [name for name in names if not any(name in lists for lists in listed.values())]
    if unlisted:
        problems.append(
            Problem(
                WARNING,
                "Every sequence on disk is in a list",
                f"{len(unlisted)} unlisted: {', '.join(unlisted)}",
                file=str(dataset.frames_folder("")),
                remedy="No split uses them; add them to a list, or remove them",
            )
        )
    return problems


def _check_separation(
    listed: dict[str, dict[str, list[str]]], fingerprints: dict[str, str | None]
) -> list[Problem]:
    """Finds sequences that are in the training split and in another, under one name or two."""
    problems = []
    train = listed.get("train", {})
    owners = {fingerprints[name]: name for name in train if fingerprints.get(name)}
    for split, sequences in listed.items():
        if "train" in split:
            continue
        for name in sequences:
            duplicate = name if name in train else owners.get(fingerprints.get(name))
            if duplicate is not None:
                problems.append(
                    Problem(
                        ERROR,
                        f"No sequence may be in 'train' and in '{split}'",
                        "both lists name it"
                        if duplicate == name
                        else f"its first frame equals that of '{duplicate}' in 'train'",
                        sequence=name,
                        remedy="Remove it from one of the lists",
                    )
                )
    return problems
