"""Folders of image files as sequences."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np

from deeplab_gygo.errors import InputError
from deeplab_gygo.io.images import SUFFIXES, image_size, read_header, read_stored
from deeplab_gygo.io.listing import (
    VIDEO_SUFFIXES,
    is_stray,
    list_images,
    number_gaps,
    shorten,
)
from deeplab_gygo.io.natural_order import order_key
from deeplab_gygo.io.sequence import Annotations, MaskFormat
from deeplab_gygo.io.still_frames import StillFrames

logger = logging.getLogger(__name__)

_KINDS = "JPEG, PNG, WebP, BMP, TIFF, GIF, JPEG 2000, AVIF"


class FolderSequence(StillFrames):
    """Image files of a folder, one per frame. Access to any frame costs one decoding.

    Args:
        files: The images in order, all of one size.
        size: Height and width in pixels, after EXIF orientation.
        name: Name of the sequence.
        source: The folder.
        annotations: As in `Sequence`.
        mask_format: As in `Sequence`.
    """

    def __init__(
        self,
        files: list[Path],
        size: tuple[int, int],
        *,
        name: str,
        source: Path,
        annotations: Annotations = None,
        mask_format: MaskFormat = "auto",
    ):
        names = [path.stem for path in files]
        super().__init__(name, source, size, names, annotations, mask_format)
        self._files = files

    @property
    def files(self) -> list[Path]:
        """The images, one per frame."""
        return list(self._files)

    def _read_stored(self, index: int) -> np.ndarray:
        image = read_stored(self._files[index])
        if image.shape[:2] != self.size:
            raise _mixed_sizes(self._files[index], image.shape[:2], self._files[0], self.size)
        return image


def sequence_from_folder(
    folder: str | Path,
    *,
    name: str | None = None,
    annotations: Annotations = None,
    exclude: Collection[str | Path] = (),
) -> FolderSequence:
    """Opens a folder of still images in natural order, see `natural_sorted`: 2 before 10.

    Only the headers of the images are read: JPEG, PNG, WebP, BMP, TIFF, GIF, JPEG 2000 or AVIF.
    Hidden files and files that are no images are ignored. All images must be of one kind and of
    one naming, apart from the numbers, so that no mask or cover is taken for a frame. Names that
    all differ otherwise are taken with a warning that lists them. Frames with numeric names must
    follow each other in equal steps (1, or 5 as in YouTube-VOS).

    Args:
        folder: The folder.
        name: Name of the sequence; by default that of the folder.
        annotations: Masks by frame index, or a folder of masks named as the frames.
        exclude: Files that are no frames, such as a mask in their folder; so are those of
            `annotations` by index.

    Returns:
        The sequence.

    Raises:
        InputError: The folder is absent, has no frames, a gap, two files of one name, images of
            several kinds, namings or sizes, or an unreadable or animated image; the order of the
            names is not decided; or the masks do not fit, see `Sequence`.
        UsageError: A mask belongs to no frame.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(
            "A folder of frames must exist",
            met="a file" if folder.exists() else "no such folder",
            where=folder,
        )
    if isinstance(annotations, Mapping):
        exclude = [*exclude, *(m for m in annotations.values() if isinstance(m, (str, Path)))]
    files = list_images(folder, exclude)
    if not files:
        entries = sorted(path.name for path in folder.iterdir() if not is_stray(path.name))
        raise InputError(
            f"A folder of frames must hold images ({_KINDS})",
            met=shorten(entries) or "an empty folder",
            where=folder,
            remedy="Give the folder that holds the frames themselves, or a video file",
        )
    _check_namings(files, folder)
    _check_names(files, folder)
    size = image_size(files[0])
    for path in files:
        header = read_header(path)
        if header.size != size:
            raise _mixed_sizes(path, header.size, files[0], size)
        if header.is_animated:
            raise InputError(
                "A frame in a folder is a still image",
                met="an animation or several pages",
                where=path,
                remedy="Give this file itself, or put each of its frames in a file",
            )
    name = name or folder.resolve().name
    return FolderSequence(files, size, name=name, source=folder, annotations=annotations)


def _check_names(files: list[Path], folder: Path) -> None:
    """Checks that no name or number occurs twice and that numbers have no gap."""
    stems = [path.stem for path in files]
    numbers = [int(stem) for stem in stems] if all(map(str.isdecimal, stems)) else []
    key = order_key(files)
    for one, other in pairwise(files):
        if key(one.stem) == key(other.stem):
            raise InputError(
                "Every frame must have a name of its own",
                met=f"{one.name} and {other.name}",
                where=folder,
                remedy="Remove one of them",
            )
    step, gaps = number_gaps(stems)
    if gaps:
        missing = [range(numbers[i] + step, numbers[i + 1], step) for i in gaps]
        names = [
            " to ".join(f"{number:0{len(stems[0])}d}" for number in dict.fromkeys((r[0], r[-1])))
            for r in missing
        ]
        raise InputError(
            "Numbered frames must follow each other without a gap",
            met=f"{sum(map(len, missing))} missing: {shorten(names)}",
            where=folder,
            remedy="Add the missing frames, or number the frames anew",
        )


def _check_namings(files: list[Path], folder: Path) -> None:
    """Checks that all files are of one kind and one naming, apart from the numbers."""
    key = order_key(files)
    groups: dict[tuple, list[Path]] = {}
    for path in files:
        kind = next(kind for kind, ends in SUFFIXES.items() if path.suffix.lower() in ends)
        naming = tuple(text if is_text else None for is_text, _, text in key(path.stem))
        groups.setdefault((kind, naming), []).append(path)
    is_series = len(groups) < len(files)
    if len(groups) > 1 and (is_series or len({kind for kind, _ in groups}) > 1):
        largest, *others = sorted(groups.values(), key=len, reverse=True)
        strange = [path.name for group in others for path in group]
        raise InputError(
            "The frames of a folder are images of one kind, with names that differ in numbers",
            met=f"{len(largest)} like {largest[0].name}, but also {shorten(strange)}",
            where=folder,
            remedy="Move those that are no frames to another folder, or give a mask by --mask; "
            "convert and rename those that are frames",
        )
    videos = {path.stem for path in folder.iterdir() if path.suffix.lower() in VIDEO_SUFFIXES}
    if videos and (not is_series or not videos.isdisjoint(path.stem for path in files)):
        raise InputError(
            "A folder of frames holds no videos with images beside them",
            met=f"{len(videos)} videos, and the images {shorten(path.name for path in files)}",
            where=folder,
            remedy="Give one of the videos, or segment all of them by: batch --videos FOLDER",
        )
    if not is_series and len(files) > 1:
        logger.warning(
            "%s: the names differ in more than numbers, the frames are taken in this order: %s",
            folder, shorten(path.name for path in files),
        )  # fmt: skip


def _mixed_sizes(
    path: Path, size: tuple[int, ...], first: Path, first_size: tuple[int, int]
) -> InputError:
    return InputError(
        "All frames of a sequence must have one size",
        met=f"{size[1]}x{size[0]}, but {first.name} is {first_size[1]}x{first_size[0]}",
        where=path,
        remedy="Put the frames of each size in a folder of their own",
    )
