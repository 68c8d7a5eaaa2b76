"""`demo`: the example clip, segmented from its first mask and measured."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deeplab_gygo.cli.options import (
    Request,
    add_common,
    add_run_options,
    run_settings,
    start_runner,
)
from deeplab_gygo.errors import UsageError
from deeplab_gygo.io.names import expanded

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

    from deeplab_gygo.runs.clip import Clip
    from deeplab_gygo.runs.settings import RunSettings

SUMMARY_NAME = "demo.json"
SHEET_NAME = "contact_sheet.png"
SHEET_FRAMES = 10


def demo_clip() -> Path:
    """Returns the folder of the example clip: `frames/00000.jpg`, ... and `masks/00000.png`, ...

    A rendered product clip of 25 frames, 854x480 pixels, with exact masks.

    Example:
        >>> sorted(path.name for path in demo_clip().iterdir())
        ['frames', 'masks']
    """
    return Path(str(resources.files("deeplab_gygo.cli") / "demo_clip"))


def add_arguments(parser: ArgumentParser, request: Request) -> None:
    """Adds the options of the command."""
    parser.add_argument("--out", type=str, required=True, metavar="DIR", help="folder to make")
    parser.add_argument(
        "--clip", type=str, metavar="DIR", help="another clip: a folder with frames/ and masks/"
    )
    add_run_options(parser, request)
    add_common(parser)


def run(options: Namespace) -> int:
    """Segments, measures, and prints the scores and where the results are."""
    from deeplab_gygo.io.output_folder import claimed

    settings = run_settings(options)
    out = expanded(options.out)
    if "masks" not in settings.outputs:
        raise UsageError("The demo measures masks", met=options.outputs, where="--outputs")
    # Files are replaced one by one; others in the folder stay.
    with claimed(out, settings.overwrite, marker=SUMMARY_NAME, list_files=None):
        return _segment_and_measure(options, settings, out)


def _segment_and_measure(options: Namespace, settings: RunSettings, out: Path) -> int:
    from deeplab_gygo.evaluation import evaluate, write_report
    from deeplab_gygo.io.listing import list_images
    from deeplab_gygo.runs.clip import open_clip

    source = expanded(options.clip) if options.clip else demo_clip()
    masks = list_images(source / "masks")
    clip = open_clip(source / "frames", masks[0] if masks else source / "masks", name="demo")
    # From here on the folder is marked as this command's, even if it is interrupted.
    _write_summary(out, {})
    record = start_runner(settings, options.debug).run(clip, out / "result")
    scores = evaluate(
        out / "result" / "masks", source / "masks", frames="drop-first", multi_object=False
    )
    write_report(scores, out / "scores")
    _write_sheet(out, clip, source / "masks")
    (row,) = scores.sequences[0].objects()
    summary = {
        "J": row.region.mean,
        "F": row.contour.mean,
        "frames": record.masks,
        "adaptation_seconds": record.adaptation_seconds,
        "total_seconds": record.total_seconds,
        "amortized_fps": record.amortized_fps,
    }
    _write_summary(out, summary)
    print(f"J              {row.region.mean:.3f}")
    print(f"F              {row.contour.mean:.3f}   (all frames but the given first one)")
    print(f"FPS            {record.amortized_fps:.2f}   ({record.frames} frames in "
          f"{record.total_seconds:.1f} s, {record.adaptation_seconds:.1f} s of them "
          f"fine-tuning; loading the model is excluded)")  # fmt: skip
    names = {
        "masks": "result/masks", "overlay": "result/overlay.mp4", "contact sheet": SHEET_NAME,
        "tables": "scores",
    }  # fmt: skip
    for name, path in names.items():
        if (out / path).exists():
            print(f"{name:<14} {out / path}")
    return 0


def _write_summary(out: Path, summary: dict[str, Any]) -> None:
    from deeplab_gygo.io.atomic import replacing

    with replacing(out / SUMMARY_NAME) as side:
        side.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")


def _write_sheet(out: Path, clip: Clip, truth: Path) -> None:
    """Writes some frames side by side, outlines of the results red and of the exact masks green."""
    from deeplab_gygo.io.masks import read_mask
    from deeplab_gygo.io.writers import write_png
    from deeplab_gygo.runs.contact_sheet import contact_sheet

    last = len(clip.sequence) - 1
    shown = sorted({round(last * k / (SHEET_FRAMES - 1)) for k in range(SHEET_FRAMES)})
    files = [f"{clip.sequence.frame_names[index]}.png" for index in shown]
    sheet = contact_sheet(
        [clip.sequence.frame(index) for index in shown],
        [read_mask(out / "result" / "masks" / name) for name in files],
        [read_mask(truth / name) for name in files],
    )
    write_png(out / SHEET_NAME, sheet)
