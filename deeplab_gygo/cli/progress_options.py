"""The options of progress, which commands share."""

from __future__ import annotations

from contextlib import AbstractContextManager, closing
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

    from deeplab_gygo.runs.progress_displays import Count, Progress


def add_progress_option(parser: ArgumentParser) -> None:
    """Adds the choice of progress for programs."""
    parser.add_argument(
        "--json-progress", action="store_true", dest="json_progress",
        help="progress as lines of JSON on standard error, for programs",
    )  # fmt: skip


def shown(options: Namespace, count: Count) -> AbstractContextManager[Progress]:
    """Shows a count as the options ask for, within a `with` statement."""
    from deeplab_gygo.runs.progress_displays import make_progress

    kind = "json" if options.json_progress else "none" if options.quiet else "auto"
    return closing(make_progress(kind, count))
