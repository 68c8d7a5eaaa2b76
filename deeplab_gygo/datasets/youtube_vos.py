"""Readers of YouTube-VOS and MOSE: a folder for each split, no lists.

Every split has `JPEGImages/<sequence>/` and `Annotations/<sequence>/`; YouTube-VOS has `meta.json`
beside them. Training splits have a mask for every frame, the others one for each frame where an
object joins.
"""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path

from deeplab_gygo.datasets.dataset import Dataset
from deeplab_gygo.datasets.layout import (
    ANNOTATION_FOLDER,
    IMAGE_FOLDER,
    LIST_FOLDER,
    has_youtube_vos_layout,
    read_split_list,
    subfolders,
)
from deeplab_gygo.errors import InputError
from deeplab_gygo.io.listing import shorten
from deeplab_gygo.io.masks import VOID

_ALL_FRAMES = "_all_frames"
_ALIASES = {"val": "valid", "valid": "val"}


class YoutubeVos(Dataset):
    """YouTube-VOS (https://youtube-vos.org): ids of several objects, which join at any frame.

    The root holds the splits, or is one of them. `valid_all_frames` and its like have the same
    sequences as other splits: give them as root.
    """

    kind = "youtube-vos"
    multi_object = True
    joining_objects = True
    void_label = VOID
    published_counts = {"train": 3471, "valid": 507, "test": 541}  # of 2019
    sparse_splits = ("valid", "val", "test")

    def _below(self, resolution: str) -> str:
        return ""

    def _find_root(self, root: Path) -> Path:
        self.resolution = ""
        if not os.path.isdir(root):
            met = "a file" if os.path.exists(root) else "no such folder"
            raise InputError(f"The root of {self.kind} must be a folder", met=met, where=root)
        below = subfolders(root)
        if not has_youtube_vos_layout(root) and len(below) == 1:
            root = below[0]  # as an unpacked archive leaves it
        if not has_youtube_vos_layout(root):
            found = shorten(path.name for path in below) or "none"
            is_davis = any(path.name == LIST_FOLDER for path in (*below, *subfolders(root)))
            raise InputError(
                f"The root of {self.kind} must hold splits, such as train and valid, each with "
                f"{IMAGE_FOLDER}/<sequence>/ and {ANNOTATION_FOLDER}/<sequence>/, or be a split",
                met=f"folders there: {found}",
                where=root,
                remedy="Open it as davis2016, davis2017 or gygo"
                if is_davis
                else "Give the folder that holds the splits",
            )
        return root

    def _find_lists(self, folder: Path) -> dict[str, Path]:
        if os.path.isdir(self.root / IMAGE_FOLDER):
            return {self.root.resolve().name.lower(): self.root / IMAGE_FOLDER}
        found = {
            path.name.lower(): path / IMAGE_FOLDER
            for path in subfolders(self.root)
            if os.path.isdir(path / IMAGE_FOLDER)
        }
        return {
            split: path
            for split, path in found.items()
            if not split.endswith(_ALL_FRAMES) or split.removesuffix(_ALL_FRAMES) not in found
        }

    def list_file(self, split: str | Path) -> Path:
        """Finds a split: the folder of its images, or the list at a path; see `Dataset`."""
        alias = _ALIASES.get(str(split).lower())
        is_alias = alias in self._lists and str(split).lower() not in self._lists
        return super().list_file(alias if alias is not None and is_alias else split)

    def listed(self, split: str | Path) -> dict[str, list[str]]:
        """Returns the sequences of a split by the folders in it, or as a list names them."""
        place = self.list_file(split)
        if place.is_dir():
            return {path.name: [] for path in subfolders(place)}
        return read_split_list(place)

    def names_on_disk(self) -> list[str]:
        """Returns the names of all sequences, sorted."""
        return sorted(self._places)

    @cached_property
    def _places(self) -> dict[str, Path]:
        """Name of a sequence -> folder of its split."""
        places: dict[str, Path] = {}
        for split, images in self._lists.items():
            for path in subfolders(images):
                if path.name in places:
                    raise InputError(
                        "A sequence is in one split",
                        met=f"{path.name} in {places[path.name].name} and in {split}",
                        where=self.root,
                        remedy="Give the folder of one split as root",
                    )
                places[path.name] = images.parent
        return places

    def frames_folder(self, name: str) -> Path:
        """Returns the folder of the frames of a sequence, see `Dataset`."""
        return self._places.get(name, self.root) / IMAGE_FOLDER / name

    def masks_folder(self, name: str) -> Path:
        """Returns the folder of the masks of a sequence, see `Dataset`."""
        return self._places.get(name, self.root) / ANNOTATION_FOLDER / name


class Mose(YoutubeVos):
    """MOSE (https://henghuiding.github.io/MOSE): as YouTube-VOS, every frame, no `meta.json`."""

    kind = "mose"
    published_counts = {"train": 1507, "valid": 311, "test": 331}
