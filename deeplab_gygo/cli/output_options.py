"""Options of the command line for the kinds of results."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deeplab_gygo.runs.output_kinds import (
    ANNOTATIONS,
    COLORS,
    DEFAULT_OUTPUTS,
    PICTURES,
    VIDEOS,
    OutputOptions,
)

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace


def add_output_options(parser: ArgumentParser) -> None:
    """Adds the kinds of results and their options."""
    default = OutputOptions()
    parser.add_argument(
        "--outputs", type=str, default=",".join(DEFAULT_OUTPUTS), metavar="LIST",
        help=f"results to write. Pictures: {', '.join(PICTURES)}; videos: {', '.join(VIDEOS)}; "
        f"annotations: {', '.join(ANNOTATIONS)}; report: a page to look at",
    )  # fmt: skip
    parser.add_argument(
        "--background", type=str, default=default.background, metavar="BACK",
        help=f"of the output background: {', '.join(COLORS)}, #RRGGBB, or a picture",
    )  # fmt: skip
    parser.add_argument(
        "--foreground", action="store_true", help="edges without colors of the old background"
    )
    parser.add_argument("--smooth", action="store_true", help="steadier edges of cut-outs")
    parser.add_argument(
        "--spin", type=int, default=default.spin, metavar="N", help="pictures of the output spin"
    )


def output_kinds(options: Namespace) -> tuple[str, ...]:
    """Returns the names given by `--outputs`."""
    return tuple(name.strip() for name in options.outputs.split(",") if name.strip())


def output_options(options: Namespace) -> OutputOptions:
    """Makes the options of the kinds from those of the command line.

    Raises:
        UsageError: A value is out of range, or there is no such picture.
        DependencyError: The package that estimates colors is missing.
    """
    return OutputOptions(
        background=options.background,
        foreground=options.foreground,
        smooth=options.smooth,
        spin=options.spin,
    )
