"""Base class of the dataset readers: split lists, sequences and masks below one root.

Opening a dataset lists folders only; opening a sequence reads file names and one image header.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import ClassVar
from weakref import WeakValueDictionary

import numpy as np

from deeplab_gygo.datasets.layout import (
    ANNOTATION_FOLDER,
    IMAGE_FOLDER,
    LIST_FOLDER,
    OPEN_AS_YOUTUBE_VOS,
    has_youtube_vos_layout,
    listing_errors,
    read_split_list,
    require_dataset_root,
    subfolders,
)
from deeplab_gygo.datasets.remote import remote_root
from deeplab_gygo.errors import InputError
from deeplab_gygo.io.frame_folder import FolderSequence
from deeplab_gygo.io.images import image_size, read_header
from deeplab_gygo.io.listing import is_stray, list_images, shorten
from deeplab_gygo.io.names import expanded, safe_relative
from deeplab_gygo.io.storage import each, is_url


class Dataset(ABC):
    """A dataset of video sequences with masks; base of all kinds.

    Args:
        root: Folder with `JPEGImages`, `Annotations` and `ImageSets`, or a folder with one
            sub-folder that holds them, as an unpacked archive leaves it. Of a URL the lists are
            read; the files of a sequence are copied to the scratch folder when it is opened, and
            stay as long as it is referred to.
        resolution: Folder below `JPEGImages` and `Annotations`, e.g. "480p" or "original".

    Attributes:
        kind: One of `KINDS`.
        location: The root as given: a path, or a URL.
        root: The folder that holds `JPEGImages`; of a URL one on the local disk without pictures.
        resolution: As given; empty where the layout has none.
        multi_object: True if masks hold several object ids; else they hold 0 and 1 only.
        joining_objects: True if objects may join after the first frame: the mask of a later frame
            may hold only those that join there, and not every frame has one.
        void_label: Mask value that evaluation ignores; None for none.
        published_counts: Number of sequences in the published splits.

    Raises:
        InputError: The root or the resolution is absent, or the lists are of another year.
    """

    kind: ClassVar[str]
    multi_object: ClassVar[bool] = False
    joining_objects: ClassVar[bool] = False
    void_label: ClassVar[int | None] = None
    published_counts: ClassVar[Mapping[str, int]]
    sparse_splits: ClassVar[tuple[str, ...]] = ("test",)  # how their names begin

    def mask_format(self, path: Path) -> str:
        """Returns the encoding of a mask file, as in `read_mask`."""
        if self.multi_object:
            return "ids"  # palette indices, in any color
        # Every index of a palette but 0 is the object, as in the official reader of DAVIS
        # (github.com/fperazzi/davis, python/lib/davis/dataset/loader.py), and gray is thresholded
        # at half, as readers of GyGO do, where "auto" would refuse a mask with much gray in it.
        return "binary" if read_header(path).is_palette else "matte"

    def __init__(self, root: str | Path, resolution: str = "480p"):
        self.resolution = resolution
        self.location = root
        self._remote = remote_root(str(root), self._below(resolution)) if is_url(root) else None
        self.root = self._find_root(self._remote.folder if self._remote else expanded(root))
        self._lists = self._find_lists(self.root / LIST_FOLDER)
        self._names: dict[str, list[str]] = {}
        # Of a remote dataset what nobody refers to gives its copy up, but for the latest.
        self._latest: FolderSequence | None = None
        self._sequences: MutableMapping[str, FolderSequence] = (
            WeakValueDictionary() if self._remote else {}
        )

    def _below(self, resolution: str) -> str:
        """Returns the folder between `JPEGImages` and the sequences; empty where there is none."""
        return resolution

    def _find_root(self, root: Path) -> Path:
        """Returns the folder that holds `JPEGImages`; finds the folders of images and masks."""
        root = require_dataset_root(root, self.kind)
        self.image_folder = self._require_resolution(root / IMAGE_FOLDER)
        self.annotation_folder = self._require_resolution(root / ANNOTATION_FOLDER)
        return root

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.root)!r}, {self.resolution!r})"

    def frames_folder(self, name: str) -> Path:
        """Returns the folder of the frames of a sequence, present or expected."""
        return self.image_folder / name

    def masks_folder(self, name: str) -> Path:
        """Returns the folder of the masks of a sequence, present or expected."""
        return self.annotation_folder / name

    def splits(self) -> list[str]:
        """Returns the names of the splits that have a list, in lower case, sorted."""
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
        if found is None and os.path.isfile(os.path.expanduser(split)):
            found = expanded(split)
        if found is None:
            raise InputError(
                f"The split '{split}' needs a list in {LIST_FOLDER}",
                met=f"lists of {self.kind} there: {shorten(self.splits()) or 'none'}",
                where=self.root / LIST_FOLDER,
                remedy=OPEN_AS_YOUTUBE_VOS
                if has_youtube_vos_layout(self.root)
                else "Name one of these splits, or give the path of a list file",
            )
        return found

    def listed(self, split: str | Path) -> dict[str, list[str]]:
        """Reads a list without comparing it with the disk.

        Args:
            split: Name of a split or path of a list file.

        Returns:
            Sequence name -> frame names, empty where the list names whole sequences.

        Raises:
            InputError: There is no such list, or it cannot be read.
        """
        return read_split_list(self.list_file(split))

    def names(self, split: str | Path) -> list[str]:
        """Returns the names of the sequences of a split, in the order of its list.

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
            absent = [name for name in names if not os.path.isdir(self.frames_folder(name))]
            if absent:
                raise InputError(
                    "Every sequence that a list names must be on disk",
                    met=f"{len(absent)} absent: {', '.join(absent)}",
                    where=f"{self.list_file(split)}, folder {self.frames_folder('')}",
                    remedy="Fetch the dataset again, or remove the names from the list",
                )
            self._names[key] = names
        return list(self._names[key])

    def names_on_disk(self) -> list[str]:
        """Returns the names of all sequences that have a folder with files, sorted.

        Links to folders are followed, each folder once: of one that has several names, the folders
        in it are listed under the first; a link to a folder that it is in itself is left out.
        """
        if self._remote is not None:
            self._remote.complete(self.image_folder, self.annotation_folder)
        names: list[str] = []
        entered: set[tuple[int, int]] = set()
        folders, links = [Path()], deque[Path]()
        while folders or links:  # links last, so that folders are listed by their own names
            is_link = not folders
            name = links.popleft() if is_link else folders.pop()
            folder = self.image_folder / name
            try:
                place = _identity(folder)
                if is_link and any(place == _identity(self.image_folder / p) for p in name.parents):
                    continue
                with os.scandir(folder) as entries:
                    found = [entry for entry in entries if not is_stray(entry.name)]
            except OSError:  # whoever opens it gets the reason
                names.append(name.as_posix())
                continue
            if name.parts and any(map(_is_file, found)):
                names.append(name.as_posix())
            if place not in entered:
                entered.add(place)
                found.sort(key=lambda entry: entry.name)
                links += [name / e.name for e in found if e.is_symlink() and os.path.isdir(e)]
                folders += [name / e.name for e in found if e.is_dir(follow_symlinks=False)]
        return sorted(names)

    def sequence(self, name: str) -> FolderSequence:
        """Opens a sequence; frames are decoded on access.

        A folder is opened without reading every image header, unlike by `sequence_from_folder`: a
        dataset of a hundred thousand frames opens in seconds. A frame of another size is detected
        when it is decoded, and a gap in the numbers by the verification.

        Args:
            name: Name as in the lists; may contain slashes.

        Returns:
            The sequence, the same object for every call.

        Raises:
            InputError: There is no such sequence, it has no frames or two of one name, or it cannot
                be read.
        """
        name = safe_relative(
            name,
            self.root,
            rule="A sequence is named by its folder below that of the images",
            result=False,
        )
        sequence = self._sequences.get(name)
        if sequence is None:
            self._latest = None  # gives its copy up
            with ExitStack() as stack, listing_errors(self.frames_folder(name)):
                sequence = self._open(name, *stack.enter_context(self.copied(name)))
                sequence.lease = stack.pop_all() if self._remote else None
                self._latest = sequence if self._remote else None
            self._sequences[name] = sequence
        return sequence

    @contextmanager
    def copied(self, name: str) -> Iterator[tuple[Path, Path]]:
        """Yields the folders of frames and masks of a sequence; copies of a URL stay meanwhile.

        Args:
            name: Name as in the lists.

        Raises:
            InputError: A folder at a URL cannot be read.
            StorageError: A copy does not fit into the scratch folder, or the storage fails.
        """
        frames, masks = self.frames_folder(name), self.masks_folder(name)
        if self._remote is None:
            yield frames, masks
            return
        with self._remote.copied(frames) as frames, self._remote.copied(masks) as masks:
            yield frames, masks

    def remote_bytes(self, names: Iterable[str]) -> dict[str, int]:
        """Returns the sizes of what is copied to open sequences; empty of a local dataset.

        Args:
            names: Names of the sequences.

        Returns:
            Bytes by folder of frames or masks.
        """
        if self._remote is None:
            return {}
        folders = [str(f(name)) for name in names for f in (self.frames_folder, self.masks_folder)]
        return dict(zip(folders, each(folders, self._remote.num_bytes), strict=True))

    def _open(self, name: str, folder: Path, masks: Path) -> FolderSequence:
        if not os.path.isdir(folder):
            raise InputError(
                f"The dataset must hold the sequence '{name}'",
                met="no such folder",
                where=folder,
                remedy=f"Name one of: {shorten(self.names_on_disk())}",
            )
        files = list_images(folder)
        if not files:
            raise InputError(
                f"The sequence '{name}' must have frames", met="no image", where=folder
            )
        stems = [path.stem for path in files]
        twice = [one for one, other in zip(stems, stems[1:], strict=False) if one == other]
        if twice:
            raise InputError(
                "Every frame must have a name of its own",
                met=f"several files named {shorten(twice)}",
                where=folder,
                remedy="Remove all but one",
            )
        return FolderSequence(
            files,
            image_size(files[0]),
            name=name,
            source=folder,
            annotations=masks if os.path.isdir(masks) else None,
            mask_format=self.mask_format,
        )

    def annotation(self, name: str, index: int) -> np.ndarray:
        """Reads the mask of one frame.

        Args:
            name: Name of the sequence.
            index: Index of the frame in the sequence.

        Returns:
            uint8 [H, W]: 0 background, 1 object; for a dataset with several objects the ids of
            the objects and `void_label`.

        Raises:
            InputError: The frame has no mask, or the mask cannot be read or has another size.
        """
        return self.sequence(name).annotation(index, keep_void=True)

    @abstractmethod
    def _find_lists(self, folder: Path) -> dict[str, Path]:
        """Returns the list files of a dataset by the name of their split."""

    def _require_resolution(self, place: Path) -> Path:
        folder = place / self.resolution
        if not os.path.isdir(folder):
            found = [path.name for path in subfolders(place)]
            remedy = "Choose an existing resolution" if found else "Fetch the dataset again"
            raise InputError(
                f"The dataset must have {place.name} in the resolution '{self.resolution}'",
                met=shorten(found) or "none",
                where=place,
                remedy=OPEN_AS_YOUTUBE_VOS if has_youtube_vos_layout(place.parent) else remedy,
            )
        return folder


def _identity(path: Path) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_dev, status.st_ino


def _is_file(entry: os.DirEntry[str]) -> bool:
    return os.path.isfile(entry) if entry.is_symlink() else entry.is_file(follow_symlinks=False)
