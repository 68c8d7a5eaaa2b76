"""Rows of the ablation table and their stored measurements."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from functools import cached_property
from modulefinder import ModuleFinder
from pathlib import Path
from typing import Any, Literal

import yaml

from deeplab_gygo.errors import InputError, UsageError
from deeplab_gygo.inference.config import DEFAULT_PRESET, OnlineConfig, preset
from deeplab_gygo.io.atomic import replacing
from deeplab_gygo.io.config_file import from_dict, to_plain
from deeplab_gygo.models.weight_file import file_hash, shipped_parent

ROOT = Path(__file__).resolve().parents[1]

Group = Literal[
    "backbone", "output stride", "data mix", "guide", "adapted part", "steps", "views",
    "refinement", "memory",
]  # fmt: skip
"""Topic of a row, in the order of the table."""

SOURCES = ("runs.clip", "evaluation.streaming", "inference.segmenter")
"""Modules that determine masks and scores, with all that they import."""


@dataclass(frozen=True)
class Row:
    """One row of the table.

    Attributes:
        name: Unique name.
        group: Topic.
        weights: Parent file, relative to the repository; empty takes the shipped one. That of
            `runs/NAME/...` is made by `experiments/NAME.yaml`.
        preset: Preset to start from.
        online: Fields of `OnlineConfig` that differ from the preset's.
    """

    name: str
    group: Group
    weights: str = ""
    preset: str = DEFAULT_PRESET
    online: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def config(self) -> OnlineConfig:
        """All options of the row."""
        start = preset(self.preset)
        if not self.online:
            return start
        changed = {**to_plain(start), **self.online}
        return from_dict(OnlineConfig, changed, f"row {self.name}")

    @property
    def experiment(self) -> str:
        """Experiment file of the weights; empty for the shipped ones."""
        return f"experiments/{Path(self.weights).parent.name}.yaml" if self.weights else ""

    @property
    def weights_path(self) -> Path:
        """The parent file, present or not."""
        return ROOT / Path(self.weights).expanduser() if self.weights else shipped_parent()


@dataclass(frozen=True)
class Selection:
    """Frames that all rows are measured on.

    Attributes:
        dataset: Kind of the dataset.
        split: Split, for the caption.
        sequences: Names. The five are held back in `experiments/parent_*.yaml`.
        stride: Temporal subsampling; motion gets faster by this factor.
        resolution: Folder below `JPEGImages`.
        seed: Random seed.
    """

    dataset: str = "davis2016"
    split: str = "train"
    sequences: tuple[str, ...] = ("boat", "dance-jump", "mallard-fly", "scooter-gray", "soccerball")
    stride: int = 3
    resolution: str = "480p"
    seed: int = 0

    def plain(self) -> dict[str, Any]:
        """Returns plain values, as read from JSON."""
        return {**asdict(self), "sequences": list(self.sequences)}


def read_rows(path: Path) -> list[Row]:
    """Reads and checks the rows of a YAML file.

    Raises:
        UsageError: The file is no list of rows, or a row has a wrong key or value.
    """
    try:
        listed = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise UsageError("The rows are a YAML file", met=error, where=path) from error
    if not isinstance(listed, list):
        raise UsageError("The rows are a list", met=type(listed).__name__, where=path)
    rows = [from_dict(Row, values, f"{path}, row {n}") for n, values in enumerate(listed, start=1)]
    names = [row.name for row in rows]
    for row in rows:
        if names.count(row.name) > 1:
            raise UsageError("Every row has a unique name", met=row.name, where=path)
        _ = row.config  # checks the options
    return rows


class Results:
    """Measurements stored in a JSON file.

    Args:
        path: JSON file, present or not.
        selection: Frames that are measured.

    Raises:
        InputError: The file is damaged.
    """

    def __init__(self, path: Path, selection: Selection):
        self.path, self.selection = path, selection
        self._stored: list[dict[str, Any]] = []
        try:
            if path.is_file():
                self._stored = json.loads(path.read_text(encoding="utf-8"))["measurements"]
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                "Results are JSON with measurements", met=error, where=path, remedy="Remove it"
            ) from error

    def find(self, row: Row) -> dict[str, Any] | None:
        """Returns the measurement of a row by any code; None without one.

        Absent weights, as after a training on another machine, are taken for the measured ones.
        """
        identity = _identity(row, self.selection)
        found = [stored for stored in self._stored if stored["identity"] == identity]
        if row.weights_path.is_file():
            digest = file_hash(row.weights_path)
            found = [stored for stored in found if stored["weights_sha256"] == digest]
        return found[-1] if found else None

    def store(self, row: Row, measured: dict[str, Any]) -> None:
        """Stores a measurement in place of an earlier one of the same row.

        Raises:
            StorageError: The file cannot be written.
        """
        identity = _identity(row, self.selection)
        others = [stored for stored in self._stored if stored["identity"] != identity]
        self._stored = [*others, {"identity": identity, **measured}]
        with replacing(self.path) as side:
            text = json.dumps({"measurements": self._stored}, indent=1)
            side.write_text(text + "\n", encoding="utf-8")


def _identity(row: Row, selection: Selection) -> dict[str, Any]:
    """Returns all that determines a measurement but the contents of the weights and the code."""
    config = row.config
    numbers = {**to_plain(config), "short_side": config.short_side}
    return {"weights": row.weights, "online": numbers, "data": selection.plain()}


def key_of(row: Row, selection: Selection, code: str) -> str:
    """Returns the SHA-256 of all that determines a measurement, hexadecimal."""
    identity = {**_identity(row, selection), "weights": file_hash(row.weights_path), "code": code}
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def code_version(root: Path = ROOT) -> str:
    """Returns the SHA-256 of the source code that determines masks and scores, hexadecimal."""
    digest = hashlib.sha256()
    for path in source_files(root):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def source_files(root: Path = ROOT) -> list[Path]:
    """Lists the files of `SOURCES` and of all modules of the package that they import."""
    finder = ModuleFinder(path=[str(root)])
    for name in SOURCES:
        finder.import_hook(f"deeplab_gygo.{name}")
    files = {Path(module.__file__) for module in finder.modules.values() if module.__file__}
    return sorted(files)
