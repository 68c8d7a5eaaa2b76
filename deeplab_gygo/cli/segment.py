"""`segment`: one clip and one mask in, a mask for every frame out."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

from deeplab_gygo.cli.options import (
    Request,
    add_common,
    add_dataset_options,
    add_run_options,
    require_together,
    run_settings,
    start_runner,
)
from deeplab_gygo.cli.scratch_options import add_scratch_options, use_scratch
from deeplab_gygo.errors import UsageError
from deeplab_gygo.io.listing import shorten
from deeplab_gygo.io.local_names import shown
from deeplab_gygo.io.masks import MASK_FORMATS
from deeplab_gygo.io.storage import display, local_or_url

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

    from deeplab_gygo.runs.clip import Clip
    from deeplab_gygo.runs.settings import RunSettings

logger = logging.getLogger(__name__)

USAGE = "deeplab-gygo segment INPUT --mask MASK --out DIR [OPTIONS]"


def add_arguments(parser: ArgumentParser, request: Request) -> None:
    """Adds the options of the command."""
    add_clip_options(parser, request)
    parser.add_argument(
        "--out", type=str, required=True, metavar="DIR", help="folder to make, or its URL"
    )
    add_keep_going(parser)
    add_scratch_options(parser, request)
    add_run_options(parser, request)
    add_common(parser)


def add_keep_going(parser: ArgumentParser) -> None:
    """Adds the option for damaged videos."""
    parser.add_argument(
        "--keep-going", action="store_true",
        help="of a damaged video, segment the frames that can be decoded",
    )  # fmt: skip


def add_clip_options(parser: ArgumentParser, request: Request) -> None:
    """Adds the choice of a clip and of its mask."""
    parser.add_argument(
        "input",
        type=str,
        nargs="?",
        metavar="INPUT",
        help="video, or folder of frames; a path or URL, as the following",
    )
    parser.add_argument(
        "--mask", type=str, metavar="MASK", action="append",
        help="mask of the first frame, or FRAME=MASK for another one, several times; or a folder "
        "of masks named as their frames; --mode zero-shot needs none",
    )  # fmt: skip
    parser.add_argument(
        "--frame", type=str, help="name or index of the frame of the mask, if not the first"
    )
    parser.add_argument(
        "--mask-format", type=str, choices=MASK_FORMATS, default="auto", dest="mask_format",
        help="encoding of the masks, where it cannot be detected from the file",
    )  # fmt: skip
    purpose = "kind of dataset, for a sequence of it instead of INPUT"
    add_dataset_options(parser, request, required=False, purpose=purpose)
    parser.add_argument(
        "--sequence", type=str, metavar="NAME", help="name of the sequence in the dataset"
    )


def clip_from_options(options: Namespace, settings: RunSettings) -> Clip:
    """Opens the clip that the options of `add_clip_options` name.

    Args:
        options: Parsed options.
        settings: Settings of the run; in the mode zero-shot a clip needs no mask.

    Raises:
        UsageError: The clip is named twice, or not at all.
        InputError: The clip or its mask is unusable.
    """
    from deeplab_gygo.runs.clip import open_dataset_clip
    from deeplab_gygo.runs.staging import local_masks, open_staged_clip

    require_together(options, "dataset", "root", "sequence")
    if (options.input is None) == (options.dataset is None):
        raise UsageError(
            "The input is a video, a folder of frames, or a sequence of a dataset",
            met="both" if options.input else "nothing",
            remedy="Give INPUT and --mask, or --dataset, --root and --sequence",
        )
    mask = {
        "mask": options.mask,
        "frame": options.frame,
        "needs_mask": settings.online.mode != "zero-shot",
        "mask_format": options.mask_format,
    }
    if options.input:
        return open_staged_clip(options.input, **mask, keep_going=options.get("keep_going", False))
    from deeplab_gygo.datasets.registry import open_dataset

    dataset = open_dataset(options.dataset, options.root, options.resolution)
    with local_masks(options.mask) as mask["mask"]:
        return open_dataset_clip(dataset, options.sequence, **mask)


def run(options: Namespace) -> int:
    """Segments the clip and prints a summary as one line of JSON."""
    from deeplab_gygo.runs.remote_results import claimed_output, kept_result

    use_scratch(options)
    settings = run_settings(options)
    out = local_or_url(options.out)
    with claimed_output(out, settings.overwrite) as folder:
        clip = clip_from_options(options, settings)
        skipped = f"; the {clip.start} frames before it are not segmented" if clip.start else ""
        logger.info(
            "%s: %d frames from %s on%s",
            shown(clip.sequence.source), len(clip.sequence) - clip.start,
            clip.sequence.frame_names[clip.start], skipped,
        )  # fmt: skip
        if len(clip.annotations) > 1:
            names = (clip.sequence.frame_names[index] for index in clip.annotations)
            logger.info("annotated frames: %s", shorten(names))
        record = kept_result(out, folder, clip, settings)
        if record is None:
            record = start_runner(settings, options.debug).run(clip, folder)
    network = record.network_seconds
    summary = {
        "out": display(out),
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
    print(json.dumps(summary))
    return 0
