"""What a benchmark consists of: rows (a method in a mode), data sets, and a cell for each pair."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from deeplab_gygo.errors import UsageError
from deeplab_gygo.evaluation.quoted import Quotations, read_quotations
from deeplab_gygo.inference.config import check_preset, preset
from deeplab_gygo.io.config_file import from_dict, load_yaml, to_plain
from deeplab_gygo.methods import MethodName, find_method
from deeplab_gygo.models.config import Precision

CELL_FOLDER = "cells"
"""Folder of the results below the output folder: `cells/<data set>/<row>/<sequence>`."""


@dataclass
class BenchmarkDataset:
    """One data set of a benchmark.

    Attributes:
        name: Name of its folder among the results.
        label: Name in tables and figures.
        kind: How it lies on disk.
        root: Its folder; a relative one starts at the folder of the data.
        split: Split, or path of a list file.
        resolution: Folder below `JPEGImages`.
        note: What a reader must know of it, such as that it is synthetic.
        quoted: Sets of published values that stand beside it, of `evaluation/quoted.yaml`.
    """

    name: str
    label: str
    kind: Literal["gygo", "davis2016", "davis2017"]
    root: str = ""
    split: str = "val"
    resolution: str = "480p"
    note: str = ""
    quoted: list[str] = field(default_factory=list)


@dataclass
class BenchmarkRow:
    """A method in one mode, with its numbers.

    Attributes:
        name: Name of its folder among the results.
        label: Name of the method in tables and figures.
        method: The method.
        mode: Its mode; empty takes the method's default.
        variant: What tells it from other rows of the same method and mode.
        preset: Preset of the method that the options start from; empty for its defaults.
        weights: Parent file, from the working directory; empty takes the shipped one.
        online: Options of the method that differ from its defaults, or from the preset's.
        note: What a reader must know of it, such as the trunk.
        made_by: Experiment file that makes the weights, for the message where they are missing.
        datasets: Names of the data sets that it runs on; empty means all.
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
    made_by: str = ""
    datasets: list[str] = field(default_factory=list)

    @property
    def mode_in_force(self) -> str:
        """The mode, the method's default resolved."""
        return self.mode or find_method(self.method).resolve("options")().mode

    @property
    def is_reference(self) -> bool:
        """Whether the method is a classical reference, which has no weights."""
        return not find_method(self.method).architecture

    @property
    def title(self) -> str:
        """Method, mode and variant in one; references have one mode, which goes without saying."""
        words = self.label if self.is_reference else f"{self.label} {self.mode_in_force}"
        return f"{words} ({self.variant})" if self.variant else words

    def online_config(self) -> Any:
        """Makes the options of the method, every default resolved.

        Returns:
            An instance of the method's class of `ONLINE_CONFIGS`.

        Raises:
            UsageError: An option is unknown or has a wrong value.
        """
        values = to_plain(preset(self.preset, self.method))
        values |= {"mode": self.mode} if self.mode else {}
        return from_dict(
            find_method(self.method).resolve("options"),
            values | self.online,
            f"row '{self.name}', online",
        )


@dataclass
class BenchmarkConfig:
    """A benchmark.

    Attributes:
        title: Title of the page.
        datasets: The data sets, in the order of the page.
        rows: The rows, in the order of the tables.
        precision: Numeric policy of all rows.
        seed: Seed of all rows.
        strips: Sequences of a data set that are shown as pictures, from the worst to the best;
            0 shows all.
        strip_rows: Names of the rows that are shown as pictures; empty shows all.
    """

    title: str = "Video object segmentation benchmark"
    datasets: list[BenchmarkDataset] = field(default_factory=list)
    rows: list[BenchmarkRow] = field(default_factory=list)
    precision: Precision = "auto"
    seed: int = 0
    strips: int = 4
    strip_rows: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Cell:
    """One row on one data set.

    Attributes:
        row: The row.
        dataset: The data set.
        folder: Folder of the results.
    """

    row: BenchmarkRow
    dataset: BenchmarkDataset
    folder: Path

    @property
    def name(self) -> str:
        """Names the cell in messages."""
        return f"{self.row.name} on {self.dataset.name}"


def load_benchmark(path: str | Path) -> BenchmarkConfig:
    """Reads and checks a benchmark.

    Args:
        path: YAML file of a `BenchmarkConfig`.

    Returns:
        The benchmark.

    Raises:
        UsageError: The file is missing, or a key or value in it cannot be used.
    """
    config = load_yaml(BenchmarkConfig, path)
    if not (config.datasets and config.rows):
        raise UsageError("A benchmark has data sets and rows", met="none", where=path)
    names = [item.name for item in config.datasets]
    rows = [item.name for item in config.rows]
    for kind, listed in (("data set", names), ("row", rows)):
        _check_names(kind, listed, path)
    for row in config.rows:
        _check_row(row, names, path)
    _check_known("strip_rows", config.strip_rows, rows, path)
    known = list(read_quotations().sets)
    for item in config.datasets:
        _check_known(f"quoted of {item.name}", item.quoted, known, path)
    if config.strips < 0:
        raise UsageError("strips is 0 or more", met=config.strips, where=path)
    if config.seed < 0:
        raise UsageError("A seed is 0 or more", met=config.seed, where=path)
    return config


def cells_of(config: BenchmarkConfig, out: str | Path, only: tuple[str, ...] = ()) -> list[Cell]:
    """Lists the cells of a benchmark, data set by data set, in the order of its rows.

    Args:
        config: The benchmark.
        out: Output folder.
        only: Names of rows; empty takes all.

    Returns:
        The cells.

    Raises:
        UsageError: There is no such row.
    """
    _check_known("--only", list(only), [row.name for row in config.rows], "command line")
    return [
        Cell(row, dataset, Path(out) / CELL_FOLDER / dataset.name / row.name)
        for dataset in config.datasets
        for row in config.rows
        if (not only or row.name in only) and (not row.datasets or dataset.name in row.datasets)
    ]


def quotations_of(dataset: BenchmarkDataset) -> Quotations:
    """Returns the published values that stand beside a data set, in the order it names them."""
    return read_quotations().only(dataset.quoted)


def _check_names(kind: str, names: list[str], where: str | Path) -> None:
    """Checks that names are folders, and each there once."""
    for name in names:
        if not re.fullmatch(r"\w[\w.-]*", name):
            raise UsageError(
                f"The name of a {kind} is letters, digits, '.', '_' and '-'", met=name, where=where
            )
        if names.count(name) > 1:
            raise UsageError(
                f"Every {kind} of a benchmark has its own name", met=f"'{name}' twice", where=where
            )


def _check_row(row: BenchmarkRow, datasets: list[str], path: str | Path) -> None:
    where = f"{path}, row '{row.name}'"
    if row.mode and row.mode not in find_method(row.method).modes:
        raise UsageError(
            f"The modes of {row.method} are {', '.join(find_method(row.method).modes)}",
            met=row.mode,
            where=where,
        )
    check_preset(row.preset, row.method)
    if row.is_reference and row.weights:
        raise UsageError(f"The method {row.method} has no weights", met=row.weights, where=where)
    if "mode" in row.online:
        raise UsageError("The mode of a row is its key mode", met="online.mode", where=where)
    row.online_config()
    _check_known("datasets", row.datasets, datasets, where)


def _check_known(what: str, names: list[str], known: list[str], where: str | Path) -> None:
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UsageError(
            f"{what} names some of {', '.join(known)}", met=", ".join(unknown), where=where
        )
