"""URLs as paths: recognized, joined, and shown without what gives access."""

from __future__ import annotations

import os
import posixpath
import re
from importlib import import_module
from pathlib import Path
from urllib.parse import unquote

from deeplab_gygo.io.names import expanded, safe_relative

PACKAGES = {
    "s3": ("s3fs", "s3"), "s3a": ("s3fs", "s3"), "gs": ("gcsfs", "gcs"), "gcs": ("gcsfs", "gcs"),
    "az": ("adlfs", "azure"), "abfs": ("adlfs", "azure"), "abfss": ("adlfs", "azure"),
    "oss": ("ossfs", "oss"), "http": ("aiohttp", "storage"), "https": ("aiohttp", "storage"),
    "memory": ("fsspec", "storage"), "file": ("fsspec", "storage"),
    "local": ("fsspec", "storage"),
}  # fmt: skip
"""Package that reads URLs, and extra that installs it, by scheme."""

_CONTAINER_FIRST = ("az", "abfs", "abfss")  # az://CONTAINER@ACCOUNT.dfs.core.windows.net/...

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://(.*)", re.DOTALL)  # one letter is a drive
_URL_IN_TEXT = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://[^\s'\"<>]+")


def is_url(path: object) -> bool:
    """Checks whether a path that a user gave is a URL that fsspec reads.

    Args:
        path: Text; a `Path` never is one.

    Example:
        >>> is_url("s3://bucket/shoe.mp4"), is_url("shoe.mp4"), is_url("C://shoe.mp4")
        (True, False, False)
    """
    found = _URL.match(path) if isinstance(path, str) else None
    if found is None:
        return False
    scheme = found[1].lower()
    if scheme in PACKAGES:
        return True
    try:
        return scheme in import_module("fsspec").available_protocols()
    except ImportError:
        return False


def local_or_url(path: str | Path) -> str | Path:
    """Returns a path that a user gave: a URL as it is, a local path with its `~` replaced."""
    return str(path) if is_url(path) else expanded(path)


def display(url: str | Path) -> str:
    """Returns a URL without what may give access: user, password, query and fragment.

    Args:
        url: A URL; another path is returned as it is.

    Example:
        >>> display("https://me:secret@host/shoe.mp4?X-Amz-Signature=abc")
        'https://host/shoe.mp4?...'
        >>> display("abfs://container@account.dfs.core.windows.net/shoe.mp4")
        'abfs://container@account.dfs.core.windows.net/shoe.mp4'
    """
    found = _URL.match(str(url))
    if found is None:
        return str(url)
    authority, path = re.match(r"([^/?#]*)(.*)", found[2], re.DOTALL).groups()  # type: ignore
    user, at, host = authority.rpartition("@")
    if found[1].lower() not in _CONTAINER_FIRST or ":" in user:
        user = at = ""
    place, query, _ = re.match(r"([^?#]*)([?#]?)(.*)", path, re.DOTALL).groups()  # type: ignore
    return f"{found[1]}://{user}{at}{host}{place}" + ("?..." if query else "")


def redacted(text: object, *urls: str) -> str:
    """Returns a text for people in which every URL is as `display` shows it.

    Args:
        text: The text, such as the message of a client library, or a word of a command line.
        *urls: URLs that the text may cite in parts.

    Example:
        >>> redacted("00003=https://me:secret@host/mask.png")
        '00003=https://host/mask.png'
    """
    text = str(text)
    for url in urls:
        text = text.replace(url, display(url))
        user, at, _ = url.partition("://")[2].rpartition("@")
        _, _, query = url.partition("?")
        for secret in (user if at else "", query):
            text = text.replace(secret, "...") if len(secret) > 3 else text
    return _URL_IN_TEXT.sub(lambda found: display(found[0]), text)


def join(base: str | Path, *parts: str) -> str:
    """Joins paths to a folder, as `os.path.join` does: a URL or an absolute path stands alone.

    Args:
        base: URL or local path of a folder.
        *parts: Relative paths, with slashes; `..` leads up, but not out of a bucket.

    Example:
        >>> join("s3://bucket/lists", "../videos/shoe.mp4")
        's3://bucket/videos/shoe.mp4'
    """
    joined = str(base)
    for part in parts:
        found = _URL.match(joined)
        if is_url(part) or found is None:
            joined = part if is_url(part) else os.path.join(joined, part)
        elif part.startswith("/"):
            joined = part
        else:
            bucket, _, path = found[2].partition("/")
            path = "/".join(each for each in (path.rstrip("/"), part) if each)
            if {".", ".."} & set(part.split("/")):
                path = posixpath.normpath(f"/{path}").lstrip("/")
            joined = f"{found[1]}://{bucket}/{path}"
    return joined


def parent(path: str) -> str:
    """Returns the folder of a URL or local path; relative paths of a list start there.

    Example:
        >>> parent("s3://bucket/lists/all.csv")
        's3://bucket/lists'
    """
    return (
        path.partition("?")[0].rstrip("/").rpartition("/")[0]
        if is_url(path)
        else str(Path(path).parent)
    )


def name_of(url: str) -> str:
    """Returns the name of the file or folder that a URL leads to.

    Raises:
        InputError: The URL ends with no name that a local file can have.

    Example:
        >>> name_of("https://host/red%20shoe.mp4?version=3")
        'red shoe.mp4'
    """
    path = url.partition("://")[2]
    if is_web(url):
        path = unquote(re.split("[?#]", path)[0])
    name = path.rstrip("/").rpartition("/")[2]
    rule = "A URL ends with the name of a file or folder"
    return safe_relative(name, display(url), rule=rule, result=False)


def is_web(url: str) -> bool:
    """Checks whether a URL is of the web."""
    return url.lower().startswith(("http://", "https://"))
