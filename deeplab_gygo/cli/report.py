"""`report`: a page to look at, of a finished clip or of a finished batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deeplab_gygo.cli.options import Request, add_common
from deeplab_gygo.errors import InputError, UsageError
from deeplab_gygo.io.names import expanded

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

USAGE = "deeplab-gygo report RESULT [--source INPUT]"


def add_arguments(parser: ArgumentParser, request: Request) -> None:
    """Adds the options of the command."""
    parser.add_argument(
        "result", type=str, metavar="RESULT", help="folder that was --out of segment or batch"
    )
    parser.add_argument(
        "--source", type=str, metavar="INPUT",
        help="video, or folder of frames, if it is not where it was segmented",
    )  # fmt: skip
    add_common(parser)


def run(options: Namespace) -> int:
    """Writes the report and prints its path."""
    from deeplab_gygo.runs.batch_report import is_batch, write_batch_report
    from deeplab_gygo.runs.report import refresh_clip_report
    from deeplab_gygo.runs.report_page import require_packages
    from deeplab_gygo.runs.result_files import RECORD_NAME

    require_packages()
    result = expanded(options.result)
    if (result / RECORD_NAME).is_file():
        path = refresh_clip_report(result, options.source)
    elif not is_batch(result):
        raise InputError(
            f"A finished clip has {RECORD_NAME}, a finished batch summary.json",
            met="neither" if result.is_dir() else "no such folder",
            where=result,
            remedy="Give the folder that was --out of segment or batch",
        )
    elif options.source is not None:
        raise UsageError(
            "--source belongs to the report of one clip",
            met="a batch",
            where=result,
            remedy="Leave --source out, or give the folder of one clip",
        )
    else:
        path = write_batch_report(result)
    print(f"report: {path}")
    return 0
