"""Which files of a folder are frames, in which order, and which mask belongs to which frame."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from deeplab_gygo.datasets.layout import is_stray, shorten
from deeplab_gygo.errors import InputError, UsageError
from deeplab_gygo.io.images import IMAGE_SUFFIXES
from deeplab_gygo.io.masks import MASK_SUFFIXES

# Masks by index of frame, or a folder of masks named as the frames.
Annotations = Mapping[int, str | Path] | str | Path | None


def list_frames(folder: Path) -> list[Path]:
    """Lists the images of a folder in natural order, 2 before 10.

    Hidden files and files of other kinds are ignored.

    Args:
        folder: The folder.

    Returns:
        At least one file.

    Raises:
        InputError: There is no image, two have one name, or names that are numbers alone have a
            gap: they must follow each other in equal steps.
    """
    files = _frame_files(folder)
    _check_names(files, folder)
    return files


def pair_masks(annotations: Annotations, frame_names: list[str]) -> dict[int, Path]:
    """Gives every mask its frame: a mapping by index, a folder by name.

    Args:
        annotations: Masks by index of frame, or a folder of masks named as the frames.
        frame_names: Name of every frame, without suffix.

    Returns:
        Mask file by index of frame, in order. Masks in the folder that belong to no frame are left
        out; of several for one frame the PNG is taken.

    Raises:
        InputError: The folder of masks is absent or has none for these frames.
        UsageError: A mask is meant for a frame that does not exist.
    """
    if annotations is None:
        return {}
    if isinstance(annotations, Mapping):
        strangers = [index for index in annotations if not 0 <= index < len(frame_names)]
        if strangers:
            raise UsageError(
                f"A mask belongs to one of the frames 0 to {len(frame_names) - 1}",
                met=f"a mask for frame {shorten(map(str, strangers))}",
            )
        return {index: Path(annotations[index]) for index in sorted(annotations)}
    folder = Path(annotations)
    if not folder.is_dir():
        raise InputError("The folder of masks must exist", met="no such folder", where=folder)
    masks: dict[str, Path] = {}
    for path in sorted(folder.iterdir(), key=_mask_precedence):
        if path.suffix.lower() in MASK_SUFFIXES and not is_stray(path.name):
            masks.setdefault(path.stem, path)
    paired = {index: masks[name] for index, name in enumerate(frame_names) if name in masks}
    if not paired:
        raise InputError(
            f"Masks must be named as their frames, {frame_names[0]}.png for the first",
            met=shorten(sorted(masks)) or "no masks",
            where=folder,
            remedy="Rename the masks, or give the folder that holds them",
        )
    return paired


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Key that sorts names with numbers as people do: frame2 before frame10.

    Args:
        name: A name.

    Returns:
        The key.
    """
    parts = re.split(r"([0-9]+)", name)
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts if part]


def _frame_files(folder: Path) -> list[Path]:
    entries = [path for path in folder.iterdir() if not is_stray(path.name)]
    files = [path for path in entries if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()]
    if not files:
        raise InputError(
            "A folder of frames must hold JPEG, PNG, WebP or BMP images",
            met=shorten(sorted(path.name for path in entries)) or "an empty folder",
            where=folder,
            remedy="Give the folder that holds the frames themselves, or a video file",
        )
    return sorted(files, key=lambda path: natural_key(path.stem))


def _check_names(files: list[Path], folder: Path) -> None:
    """Checks that no name occurs twice and that numbers have no gap."""
    stems = [path.stem for path in files]
    numbers = [int(stem) for stem in stems] if all(re.fullmatch("[0-9]+", s) for s in stems) else []
    for keys in (stems, numbers):
        twice = [i for i in range(1, len(keys)) if keys[i] == keys[i - 1]]
        if twice:
            raise InputError(
                "Every frame must have a name of its own",
                met=f"{files[twice[0] - 1].name} and {files[twice[0]].name}",
                where=folder,
                remedy="Remove one of them",
            )
    steps = [after - before for before, after in zip(numbers, numbers[1:], strict=False)]
    step = min(steps, default=1)
    if any(each % step for each in steps):
        return  # moments rather than counted frames
    missing = [
        _run_of_names(before + step, after - step, len(stems[0]))
        for before, after in zip(numbers, numbers[1:], strict=False)
        if after - before > step
    ]
    if missing:
        raise InputError(
            "Numbered frames must follow each other without a gap",
            met=f"{sum(each // step - 1 for each in steps)} missing: {shorten(missing)}",
            where=folder,
            remedy="Add the missing frames, or number the frames anew",
        )


def _run_of_names(first: int, last: int, digits: int) -> str:
    return f"{first:0{digits}d}" + (f" to {last:0{digits}d}" if last > first else "")


def _mask_precedence(path: Path) -> tuple[int, str]:
    suffix = path.suffix.lower()
    return (MASK_SUFFIXES.index(suffix) if suffix in MASK_SUFFIXES else -1, path.name)
