"""`batch`: every sequence of a split, or every video of a list, in one process."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from deeplab_gygo.cli.options import (
    Request,
    add_common,
    add_dataset_options,
    add_run_options,
    require_together,
    run_settings,
    start_runner,
)
from deeplab_gygo.cli.segment import add_keep_going
from deeplab_gygo.errors import BatchFailed, UsageError
from deeplab_gygo.io.names import expanded

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

    from deeplab_gygo.runs.batch import BatchResult


def add_arguments(parser: ArgumentParser, request: Request) -> None:
    """Adds the options of the command."""
    purpose = "kind of dataset, to segment a split of it"
    add_dataset_options(parser, request, required=False, purpose=purpose)
    parser.add_argument("--split", type=str, default="val", help="split, or path of a list")
    parser.add_argument(
        "--videos", type=str, metavar="LIST",
        help="instead of a dataset: .jsonl, .csv or .tsv with video, mask and optionally id and "
        "frame, or a folder of videos with masks beside them",
    )  # fmt: skip
    parser.add_argument("--out", type=str, required=True, metavar="DIR", help="folder of results")
    for flag, default, text in (
        ("--num-parts", 1, "number of parts, for processes or machines that share a batch"),
        ("--part-id", 0, "part to segment, from 0"),
    ):
        parser.add_argument(
            flag, type=int, default=default, metavar="N",
            help=text if request.show_all else argparse.SUPPRESS,
        )  # fmt: skip
    add_keep_going(parser)
    add_run_options(parser, request)
    add_common(parser)


def run(options: Namespace) -> int:
    """Segments what is not finished and prints a table; status 3 if a sequence failed."""
    settings = run_settings(options)
    require_together(options, "dataset", "root")
    if (options.videos is None) == (options.dataset is None):
        raise UsageError(
            "A batch is a split of a dataset or a list of videos",
            met="both" if options.videos else "neither",
            remedy="Give --dataset and --root, or --videos",
        )
    from deeplab_gygo.datasets.registry import open_dataset
    from deeplab_gygo.runs.batch import Batch
    from deeplab_gygo.runs.plan import part_of, plan_dataset, plan_videos

    if options.videos:
        items = plan_videos(options.videos, keep_going=options.keep_going)
    else:
        dataset = open_dataset(options.dataset, options.root, options.resolution)
        items = plan_dataset(dataset, options.split)
    items = part_of(items, options.num_parts, options.part_id)
    label = f"-{options.part_id}-of-{options.num_parts}" if options.num_parts > 1 else ""
    out = expanded(options.out)
    make_runner = partial(start_runner, debug=options.debug)
    result = Batch(items, settings, out, label, make_runner).run()
    report(result, out, options.dataset or "videos", Path(options.split).stem, label)
    return 0


def report(result: BatchResult, out: Path, dataset: str, split: str, label: str = "") -> None:
    """Prints the table of a batch and writes the official tables of its scores.

    Args:
        result: Result of the batch.
        out: Folder of the results; the tables of J and F go to `scores` in it.
        dataset: Kind of dataset, for the caption.
        split: Split, for the caption and the names of the tables.
        label: Of this part of the batch.

    Raises:
        BatchFailed: A sequence failed.
    """
    from deeplab_gygo.evaluation import DatasetScore, write_report

    print(result.table(), end="")
    if result.scores and any(score.counted for score in result.scores):
        score = DatasetScore(dataset, split, tuple(result.scores))
        write_report(score, out / f"scores{label}")
        print(score.frames_statement)
    print(f"results: {out}")
    if result.failures_file is not None:
        failed = [outcome.name for outcome in result.outcomes if outcome.status == "failed"]
        raise BatchFailed(
            "Every sequence of a batch is segmented",
            met=f"{len(failed)} of {len(result.outcomes)} failed: {', '.join(failed[:10])}"
            + ("..." if len(failed) > 10 else ""),
            where=result.failures_file,
            remedy="Correct what that file lists and run the same command again; finished "
            "sequences are skipped",
        )
