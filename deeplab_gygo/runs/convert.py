"""Conversion of finished results to the formats of annotation tools and benchmarks."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import numpy as np

import deeplab_gygo
from deeplab_gygo.errors import InputError, UsageError
from deeplab_gygo.io.annotations.writers import (
    ANNOTATION_KINDS,
    DATASET_KINDS,
    ClipNames,
    DatasetWriter,
)
from deeplab_gygo.io.atomic import replacing_folder
from deeplab_gygo.io.escaping import printable
from deeplab_gygo.io.listing import is_stray, natural_sorted, shorten
from deeplab_gygo.io.masks import VOID, read_mask
from deeplab_gygo.io.names import expanded, safe_relative
from deeplab_gygo.io.output_folder import check_new_folder, resolved
from deeplab_gygo.io.reading import read_json
from deeplab_gygo.runs.progress_displays import NoProgress, Progress
from deeplab_gygo.runs.result_files import (
    MASK_FOLDER,
    RECORD_NAME,
    Files,
    FileState,
    hash_files,
    inspect_files,
)
from deeplab_gygo.runs.run_record import RunRecord

LIST_NAME = ".deeplab-gygo.files"
"""Name of the list of its files in a converted folder: JSON with the size and hash of each.

It is hidden, so that tools which take every file of a folder do not meet it.
"""

_MAX_LIST_BYTES = 512 << 20
_PARTIAL = ".partial"  # end of the name of an unfinished result

logger = logging.getLogger(__name__)


class _Result(NamedTuple):
    """The masks of a clip: their files by the names of the frames, in order."""

    clip: str
    masks: dict[str, Path]
    corrected: frozenset[Path]
    suffix: str


def convert(
    result: str | Path,
    to: str,
    out: str | Path,
    *,
    overwrite: bool = False,
    progress: Callable[[int], Progress] = lambda total: NoProgress(),
) -> list[Path]:
    """Converts the masks of a result to another format.

    Args:
        result: Folder of the result of a clip, or of a batch.
        to: Format, of `ANNOTATION_KINDS`. The clips of a batch become one dataset in those of
            `DATASET_KINDS`, and a folder each in the others.
        out: Folder to make. It appears when it is complete.
        overwrite: Replace what an earlier conversion wrote there; other files never are.
        progress: Makes what shows the progress, from the number of frames.

    Returns:
        The files.

    Raises:
        UsageError: There is no such format, or the folder may not be replaced.
        InputError: There is no result, it is without masks, or damaged.
        StorageError: The folder cannot be written.
    """
    if to not in ANNOTATION_KINDS:
        raise UsageError(f"A format is one of {', '.join(ANNOTATION_KINDS)}", met=to, where="--to")
    source, target = expanded(result), resolved(expanded(out))

    def check(folder: Path) -> Path:
        return check_new_folder(folder, overwrite, marker=LIST_NAME, list_files=_unchanged_files)

    check(target)  # before the masks are read
    results = [_open_result(folder, clip) for clip, folder in _find_results(source)]
    total, done = sum(len(found.masks) for found in results), 0
    clips = [_inspect_masks(found) for found in results]
    together = to in DATASET_KINDS or len(clips) == 1
    with replacing_folder(target, check=check) as side, closing(progress(total)) as shown:
        for group in [clips] if together else [[clip] for clip in clips]:
            place = side if together else side / group[0].clip
            with DatasetWriter(to, place, group) as writer:
                for clip in group:
                    found = next(found for found in results if found.clip == clip.clip)
                    for name, mask in _read_masks(found, clip.size):
                        writer.write(clip.clip, name, mask)
                        done += 1
                        shown.update(done)
        files = hash_files(side)
        _write_list(side, to, source, files)
    return [target / name for name in files]


def _find_results(source: Path) -> list[tuple[str, Path]]:
    """Returns name and folder of every clip of a result."""
    if (source / RECORD_NAME).is_file():
        return [("", source)]
    found = []
    for place, folders, files in os.walk(source):
        if RECORD_NAME in files:
            found.append((Path(place).relative_to(source).as_posix(), Path(place)))
            folders.clear()
        folders[:] = sorted(
            name for name in folders if not is_stray(name) and not name.endswith(_PARTIAL)
        )
    if not found:
        raise InputError(
            f"A result is a folder with {RECORD_NAME} and masks, or of such folders",
            met="neither" if source.is_dir() else "no folder",
            where=source,
            remedy="Give the folder that --out named of segment or batch",
        )
    if any(source.glob("failures*.jsonl")):
        logger.warning("%s: clips of the batch that failed are left out", printable(source))
    return found


def _open_result(folder: Path, clip: str) -> _Result:
    """Lists the masks of a clip and compares them with its record."""
    record = RunRecord.read(folder)
    listed = {} if record is None else record.files
    masks: Files = {name: entry for name, entry in listed.items() if _is_mask(name)}
    if record is None or not masks:
        raise InputError(
            "A result that is converted has masks",
            met=f"the outputs {', '.join(record.outputs)}" if record else "none",
            where=folder,
            remedy="Segment the clip with masks among its --outputs",
        )
    state: FileState = inspect_files(folder, masks)
    if state.damaged:
        raise InputError(
            "The masks of a result are as they were written, or corrected",
            met=shorten([printable(text) for text in state.damaged]),
            where=folder,
            remedy="Segment the clip again",
        )
    if state.corrected:
        count = len(state.corrected)
        logger.info("%s: %d masks were corrected by hand", printable(folder), count)
    paths = natural_sorted([folder / name for name in masks])
    return _Result(
        safe_relative(clip or record.name or folder.resolve().name, folder),
        {path.stem: path for path in paths},
        frozenset(folder / name for name in state.corrected),
        _picture_suffix(record, paths[0].stem),
    )


def _is_mask(name: str) -> bool:
    return name.startswith(f"{MASK_FOLDER}/") and name.endswith(".png")


def _picture_suffix(record: RunRecord, name: str) -> str:
    """Returns the suffix of the frames of a clip where they are in a folder; else that of JPEG."""
    source = Path(record.source)
    if record.source and source.is_dir():
        for path in source.iterdir():
            if path.stem == name:
                return path.suffix
    return ".jpg"


def _inspect_masks(found: _Result) -> ClipNames:
    """Reads the masks of a clip for their size and the ids in them."""
    size: tuple[int, int] | None = None
    present = np.zeros(256, bool)
    for _, mask in _read_masks(found, None):
        size = size or (mask.shape[0], mask.shape[1])
        present[np.flatnonzero(np.bincount(mask.ravel()))] = True
    ids = np.flatnonzero(present[1:VOID]) + 1
    return ClipNames(found.clip, size or (1, 1), list(found.masks), ids.tolist(), found.suffix)


def _read_masks(found: _Result, size: tuple[int, int] | None) -> Iterator[tuple[str, np.ndarray]]:
    for name, path in found.masks.items():
        # What was written has ids; what was corrected is as another program saves it.
        form = "auto" if path in found.corrected else "ids"
        yield name, read_mask(path, size=size, mask_format=form)


def _write_list(folder: Path, to: str, source: Path, files: Files) -> None:
    values = {
        "format": to,
        "source": str(source.absolute()),
        "version": deeplab_gygo.__version__,
        "files": files,
    }
    text = json.dumps(values, indent=1) + "\n"
    (folder / LIST_NAME).write_text(text, encoding="utf-8")


def _unchanged_files(folder: Path) -> set[str]:
    """Returns the files of an earlier conversion that are as it wrote them, with their list."""
    try:
        files = read_json(folder / LIST_NAME, _MAX_LIST_BYTES)["files"]
        now = hash_files(folder)
        return {LIST_NAME, *(name for name, entry in files.items() if now.get(name) == entry)}
    except (InputError, TypeError, LookupError, AttributeError):
        return set()
