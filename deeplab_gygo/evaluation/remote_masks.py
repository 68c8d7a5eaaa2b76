"""Folders of masks at URLs: their names here, their contents while a sequence is measured."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from deeplab_gygo.errors import InputError
from deeplab_gygo.evaluation.result_files import is_mask_file
from deeplab_gygo.io import storage
from deeplab_gygo.io.local_names import NameFolder
from deeplab_gygo.io.scratch import scratch
from deeplab_gygo.io.storage import display, is_url, join


class RemoteMasks:
    """The files of a folder of masks at a URL as empty files on the local disk.

    Args:
        url: URL of the folder; it is listed once, with all that is below it.
        what: What it holds, for messages.

    Attributes:
        folder: The local folder. It is removed when this object is.

    Raises:
        InputError: There is no such folder, it is empty, or the server does not list it.
        DependencyError: The package for URLs of the kind is missing.
        StorageError: The storage does not answer.

    Example:
        >>> storage.write_url("memory://measured/shoe/masks/00000.png", b"a mask")
        >>> remote = RemoteMasks("memory://measured", "masks")
        >>> [path.relative_to(remote.folder).as_posix() for path in remote.folder.rglob("*.png")]
        ['shoe/masks/00000.png']
    """

    def __init__(self, url: str, what: str):
        self._url = url.rstrip("/")
        # With a slash, for the names of the web do not tell folders from files.
        is_folder = storage.inspect(f"{self._url}/").is_folder
        names = storage.list_files(f"{self._url}/") if is_folder else {}
        if not names:
            raise InputError(
                f"The folder of the {what} lists its files",
                met="no files" if is_folder else "a file",
                where=display(self._url),
                remedy="Give the URL of a folder in a bucket; of an archive, or of a web server "
                "that does not list its folders, make a local copy",
            )
        self._names = NameFolder(self._url)
        self.folder = self._names.path
        for name in filter(is_mask_file, names):
            self._names.add(name)

    @contextmanager
    def copied(self, files: Mapping[str, Path]) -> Iterator[Mapping[str, Path]]:
        """Yields files of one folder with their contents, which are copied as long as needed.

        Args:
            files: Files by frame name; those that are not below `folder` are yielded as they are.
        """
        place = next(iter(files.values())).parent if files else Path()
        if not place.is_relative_to(self.folder):
            yield files
            return
        url = join(self._url, place.relative_to(self.folder).as_posix())
        with scratch().local(f"{url}/") as copy:
            yield {frame: copy / path.name for frame, path in files.items()}


def open_folder(folder: str | Path, what: str, remotes: list[RemoteMasks]) -> Path:
    """Returns the local folder of masks, of a URL one with empty files.

    Args:
        folder: A folder, or its URL.
        what: What it holds, for messages.
        remotes: Takes the folder at a URL.

    Raises:
        InputError: There is no such folder; or as in `RemoteMasks`.
    """
    if is_url(folder):
        remotes.append(RemoteMasks(str(folder), what))
        return remotes[-1].folder
    folder = Path(folder)
    if not os.path.isdir(folder):
        is_file = os.path.isfile(folder)
        raise InputError(
            f"The folder of the {what} must exist",
            met="a file" if is_file else "no folder",
            where=folder,
            remedy="Unpack the archive and give its folder" if is_file else None,
        )
    return folder
