"""Paths that are URLs of object storage or of the web, by fsspec.

What a URL needs to be read, keys and signatures, may be in it: wherever a URL is shown or written
down, it passes through `display`, and texts of client libraries through `redacted`.
"""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote

from deeplab_gygo.errors import DeepLabGygoError, DependencyError, InputError, StorageError
from deeplab_gygo.io.atomic import FULL, storage_error
from deeplab_gygo.io.escaping import printable
from deeplab_gygo.io.storage_faults import NotFound, chain_of, failure_of, may_pass, status_of
from deeplab_gygo.io.urls import (
    PACKAGES,
    display,
    is_url,
    is_web,
    join,
    local_or_url,
    name_of,
    parent,
    redacted,
)

__all__ = [
    "NotFound",
    "Stored",
    "call",
    "display",
    "each",
    "fetch",
    "inspect",
    "is_url",
    "join",
    "list_files",
    "list_folder",
    "list_names",
    "local_or_url",
    "name_of",
    "parent",
    "read_url",
    "redacted",
    "remove",
    "upload",
    "write_url",
]

logger = logging.getLogger(__name__)

TRIES = 5
"""How often an operation is tried in all, beside the repetitions of the client library."""

PAUSE = 0.5
"""Seconds before the second try; doubled with every further one."""

WORKERS = 32
"""Number of small files that are read or written at a time."""

_VERSIONS = (
    "ETag", "etag", "md5Hash", "content_md5", "Content-MD5", "generation", "LastModified",
    "last_modified", "Last-Modified", "updated", "mtime", "modified", "created",
)  # fmt: skip

_opening = threading.Lock()
_open_systems: dict[tuple[int, str, str], Any] = {}

Result = TypeVar("Result")


@dataclass(frozen=True)
class Stored:
    """What is at a URL.

    Attributes:
        is_folder: Whether it is a folder.
        sizes: Size of every file, bytes, -1 where the server does not name it; of a folder by
            relative path, those right below it or all; of a file under an empty name.
        version: Differs for a changed content; empty where the server has nothing that does.
    """

    is_folder: bool
    sizes: dict[str, int]
    version: str

    @property
    def num_bytes(self) -> int:
        """Size of all files, those of unknown size left out."""
        return sum(size for size in self.sizes.values() if size > 0)


def call(url: str, action: Callable[[Any, str], Result], *, writes: bool = False) -> Result:
    """Runs an operation on the file system of a URL; faults that may pass are tried again.

    Args:
        url: The URL.
        action: Takes the file system of fsspec and the path in it. It may run several times.
        writes: Whether a failure is one of output.

    Returns:
        What the operation returns.

    Raises:
        DependencyError: The package for URLs of the kind is missing.
        InputError: There is no such file, or it may not be read.
        StorageError: The operation failed `TRIES` times, or it writes and failed.
    """
    for attempt in range(TRIES):
        try:
            return action(*_open(url))
        except DeepLabGygoError:
            raise
        except Exception as error:  # client libraries raise what they like
            met = f"{type(error).__name__}: {' '.join(redacted(error, url).split())[:300]}"
            if isinstance(error, OSError) and error.errno in FULL:
                raise storage_error(redacted(error.filename or "", url), error) from None
            passing = may_pass(error)
            if not passing or attempt == TRIES - 1:
                met += f", after {TRIES} tries" * passing
                # The error of the library may cite the URL with its signature.
                raise failure_of(url, error, met, writes=writes) from None
            wait = PAUSE * 2**attempt * random.uniform(0.5, 1.0)  # not all workers at once
            logger.debug("%s: %s; next try in %.1f s", display(url), printable(met), wait)
        time.sleep(wait)
    raise AssertionError("the last try returns or raises")


def each(urls: Iterable[str], work: Callable[[str], Result]) -> Iterator[Result]:
    """Runs a function on URLs, `WORKERS` at a time; yields the results in order.

    After an error no further one is begun, and those that run are waited for; not so when the
    process is interrupted.
    """
    pool = ThreadPoolExecutor(WORKERS)
    waits = True
    try:
        yield from pool.map(work, urls)
    except BaseException as error:
        waits = isinstance(error, (Exception, GeneratorExit))
        raise
    finally:
        pool.shutdown(wait=waits, cancel_futures=True)


