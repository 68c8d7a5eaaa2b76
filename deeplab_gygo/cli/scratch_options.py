"""The options of local copies of what URLs lead to, which commands share."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from deeplab_gygo.cli.options import Request
from deeplab_gygo.io.scratch import DEFAULT_BYTES, configure_scratch

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace


def add_scratch_options(parser: ArgumentParser, request: Request) -> None:
    """Adds the place and size of local copies of what URLs lead to; see `use_scratch`."""
    parser.add_argument(
        "--scratch", type=str, metavar="DIR",
        help="folder for local copies of what URLs lead to, on a fast disk"
        if request.show_all else argparse.SUPPRESS,
    )  # fmt: skip
    parser.add_argument(
        "--scratch-gb", type=float, metavar="GB", dest="scratch_gb",
        help=f"largest size of it (default {DEFAULT_BYTES / 1e9:g})"
        if request.show_all else argparse.SUPPRESS,
    )  # fmt: skip


def use_scratch(options: Namespace) -> None:
    """Sets the scratch folder of the process by the options of `add_scratch_options`.

    Raises:
        UsageError: The size is none.
    """
    size = options.scratch_gb
    configure_scratch(options.scratch, None if size is None else size * 1e9)
