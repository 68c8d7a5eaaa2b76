"""The plan of a benchmark: rows (a method in a mode), datasets, and a cell for each pair."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from deeplab_gygo.datasets.registry import Dataset, open_dataset
from deeplab_gygo.errors import UsageError, WeightsError
from deeplab_gygo.evaluation.quoted import Quotations, read_quotations
from deeplab_gygo.inference.config import preset
from deeplab_gygo.io.config_file import MAX_SEED, check_range, from_dict, to_plain
from deeplab_gygo.io.escaping import printable
from deeplab_gygo.io.names import expanded, folded, safe_relative
from deeplab_gygo.methods import MethodName, find_method
from deeplab_gygo.models.config import Precision
from deeplab_gygo.models.weight_file import shipped_parent


@dataclass
class BenchmarkDataset:
    """One dataset of a benchmark.

    Attributes:
        name: Name of its folder of results.
        label: Name in tables and figures.
        kind: Layout on disk.
        root: Its folder, relative to the folder of the data.
        split: Split, or path of a list file.
        resolution: Folder below `JPEGImages`.
        note: Remark for readers, such as that it is synthetic.
        quoted: Sets of published scores shown beside it (`evaluation/quoted.yaml`).

    Raises:
        UsageError: The name is not a folder name, or a quoted set is unknown.
    """

    name: str
    label: str
    kind: Literal["gygo", "davis2016", "davis2017"]
    root: str = ""
    split: str = "val"
    resolution: str = "480p"
    note: str = ""
    quoted: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        _check_name(self.name)
        _check_known(f"quoted of {self.name}", self.quoted, read_quotations().sets)

    @property
    def quotations(self) -> Quotations:
        """The published scores shown beside it."""
        return read_quotations().only(self.quoted)

    def open(self, data_root: str | Path | None) -> Dataset | None:
        """Opens the dataset below the folder of the data; returns None if it is absent.

        Raises:
            InputError: The folder is not a dataset of this kind.
        """
        root = expanded(data_root or "") / expanded(self.root)
        if not os.path.isdir(root) or (data_root is None and not Path(self.root).is_absolute()):
            return None
        return open_dataset(self.kind, root, self.resolution)


@dataclass
class BenchmarkRow:
    """A method in one mode, with its options.

    Attributes:
        name: Name of its folder of results.
        label: Name of the method in tables and figures.
        method: The method.
        mode: Its mode; empty takes the default of the method.
        variant: Distinguishes rows of the same method and mode.
        preset: Preset of the method that the options start from; empty for the defaults.
        weights: Weights file, relative to the working directory; empty takes the shipped one.
        online: Options of the method that differ from its preset.
        note: Remark for readers, such as the backbone.
        trained_on: Material of the offline training, for tables.
        made_by: Experiment file that makes the weights, for messages.
        datasets: Names of its datasets; empty means all.

    Raises:
        UsageError: The name is not a folder name, or mode, preset, weights or an option do not
            exist in the method.
    """

    name: str
    label: str
    method: MethodName
    mode: str = ""
    variant: str = ""
    preset: str = ""
    weights: str = ""
    online: dict[str, Any] = field(default_factory=dict)
    note: str = ""
    trained_on: str = ""
    made_by: str = ""
    datasets: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        _check_name(self.name)
        method, where = find_method(self.method), f"row '{self.name}'"
        if self.mode and self.mode not in method.modes:
            raise UsageError(
                f"The modes of {self.method} are {', '.join(method.modes)}",
                met=self.mode,
                where=where,
            )
        if self.weights and self.is_classical:
            raise UsageError(
                f"The method {self.method} has no weights", met=self.weights, where=where
            )
        if "mode" in self.online:
            raise UsageError("The mode of a row is its key mode", met="online.mode", where=where)
        self.mode = self.mode or method.resolve("options")().mode
        self.online_config()

    @property
    def is_classical(self) -> bool:
        """Whether the method is a classical one without weights."""
        return not find_method(self.method).architecture

    @property
    def title(self) -> str:
        """Method, mode and variant; classical methods have one mode, which is left out."""
        words = self.label if self.is_classical else f"{self.label} {self.mode}"
        return f"{words} ({self.variant})" if self.variant else words

    @property
    def weights_path(self) -> Path | None:
        """File of the weights, present or not; None if none are needed or shipped."""
        if self.is_classical:
            return None
        try:
            return expanded(self.weights) if self.weights else shipped_parent(self.method)
        except WeightsError:
            return None

    @property
    def missing_weights(self) -> str:
        """A phrase on missing weights; empty if they are present or not needed."""
        path = self.weights_path
        if self.is_classical or (path is not None and os.path.isfile(path)):
            return ""
        made = f", made by {self.made_by}" if self.made_by else ""
        if self.weights:
            return f"weights missing: {self.weights}{made}"
        return f"no weights of {self.method} are shipped{made}"

    def online_config(self) -> Any:
        """Returns the options of the method with every default resolved.

        Raises:
            UsageError: An option is unknown or out of range.
        """
        values = to_plain(preset(self.preset, self.method, self.mode)) | self.online
        options = find_method(self.method).resolve("options")
        return from_dict(options, values, f"row '{self.name}', online")


@dataclass
class BenchmarkConfig:
    """A benchmark.

    Attributes:
        title: Title of the page.
        datasets: The datasets, in the order of the page.
        rows: The rows, in the order of the tables.
        precision: Numeric policy of all rows.
        seed: Seed of all rows.
        strips: Number of sequences per dataset shown as pictures, evenly from the worst to the
            best; 0 shows all.
        strip_rows: Names of the rows shown as pictures; empty shows all.

    Raises:
        UsageError: Datasets or rows are missing or share a name, or a name is unknown.
    """

    title: str = "Video object segmentation benchmark"
    datasets: list[BenchmarkDataset] = field(default_factory=list)
    rows: list[BenchmarkRow] = field(default_factory=list)
    precision: Precision = "auto"
    seed: int = 0
    strips: int = 4
    strip_rows: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        for kind, items in (("datasets", self.datasets), ("rows", self.rows)):
            names = [item.name for item in items]
            if not names or len(set(map(folded, names))) < len(names):
                raise UsageError(
                    f"A benchmark has {kind} with names that differ in more than case",
                    met=", ".join(names) or "none",
                )
        datasets, rows = ([item.name for item in items] for items in (self.datasets, self.rows))
        for row in self.rows:
            _check_known(f"datasets of row '{row.name}'", row.datasets, datasets)
        _check_known("strip_rows", self.strip_rows, rows)
        check_range(self, "strips", 0)
        check_range(self, "seed", 0, MAX_SEED)


@dataclass(frozen=True)
class Cell:
    """One row on one dataset, and the folder of its results."""

    row: BenchmarkRow
    dataset: BenchmarkDataset
    folder: Path

    @property
    def name(self) -> str:
        """Name of the cell in messages."""
        return f"{self.row.name} on {self.dataset.name}"


def cells_of(config: BenchmarkConfig, out: str | Path, only: Sequence[str] = ()) -> list[Cell]:
    """Lists the cells of a benchmark: dataset by dataset, all rows or `only` some by name.

    The results of a cell are in `<out>/cells/<dataset>/<row>/<sequence>`.

    Raises:
        UsageError: A row is unknown.
    """
    _check_known("--only", only, [row.name for row in config.rows])
    return [
        Cell(row, dataset, Path(out) / "cells" / dataset.name / row.name)
        for dataset in config.datasets
        for row in config.rows
        if (not only or row.name in only) and (not row.datasets or dataset.name in row.datasets)
    ]


def _check_name(name: str) -> None:
    rule = "A name of a row or dataset is a folder name of letters, digits, '.', '_' and '-'"
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise UsageError(rule, met=printable(name[:100]))
    safe_relative(name, "name", rule=rule, error=UsageError)


def _check_known(what: str, names: Sequence[str], known: Collection[str]) -> None:
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UsageError(f"{what} names some of {', '.join(known)}", met=", ".join(unknown))
