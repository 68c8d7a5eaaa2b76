"""What made the results: commands, machines, versions, weights."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from deeplab_gygo.benchmark.results import CellResult
from deeplab_gygo.runs.sequence_record import COUNTED

TIMES = COUNTED
"""What the times of the records count."""

PROGRAM = "deeplab-gygo"


@dataclass(frozen=True)
class Environment:
    """A machine with its software, and the cells that ran there.

    Attributes:
        hardware: What `outputs.environment` found: processor, cores, accelerator.
        versions: Of the package, Python, and what the results lean on.
        cells: Names of the cells.
    """

    hardware: dict[str, Any]
    versions: dict[str, str]
    cells: tuple[str, ...]


@dataclass(frozen=True)
class WeightsUsed:
    """Weights of some rows.

    Attributes:
        sha256: Hash of the file, hexadecimal.
        trunk: The trunk, and where its first weights are from as far as the file says it.
        rows: Titles of the rows.
    """

    sha256: str
    trunk: str
    rows: tuple[str, ...]


def environments(results: Sequence[CellResult]) -> list[Environment]:
    """Lists the machines and versions that results were made with, each once."""
    found: dict[str, tuple[dict[str, Any], dict[str, str], list[str]]] = {}
    for result in results:
        for record in result.records:
            key = json.dumps([record.hardware, record.versions], sort_keys=True)
            cells = found.setdefault(key, (record.hardware, record.versions, []))[2]
            if result.cell.name not in cells:
                cells.append(result.cell.name)
    return [Environment(h, v, tuple(cells)) for h, v, cells in found.values()]


def commands(results: Sequence[CellResult]) -> list[str]:
    """Lists the command lines that made the results, each once."""
    lines = {}
    for result in results:
        for record in result.records:
            # The first word is the path of the installed script or of the module.
            lines[shlex.join([PROGRAM, *record.command[1:]])] = None
    return list(lines)


def weights_used(results: Sequence[CellResult]) -> list[WeightsUsed]:
    """Lists the weights that results were made with, each once; references have none."""
    found: dict[tuple[str, str], list[str]] = {}
    for result in results:
        if result.records and not result.row.is_reference:
            record = result.records[0]
            rows = found.setdefault((record.hashes["weights"], record.trunk), [])
            if result.row.title not in rows:
                rows.append(result.row.title)
    return [WeightsUsed(digest, trunk, tuple(rows)) for (digest, trunk), rows in found.items()]
