"""Shards: the material of a training as a few tar files with an index, and their unpacking.

A shard set is a folder of uncompressed tar files (POSIX.1-2001), whose members are JPEG, PNG and
WebP pictures and split lists, as WebDataset has them, and of `index.json`, which names every tar
file with its size and hash. The members lie at the paths that training reads, relative to its
`data_root`; hence `for shard in *.tar; do tar xf $shard; done` makes a folder that every command
of this package reads, and a training whose `data_root` is a shard set unpacks it once by itself.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from ..errors import InputError
from ..user_cache import cache_folder
from .archive import check_file, extract_archive
from .storage import storage_error
from .transfer import require_space

INDEX = "index.json"
FORMAT = "deeplab_gygo.shards.1"


@dataclass(frozen=True)
class Shard:
    """A tar file of a shard set.

    Attributes:
        name: File name.
        root: Root of the material that its members belong to, as the configuration names it.
        size: Bytes.
        sha256: Hash of the content, hexadecimal.
        members: Number of members.
        original_bytes: Size of the files that the members stand for.
    """

    name: str
    root: str
    size: int
    sha256: str
    members: int
    original_bytes: int


@dataclass(frozen=True)
class ShardSet:
    """The index of a shard set.

    Attributes:
        short_side: Largest short side of pictures that were coded anew, pixels.
        quality: Quality that they were coded with.
        shards: The tar files.
    """

    short_side: int
    quality: int
    shards: tuple[Shard, ...]

    @property
    def size(self) -> int:
        """Bytes of all shards."""
        return sum(shard.size for shard in self.shards)

    def by_root(self) -> dict[str, list[Shard]]:
        """Groups the shards by the root of the material that they hold."""
        groups: dict[str, list[Shard]] = {}
        for shard in self.shards:
            groups.setdefault(shard.root, []).append(shard)
        return groups

    def to_json(self) -> str:
        """Returns the text of the index."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1) + "\n"


def read_shard_set(folder: str | Path) -> ShardSet:
    """Reads the index of a shard set; the shards themselves are not looked at.

    Args:
        folder: Folder with `index.json`.

    Returns:
        The index.

    Raises:
        InputError: There is no index, or it is not one of this package.
    """
    path = Path(folder) / INDEX
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values.pop("format") != FORMAT:
            raise ValueError(f"not of the format {FORMAT}")
        shards = tuple(Shard(**shard) for shard in values.pop("shards"))
        return ShardSet(**values, shards=shards)
    except FileNotFoundError:
        raise InputError(
            f"A shard set has the file {INDEX}",
            met="no such file",
            where=folder,
            remedy="Copy it beside the shards; packing writes it last",
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{INDEX} is an index written by `deeplab-gygo data pack`",
            met=f"{type(error).__name__}: {error}",
            where=path,
            remedy="Copy it again, or pack the material again",
        ) from error


def unpack(folder: str | Path, destination: str | Path, *, progress: bool = True) -> Path:
    """Unpacks a shard set into a folder that appears when it is complete.

    Every shard is compared with its hash first. What an interrupted run has unpacked is kept
    beside the destination, and the next run goes on from there.

    Args:
        folder: The shard set.
        destination: Folder to make; must not exist.
        progress: Show progress bars on a terminal.

    Returns:
        The destination.

    Raises:
        InputError: The index or a shard is missing, cut, or of another content; or the
            destination exists.
        StorageError: The disk is full or cannot be written.
    """
    folder, destination = Path(folder), Path(destination)
    shard_set = read_shard_set(folder)
    _require_shards(shard_set, folder)
    if destination.exists():
        raise InputError(
            "The folder that shards are unpacked to must not exist yet",
            met="it exists",
            where=destination,
            remedy="Remove it, or name another",
        )
    side = destination.with_name(f".{destination.name}.shards")
    try:
        side.mkdir(parents=True, exist_ok=True)
        waiting = [shard for shard in shard_set.shards if not (side / shard.name).is_dir()]
        require_space(side, sum(shard.size for shard in waiting), "Unpacking")
        for shard in waiting:
            path = folder / shard.name
            check_file(path, sha256=shard.sha256, size=shard.size)
            extract_archive(
                path, side / shard.name, find_content=lambda place: place, progress=progress
            )
        joined = side / "joined"
        for shard in shard_set.shards:
            _move_files(side / shard.name, joined)
            # Gone before the next, or a later run would take the emptied folder for a full one.
            shutil.rmtree(side / shard.name)
        joined.rename(destination)
        shutil.rmtree(side)
    except OSError as error:
        raise storage_error(destination, error) from error
    return destination


def local_material(root: str | Path, *, progress: bool = True) -> Path:
    """Finds the folder to read material from; unpacks a shard set the first time it is named.

    Shards are unpacked below the folder that the environment variable `DEEPLAB_GYGO_CACHE` names,
    by default `~/.cache/deeplab_gygo`, into a folder named after the content of the index.

    Args:
        root: Folder of material, or a shard set.
        progress: Show progress bars on a terminal.

    Returns:
        `root` itself, or the folder that its shards were unpacked to.

    Raises:
        InputError: The shard set is damaged or incomplete.
        StorageError: The disk is full or cannot be written.
    """
    root = Path(root)
    if not (root / INDEX).is_file():
        if any(root.glob("*.tar")) and not any(path.is_dir() for path in root.iterdir()):
            read_shard_set(root)  # raises: shards without their index
        return root
    identity = hashlib.sha256((root / INDEX).read_bytes()).hexdigest()[:16]
    read_shard_set(root)
    destination = cache_folder() / f"shards-{identity}"
    with _alone(destination):
        if not destination.is_dir():
            unpack(root, destination, progress=progress)
    return destination


@contextmanager
def _alone(destination: Path) -> Iterator[None]:
    """Lets one process at a time unpack; the lock ends with the process, however it ends."""
    try:
        import fcntl
    except ImportError:  # not on this system, where trainings are started one after another
        yield
        return
    lock = destination.with_name(f".{destination.name}.lock")
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        stream = open(lock, "w", encoding="utf-8")
    except OSError as error:
        raise storage_error(lock, error) from error
    with stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _require_shards(shard_set: ShardSet, folder: Path) -> None:
    missing = [shard.name for shard in shard_set.shards if not (folder / shard.name).is_file()]
    if missing:
        raise InputError(
            "Every shard that the index names must lie beside it",
            met=f"{len(missing)} of {len(shard_set.shards)} missing, first {missing[0]}",
            where=folder,
            remedy="Copy the missing shards too, or pack less with --only",
        )


def _move_files(source: Path, destination: Path) -> None:
    """Moves the files of a tree into another; the folders stay behind, empty."""
    for path in sorted(source.rglob("*")):
        if path.is_file():
            target = destination / path.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            path.replace(target)
