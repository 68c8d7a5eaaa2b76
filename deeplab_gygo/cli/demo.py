"""`demo`: a rendered product clip, segmented from its first mask and measured."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from deeplab_gygo.cli.options import add_common, add_run_options, run_settings, start_runner
from deeplab_gygo.cli.segment import check_place
from deeplab_gygo.errors import UsageError

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

    from deeplab_gygo.evaluation import SequenceScore
    from deeplab_gygo.runs.clip import Clip
    from deeplab_gygo.runs.run_record import RunRecord

logger = logging.getLogger(__name__)

SUMMARY_NAME = "demo.json"
SHEET_NAME = "contact_sheet.png"
SHEET_FRAMES = 10


def add_arguments(parser: ArgumentParser) -> None:
    """Adds the options of the command."""
    parser.add_argument("--out", type=str, required=True, metavar="DIR", help="folder to make")
    parser.add_argument("--frames", type=int, default=25, help="length of the clip")
    parser.add_argument(
        "--clip-size", type=tuple[int, int], default=(854, 480), dest="clip_size",
        metavar="[H,W]", help="height and width of the clip, pixels",
    )  # fmt: skip
    parser.add_argument("--clip-seed", type=int, default=0, dest="clip_seed", help="of the clip")
    add_run_options(parser)
    add_common(parser)


def run(options: Namespace) -> int:
    """Renders, segments, measures, and says where everything is."""
    settings = run_settings(options)
    out = Path(options.out).expanduser()
    if options.frames < 2:
        raise UsageError("A clip to be measured has 2 frames", met=options.frames, where="--frames")
    if "masks" not in settings.outputs:
        raise UsageError("The demonstration measures masks", met=options.outputs, where="--outputs")
    check_place(out, settings.overwrite, marker=SUMMARY_NAME)
    from product_renderer.clip import write_product_clip

    from deeplab_gygo.runs.clip import open_clip

    out.mkdir(parents=True, exist_ok=True)
    # From here on the folder is this command's, which may replace it even if it is interrupted.
    (out / SUMMARY_NAME).write_text("{}\n", encoding="utf-8")
    shutil.rmtree(out / "clip", ignore_errors=True)
    logger.info("rendering %d frames", options.frames)
    write_product_clip(
        out / "clip", frames=options.frames, size=options.clip_size, seed=options.clip_seed
    )
    clip = open_clip(out / "clip" / "frames", out / "clip" / "masks" / "00000.png", name="demo")
    record = start_runner(settings, options.debug).run(clip, out / "result")
    score = _measure(out)
    _write_sheet(out, clip)
    _print(out, record, score)
    return 0


def _measure(out: Path) -> SequenceScore:
    """Measures against the exact masks; of all frames but the given one."""
    from deeplab_gygo.evaluation import evaluate, write_report

    scores = evaluate(
        out / "result" / "masks", out / "clip" / "masks", frames="drop-first", multi_object=False
    )
    write_report(scores, out / "scores")
    return scores.sequences[0]


def _write_sheet(out: Path, clip: Clip) -> None:
    """Writes some frames side by side, the results' outlines red and the exact masks' green."""
    from deeplab_gygo.io.writers import write_png
    from deeplab_gygo.io.masks import read_mask
    from deeplab_gygo.runs.contact_sheet import contact_sheet

    last = len(clip.sequence) - 1
    shown = sorted({round(last * k / (SHEET_FRAMES - 1)) for k in range(SHEET_FRAMES)})
    files = [f"{clip.sequence.frame_names[index]}.png" for index in shown]
    sheet = contact_sheet(
        [clip.sequence.frame(index) for index in shown],
        [read_mask(out / "result" / "masks" / name) for name in files],
        [read_mask(out / "clip" / "masks" / name) for name in files],
    )
    write_png(out / SHEET_NAME, sheet)


def _print(out: Path, record: RunRecord, score: SequenceScore) -> None:
    (row,) = score.objects()
    summary = {
        "J": row.region.mean,
        "F": row.contour.mean,
        "frames": record.masks,
        "adaptation_seconds": record.adaptation_seconds,
        "total_seconds": record.total_seconds,
        "amortized_fps": record.amortized_fps,
    }
    (out / SUMMARY_NAME).write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    print(f"J              {row.region.mean:.3f}")
    print(f"F              {row.contour.mean:.3f}   (all frames but the given first one)")
    print(f"FPS            {record.amortized_fps:.2f}   ({record.frames} frames in "
          f"{record.total_seconds:.1f} s, {record.adaptation_seconds:.1f} s of them "
          f"fine-tuning; loading the model is excluded)")  # fmt: skip
    for what, path in (
        ("masks", "result/masks"),
        ("overlay", "result/overlay.mp4"),
        ("contact sheet", SHEET_NAME),
        ("tables", "scores"),
    ):
        print(f"{what:<14} {out / path}")
