"""Datasets at URLs: their lists and the names of their sequences here, their frames when opened."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from deeplab_gygo.datasets.layout import (
    ANNOTATION_FOLDER,
    IMAGE_FOLDER,
    LIST_FOLDER,
    read_split_list,
)
from deeplab_gygo.errors import InputError
from deeplab_gygo.io import storage
from deeplab_gygo.io.local_names import NameFolder
from deeplab_gygo.io.scratch import scratch
from deeplab_gygo.io.storage import display, join, name_of

_MAX_LIST_BYTES = 64 << 20
_PLACEHOLDER = "00000.jpg"  # a folder without an image counts as none of a sequence


class RemoteRoot:
    """The folders of a dataset at a URL, on the local disk, where a sequence is an empty picture.

    Args:
        url: URL of the folder that holds `JPEGImages`, or of one around it.
        resolution: Folder below `JPEGImages`; empty of a dataset without.

    Attributes:
        folder: The local folder. It is removed when this object is.

    Raises:
        InputError: There is nothing at the URL, or it may not be read.
        DependencyError: The package for URLs of the kind is missing.
        StorageError: The storage does not answer.
    """

    def __init__(self, url: str, resolution: str):
        self._url = url.rstrip("/")
        self._resolution = resolution
        self._names = NameFolder(self._url)
        self.folder = self._names.path
        self._listed: set[Path] = set()
        self._list(self._url, self.folder, levels=2)
        self._list_nested()

    @contextmanager
    def copied(self, folder: Path) -> Iterator[Path]:
        """Yields a copy of the files of a sequence; an absent folder where there are none.

        Args:
            folder: Its folder below `folder`.
        """
        try:
            lease = scratch().lease(self._url_of(folder)) if folder.is_dir() else None
        except storage.NotFound:
            lease = None
        if lease is None:
            yield folder / "absent"
            return
        try:
            yield lease.path
        finally:
            lease.close()

    def num_bytes(self, folder: str | Path) -> int:
        """Returns the size of the files of a sequence; 0 where there are none.

        Args:
            folder: Its folder below `folder`.
        """
        try:
            folder = Path(folder)
            return storage.inspect(self._url_of(folder)).num_bytes if folder.is_dir() else 0
        except storage.NotFound:
            return 0

    def complete(self, *folders: Path) -> None:
        """Makes the folders of all sequences, by one listing of all files of each folder.

        Args:
            *folders: Folders of images and masks below `folder`.
        """
        for folder in set(folders) - self._listed:
            for path in folder.rglob(_PLACEHOLDER):
                path.unlink()
            url = self._url_of(folder)
            for name in {name.rpartition("/")[0] for name in storage.list_files(url)} - {""}:
                self._names.add(f"{name}/{_PLACEHOLDER}", folder)
            self._listed.add(folder)

    def _url_of(self, folder: Path) -> str:
        # With a slash, for the names of the web do not tell folders from files.
        return join(self._url, folder.relative_to(self.folder).as_posix()) + "/"

    def _list(self, url: str, folder: Path, levels: int) -> None:
        """Makes the folders of a root, or of the folders in it where it is around one."""
        below = [name_of(each) for each in storage.list_folder(url) if each.endswith("/")]
        known = [name for name in below if name in (IMAGE_FOLDER, ANNOTATION_FOLDER, LIST_FOLDER)]
        for name in known or below:
            (folder / name).mkdir()
            if name == LIST_FOLDER:
                self._copy_lists(join(url, name), folder / name)
            elif name in known:
                self._list_sequences(join(url, name), folder / name)
            elif levels > 1:
                self._list(join(url, name), folder / name, levels - 1)

    def _copy_lists(self, url: str, folder: Path) -> None:
        names = [name for name in storage.list_files(url) if name.lower().endswith(".txt")]

        def copy(name: str) -> None:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(storage.read_url(join(url, name), _MAX_LIST_BYTES))

        for _ in storage.each(names, copy):
            pass

    def _list_sequences(self, url: str, folder: Path) -> None:
        if self._resolution:
            for name in storage.list_names(url):
                (folder / name).mkdir()
            url, folder = join(url, self._resolution), folder / self._resolution
        for name in storage.list_names(url) if folder.is_dir() else ():
            (folder / name).mkdir()
            (folder / name / _PLACEHOLDER).touch()

    def _list_nested(self) -> None:
        """Makes the folders of names with slashes in the lists; they may not exist."""
        for path in sorted(self.folder.glob(f"**/{LIST_FOLDER}/**/*.txt")):
            root = next(each.parent for each in path.parents if each.name == LIST_FOLDER)
            for name in _names_in(path):
                for place in (root / IMAGE_FOLDER, root / ANNOTATION_FOLDER):
                    base = place / self._resolution
                    if "/" in name and (base / name.partition("/")[0]).is_dir():
                        (base / name).mkdir(parents=True, exist_ok=True)
                        (base / name / _PLACEHOLDER).touch()


def _names_in(path: Path) -> list[str]:
    try:
        return list(read_split_list(path))
    except InputError:  # whoever opens the list gets the reason
        return []


@cache
def remote_root(url: str, resolution: str) -> RemoteRoot:
    """Returns the folders of a dataset at a URL, listed once in a process; see `RemoteRoot`."""
    try:
        return RemoteRoot(url, resolution)
    except OSError as error:
        raise InputError(
            "The folders of a dataset can be made here",
            met=error.strerror,
            where=display(url),
            remedy="Free space in the folder for temporary files",
        ) from None
