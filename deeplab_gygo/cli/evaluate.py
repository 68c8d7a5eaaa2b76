"""`evaluate`: J and F of masks against annotations, by the official protocol."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from deeplab_gygo.cli.options import add_common, add_dataset_options, require_together
from deeplab_gygo.errors import UsageError

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

POLICIES = ("official", "all", "drop-first")


def add_arguments(parser: ArgumentParser) -> None:
    """Adds the options of the command."""
    parser.add_argument(
        "--results", type=str, required=True, metavar="DIR",
        help="masks: <sequence>/<frame>.png or <sequence>/masks/<frame>.png",
    )  # fmt: skip
    add_dataset_options(parser, required=False, purpose="measure against this data set")
    parser.add_argument("--split", type=str, default="val", help="split, or path of a list")
    parser.add_argument(
        "--truth", type=str, metavar="DIR",
        help="measure against this folder of true masks instead of a data set",
    )  # fmt: skip
    parser.add_argument(
        "--frames", type=str, choices=POLICIES, default="official",
        help="frames that count: official leaves out the first and the last",
    )  # fmt: skip
    parser.add_argument(
        "--ignore-void", action="store_true", dest="ignore_void",
        help="leave pixels of id 255 out; the official code takes them for background",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=str, metavar="DIR", help="where the tables go [folder of the results]"
    )
    parser.add_argument("--jobs", type=int, default=1, help="sequences measured at a time")
    parser.add_argument(
        "--worst-first", action="store_true", dest="worst_first", help="sort the printed table"
    )
    add_common(parser)


def run(options: Namespace) -> int:
    """Measures, writes the tables and prints one."""
    require_together(options, "dataset", "root")
    if (options.truth is None) == (options.dataset is None):
        raise UsageError(
            "Masks are measured against a data set or against a folder of true masks",
            met="both" if options.truth else "neither",
            remedy="Give --dataset and --root, or --truth",
        )
    from deeplab_gygo.evaluation import text_table, write_report

    score = _against_folder(options) if options.truth else _against_dataset(options)
    files = write_report(score, Path(options.out or options.results).expanduser())
    print(text_table(score, worst_first=options.worst_first), end="")
    print(f"tables: {files[0].parent}")
    return 0


def _against_dataset(options: Namespace):
    from deeplab_gygo.datasets.registry import open_dataset
    from deeplab_gygo.evaluation import evaluate

    dataset = open_dataset(options.dataset, options.root, options.resolution)
    total = len(dataset.names(options.split))
    with _bar(options, total) as bar:
        return evaluate(
            Path(options.results).expanduser(), dataset, split=options.split,
            frames=options.frames, jobs=options.jobs, ignore_void=options.ignore_void,
            progress=lambda score: bar.update(),
        )  # fmt: skip


def _against_folder(options: Namespace):
    from deeplab_gygo.evaluation import evaluate

    with _bar(options, None) as bar:
        return evaluate(
            Path(options.results).expanduser(), Path(options.truth).expanduser(),
            frames=options.frames, jobs=options.jobs, ignore_void=options.ignore_void,
            progress=lambda score: bar.update(),
        )  # fmt: skip


def _bar(options: Namespace, total: int | None):
    from tqdm import tqdm

    return tqdm(total=total, desc="measure", unit="sequence", leave=False,
                disable=True if options.quiet else None)  # fmt: skip
