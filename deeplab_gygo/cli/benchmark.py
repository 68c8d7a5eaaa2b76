"""`benchmark`: every method in every mode on every dataset, then one page and its tables."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

from deeplab_gygo.cli.options import Request, add_common, start_runner
from deeplab_gygo.errors import BatchFailed, UsageError
from deeplab_gygo.io.names import expanded

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

    from deeplab_gygo.benchmark.run import Trouble

DATA_VARIABLE = "DEEPLAB_GYGO_DATA"
"""Environment variable that names the folder of the data where no option does."""


def add_arguments(parser: ArgumentParser, request: Request) -> None:
    """Adds the options of the command."""
    parser.add_argument(
        "--config", type=str, required=True, metavar="FILE",
        help="YAML file that names datasets and rows, such as experiments/benchmark.yaml",
    )  # fmt: skip
    parser.add_argument(
        "--data-root", type=str, dest="data_root", metavar="DIR",
        help=f"folder that the roots of datasets start at [environment variable {DATA_VARIABLE}]",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=str, required=True, metavar="DIR", help="folder of results, tables and page"
    )
    parser.add_argument(
        "--only", type=str, metavar="NAMES",
        help="measure these rows only, names with commas; the page shows all results",
    )  # fmt: skip
    parser.add_argument(
        "--render", action="store_true",
        help="measure nothing: write tables and page of the existing results",
    )  # fmt: skip
    add_common(parser)


def run(options: Namespace) -> int:
    """Measures what is missing and writes everything; status 3 if a sequence failed."""
    from deeplab_gygo.benchmark.plan import BenchmarkConfig, cells_of
    from deeplab_gygo.benchmark.report import render, require_packages
    from deeplab_gygo.benchmark.tables import dataset_tables, text
    from deeplab_gygo.io.config_file import load_yaml

    path, out = expanded(options.config), expanded(options.out)
    config = load_yaml(BenchmarkConfig, path)
    only = tuple(name.strip() for name in (options.only or "").split(",") if name.strip())
    if only and options.render:
        raise UsageError(
            "--only chooses what is measured, and --render measures nothing",
            met="both",
            remedy="Leave one of them out",
        )
    cells = cells_of(config, out, only)
    data_root = options.data_root or os.environ.get(DATA_VARIABLE) or None
    require_packages()  # of the page, before hours of measuring
    troubles: list[Trouble] = []
    if not options.render:
        if data_root is None or not expanded(data_root).is_dir():
            raise UsageError(
                f"--data-root, or the environment variable {DATA_VARIABLE}, names a folder",
                met=data_root or "neither",
                remedy="Give --data-root, or --render to show existing results",
            )
        from deeplab_gygo.benchmark.run import run_missing

        make_runner = partial(start_runner, debug=options.debug)
        troubles = run_missing(
            cells, config, data_root, progress=not options.quiet, make_runner=make_runner
        )
    results, files = render(config, out, data_root, path.read_text(encoding="utf-8"))
    datasets = list({result.dataset.name: result.dataset for result in results}.values())
    for table in dataset_tables(datasets, results):
        print(text(table), end="\n\n")
    print(f"page: {files[0]}")
    failed = [trouble for trouble in troubles if trouble.failed]
    if failed:
        raise BatchFailed(
            "Every cell with data and weights is measured",
            met="; ".join(f"{trouble.cell.name}: {trouble.message}" for trouble in failed),
            remedy="Correct what is named and run the same command again; finished cells are kept",
        )
    return 0
