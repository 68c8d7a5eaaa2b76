"""The base of the data sets: lists, sequences and masks below one root, read when asked for.

Opening a data set lists nothing but folders, opening a sequence reads names and one header.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np

from deeplab_gygo.datasets.layout import (
    ANNOTATION_FOLDER,
    IMAGE_FOLDER,
    LIST_FOLDER,
    read_split_list,
    require_dataset_root,
    subfolders,
)
from deeplab_gygo.errors import InputError
from deeplab_gygo.io.frame_folder import FolderSequence
from deeplab_gygo.io.images import image_size
from deeplab_gygo.io.listing import is_stray, list_images, shorten
from deeplab_gygo.io.masks import read_mask


class Dataset(ABC):
    """A data set of video sequences with a mask for every frame; base of the three kinds.

    Args:
        root: Folder with `JPEGImages`, `Annotations` and `ImageSets`, or a folder in which one
            sub-folder holds them, as an unpacked archive leaves it.
        resolution: Folder below `JPEGImages` and `Annotations`, e.g. "480p" or "original".

    Attributes:
        kind: "gygo", "davis2016" or "davis2017".
        root: The folder that holds `JPEGImages`.
        resolution: As given.
        multi_object: True where masks hold several object ids; else they hold 0 and 1 only.
        void_label: Value in the masks that evaluation leaves out; None where there is none.
        published_counts: Number of sequences in the published splits.

    Raises:
        InputError: The root or the resolution is absent, or the lists are of another year.
    """

    kind: ClassVar[str]
    multi_object: ClassVar[bool] = False
    void_label: ClassVar[int | None] = None
    published_counts: ClassVar[Mapping[str, int]]
    # Not "auto": every index of a palette but 0 is the object, as in the official reader
    # (github.com/fperazzi/davis, python/lib/davis/dataset/loader.py), and gray is cut in the
    # middle, as readers of GyGO do, where "auto" would refuse a mask with much gray in it.
    mask_format: ClassVar[str] = "binary"

    def __init__(self, root: str | Path, resolution: str = "480p"):
        self.resolution = resolution
        self.root = require_dataset_root(Path(root).expanduser(), self.kind)
        self.image_folder = self._require_resolution(IMAGE_FOLDER)
        self.annotation_folder = self._require_resolution(ANNOTATION_FOLDER)
        self._lists = self._find_lists(self.root / LIST_FOLDER)
        self._names: dict[str, list[str]] = {}
        self._sequences: dict[str, AnnotatedSequence] = {}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.root)!r}, {self.resolution!r})"

    def splits(self) -> list[str]:
        """Names of the splits that have a list, in lower case, sorted."""
        return sorted(self._lists)

    def list_file(self, split: str | Path) -> Path:
        """Finds the list of a split.

        Args:
            split: Name of a split in any case, with or without `.txt`; or the path of a list file.

        Returns:
            The list file.

        Raises:
            InputError: There is no such list.
        """
        key = str(split).lower()
        found = self._lists.get(key) or self._lists.get(key.removesuffix(".txt"))
        if found is None and Path(split).expanduser().is_file():
            found = Path(split).expanduser()
        if found is None:
            raise InputError(
                f"The split '{split}' needs a list in {LIST_FOLDER}",
                met=f"lists of {self.kind} there: {shorten(self.splits()) or 'none'}",
                where=self.root / LIST_FOLDER,
                remedy="Name one of these splits, or give the path of a list file",
            )
        return found

    def listed(self, split: str | Path) -> dict[str, list[str]]:
        """What a list names, whether it is on disk or not.

        Args:
            split: Name of a split or path of a list file.

        Returns:
            Sequence name -> frame names, empty where the list names whole sequences.

        Raises:
            InputError: There is no such list, or it cannot be read.
        """
        return read_split_list(self.list_file(split))

    def names(self, split: str | Path) -> list[str]:
        """Names of the sequences of a split, in the order of its list.

        Args:
            split: Name of a split in any case, or path of a list file.

        Returns:
            Sequence names; every one has a folder of frames.

        Raises:
            InputError: There is no such list, or it names sequences that are not on disk.
        """
        key = str(split)
        if key not in self._names:
            names = list(self.listed(split))
            absent = [name for name in names if not (self.image_folder / name).is_dir()]
            if absent:
                raise InputError(
                    "Every sequence that a list names must be on disk",
                    met=f"{len(absent)} absent: {', '.join(absent)}",
                    where=f"{self.list_file(split)}, folder {self.image_folder}",
                    remedy="Fetch the data set again, or remove the names from the list",
                )
            self._names[key] = names
        return list(self._names[key])

    def names_on_disk(self) -> list[str]:
        """Names of all sequences that have a folder with files, listed or not, sorted."""
        names = []
        for folder, below, files in os.walk(self.image_folder, followlinks=True):
            below[:] = [name for name in below if not is_stray(name)]
            if any(not is_stray(name) for name in files):
                names.append(Path(folder).relative_to(self.image_folder).as_posix())
        return sorted(name for name in names if name != ".")

    def sequence(self, name: str) -> AnnotatedSequence:
        """Opens a sequence; frames are decoded when asked for.

        Args:
            name: Name as in the lists; may contain slashes.

        Returns:
            The sequence; its `annotation` reads masks as the data set means them, with void as
            background. The same object for every call.

        Raises:
            InputError: There is no such sequence, or it has no frames.
        """
        if name not in self._sequences:
            folder = self.image_folder / name
            if not folder.is_dir():
                raise InputError(
                    f"The data set must hold the sequence '{name}'",
                    met="no such folder",
                    where=folder,
                    remedy=f"Name one of: {shorten(self.names_on_disk())}",
                )
            annotations = self.annotation_folder / name
            self._sequences[name] = _open_sequence(
                folder,
                name,
                annotations if annotations.is_dir() else None,
                self.read_annotation,
            )
        return self._sequences[name]

    def annotation(self, name: str, index: int) -> np.ndarray:
        """Reads the mask of one frame.

        Args:
            name: Name of the sequence.
            index: Index of the frame in the sequence.

        Returns:
            uint8 [H, W]: 0 background, 1 object; for a data set with several objects the ids of
            the objects and `void_label`.

        Raises:
            InputError: The frame has no mask, or the mask cannot be read or has another size.
        """
        sequence = self.sequence(name)
        path = sequence.annotations.get(index)
        if path is None:
            raise InputError(
                f"Frame {index} of the sequence '{name}' needs a mask",
                met=f"masks for {len(sequence.annotations)} of {len(sequence)} frames",
                where=self.annotation_folder / name,
            )
        return self.read_annotation(path, size=sequence.size)

    @classmethod
    def read_annotation(
        cls, path: str | Path, *, size: tuple[int, int] | None = None, keep_void: bool = True
    ) -> np.ndarray:
        """Reads a mask file as this data set means it.

        Args:
            path: The mask.
            size: Height and width of its frame in pixels; None to leave that unchecked.
            keep_void: Keep `void_label` where the data set has one, else make it background.

        Returns:
            uint8 [H, W], see `annotation`.

        Raises:
            InputError: The mask cannot be read or has another shape than its frame.
        """
        return read_mask(path, size=size, mask_format=cls.mask_format, keep_void=keep_void)

    @abstractmethod
    def _find_lists(self, folder: Path) -> dict[str, Path]:
        """Returns the list files of a data set by the name of their split."""

    def _require_resolution(self, kind_of_file: str) -> Path:
        folder = self.root / kind_of_file / self.resolution
        if not folder.is_dir():
            there = [path.name for path in subfolders(self.root / kind_of_file)]
            raise InputError(
                f"The data set must have {kind_of_file} in the resolution '{self.resolution}'",
                met=f"there is {shorten(there) or 'none'}",
                where=self.root / kind_of_file,
                remedy="Choose a resolution that is there" if there else "Fetch the data set again",
            )
        return folder


class AnnotatedSequence(FolderSequence):
    """A sequence of a data set: its masks are read as the data set means them.

    Args:
        files: The images in order.
        size: Height and width of the frames in pixels.
        name: Name in the data set.
        source: Folder of the images.
        annotations: Folder of the masks; None where there are none.
        read_annotation: `Dataset.read_annotation` of its kind.
    """

    def __init__(
        self,
        files: list[Path],
        size: tuple[int, int],
        *,
        name: str,
        source: Path,
        annotations: Path | None,
        read_annotation: Callable[..., np.ndarray],
    ):
        super().__init__(files, size, name=name, source=source, annotations=annotations)
        self._read_annotation = read_annotation

    def annotation(self, index: int) -> np.ndarray:
        """Reads the mask of a frame: uint8 [H, W], void as background. See `Sequence`."""
        if index not in self.annotations:
            return super().annotation(index)  # which says what is missing
        return self._read_annotation(self.annotations[index], size=self.size, keep_void=False)


def _open_sequence(
    folder: Path, name: str, annotations: Path | None, read_annotation: Callable[..., np.ndarray]
) -> AnnotatedSequence:
    """Opens a folder without the checks of every header and number that strange folders get.

    A data set of a hundred thousand frames opens in seconds thereby; a frame of another size is
    noticed when it is decoded, and a gap in the numbers, which masks that are paired by name can
    bear, by the verification.
    """
    files = list_images(folder)
    if not files:
        raise InputError(f"The sequence '{name}' must have frames", met="no image", where=folder)
    twice = [one for one, other in zip(files, files[1:], strict=False) if one.stem == other.stem]
    if twice:
        raise InputError(
            "Every frame must have a name of its own",
            met=f"several files named {shorten(path.stem for path in twice)}",
            where=folder,
            remedy="Remove all but one",
        )
    return AnnotatedSequence(
        files,
        image_size(files[0]),
        name=name,
        source=folder,
        annotations=annotations,
        read_annotation=read_annotation,
    )
