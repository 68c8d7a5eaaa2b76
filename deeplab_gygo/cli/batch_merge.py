"""`batch-merge`: joins what the parts of a batch wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deeplab_gygo.cli.options import Request, add_common
from deeplab_gygo.io.storage import local_or_url

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

USAGE = "deeplab-gygo batch-merge OUT [OPTIONS]"


def add_arguments(parser: ArgumentParser, request: Request) -> None:
    """Adds the options of the command."""
    parser.add_argument(
        "out", type=str, metavar="OUT",
        help="folder that all parts of the batch were written to, or its URL",
    )  # fmt: skip
    add_common(parser)


def run(options: Namespace) -> int:
    """Writes summary, failures and scores of the whole; status 3 if a sequence failed."""
    from deeplab_gygo.cli.batch import report
    from deeplab_gygo.runs.batch_merge import merge_parts

    out = local_or_url(options.out)
    merged = merge_parts(out)
    report(merged.result, out, merged.dataset, merged.split)
    return 0
