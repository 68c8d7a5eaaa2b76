"""Results of finished jobs as one file: a zip, a video, or masks as run lengths."""

from __future__ import annotations

import json
import os
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deeplab_gygo.io.atomic import files_below, replacing
from deeplab_gygo.io.masks import read_mask
from deeplab_gygo.io.natural_order import natural_sorted
from deeplab_gygo.io.reading import read_json
from deeplab_gygo.runs.result_files import MASK_FOLDER, RECORD_NAME, SINGLE_FILES
from deeplab_gygo.server.answers import without_paths
from deeplab_gygo.server.states import NotFound

DOWNLOADS = "downloads"
"""Folder below the data, of files that are made of results when they are first asked for."""

VIDEO_KINDS = ("overlay", "webm", "background", "matte", "prores", "gif", "webp-animation")
"""Kinds of results that are a video, the first of which is served."""

MEDIA_TYPES = {
    ".mp4": "video/mp4", ".webm": "video/webm", ".mov": "video/quicktime", ".gif": "image/gif",
    ".webp": "image/webp", ".zip": "application/zip", ".json": "application/json",
}  # fmt: skip

_DATE = (1980, 1, 1, 0, 0, 0)  # the same result is the same archive
_building: dict[Path, threading.Lock] = {}
_registry = threading.Lock()


def result_file(data: Path, folder: Path, job_id: str, kind: str) -> Path:
    """Returns the file of a result, which is made if it is absent. Blocking.

    Args:
        data: Folder of the data.
        folder: The complete result of the job.
        job_id: Id of the job.
        kind: `zip`, `video` or `rle`.

    Raises:
        NotFound: The result has no video, or no masks.
        StorageError: The disk is full.
    """
    if kind == "video":
        names = (SINGLE_FILES[name] for name in VIDEO_KINDS)
        found = next((folder / name for name in names if (folder / name).is_file()), None)
        if found is None:
            raise NotFound("The result has no video", remedy="Start a job with the output overlay")
        return found
    make, suffix = (_write_zip, ".zip") if kind == "zip" else (_write_rle, ".json")
    path = data / DOWNLOADS / f"{job_id}{suffix}"
    with _one_at_a_time(path):
        if not path.is_file():
            with replacing(path) as side:
                make(folder, side)
    return path


def download_files(data: Path, job_id: str) -> list[Path]:
    """Returns the files that were made of the result of a job, if they were asked for."""
    return [data / DOWNLOADS / f"{job_id}{suffix}" for suffix in (".zip", ".json")]


def folder_bytes(path: Path) -> int:
    """Returns the bytes of all files below a folder, or of a file; 0 where there is none."""
    try:
        if not path.is_dir():
            return path.stat().st_size
        return sum(_size(Path(root, name)) for root, _, names in os.walk(path) for name in names)
    except OSError:
        return 0


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:  # removed meanwhile
        return 0


@contextmanager
def _one_at_a_time(path: Path) -> Iterator[None]:
    with _registry:
        lock = _building.setdefault(path, threading.Lock())
    with lock:
        yield
    with _registry:
        if not lock.locked():
            _building.pop(path, None)


def _write_zip(folder: Path, side: Path) -> None:
    with zipfile.ZipFile(side, "w", zipfile.ZIP_STORED) as archive:  # pictures pack no further
        for name in files_below(folder):
            entry = zipfile.ZipInfo(name, _DATE)
            entry.external_attr = 0o644 << 16
            if name == RECORD_NAME:
                record = _plain_record(read_json(folder / name))
                archive.writestr(entry, json.dumps(record, indent=2) + "\n")
                continue
            entry.file_size = (folder / name).stat().st_size
            with archive.open(entry, "w") as target, open(folder / name, "rb") as source:
                while block := source.read(1 << 20):
                    target.write(block)


def _plain_record(value: Any) -> Any:
    """Returns a record without paths of the server."""
    if isinstance(value, dict):
        return {key: _plain_record(item) for key, item in value.items() if key != "command"}
    if isinstance(value, list):
        return [_plain_record(item) for item in value]
    return without_paths(value) if isinstance(value, str) else value


def _write_rle(folder: Path, side: Path) -> None:
    files = natural_sorted((folder / MASK_FOLDER).glob("*.png"))
    if not files:
        raise NotFound("The result has no masks", remedy="Start a job with the output masks")
    with open(side, "w", encoding="ascii") as file:
        file.write('{"frames": [')
        for index, path in enumerate(files):
            file.write((", " if index else "") + json.dumps(_encoded(index, path)))
        file.write("]}")


def _encoded(index: int, path: Path) -> dict[str, Any]:
    # Imported here: the readers of all formats come with it.
    from deeplab_gygo.io.annotations.run_lengths import encode_string, object_runs

    mask = read_mask(path, mask_format="ids")
    size = list(mask.shape)
    objects = [
        {"id": label, "segmentation": {"size": size, "counts": encode_string(counts.tolist())}}
        for label, counts in object_runs(mask, by_column=True)
    ]
    return {"index": index, "name": path.stem, "objects": objects}
