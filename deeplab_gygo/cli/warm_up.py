"""`warm-up`: compiles the programs of a GPU ahead and keeps them, for the image of a container."""

from __future__ import annotations

import logging
import re
import time
from typing import TYPE_CHECKING

from deeplab_gygo.cli.options import Request, add_common, start_runner
from deeplab_gygo.errors import UsageError

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

logger = logging.getLogger(__name__)

USAGE = "deeplab-gygo warm-up [--size HEIGHTxWIDTH ...] [--preset NAME ...] [OPTIONS]"

MIN_SIDE, MAX_SIDE = 16, 16384
"""Pixels."""


def add_arguments(parser: ArgumentParser, request: Request) -> None:
    """Adds the options of the command."""
    from deeplab_gygo.inference.config import DEFAULT_PRESET, OnlineConfig
    from deeplab_gygo.methods import find_method

    parser.add_argument(
        "--size", type=str, nargs="+", default=["480x854"], metavar="HEIGHTxWIDTH",
        help="sizes of the frames to come, pixels",
    )  # fmt: skip
    parser.add_argument(
        "--preset", type=str, nargs="+", choices=list(OnlineConfig.PRESETS),
        default=[DEFAULT_PRESET], help="presets of the runs to come",
    )  # fmt: skip
    parser.add_argument(
        "--mode", type=str, choices=find_method("deeplab").modes, default=None,
        help="mode of the runs to come",
    )  # fmt: skip
    parser.add_argument("--weights", type=str, metavar="FILE", help="parent instead of the shipped")
    parser.add_argument("--precision", type=str, default="auto", help="as in the runs to come")
    add_common(parser)


def run(options: Namespace) -> int:
    """Compiles, and names the folder of the programs."""
    from deeplab_gygo.io.atomic import cache_folder
    from deeplab_gygo.runs.environment import keras_backend
    from deeplab_gygo.runs.settings import make_settings

    sizes = [_size(text) for text in options.size]
    if keras_backend() != "jax":
        raise UsageError(
            "Programs are kept by the JAX backend",
            met=keras_backend(),
            where="environment variable KERAS_BACKEND",
            remedy="Set KERAS_BACKEND=jax",
        )
    for preset in options.preset:
        settings = make_settings(
            preset_name=preset, mode=options.mode, weights=options.weights,
            precision=options.precision, progress=False,
        )  # fmt: skip
        runner = start_runner(settings, options.debug)
        for height, width in sizes:
            started = time.monotonic()
            runner.prepare((height, width))
            seconds = time.monotonic() - started
            logger.info("%s, %dx%d: %.1f s", preset, height, width, seconds)
    print(cache_folder() / "programs")
    return 0


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
    size = (int(match[1]), int(match[2])) if match else (0, 0)
    if not MIN_SIDE <= min(size) <= max(size) <= MAX_SIDE:
        raise UsageError(
            f"A size is HEIGHTxWIDTH in pixels, {MIN_SIDE} to {MAX_SIDE} each",
            met=text,
            where="--size",
            remedy="Write it like 480x854",
        )
    return size
