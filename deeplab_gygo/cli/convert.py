"""`convert`: masks of a result in the formats of annotation tools and benchmarks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deeplab_gygo.cli.options import Request, add_common
from deeplab_gygo.io.annotations.writers import ANNOTATION_KINDS
from deeplab_gygo.io.escaping import printable
from deeplab_gygo.io.names import expanded

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace


def add_arguments(parser: ArgumentParser, request: Request) -> None:
    """Adds the options of the command."""
    parser.add_argument(
        "result", type=str, metavar="RESULT", help="folder of a result, of a clip or of a batch"
    )
    parser.add_argument(
        "--to", type=str, required=True, choices=list(ANNOTATION_KINDS),
        help="format; davis-results is <clip>/<frame>.png, as evaluation tools read it",
    )  # fmt: skip
    parser.add_argument("--out", type=str, required=True, metavar="DIR", help="folder to make")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace the files of an earlier conversion"
    )
    add_common(parser)


def run(options: Namespace) -> int:
    """Converts, and prints what was written."""
    from deeplab_gygo.runs.convert import convert
    from deeplab_gygo.runs.progress_displays import Count, make_progress

    files = convert(
        options.result, options.to, options.out, overwrite=options.overwrite,
        progress=lambda total: make_progress(
            "none" if options.quiet else "auto", Count("convert", "frame", total, keep=False)
        ),
    )  # fmt: skip
    noun = "file" if len(files) == 1 else "files"
    print(printable(f"{expanded(options.out)}: {options.to}, {len(files)} {noun}"))
    return 0
