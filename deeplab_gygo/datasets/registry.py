"""Readers of the datasets GyGO, DAVIS-2016, DAVIS-2017, YouTube-VOS and MOSE.

The first three have `JPEGImages/<resolution>/<sequence>/`, `Annotations/<resolution>/<sequence>/`
and lists of sequences in `ImageSets`; the folder of the lists and the encoding of masks differ.
"""

from __future__ import annotations

from pathlib import Path

from deeplab_gygo.datasets.dataset import Dataset
from deeplab_gygo.datasets.layout import (
    LIST_FOLDER,
    OPEN_AS_YOUTUBE_VOS,
    find_lists,
    has_youtube_vos_layout,
    subfolders,
)
from deeplab_gygo.datasets.youtube_vos import Mose, YoutubeVos
from deeplab_gygo.errors import InputError, UsageError
from deeplab_gygo.io.listing import shorten
from deeplab_gygo.io.masks import VOID

__all__ = [
    "KINDS",
    "Dataset",
    "Davis2016",
    "Davis2017",
    "Gygo",
    "Mose",
    "YoutubeVos",
    "open_dataset",
]

# Names of the published splits.
STANDARD_SPLITS = frozenset({"train", "val", "trainval", "test", "test-dev", "test-challenge"})


class Gygo(Dataset):
    """GyGO (https://github.com/ilchemla/gygo-dataset): e-commerce objects, one object per clip."""

    kind = "gygo"
    published_counts = {"train": 131, "val": 24}

    def _find_lists(self, folder: Path) -> dict[str, Path]:
        return find_lists(folder / self.resolution) | find_lists(folder)


class Davis2016(Dataset):
    """DAVIS-2016: one object per sequence, everything that is not background.

    Reads the DAVIS-2016 download, with lists in `ImageSets/480p`, and the lists of 2016 in
    `ImageSets/2016` of the DAVIS-2017 download.
    """

    kind = "davis2016"
    published_counts = {"train": 30, "val": 20}

    def _find_lists(self, folder: Path) -> dict[str, Path]:
        own = [folder / "2016", folder / "480p", folder / self.resolution]
        return _lists_of_year(self.kind, folder, own, other=folder / "2017")


class Davis2017(Dataset):
    """DAVIS-2017: object ids 1..N in each mask; 255, void, marks ignored pixels."""

    kind = "davis2017"
    multi_object = True
    void_label = VOID
    published_counts = {"train": 60, "val": 30}

    def _find_lists(self, folder: Path) -> dict[str, Path]:
        own = [folder / "2017"]
        if not own[0].is_dir():
            there = shorten(path.name for path in subfolders(folder)) or "none"
            raise InputError(
                f"DAVIS-2017 has its lists in {LIST_FOLDER}/2017",
                met=f"folders there: {there}",
                where=folder,
                remedy=OPEN_AS_YOUTUBE_VOS
                if has_youtube_vos_layout(folder.parent)
                else "Open it as davis2016, or give the root of the DAVIS-2017 download",
            )
        return _lists_of_year(self.kind, folder, own, other=None)


KINDS: dict[str, type[Dataset]] = {
    reader.kind: reader for reader in (Gygo, Davis2016, Davis2017, YoutubeVos, Mose)
}


def open_dataset(kind: str, root: str | Path, resolution: str = "480p") -> Dataset:
    """Opens a dataset; no sequence is listed or decoded yet.

    Args:
        kind: One of `KINDS`, "gygo", "davis2016", "davis2017", "youtube-vos" or "mose"; case,
            dashes and "davis16" are tolerated.
        root: Folder of the dataset or its URL, or the folder in which its archive was unpacked; of
            YouTube-VOS and MOSE also that of one split.
        resolution: Folder below `JPEGImages`: "480p", or "original" for GyGO; YouTube-VOS and MOSE
            have none.

    Returns:
        The reader.

    Raises:
        UsageError: The kind is unknown.
        InputError: The root or the resolution is absent, or the lists are of another year.
    """
    key = kind.lower().replace("-", "").replace("_", "").replace(" ", "")
    key = {
        "davis16": "davis2016", "davis17": "davis2017", "youtubevos": "youtube-vos",
        "ytvos": "youtube-vos",
    }.get(key, key)  # fmt: skip
    if key not in KINDS:
        raise UsageError(f"A dataset is one of {', '.join(KINDS)}", met=kind)
    return KINDS[key](root, resolution)


def _lists_of_year(
    kind: str, folder: Path, own: list[Path], *, other: Path | None
) -> dict[str, Path]:
    """Finds the lists of one year of DAVIS, without those of the other year.

    A list in `ImageSets` itself belongs to no year: beside folders of years it may add splits, but
    not define the standard ones.
    """
    lists = find_lists(folder)
    if any(path is not None and path.is_dir() for path in (*own, other)):
        lists = {split: lists[split] for split in lists if split not in STANDARD_SPLITS}
    for place in own:  # in ascending precedence
        lists |= find_lists(place)
    if not lists and other is not None and other.is_dir():
        raise InputError(
            f"{kind} has its lists in {LIST_FOLDER}/480p, {LIST_FOLDER}/2016 or {LIST_FOLDER}",
            met=f"lists in {LIST_FOLDER}/{other.name} only, which are of another year",
            where=folder,
            remedy=f"Open it as davis{other.name}, or add the lists of {kind}",
        )
    return lists
