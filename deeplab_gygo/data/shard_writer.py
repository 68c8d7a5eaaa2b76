"""Packing of material into shards."""

from __future__ import annotations

import hashlib
import io
import re
import shutil
import tarfile
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from tqdm import tqdm

from ..config import TrainConfig
from ..config_training import SystemTraining
from ..errors import InputError, UsageError
from .packed_forms import Member, PackSettings
from .packing import Piece, material_pieces
from .shards import INDEX, Shard, ShardSet
from .storage import storage_error

_AHEAD = 4  # pieces a thread that may wait to be written; bounds the memory


class ShardWriter:
    """Writes members one after another into tar files of a limited size.

    The bytes of a shard depend on its members alone: there are no times and no owners.

    Args:
        folder: Existing folder of the shards.
        shard_bytes: No shard grows beyond this.
    """

    def __init__(self, folder: Path, shard_bytes: int):
        self._folder, self._shard_bytes = folder, shard_bytes
        self._shards: list[Shard] = []
        self._archive: tarfile.TarFile | None = None
        self._root, self._members, self._original_bytes = "", 0, 0
        self._paths: set[str] = set()

    def add(self, root: str, member: Member) -> None:
        """Writes a member; a shard holds members of one root.

        Args:
            root: Root of the material that it belongs to.
            member: The file.

        Raises:
            InputError: There is another member of this path.
            UsageError: The member alone is larger than a shard may be.
            OSError: The disk is full or cannot be written.
        """
        if member.path in self._paths:
            raise InputError(
                "Pictures that are packed differ in more than their suffix",
                met=f"two files for {member.path}",
                remedy="Remove or rename one of them",
            )
        self._paths.add(member.path)
        info = tarfile.TarInfo(member.path)
        info.size = len(member.data)
        header = len(info.tobuf(tarfile.PAX_FORMAT))
        needed = header + _blocks(info.size)
        if _finished_size(needed) > self._shard_bytes:
            raise UsageError(
                "A shard has room for the largest file",
                met=f"{needed / 1e6:.1f} MB for {member.path}",
                where="--shard-mb",
                remedy="Raise it, or reduce --short-side or --quality",
            )
        if self._archive is not None and (
            root != self._root or _finished_size(self._archive.offset + needed) > self._shard_bytes
        ):
            self._finish()
        if self._archive is None:
            self._begin(root)
        self._archive.addfile(info, io.BytesIO(member.data))
        self._members += 1
        self._original_bytes += member.original_bytes

    def close(self) -> tuple[Shard, ...]:
        """Ends the last shard.

        Returns:
            All shards.
        """
        if self._archive is not None:
            self._finish()
        return tuple(self._shards)

    def abandon(self) -> None:
        """Closes the open file; the shards are not to be used."""
        if self._archive is not None:
            self._archive.fileobj.close()
            self._archive = None

    def _begin(self, root: str) -> None:
        words = re.sub(r"[^A-Za-z0-9_.-]+", "-", root).strip("-.") or "material"
        path = self._folder / f"{len(self._shards):05d}-{words}.tar"
        stream = open(path, "wb")
        self._archive = tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT)
        self._root, self._members, self._original_bytes = root, 0, 0

    def _finish(self) -> None:
        stream = self._archive.fileobj
        self._archive.close()
        stream.close()
        self._archive = None
        path = Path(stream.name)
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        size = path.stat().st_size
        self._shards.append(
            Shard(path.name, self._root, size, digest, self._members, self._original_bytes)
        )


def pack_material(
    config: TrainConfig | SystemTraining,
    root: Path,
    out: str | Path,
    *,
    settings: PackSettings | None = None,
    shard_bytes: int = 60_000_000,
    only: Sequence[str] = (),
    workers: int = 2,
    progress: bool = True,
) -> ShardSet:
    """Packs what a training reads into shards; the folder appears when it is complete.

    Args:
        config: Its sources and validation sets are packed.
        root: Folder that relative roots start at.
        out: Folder to make; must not exist.
        settings: How far pictures are reduced; None takes the defaults.
        shard_bytes: No shard grows beyond this.
        only: Roots to pack, with all below them; empty packs all.
        workers: Threads that decode and code.
        progress: Show a progress bar on a terminal.

    Returns:
        The index.

    Raises:
        InputError: Material is missing, damaged or of another layout; or the folder exists.
        StorageError: The disk is full or cannot be written. Nothing is left behind then.
        UsageError: The configuration names nothing, or a value is out of range.
    """
    out, settings = Path(out), settings or PackSettings()
    if out.exists():
        raise InputError(
            "The folder of the shards must not exist yet",
            met="it exists",
            where=out,
            remedy="Remove it, or name another",
        )
    pieces = material_pieces(config, root, settings, only)
    if not pieces:
        raise UsageError(
            "A training to be packed reads some material",
            met="no sources and no validation",
            remedy="Name some material in the configuration",
        )
    side = out.with_name(f".{out.name}.packing")
    try:
        shutil.rmtree(side, ignore_errors=True)  # of a run that was killed
        side.mkdir(parents=True)
        shards = _write(side, pieces, shard_bytes, workers, progress)
        shard_set = ShardSet(settings.short_side, settings.quality, shards)
        (side / INDEX).write_text(shard_set.to_json(), encoding="utf-8")
        side.rename(out)
    except OSError as error:
        raise storage_error(out, error) from error
    finally:
        shutil.rmtree(side, ignore_errors=True)
    return shard_set


def _write(
    folder: Path, pieces: list[Piece], shard_bytes: int, workers: int, progress: bool
) -> tuple[Shard, ...]:
    writer = ShardWriter(folder, shard_bytes)
    bar = tqdm(total=len(pieces), desc="pack", unit="piece", disable=None if progress else True)
    with bar:
        try:
            for piece, members in _made(pieces, max(1, workers)):
                for member in members:
                    writer.add(piece.root, member)
                bar.update()
            return writer.close()
        finally:
            writer.abandon()


def _made(pieces: list[Piece], workers: int) -> Iterator[tuple[Piece, list[Member]]]:
    """Makes pieces by threads, ahead of their use, and yields them in order."""
    waiting: deque[tuple[Piece, Future[list[Member]]]] = deque()
    upcoming = iter(pieces)
    with ThreadPoolExecutor(workers, thread_name_prefix="pack") as pool:
        try:
            while True:
                while len(waiting) < _AHEAD * workers and (piece := next(upcoming, None)):
                    waiting.append((piece, pool.submit(piece.make)))
                if not waiting:
                    return
                piece, future = waiting.popleft()
                yield piece, future.result()
        finally:
            for _, future in waiting:
                future.cancel()


def _blocks(size: int) -> int:
    """Bytes that content of a size takes in a tar file."""
    return -(-size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE


def _finished_size(offset: int) -> int:
    """Size of a tar file with its end: two blocks of zeros, filled up to a record."""
    return -(-(offset + 2 * tarfile.BLOCKSIZE) // tarfile.RECORDSIZE) * tarfile.RECORDSIZE