def read_url(url: str, limit: int) -> bytes:
    """Reads a whole file.

    Args:
        url: Its URL.
        limit: Largest size, bytes.

    Raises:
        InputError: As in `call`, or the file is larger.
        DependencyError: As in `call`.
        StorageError: As in `call`.

    Example:
        >>> write_url("memory://lists/all.txt", b"shoe")
        >>> read_url("memory://lists/all.txt", 100)
        b'shoe'
    """

    def read(fs: Any, path: str) -> bytes:
        try:
            return fs.cat_file(path, start=0, end=limit + 1)  # a range: its size is not asked for
        except Exception as error:
            if any(status_of(each) == 416 for each in chain_of(error)):  # of an empty file
                return b""
            raise

    content = call(url, read)
    if len(content) > limit:
        rule = f"A file of this kind has at most {limit} bytes"
        raise InputError(rule, met="more", where=display(url))
    return content


def write_url(url: str, content: bytes) -> None:
    """Writes a whole file; raises `StorageError` where that fails."""
    call(url, lambda fs, path: fs.pipe_file(path, content), writes=True)


def upload(file: Path, url: str) -> None:
    """Copies a local file to a URL; raises `StorageError` where that fails."""
    call(url, lambda fs, path: fs.put_file(str(file), path), writes=True)


def remove(url: str) -> None:
    """Removes a file, where there is one; raises `StorageError` where that fails."""

    def act(fs: Any, path: str) -> None:
        try:
            fs.rm_file(path)
        except FileNotFoundError:
            pass

    call(url, act, writes=True)


def list_folder(url: str) -> list[str]:
    """Lists a folder.

    Args:
        url: Its URL.

    Returns:
        URLs of the files and folders right below it, sorted; those of folders end with a slash.

    Raises:
        InputError: As in `call`.
        DependencyError: As in `call`.
        StorageError: As in `call`.

    Example:
        >>> write_url("memory://shelf/shoe/00000.jpg", b"")
        >>> write_url("memory://shelf/bag.mp4", b"")
        >>> list_folder("memory://shelf")
        ['memory://shelf/bag.mp4', 'memory://shelf/shoe/']
    """
    return sorted(
        join(url, _last(info)) + "/" * (info["type"] == "directory")
        for info in call(url, _children)
    )


def list_names(url: str) -> list[str]:
    """Returns the names of the files and folders in a folder; none if it is absent."""
    try:
        return [_last(info) for info in call(url, _children)]
    except NotFound:
        return []


def list_files(url: str) -> dict[str, int]:
    """Returns the size of every file below a folder, by relative path; none if it is absent."""
    return {name: info.get("size") or 0 for name, info in call(url, _below).items()}


def inspect(url: str, *, deep: bool = False) -> Stored:
    """Returns what is at a URL, without its content.

    Args:
        url: The URL; on the web that of a folder ends with a slash, unless `deep` is set.
        deep: Whether of a folder all that is below it counts.

    Raises:
        InputError: As in `call`.
        DependencyError: As in `call`.
        StorageError: As in `call`.
    """

    def look(fs: Any, path: str) -> tuple[bool, dict[str, dict[str, Any]]]:
        info = fs.info(path)
        if info["type"] != "directory" and not (is_web(url) and (deep or url.endswith("/"))):
            return False, {"": info}
        if deep:
            return True, _below(fs, path)
        return True, {_last(e): e for e in _children(fs, path) if e["type"] != "directory"}

    is_folder, infos = call(url, look)
    sizes, versions = {}, []
    for name, info in sorted(infos.items()):
        size = info.get("size")
        sizes[name] = -1 if size is None else int(size)
        known = [f"{key}={info[key]}" for key in _VERSIONS if info.get(key)]
        versions.append(f"{name or _last(info)} {size} {known}" if known else "")
    return Stored(is_folder, sizes, "\n".join(versions) if all(versions) else "")


