"""Local paths that stand for URLs: what is shown of them, and folders of names without contents."""

from __future__ import annotations

import tempfile
from pathlib import Path
from weakref import WeakSet

from deeplab_gygo.io.names import safe_relative
from deeplab_gygo.io.urls import display, join, name_of, redacted

_origins: dict[str, str] = {}  # local path -> URL, as it may be shown
_places: set[str] = set()  # folders that such paths are in
_folders: WeakSet[NameFolder] = WeakSet()


def note_copy(path: Path, url: str) -> None:
    """Notes that a local path stands for a URL wherever it is shown."""
    _origins[str(path)] = display(url.rstrip("/"))
    _places.add(str(path.parent.parent))


def cited(text: str) -> str:
    """Returns a message with the URLs of the local copies that it names."""
    if any(place in text for place in tuple(_places)):
        for copy, url in tuple(_origins.items()):
            text = text.replace(copy, url)
    return text


def shown(path: object) -> str:
    """Returns the text of a path for records and messages.

    Args:
        path: A path, or a word of a command line.

    Returns:
        Of a local copy, or a file in one, the URL that it was copied from; URLs are without user,
        password and query.
    """
    text = str(path)
    for place in (Path(text), *Path(text).parents) if _origins else ():
        if (url := _origins.get(str(place))) is not None:
            below = Path(text).relative_to(place).as_posix()
            return url if below == "." else join(url, below)
    return redacted(text)


class NameFolder:
    """A folder for names of files at a URL; it is removed when nobody refers to this object.

    Args:
        url: URL of a folder, which messages show instead of the local one.

    Attributes:
        path: The local folder, of the name that the URL ends with.
    """

    def __init__(self, url: str):
        self._url = url
        self._place = tempfile.TemporaryDirectory(prefix="deeplab-gygo-")
        self.path = Path(self._place.name) / name_of(url)
        self.path.mkdir()
        note_copy(self.path, url)
        _folders.add(self)

    def add(self, name: str, folder: Path | None = None) -> None:
        """Makes an empty file.

        Args:
            name: Name of the file at the URL.
            folder: Folder below `path` that the name starts at.

        Raises:
            InputError: The name can be none of a local file.
        """
        name = safe_relative(name, display(self._url), result=False)
        path = (folder or self.path) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def remove_name_folders() -> None:
    """Removes the folders of this process before it ends without cleaning up."""
    for folder in list(_folders):
        folder._place.cleanup()
