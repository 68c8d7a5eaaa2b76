"""Folders of image files as sequences."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from deeplab_gygo.errors import InputError
from deeplab_gygo.io.images import image_size, read_image
from deeplab_gygo.io.listing import is_stray, list_images, number_gaps, shorten
from deeplab_gygo.io.sequence import Annotations, IndexedSequence


class FolderSequence(IndexedSequence):
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
        mask_format: str = "auto",
    ):
        names = [path.stem for path in files]
        super().__init__(name, source, size, names, annotations, mask_format)
        self._files = files

    def _read(self, index: int) -> np.ndarray:
        image = read_image(self._files[index])
        if image.shape[:2] != self.size:
            raise _mixed_sizes(self._files[index], image.shape[:2], self._files[0], self.size)
        return image


def sequence_from_folder(
    folder: str | Path, *, name: str | None = None, annotations: Annotations = None
) -> FolderSequence:
    """Opens a folder of frames (JPEG, PNG, WebP, BMP) in natural order: 2 before 10.

    Only the headers of the images are read. Hidden files and files of other kinds are ignored.
    Frames with numeric names must follow each other in equal steps (1, or 5 as in YouTube-VOS).

    Args:
        folder: The folder.
        name: Name of the sequence; by default that of the folder.
        annotations: Masks by frame index, or a folder of masks named as the frames.

    Returns:
        The sequence.

    Raises:
        InputError: The folder is absent, has no frames, a gap, two files of one name, an
            unreadable image or images of different sizes; or the masks do not fit, see `Sequence`.
        UsageError: A mask belongs to no frame.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(
            "A folder of frames must exist",
            met="a file" if folder.exists() else "no such folder",
            where=folder,
        )
    files = list_images(folder)
    if not files:
        entries = sorted(path.name for path in folder.iterdir() if not is_stray(path.name))
        raise InputError(
            "A folder of frames must hold JPEG, PNG, WebP or BMP images",
            met=shorten(entries) or "an empty folder",
            where=folder,
            remedy="Give the folder that holds the frames themselves, or a video file",
        )
    _check_names(files, folder)
    size = image_size(files[0])
    for path in files[1:]:
        if (other := image_size(path)) != size:
            raise _mixed_sizes(path, other, files[0], size)
    name = name or folder.resolve().name
    return FolderSequence(files, size, name=name, source=folder, annotations=annotations)


def _check_names(files: list[Path], folder: Path) -> None:
    """Checks that no name or number occurs twice and that numbers have no gap."""
    stems = [path.stem for path in files]
    numbers = [int(stem) for stem in stems] if all(map(str.isdecimal, stems)) else []
    for keys in (stems, numbers):
        twice = [i for i in range(1, len(keys)) if keys[i] == keys[i - 1]]
        if twice:
            raise InputError(
                "Every frame must have a name of its own",
                met=f"{files[twice[0] - 1].name} and {files[twice[0]].name}",
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


def _mixed_sizes(
    path: Path, size: tuple[int, ...], first: Path, first_size: tuple[int, int]
) -> InputError:
    return InputError(
        "All frames of a sequence must have one size",
        met=f"{size[1]}x{size[0]}, but {first.name} is {first_size[1]}x{first_size[0]}",
        where=path,
        remedy="Put the frames of each size in a folder of their own",
    )
