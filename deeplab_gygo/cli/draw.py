"""`draw`: the mask of an object on one frame, from clicks or a box."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from deeplab_gygo.cli.options import Request, add_common
from deeplab_gygo.cli.scratch_options import add_scratch_options, use_scratch
from deeplab_gygo.errors import UsageError
from deeplab_gygo.io.names import expanded

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

USAGE = "deeplab-gygo draw INPUT --inside X,Y --out MASK.png [OPTIONS]"


def add_arguments(parser: ArgumentParser, request: Request) -> None:
    """Adds the options of the command."""
    parser.add_argument(
        "input", type=str, metavar="INPUT", help="video, or folder of frames; a path or URL"
    )
    parser.add_argument(
        "--inside", type=str, metavar="X,Y", action="append", default=[],
        help="a point on the object, pixels from the upper left corner; several times",
    )  # fmt: skip
    parser.add_argument(
        "--outside", type=str, metavar="X,Y", action="append", default=[],
        help="a point on the background, several times",
    )  # fmt: skip
    parser.add_argument(
        "--box", type=str, metavar="X0,Y0,X1,Y1", help="a box around the object, as of a detector"
    )
    parser.add_argument("--start", type=str, metavar="MASK", help="a mask that the points correct")
    parser.add_argument("--frame", type=str, help="name or index of the frame [the first]")
    parser.add_argument(
        "--out", type=str, required=True, metavar="MASK.png", help="the mask, for --mask of segment"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the file")
    add_scratch_options(parser, request)
    add_common(parser)


def run(options: Namespace) -> int:
    """Draws the mask, writes it, and prints its area as one line of JSON."""
    out = expanded(options.out)
    if out.suffix.lower() != ".png":
        raise UsageError("--out is a file of masks, .png", met=out.name)
    if out.exists() and not options.overwrite:
        raise UsageError(
            "--out is a new file", met="it exists", where=out, remedy="Add --overwrite"
        )
    inside, outside = (
        [_numbers(word, f"--{name}") for word in options[name]] for name in ("inside", "outside")
    )
    box = None if options.box is None else _numbers(options.box, "--box")

    from deeplab_gygo.inference.model import load
    from deeplab_gygo.io.writers import write_png
    from deeplab_gygo.runs.given_masks import find_frame
    from deeplab_gygo.runs.staging import local_masks, open_staged_clip

    use_scratch(options)
    sequence = open_staged_clip(options.input, None, needs_mask=False).sequence
    frame = 0 if options.frame is None else find_frame(sequence, options.frame)
    with local_masks(options.start) as start:
        mask = load().draw(sequence, frame, inside=inside, outside=outside, box=box, start=start)
    write_png(out, mask * 255)
    share = float(mask.mean())
    name = sequence.frame_names[frame]
    print(json.dumps({"mask": str(out), "frame": name, "object_share": round(share, 4)}))
    return 0


def _numbers(word: str, option: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in word.split(","))
    except ValueError as error:
        raise UsageError(
            f"{option} has numbers between commas", met=word, remedy="Write them as in 320,200"
        ) from error
