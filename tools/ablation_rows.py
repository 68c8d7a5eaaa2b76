"""Rows of the ablation table, and what was measured of them before."""

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
    "backbone", "output stride", "data mix", "guide on/off", "decoder or full", "steps", "views",
    "online adaptation", "refinement", "memory", "distractors",
]  # fmt: skip
"""What a row is about, in the order of the table."""

SOURCES = ("batch.stream", "evaluation.streaming", "online.segmenter")
"""Modules that masks and scores follow from, with all that they import."""


@dataclass(frozen=True)
class Row:
    """One row of the table.

    Attributes:
        name: Its name, which no other row has.
        group: What it is about.
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
        """Every number of the row."""
        start = preset(self.preset)
        if not self.online:
            return start
        changed = {**to_plain(start), **self.online}
        return from_dict(OnlineConfig, changed, f"row {self.name}")

    @property
    def experiment(self) -> str:
        """The file that makes the weights; empty for the shipped ones."""
        return f"experiments/{Path(self.weights).parent.name}.yaml" if self.weights else ""

    @property
    def weights_path(self) -> Path:
        """The parent file, whether it is there or not."""
        return ROOT / Path(self.weights).expanduser() if self.weights else shipped_parent()


@dataclass(frozen=True)
class Selection:
    """The frames that all rows are measured on.

    Attributes:
        dataset: Kind of data set.
        split: Split, for the caption.
        sequences: Names. The five are held back in `experiments/parent_*.yaml`.
        stride: Every how many frames are taken; motion gets faster by as much.
        resolution: Folder below `JPEGImages`.
        seed: Of everything random.
    """

    dataset: str = "davis2016"
    split: str = "train"
    sequences: tuple[str, ...] = ("boat", "dance-jump", "mallard-fly", "scooter-gray", "soccerball")
    stride: int = 3
    resolution: str = "480p"
    seed: int = 0

    def plain(self) -> dict[str, Any]:
        """Returns plain values, as JSON gives them back."""
        return {**asdict(self), "sequences": list(self.sequences)}


def read_rows(path: Path) -> list[Row]:
    """Reads the rows of a table and checks all of them.

    Args:
        path: YAML file: a list of rows.

    Returns:
        The rows.

    Raises:
        UsageError: The file is no such list, or a row has a wrong key or value.
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
            raise UsageError("Every row has a name of its own", met=row.name, where=path)
        _ = row.config  # refuses what it cannot take
    return rows


class Results:
    """The measurements that are kept in a file.

    Args:
        path: JSON file; need not exist yet.
        selection: The frames in question.

    Raises:
        InputError: The file is damaged.
    """

    def __init__(self, path: Path, selection: Selection):
        self.path, self.selection = path, selection
        self._kept: list[dict[str, Any]] = []
        try:
            if path.is_file():
                self._kept = json.loads(path.read_text(encoding="utf-8"))["measurements"]
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                "Results are JSON with measurements", met=error, where=path, remedy="Remove it"
            ) from error

    def find(self, row: Row) -> dict[str, Any] | None:
        """Returns what was measured of a row, by whatever code; None where nothing was.

        Weights that are not there, as after a training on another machine, are taken to be those
        that were measured.
        """
        identity = _identity(row, self.selection)
        found = [kept for kept in self._kept if kept["identity"] == identity]
        if row.weights_path.is_file():
            digest = file_hash(row.weights_path)
            found = [kept for kept in found if kept["weights_sha256"] == digest]
        return found[-1] if found else None

    def keep(self, row: Row, measured: dict[str, Any]) -> None:
        """Keeps a measurement in the place of an earlier one of the same row.

        Raises:
            StorageError: The file cannot be written.
        """
        identity = _identity(row, self.selection)
        others = [kept for kept in self._kept if kept["identity"] != identity]
        self._kept = [*others, {"identity": identity, **measured}]
        with replacing(self.path) as side:
            text = json.dumps({"measurements": self._kept}, indent=1)
            side.write_text(text + "\n", encoding="utf-8")


def _identity(row: Row, selection: Selection) -> dict[str, Any]:
    """What a row measures, but for the contents of its weights and the code."""
    config = row.config
    numbers = {**to_plain(config), "short_side": config.short_side}
    return {"weights": row.weights, "online": numbers, "data": selection.plain()}


def key_of(row: Row, selection: Selection, code: str) -> str:
    """Hashes all that a measurement follows from: SHA-256, hexadecimal."""
    identity = {**_identity(row, selection), "weights": file_hash(row.weights_path), "code": code}
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def code_version(root: Path = ROOT) -> str:
    """Hashes the sources that masks and scores follow from: SHA-256, hexadecimal."""
    digest = hashlib.sha256()
    for path in source_files(root):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def source_files(root: Path = ROOT) -> list[Path]:
    """Lists `SOURCES` and all of the package that they import, configurations left out.

    The numbers of a configuration that are in force are part of a row already, and those of a
    training do not matter.
    """
    finder = ModuleFinder(path=[str(root)])
    for name in SOURCES:
        finder.import_hook(f"deeplab_gygo.{name}")
    files = {Path(module.__file__) for module in finder.modules.values() if module.__file__}
    return sorted(files - {root / "deeplab_gygo" / "config.py"})
