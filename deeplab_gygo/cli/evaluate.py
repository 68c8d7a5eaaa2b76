"""`evaluate`: J and F of masks against annotations, by the official protocol."""

from __future__ import annotations

import itertools
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from deeplab_gygo.cli.options import (
    Request,
    add_common,
    add_dataset_options,
    require_together,
)
from deeplab_gygo.cli.progress_options import add_progress_option, shown
from deeplab_gygo.cli.scratch_options import add_scratch_options, use_scratch
from deeplab_gygo.errors import UsageError
from deeplab_gygo.io.masks import MASK_FORMATS
from deeplab_gygo.io.storage import display, is_url, local_or_url

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

POLICIES = ("official", "all", "drop-first")


def add_arguments(parser: ArgumentParser, request: Request) -> None:
    """Adds the options of the command."""
    parser.add_argument(
        "--results", type=str, required=True, metavar="DIR",
        help="folder of masks, or its URL: <sequence>/<frame>.png or <sequence>/masks/<frame>.png, "
        "also below Annotations; a result of segment or batch as it is",
    )  # fmt: skip
    purpose = "kind of dataset, to measure against its annotations"
    add_dataset_options(parser, request, required=False, purpose=purpose)
    parser.add_argument("--split", type=str, default="val", help="split, or path of a list")
    parser.add_argument(
        "--truth", type=str, metavar="DIR",
        help="folder of ground-truth masks, or its URL, instead of a dataset",
    )  # fmt: skip
    parser.add_argument(
        "--frames", type=str, choices=POLICIES, default="official",
        help="frames that count; official excludes the first and the last",
    )  # fmt: skip
    parser.add_argument(
        "--ignore-void", action="store_true", dest="ignore_void",
        help="exclude pixels of id 255; the official code counts them as background",
    )  # fmt: skip
    parser.add_argument(
        "--mask-format", type=str, choices=MASK_FORMATS, default="auto", dest="mask_format",
        help="encoding of the results",
    )  # fmt: skip
    parser.add_argument(
        "--truth-format", type=str, choices=MASK_FORMATS, default="auto", dest="truth_format",
        help="encoding of the masks of --truth",
    )  # fmt: skip
    parser.add_argument(
        "--out",
        type=str,
        metavar="DIR",
        help="folder of the tables, or its URL [that of the results]",
    )
    parser.add_argument("--jobs", type=int, default=1, help="sequences measured in parallel")
    parser.add_argument(
        "--worst-first", action="store_true", dest="worst_first", help="sort the printed table"
    )
    add_progress_option(parser)
    add_scratch_options(parser, request)
    add_common(parser)


def run(options: Namespace) -> int:
    """Measures, writes the tables and prints one."""
    require_together(options, "dataset", "root")
    if (options.truth is None) == (options.dataset is None):
        raise UsageError(
            "Masks are measured against a dataset or a folder of ground-truth masks",
            met="both" if options.truth else "neither",
            remedy="Give --dataset and --root, or --truth",
        )
    from deeplab_gygo.datasets.registry import open_dataset
    from deeplab_gygo.evaluation import evaluate, text_table, write_report
    from deeplab_gygo.runs.progress_displays import Count

    use_scratch(options)
    truth, split, total = local_or_url(options.truth or ""), {}, None
    if options.dataset:
        truth = open_dataset(options.dataset, options.root, options.resolution)
        split, total = {"split": options.split}, len(truth.names(options.split))
    out = local_or_url(options.out or options.results)
    numbers = itertools.count(1)
    folder, count = Path(out), Count("measure", "sequence", total, keep=False)
    with ExitStack() as stack:
        if is_url(out):
            from deeplab_gygo.runs.remote_batch import uploaded_folder

            folder = stack.enter_context(uploaded_folder(str(out)))
        progress = stack.enter_context(shown(options, count))
        score = evaluate(
            local_or_url(options.results), truth, **split, frames=options.frames,
            jobs=options.jobs, ignore_void=options.ignore_void,
            mask_format=options.mask_format, truth_format=options.truth_format,
            progress=lambda score: progress.update(next(numbers)),
        )  # fmt: skip
        write_report(score, folder)
    print(text_table(score, worst_first=options.worst_first), end="")
    print(f"tables: {display(out)}")
    return 0