def fetch(url: str, size: int, file: Path, limit: int) -> None:
    """Copies a file to the local disk, and checks that all of it came.

    Args:
        url: Its URL.
        size: Its size, bytes; -1 if unknown.
        file: Local file to make.
        limit: Largest size where it is unknown, bytes.

    Raises:
        InputError: As in `call`.
        StorageError: As in `call`, the disk is full, or the content exceeds the limit.
    """

    def get(fs: Any, path: str) -> None:
        fs.get_file(path, str(file), callback=_limited(limit, url))
        found = file.stat().st_size
        if size >= 0 and found != size:
            raise ConnectionError(f"{found} of {size} bytes came")

    call(url, get)


def _limited(limit: int, url: str) -> Any:
    """Returns a callback of fsspec that ends a copy beyond a number of bytes."""
    from fsspec.callbacks import Callback

    class Limit(Callback):
        def relative_update(self, inc: int = 1) -> None:
            super().relative_update(inc)
            if self.value > limit:
                rule = f"A file to be read is at most as large as the scratch folder, {limit} bytes"
                raise StorageError(
                    rule, met="more", where=display(url), remedy="Allow a larger scratch folder"
                )

    return Limit()


def _children(fs: Any, path: str) -> list[dict[str, Any]]:
    found = [info for info in fs.ls(path, detail=True) if _last(info)]
    found = [info for info in found if info["name"].strip("/") != path.strip("/")]
    if not found and not is_web(path) and not fs.isdir(path):
        raise NotADirectoryError("no folder")
    return found


def _below(fs: Any, path: str) -> dict[str, dict[str, Any]]:
    """Returns all files below a folder by relative path; none if it is absent."""
    try:
        found = fs.find(path, detail=True)
    except FileNotFoundError:
        return {}
    root = path.strip("/") + "/"  # some systems put a slash before the bucket
    names = {name.lstrip("/").removeprefix(root): info for name, info in found.items()}
    if is_web(path):
        names = {unquote(name): info for name, info in names.items()}
    # An object whose name ends with a slash stands for a folder.
    return {name: info for name, info in names.items() if name and not name.endswith("/")}


def _last(info: dict[str, Any]) -> str:
    name = info["name"].rstrip("/").rpartition("/")[2]
    return unquote(name) if is_web(info["name"]) else name


def _open(url: str) -> tuple[Any, str]:
    """Returns the file system of a URL and the path in it."""
    scheme = url.partition("://")[0].lower()
    package, extra = PACKAGES.get(scheme, ("fsspec", "storage"))
    for name in ("fsspec", package):
        try:
            import_module(name)
        except ImportError as error:
            raise DependencyError(name, extra, f"A URL with {scheme}://") from error
    kind = import_module("fsspec").get_filesystem_class(scheme)
    url = scheme + url[len(scheme) :]
    options = kind._get_kwargs_from_urls(url)
    key = (os.getpid(), scheme, repr(sorted(options.items())))
    with _opening:  # fsspec has an instance a thread, each with its own connections
        if key not in _open_systems:
            _open_systems[key] = kind(**options, **_options(scheme))
        return _open_systems[key], kind._strip_protocol(url)


def _options(scheme: str) -> dict[str, Any]:
    """Returns the options of a file system that differ from the defaults of fsspec."""
    if scheme in ("file", "local"):
        return {"auto_mkdir": True}
    # Listings change while a batch runs; ossfs fails without a cache of them.
    fresh = {"listings_expiry_time": 1.0} if scheme == "oss" else {"use_listings_cache": False}
    options: dict[str, Any] = dict(fresh)
    configured = import_module("fsspec").config.conf.get(scheme, {})
    if is_web(f"{scheme}://") and "client_kwargs" not in configured:
        # The default is five minutes for a whole file; what counts is that data comes.
        timeout = import_module("aiohttp").ClientTimeout(total=None, sock_connect=30, sock_read=60)
        options["client_kwargs"] = {"timeout": timeout, "trust_env": True}
    return options
