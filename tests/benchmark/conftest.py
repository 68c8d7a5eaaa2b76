"""A small benchmark with a runner that writes shifted annotations."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import yaml

from deeplab_gygo import __version__
from deeplab_gygo.benchmark.plan import BenchmarkConfig, cells_of
from deeplab_gygo.benchmark.run import run_missing
from deeplab_gygo.io.config_file import load_yaml
from deeplab_gygo.io.masks import write_mask
from deeplab_gygo.runs.output_directory import output_directory
from deeplab_gygo.runs.run_record import RunRecord

SEQUENCES = {"shoes/red": 8, "bag": 9, "cup": 10}
SHIFTS = {"shoes/red": 1, "bag": 6, "cup": 3}
"""Shift of the masks of a sequence in pixels; the square is 28 wide and stays inside the frame."""

FACTORS = {"copy": 2, "zero-shot": 1, "one-shot": 0}
"""Factor of the shifts by method, or by mode."""


def jaccard_of(shift: int) -> float:
    """Returns J of a square of 28 pixels shifted by some."""
    return (28 - shift) / (28 + shift)


class Oracle:
    """Runner that writes shifted annotations and logs the clips."""

    def __init__(self, settings, log, trouble):
        self.settings, self.log, self.trouble = settings, log, trouble

    def run(self, clip, out, *, keep_bars=True):
        settings = self.settings
        if clip.sequence.name in self.trouble:
            raise self.trouble[clip.sequence.name]
        key = settings.method if settings.method in FACTORS else settings.online.mode
        shift = FACTORS[key] * SHIFTS[clip.sequence.name]
        count = len(clip.sequence)
        given = settings.online.mode != "zero-shot"
        with output_directory(out) as folder:
            for frame in clip.sequence:
                moved = 0 if given and frame.index == 0 else shift
                mask = np.roll(clip.truth(frame.index), moved, axis=1)
                write_mask(folder / "masks" / f"{frame.name}.png", mask)
            record = RunRecord(
                command=["/somewhere/deeplab-gygo", "benchmark", "--out", "here"],
                config=settings.identity,
                seed=settings.seed,
                hashes={**clip.hashes(), "weights": settings.weights_hash},
                frames=count - given,
                adaptation_seconds=2.0,
                steps=3,
                frame_seconds=[0.5] * (count - given),
                hardware={"cpu": "Intel(R) Xeon(R) CPU @ 2.20GHz", "cores": 2, "gpu": None},
                versions={"deeplab-gygo": __version__, "python": "3.11.0", "numpy": "2.0"},
                name=clip.sequence.name,
                outputs=["masks"],
                masks=count,
                total_seconds=2.0 + 0.5 * (count - given),
                method=settings.method,
                trunk="" if settings.method == "copy" else "efficientnet_lite0",
            )
            record.write(folder)
        self.log.append((settings.method, settings.online.mode, clip.sequence.name))
        return record


@dataclass
class Bench:
    """A benchmark on disk.

    Attributes:
        root: Folder of data, configuration and results.
        log: Method, mode and sequence of every segmentation.
    """

    root: Path
    log: list[tuple[str, str, str]] = field(default_factory=list)

    @property
    def path(self) -> Path:
        return self.root / "benchmark.yaml"

    @property
    def out(self) -> Path:
        return self.root / "out"

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def config(self) -> BenchmarkConfig:
        return load_yaml(BenchmarkConfig, self.path)

    def change(self, **changes) -> None:
        """Changes keys of the configuration."""
        values = yaml.safe_load(self.path.read_text()) | changes
        self.path.write_text(yaml.safe_dump(values, sort_keys=False))

    def change_row(self, which: str, **changes) -> None:
        """Changes keys of a row."""
        rows = yaml.safe_load(self.path.read_text())["rows"]
        self.change(rows=[row | changes if row["name"] == which else row for row in rows])

    def cell(self, name: str):
        """Returns the cell of a row."""
        return next(cell for cell in cells_of(self.config, self.out) if cell.row.name == name)

    def measure(self, only: tuple[str, ...] = (), trouble: dict | None = None):
        """Runs the missing cells."""
        config = self.config
        return run_missing(
            cells_of(config, self.out, only), config, self.data,
            make_runner=lambda settings: Oracle(settings, self.log, trouble or {}),
        )  # fmt: skip


def write_bench(root: Path, make_dataset, weights: Path) -> Bench:
    """Writes data and configuration of a small benchmark."""
    bench = Bench(root)
    make_dataset(bench.data / "clips", SEQUENCES)
    deeplab = {"label": "DeepLabV3+", "method": "deeplab", "weights": str(weights),
               "trained_on": "squares"}  # fmt: skip
    bench.path.write_text(
        yaml.safe_dump(
            {
                "title": "A small benchmark, 100 % made up & true",
                "strips": 2,
                "datasets": [
                    {"name": "clips_val", "label": "Clips_val", "kind": "gygo", "root": "clips",
                     "note": "Moving squares.", "quoted": ["gygo-val"]}
                ],
                "rows": [
                    {"name": "copy", "label": "First mask copied", "method": "copy"},
                    {"name": "zero", "mode": "zero-shot", **deeplab},
                    {"name": "one", "mode": "one-shot", "variant": "exact", **deeplab},
                    {"name": "osmn", "label": "OSMN", "method": "osmn", "note": "VGG-16",
                     "weights": str(root / "osmn.npz"), "made_by": "experiments/osmn.yaml"},
                ],
            },
            sort_keys=False,
        )
    )  # fmt: skip
    return bench


@pytest.fixture
def bench(tmp_path, make_dataset, parent_header) -> Bench:
    """A benchmark without results."""
    return write_bench(tmp_path, make_dataset, parent_header)


@pytest.fixture(scope="session")
def measured(tmp_path_factory, make_dataset, parent_header) -> Bench:
    """A benchmark with all results it can have; not to be changed."""
    bench = write_bench(tmp_path_factory.mktemp("bench"), make_dataset, parent_header)
    bench.measure()
    return bench


@pytest.fixture(scope="session")
def rendered(measured):
    """The same with its report: results, files and the benchmark."""
    from deeplab_gygo.benchmark.report import render

    results, files = render(measured.config, measured.out, measured.data, measured.path.read_text())
    return results, files, measured
