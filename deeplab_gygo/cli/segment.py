"""`segment`: one clip and one mask in, a mask for every frame out."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deeplab_gygo.cli.options import (
    add_common,
    add_dataset_options,
    add_run_options,
    require_together,
    run_settings,
    start_runner,
)
from deeplab_gygo.errors import UsageError

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

    from deeplab_gygo.io.sequence import Sequence
    from deeplab_gygo.runs.clip import Clip
    from deeplab_gygo.runs.sequence_record import SequenceRecord
    from deeplab_gygo.runs.settings import RunSettings

logger = logging.getLogger(__name__)

RECORD_NAME = "run.json"  # of outputs.record, which is imported only when it is needed


def add_arguments(parser: ArgumentParser) -> None:
    """Adds the options of the command."""
    add_clip_options(parser)
    parser.add_argument("--out", type=str, required=True, metavar="DIR", help="folder to make")
    add_run_options(parser)
    add_common(parser)


def add_clip_options(parser: ArgumentParser) -> None:
    """Adds which clip is meant and which mask it starts from."""
    parser.add_argument(
        "input", type=str, nargs="?", metavar="INPUT", help="video, or folder of frames"
    )
    parser.add_argument(
        "--mask", type=str, metavar="FIRST",
        help="mask of the first frame: picture or labelme JSON; --mode zero-shot needs none",
    )  # fmt: skip
    parser.add_argument(
        "--frame", type=str, help="name or index of the frame of the mask, if not the first; "
        "frames before it are not segmented",
    )  # fmt: skip
    add_dataset_options(parser, required=False, purpose="take a sequence of this data set")
    parser.add_argument("--sequence", type=str, help="name of the sequence in the data set")


def clip_from_options(options: Namespace, settings: RunSettings) -> Clip:
    """Opens the clip that the options of `add_clip_options` name.

    Args:
        options: Parsed options.
        settings: Settings of the run; in the mode zero-shot a clip needs no mask.

    Returns:
        The clip.

    Raises:
        UsageError: It is named twice, or not at all.
        InputError: It cannot be used.
    """
    from deeplab_gygo.runs.clip import open_clip, open_dataset_clip

    require_together(options, "dataset", "root", "sequence")
    if (options.input is None) == (options.dataset is None):
        raise UsageError(
            "The input is a video, a folder of frames, or a sequence of a data set",
            met="both" if options.input else "nothing",
            remedy="Give INPUT and --mask, or --dataset, --root and --sequence",
        )
    is_told = settings.online.mode != "zero-shot" or options.mask is not None
    if options.dataset:
        from deeplab_gygo.datasets.registry import open_dataset

        dataset = open_dataset(options.dataset, options.root, options.resolution)
        if not is_told and not dataset.sequence(options.sequence).annotations:
            return _unmasked(dataset.sequence(options.sequence), options)
        return open_dataset_clip(dataset, options.sequence, mask=options.mask, frame=options.frame)
    if not is_told:
        from deeplab_gygo.io.video import open_input

        return _unmasked(open_input(options.input), options)
    if options.mask is None:
        raise UsageError(
            "A clip starts from a mask of its first frame", met="no --mask", where=options.input,
            remedy="Give --mask: a picture that is white where the object is, or labelme JSON; "
            "or --mode zero-shot, which finds the most salient object",
        )  # fmt: skip
    return open_clip(options.input, options.mask, frame=options.frame)


def _unmasked(sequence: Sequence, options: Namespace) -> Clip:
    """Takes a sequence without a mask, from its first frame on."""
    from deeplab_gygo.cli.unmasked import UnmaskedClip

    if options.frame is not None:
        raise UsageError(
            "--frame names the frame that a mask belongs to",
            met="no mask",
            where=sequence.source,
            remedy="Give --mask, or leave --frame out",
        )
    return UnmaskedClip(sequence)


def run(options: Namespace) -> int:
    """Segments the clip and prints a summary as one line of JSON."""
    settings = run_settings(options)
    out = Path(options.out).expanduser()
    check_place(out, settings.overwrite)
    clip = clip_from_options(options, settings)
    skipped = f"; the {clip.start} frames before it are left out" if clip.start else ""
    logger.info(
        "%s: %d frames from %s on%s", clip.sequence.source, len(clip.sequence) - clip.start,
        clip.sequence.frame_names[clip.start], skipped,
    )  # fmt: skip
    record = start_runner(settings, options.debug).run(clip, out)
    print(json.dumps(summary_of(record, out)))
    return 0


def summary_of(record: SequenceRecord, out: Path) -> dict[str, Any]:
    """Returns what a program that called this one wants to know, as plain values."""
    network = record.network_seconds
    return {
        "out": str(out),
        "masks": record.masks,
        "first_frame": record.first_frame,
        "objects": record.objects,
        "method": record.method,
        "preset": record.preset,
        "adaptation_steps": record.steps,
        "adaptation_seconds": round(record.adaptation_seconds, 3),
        "total_seconds": round(record.total_seconds, 3),
        "amortized_fps": round(record.amortized_fps, 3),
        "network_seconds_per_frame": round(sum(network) / len(network), 4) if network else None,
        "peak_memory_mb": round(record.peak_memory_mb, 1),
        "outputs": record.outputs,
        "warnings": record.warnings,
    }


def check_place(out: Path, overwrite: bool, marker: str = RECORD_NAME) -> None:
    """Checks early that a folder of results can be made.

    Args:
        out: The folder.
        overwrite: Whether an earlier result may be replaced.
        marker: File that every result of this kind has; a folder without it is never replaced,
            for it is not the program's.

    Raises:
        UsageError: There is something already that may not be replaced.
    """
    from deeplab_gygo.runs.output_directory import OutputDirectory

    OutputDirectory(out, marker=marker)  # looks at what is there, and makes nothing yet
    if out.is_dir() and any(out.iterdir()) and not overwrite:
        raise UsageError(
            "--out is a new folder",
            met="an earlier result",
            where=out,
            remedy="Choose another, or give --overwrite to replace it",
        )
