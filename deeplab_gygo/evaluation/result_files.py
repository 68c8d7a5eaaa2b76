"""Locates the masks of a result and pairs them with frames by name.

The layouts are those of the commands here, `<results>/<sequence>/masks/<frame>.png`, of DAVIS and
vos-benchmark, `<results>/<sequence>/<frame>.png`, and of YouTube-VOS and the datasets themselves,
which have `Annotations` or `Annotations/<resolution>` above the sequences.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from deeplab_gygo.errors import InputError
from deeplab_gygo.io.listing import is_stray, number_gaps, shorten
from deeplab_gygo.io.masks import MASK_SUFFIXES
from deeplab_gygo.io.natural_order import natural_key, natural_sorted

MASK_SUBFOLDER = "masks"
"""Folder of the masks below the folder of a sequence, as the segment command writes them."""

_ANNOTATIONS = "Annotations"
_LOSSY = (".jpg", ".jpeg")
_logger = logging.getLogger(__name__)


def find_predictions(folder: Path, frame_names: Sequence[str]) -> tuple[Path, dict[str, Path]]:
    """Finds the masks of a sequence in the subfolder for masks or else in the folder itself.

    Args:
        folder: Result folder of the sequence.
        frame_names: Names of the frames; other files are ignored.

    Returns:
        The folder of the masks, present or expected, and the files by frame name.

    Raises:
        InputError: A folder cannot be listed, or has two masks of a frame.
    """
    for place in (folder / MASK_SUBFOLDER, folder):
        files = list_masks(place)
        found = {name: files[name] for name in frame_names if name in files}
        if found:
            return place, found
    return folder, {}


def sequence_root(root: Path) -> Path:
    """Returns the folder of the sequences, below `Annotations` where there is such a folder."""
    place = root / _ANNOTATIONS
    if not os.path.isdir(place):
        return root
    below = _subfolders(place)
    is_resolution = len(below) == 1 and not list_masks(below[0]) and _subfolders(below[0])
    return below[0] if is_resolution else place


def folders_with_masks(root: Path) -> Iterator[Path]:
    """Yields the topmost folders with images below `root`, sorted by name; links are not followed.

    Raises:
        InputError: A folder cannot be listed.
    """

    def refuse(error: OSError) -> None:
        raise _unreadable(Path(error.filename), error)

    for place, folders, _ in os.walk(root, onerror=refuse):
        folders[:] = sorted(name for name in folders if not is_stray(name))
        if list_masks(Path(place)):
            folders.clear()
            yield Path(place)


def note_unmeasured(results: Path, measured: Iterable[Path]) -> None:
    """Logs a warning that names the sequences of a result that are not measured, if there are any.

    Args:
        results: Folder of the results.
        measured: Folders of the masks that are measured.
    """
    root = sequence_root(results)
    known = {path.parent if path.name == MASK_SUBFOLDER else path for path in measured}
    if root in known:
        return
    extra = []
    for place, folders, files in os.walk(root):
        folders[:] = sorted((name for name in folders if not is_stray(name)), key=natural_key)
        has_masks = MASK_SUBFOLDER in folders or any(map(is_mask_file, files))
        if has_masks and Path(place) != root:
            folders.clear()
            if Path(place) not in known:
                extra.append(Path(place).relative_to(root).as_posix())
    if extra:
        _logger.warning(
            "%s: %d sequences have no ground truth and are not measured: %s",
            results, len(extra), shorten(extra),
        )  # fmt: skip


def list_masks(folder: Path) -> dict[str, Path]:
    """Returns the images of a folder by stem, in natural order, whatever their suffixes.

    Only regular files are images. Beside frames with numbers, images without one are none
    (`overview.png`); beside a lossless image, a JPEG file of its name is none. Empty where the
    folder is absent.

    Raises:
        InputError: The folder cannot be listed, or has two masks of a frame.
    """
    if not os.path.isdir(folder):
        return {}
    try:
        files = [p for p in folder.iterdir() if not is_stray(p.name) and os.path.isfile(p)]
    except OSError as error:
        raise _unreadable(folder, error) from error
    by_stem: dict[str, list[Path]] = {}
    for path in natural_sorted(files):
        if is_mask_file(path.name):
            by_stem.setdefault(path.stem, []).append(path)
    numbered = {stem: paths for stem, paths in by_stem.items() if re.search(r"\d", stem)}
    masks = {}
    for stem, paths in (numbered or by_stem).items():
        lossless = [path for path in paths if path.suffix.lower() not in _LOSSY]
        chosen = lossless or paths
        if len(chosen) > 1:
            raise InputError(
                "A frame has one mask",
                met=" and ".join(path.name for path in chosen),
                where=folder,
                remedy="Remove one of them, or give a folder that holds the masks alone",
            )
        masks[stem] = chosen[0]
    return masks


def check_names(name: str, folder: Path, frame_names: Sequence[str]) -> None:
    """Compares the names of all results of a sequence with those of the ground truth.

    Results between the frames of a ground truth at equal steps, as in YouTube-VOS, are as they
    should be; a note is logged on others that are not measured.

    Args:
        name: Name of the sequence.
        folder: Folder of its results.
        frame_names: Names of the annotated frames.

    Raises:
        InputError: The results are numbered from another number than the ground truth, so that
            most of them have the name of another frame.
    """
    files = list(list_masks(folder))
    known = set(frame_names)
    extra = [stem for stem in files if stem not in known]
    if not extra:
        return
    numbers, true = ([int(stem) for stem in stems] for stems in _numeric(files, frame_names))
    if len(numbers) == len(true) > 1:
        shift = numbers[0] - true[0]
        if numbers == [number + shift for number in true]:
            raise InputError(
                "Results are numbered as the ground truth",
                met=f"{files[0]} to {files[-1]}, and {frame_names[0]} to {frame_names[-1]} in the "
                "ground truth",
                where=f"{name}: {folder}",
                remedy=f"Number the results from {frame_names[0]}, or remove those of frames "
                "that the ground truth has not",
            )
    step, gaps = number_gaps(list(frame_names))
    if true and step > 1 and not gaps and all(number < true[-1] + step for number in numbers):
        return
    _logger.warning(
        "%s: %d results have no ground truth and are not measured: %s",
        name, len(extra), shorten(extra),
    )  # fmt: skip


def is_mask_file(name: str) -> bool:
    """Checks whether a file may be a mask, by its name."""
    # A folder of results may also hold the JSON record of a run.
    suffix = Path(name).suffix.lower()
    return suffix in MASK_SUFFIXES and suffix != ".json"


def _numeric(*names: Sequence[str]) -> list[Sequence[str]]:
    """Returns the lists of names, or empty ones if a name is no number."""
    if all(stem.isdecimal() for stems in names for stem in stems):
        return list(names)
    return [() for _ in names]


def _subfolders(folder: Path) -> list[Path]:
    try:
        return sorted(p for p in folder.iterdir() if not is_stray(p.name) and os.path.isdir(p))
    except OSError as error:
        raise _unreadable(folder, error) from error


def _unreadable(folder: Path, error: OSError) -> InputError:
    return InputError(
        "A folder of masks can be listed",
        met=error.strerror,
        where=folder,
        remedy="Give yourself the right to read it",
    )
