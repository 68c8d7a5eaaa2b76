"""`export`: a parent, or a model fine-tuned on one clip, for serving."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deeplab_gygo.cli.options import (
    Request,
    add_common,
    add_run_options,
    run_settings,
    start_runner,
)
from deeplab_gygo.cli.segment import add_clip_options, clip_from_options
from deeplab_gygo.errors import UsageError
from deeplab_gygo.inference.config import OnlineConfig
from deeplab_gygo.io.names import expanded

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

    from deeplab_gygo.runs.clip import Clip
    from deeplab_gygo.runs.settings import RunSettings

MARKERS = {
    "saved_model": "saved_model.pb",
    "onnx": "serving_default.onnx",
    "openvino": "serving_default.xml",
    "litert": "model.tflite",
}
"""The formats, and a file in every export of each; known without loading Keras."""


def add_arguments(parser: ArgumentParser, request: Request) -> None:
    """Adds the options of the command."""
    parser.add_argument(
        "--format", type=str, choices=list(MARKERS), default="saved_model",
        help="format of the model; all but saved_model need the extra of the same name",
    )  # fmt: skip
    parser.add_argument("--out", type=str, required=True, metavar="DIR", help="folder to make")
    add_clip_options(parser, request)
    add_run_options(parser, request)
    add_common(parser)


def run(options: Namespace) -> int:
    """Exports, checks the export against the Python path, and prints the report as JSON."""
    from deeplab_gygo.export.listing import exported_files
    from deeplab_gygo.io.output_folder import claimed

    settings = run_settings(options)
    if settings.method != "deeplab":
        raise UsageError(
            "Models of the method deeplab are exported",
            met=settings.method,
            where="--method",
            remedy="Leave --method out",
        )
    out = expanded(options.out)
    marker = MARKERS[options.format]
    with claimed(out, settings.overwrite, marker=marker, list_files=exported_files):
        return _adapt_and_export(options, settings, out)


def _adapt_and_export(options: Namespace, settings: RunSettings, out: Path) -> int:
    wants_clip = options.input or options.dataset or options.mask
    clip = clip_from_options(options, settings) if wants_clip else None
    # Exported models see whole frames, without a close-up; the parent alone as in zero-shot.
    usual = OnlineConfig.DEFAULT_SIZE if clip is None else OnlineConfig.FINE_TUNE_SIZE
    online = replace(settings.online, size=settings.online.size or usual)
    settings = replace(settings, online=online)
    if clip is not None:
        _check_adaptable(clip, settings)
    runner = start_runner(settings, options.debug)
    from deeplab_gygo.export.exporter import check_format, export_model

    check_format(options.format)  # before the fine-tuning
    card: dict[str, Any] = dict(runner.card)
    if clip is not None:
        card["adaptation"] = runner.adapt(clip)
    report = export_model(
        runner.parent,
        out,
        kind=options.format,
        size=online.size,
        threshold=online.threshold,
        card=card,
        sequence_name=clip.sequence.name if clip is not None else None,
        memory=runner.memory if clip is not None else None,
        target_model=runner.target_model if clip is not None else None,
        overwrite=settings.overwrite,
    )
    print(json.dumps(report.to_dict()))
    return 0


def _check_adaptable(clip: Clip, settings: RunSettings) -> None:
    """Raises `UsageError` unless fine-tuning on the clip gives one network."""
    if settings.online.mode != "fine-tune":
        raise UsageError(
            "A model is fine-tuned on a clip in the mode fine-tune only",
            met=settings.online.mode,
            where="--mode",
            remedy="Leave --mode out, or leave the clip out to export the parent",
        )
    if len(clip.object_ids) > 1:
        raise UsageError(
            "An exported model segments one object",
            met=f"{len(clip.object_ids)} objects",
            where=clip.mask_source,
            remedy="Give a mask of one of them",
        )
