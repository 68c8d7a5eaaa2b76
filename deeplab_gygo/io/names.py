"""Names from data that become paths: relative, inside of their folder, of characters that print."""

from __future__ import annotations

import os
import re
import unicodedata
from pathlib import Path, PurePosixPath

from deeplab_gygo.errors import DeepLabGygoError, InputError
from deeplab_gygo.io.escaping import is_printable, printable

MAX_PART_BYTES = 255
"""Longest name of a file or folder, UTF-8: NAME_MAX of common file systems."""

MAX_RESULT_PART_BYTES = 200
"""The same for results, whose side files have longer names in the same folder."""

MAX_NAME_BYTES = 1024
"""Longest name with all its folders, UTF-8; PATH_MAX, 4096, includes those above."""

_DEVICES = re.compile(r"(?:con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(?:\..*)?", re.IGNORECASE)
_DRIVE = re.compile(r"[A-Za-z]:")
# Files that a batch writes into the folder of the results.
_BATCH_FILES = re.compile(r"summary.*\.json|failures.*\.jsonl", re.IGNORECASE)


def safe_relative(
    name: str,
    where: str | Path,
    *,
    rule: str = "A name that becomes a path stays inside of its folder",
    result: bool = True,
    error: type[DeepLabGygoError] = InputError,
) -> str:
    """Checks a name from data before it becomes a path below a folder; expands nothing.

    Args:
        name: The name; slashes separate folders.
        where: Its source, for messages.
        rule: The rule, for messages.
        result: Whether a result is written under the name: then names of hidden files, of devices
            of Windows, of the files of a batch, and names that end in a space or a dot are refused
            too, and every part is at most `MAX_RESULT_PART_BYTES` long.
        error: Class of the error.

    Returns:
        The name without empty and "." parts.

    Raises:
        DeepLabGygoError: The name is empty, absolute, too long, has "..", a backslash, a drive, a
            character that is not printable or not Unicode, or is reserved. It is of the class
            `error`.

    Example:
        >>> safe_relative("shoes//red/", "list.jsonl")
        'shoes/red'
        >>> safe_relative("../red", "list.jsonl")
        Traceback (most recent call last):
            ...
        deeplab_gygo.errors.InputError: A name that becomes a path stays inside of its folder; \
met: '../red' has '..' (list.jsonl).
    """
    parts = [part for part in name.split("/") if part not in ("", ".")]
    fault = _fault(name, parts) or (_reserved(parts) if result else None)
    if fault is not None:
        shown = printable(name if len(name) <= 100 else f"{name[:100]}...")
        raise error(rule, met=f"'{shown}' {fault}", where=where)
    return "/".join(parts)


def expanded(path: str | Path) -> Path:
    """Returns a path that a user gave, with `~` and `~user` at its start replaced by homes.

    Other than `Path.expanduser`, it leaves the name of a user that there is not as it is.
    """
    return Path(os.path.expanduser(path))


def folded(name: str) -> str:
    """Returns the form of a name that file systems take for the same: composed, without case."""
    return unicodedata.normalize("NFC", name).casefold()


def path_inside(folder: str | Path, name: str) -> Path:
    """Returns the path of a checked name below a folder, and follows links on the way to it.

    Args:
        folder: The folder; may be absent.
        name: A name from `safe_relative`.

    Raises:
        InputError: A link leads outside of the folder, or round in a circle.

    Example:
        >>> path_inside("out", "shoes/red").as_posix()
        'out/shoes/red'
    """
    path = Path(folder) / name
    try:
        if path.resolve().is_relative_to(Path(folder).resolve()):
            return path
        met = f"it leads to {path.resolve()}"
    except (OSError, RuntimeError) as problem:  # RuntimeError: links in a circle
        met = str(problem)
    raise InputError(
        "A path below a folder stays inside of it",
        met=met,
        where=path,
        remedy="Remove the link, or give the folder that it leads to",
    )


def _fault(name: str, parts: list[str]) -> str | None:
    """Returns why a name is no path below a folder; None if it is one."""
    if not is_printable(name):
        return "has a character that is not printable"
    if not parts:
        return "names nothing"
    if PurePosixPath(name).is_absolute() or _DRIVE.match(name):
        return "is absolute"
    if "\\" in name:
        return "has a backslash"
    if ".." in parts:
        return "has '..'"
    if len(name.encode()) > MAX_NAME_BYTES:
        return f"has {len(name.encode())} bytes, more than {MAX_NAME_BYTES}"
    longest = max(len(part.encode()) for part in parts)
    return _too_long(longest, MAX_PART_BYTES)


def _reserved(parts: list[str]) -> str | None:
    """Returns why no result may have a name; None if it may."""
    for part in parts:
        if part.startswith("."):
            return "is hidden"
        if part.endswith((" ", ".")):
            return "ends in a space or a dot"
        if _DEVICES.fullmatch(part):
            return "is a device of Windows"
    if parts[0].startswith("~"):
        return "begins with '~'"
    if _BATCH_FILES.fullmatch(parts[0]):
        return "is the name of a file of the batch"
    longest = max(len(part.encode()) for part in parts)
    return _too_long(longest, MAX_RESULT_PART_BYTES)


def _too_long(length: int, limit: int) -> str | None:
    return f"has a part of {length} bytes, more than {limit}" if length > limit else None
