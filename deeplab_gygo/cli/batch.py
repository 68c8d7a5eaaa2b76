"""`batch`: every sequence of a split, or every video of a list, by one worker or many."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
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
from deeplab_gygo.cli.scratch_options import add_scratch_options, use_scratch
from deeplab_gygo.cli.segment import add_keep_going
from deeplab_gygo.errors import BatchFailed, UsageError
from deeplab_gygo.io.storage import display, is_url, local_or_url

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
        "frame, - for one on standard input, or a folder or a quoted pattern of videos or pictures "
        "with masks beside them",
    )  # fmt: skip
    parser.add_argument(
        "--columns", type=str, metavar="video=COLUMN,...",
        help="names of the columns of the list: video=COLUMN,mask=COLUMN,id=COLUMN,frame=COLUMN",
    )  # fmt: skip
    parser.add_argument(
        "--dry-run", action="store_true", dest="dry_run",
        help="print what would be done and how long it would take, and end",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=str, required=True, metavar="DIR", help="folder of results, or its URL"
    )
    for flag, default, text in (
        ("--num-parts", 1, "number of parts, for processes or machines that share a batch"),
        ("--part-id", 0, "part to segment, from 0"),
    ):
        parser.add_argument(
            flag, type=int, default=default, metavar="N",
            help=text if request.show_all else argparse.SUPPRESS,
        )  # fmt: skip
    add_keep_going(parser)
    _add_worker_options(parser)
    add_scratch_options(parser, request)
    add_run_options(parser, request)
    add_common(parser)


def _add_worker_options(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("workers")
    group.add_argument(
        "--workers", type=int, metavar="N",
        help="number of workers, each with a network; by default one, and on a cluster as many as "
        "have room",
    )  # fmt: skip
    group.add_argument(
        "--cluster", type=str, metavar="WHERE",
        help="ray: the Ray cluster that runs here, or else a Ray of this machine; auto: the former "
        "only; ray://HOST:PORT: another cluster; processes: processes of this machine. By default "
        "several workers are a Ray of this machine, or processes where Ray is not installed",
    )  # fmt: skip
    group.add_argument(
        "--cpus-per-worker", type=int, metavar="N", dest="cpus_per_worker",
        help="threads of each; by default the workers share the cores of this machine, and have "
        "one each on a cluster",
    )  # fmt: skip
    group.add_argument(
        "--gpus-per-worker", type=float, default=0.0, metavar="X", dest="gpus_per_worker",
        help="GPUs of each; a fraction shares one",
    )  # fmt: skip
    group.add_argument(
        "--retries", type=int, default=1, metavar="N",
        help="how often a clip is begun again whose worker or machine ended",
    )  # fmt: skip


def run(options: Namespace) -> int:
    """Segments what is not finished and prints a table; status 3 if a sequence failed."""
    from deeplab_gygo.runs.workers import WorkerOptions

    use_scratch(options)
    workers = WorkerOptions(
        options.workers, options.cpus_per_worker, options.gpus_per_worker, options.cluster,
        options.retries,
    )  # fmt: skip
    settings = run_settings(options)
    require_together(options, "dataset", "root")
    if (options.videos is None) == (options.dataset is None):
        raise UsageError(
            "A batch is a split of a dataset or a list of videos",
            met="both" if options.videos else "neither",
            remedy="Give --dataset and --root, or --videos",
        )
    if options.columns is not None and not options.videos:
        raise UsageError(
            "Columns are those of a list of videos",
            met="--dataset",
            where="--columns",
            remedy="Leave --columns out, or give --videos",
        )
    from deeplab_gygo.datasets.registry import open_dataset
    from deeplab_gygo.runs.batch import Batch
    from deeplab_gygo.runs.plan import part_of, plan_dataset, plan_videos
    from deeplab_gygo.runs.video_list import parse_columns

    needs_mask = settings.online.mode != "zero-shot"
    if options.videos:
        columns = None if options.columns is None else parse_columns(options.columns)
        items = plan_videos(
            options.videos, columns=columns, keep_going=options.keep_going, needs_mask=needs_mask
        )
    else:
        dataset = open_dataset(options.dataset, options.root, options.resolution)
        items = plan_dataset(dataset, options.split, needs_mask=needs_mask)
    items = part_of(items, options.num_parts, options.part_id)
    label = f"-{options.part_id}-of-{options.num_parts}" if options.num_parts > 1 else ""
    out = local_or_url(options.out)
    if options.dry_run:
        from deeplab_gygo.runs.forecast import forecast

        print(forecast(items, settings, out, workers=workers.number or 1).text(), end="")
        return 0
    make_runner = partial(start_runner, debug=options.debug)
    result = Batch(items, settings, out, label, make_runner, workers=workers).run()
    report(result, out, options.dataset or "videos", Path(options.split).stem, label)
    return 0


def report(result: BatchResult, out: Path | str, dataset: str, split: str, label: str = "") -> None:
    """Prints the table of a batch and writes the official tables of its scores.

    Args:
        result: Result of the batch.
        out: Folder of the results, or its URL; the tables of J and F go to `scores` in it.
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
        with ExitStack() as stack:
            folder = Path(out)
            if is_url(out):
                from deeplab_gygo.runs.remote_batch import uploaded_folder

                folder = stack.enter_context(uploaded_folder(str(out)))
            write_report(score, folder / f"scores{label}")
        print(score.frames_statement)
    print(f"results: {display(out)}")
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
