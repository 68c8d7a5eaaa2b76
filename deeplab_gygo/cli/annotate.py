"""`annotate`: a page to draw masks of a clip, to segment it, to look at the result and correct it.

The work is in the folder DIR/work, as it is made; every export is a folder DIR/export-ID.
"""

from __future__ import annotations

import io
import json
import logging
import socket
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from deeplab_gygo.cli.options import Request, add_common
from deeplab_gygo.errors import InputError, UsageError
from deeplab_gygo.io.names import expanded

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

    from deeplab_gygo.server.engine import Engine

logger = logging.getLogger(__name__)

USAGE = "deeplab-gygo annotate CLIP [--mask MASK] [--out DIR] [OPTIONS]"

WORK = "work"
"""Folder of the work below that of `--out`."""

RECORD = "annotate.json"
"""File of the clip, the session and the port, in the folder of the work."""


def add_arguments(parser: ArgumentParser, request: Request) -> None:
    """Adds the options of the command."""
    from deeplab_gygo.inference.config import DEFAULT_PRESET, OnlineConfig

    parser.add_argument("clip", type=str, metavar="CLIP", help="video, or folder of frames")
    parser.add_argument(
        "--mask", type=str, metavar="MASK", action="append",
        help="mask of the first frame to begin with, or FRAME=MASK for another one, several times; "
        "frames that are annotated already keep their masks",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=str, metavar="DIR",
        help="folder of the work and the exports [the name of CLIP and '-annotate', beside it]; "
        "with a former one the work goes on",
    )  # fmt: skip
    parser.add_argument(
        "--preset", type=str, choices=list(OnlineConfig.PRESETS), default=DEFAULT_PRESET,
        help="options of the segmentation, for a new folder",
    )  # fmt: skip
    parser.add_argument("--weights", type=str, metavar="FILE", help="parent instead of the shipped")
    parser.add_argument(
        "--port", type=int, metavar="PORT", help="port of the page [that of the former time]"
    )
    parser.add_argument(
        "--no-browser", action="store_true", help="print the address, do not open a browser"
    )
    add_common(parser)


def run(options: Namespace) -> int:
    """Serves the page until Ctrl-C."""
    from deeplab_gygo.cli.serve import require_server_packages

    require_server_packages()
    from deeplab_gygo.server.engine import Engine
    from deeplab_gygo.server.serving import serve
    from deeplab_gygo.server.settings import Limits, ServerSettings

    clip = expanded(options.clip).absolute()
    out = expanded(options.out) if options.out else clip.with_name(f"{clip.stem}-annotate")
    weights = expanded(options.weights) if options.weights else None

    class Exporting(Engine):
        def job_folder(self, job_id: str) -> Path:
            return out / f"export-{job_id}"

    engine = Exporting(out / WORK, weights=weights, preset=options.preset)
    try:
        record = _open_session(engine, clip, out / WORK)
        _add_masks(engine, record["session"], clip, options.mask)
        port = _port(options.port, record.get("port"))
        # Work and exports stay until the person removes them.
        limits = Limits(keep_days=0, keep_clip_days=0)
        settings = ServerSettings(out / WORK, port=port, limits=limits)
    except BaseException:
        engine.close()
        raise

    def started(address: str) -> None:
        _write_record(out / WORK, {**record, "port": urlsplit(address).port})
        place = f"{address}#/sessions/{record['session']}"
        print(place, flush=True)
        logger.info("work and exports are in %s; Ctrl-C ends the server", out)
        if not options.no_browser:
            webbrowser.open(place)

    try:
        serve(engine, settings, on_start=started)
    except KeyboardInterrupt as error:
        error.add_note(f"the work is in {out}; the same command goes on with it")
        raise
    return 0


def _open_session(engine: Engine, clip: Path, work: Path) -> dict[str, Any]:
    """Returns the record of the folder, made for a new one.

    Raises:
        UsageError: The folder has the work on another clip.
        InputError: The clip is unusable.
    """
    from deeplab_gygo.io.reading import read_json
    from deeplab_gygo.server.states import NotFound

    if (work / RECORD).is_file():
        record = read_json(work / RECORD)
        try:
            if record["clip"] != str(clip):
                raise UsageError(
                    "A folder has the work on one clip",
                    met=f"that on {record['clip']}",
                    where=work.parent,
                    remedy="Choose another --out",
                )
            engine.session(record["session"])
            return record
        except (KeyError, TypeError, NotFound) as error:
            raise InputError(
                f"{RECORD} names the session of the folder",
                met="another content",
                where=work / RECORD,
                remedy="Remove the file to begin anew in the folder",
            ) from error
    generic = clip.is_dir() and clip.name.lower() in ("frames", "images")
    info = engine.open_clip(clip, clip.parent.name if generic else clip.name)
    record = {"clip": str(clip), "session": engine.create_session(info.id).id}
    _write_record(work, record)
    return record


def _write_record(work: Path, record: dict[str, Any]) -> None:
    from deeplab_gygo.io.atomic import replacing

    with replacing(work / RECORD) as side:
        side.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _add_masks(engine: Engine, session: str, clip: Path, masks: list[str] | None) -> None:
    """Annotates frames with given masks, but those that are annotated."""
    if not masks:
        return
    from PIL import Image

    from deeplab_gygo.io.palette import davis_palette
    from deeplab_gygo.runs.staging import open_staged_clip

    annotated = engine.session(session).annotated
    for index, given in open_staged_clip(str(clip), masks).annotations.items():
        if index in annotated:
            logger.info("frame %d is annotated: its mask is kept", index)
            continue
        picture, content = Image.fromarray(given.mask), io.BytesIO()
        picture.putpalette(davis_palette().tobytes())
        picture.save(content, "PNG")
        engine.annotate(session, index, content.getvalue())


def _port(chosen: int | None, former: int | None) -> int:
    """Returns the chosen port, else the former one if it is free: an open page connects again."""
    if chosen is not None or former is None:
        return chosen or 0
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", former))
        except OSError:
            return 0
    return former
