"""Reading of untrusted files: regular ones, of limited size, as plain values.

Every reader of the package takes its bytes, its JSON and its YAML from here, so that no named pipe
or device is waited for, no file is read without an end, and no document runs code, nests without
an end or unfolds to more than its text.
"""

from __future__ import annotations

import json
import math
import os
import stat
from pathlib import Path
from typing import Any

import yaml

from deeplab_gygo.errors import DeepLabGygoError, InputError

MAX_TEXT_BYTES = 64 << 20
"""Default limit on a file of text: lists, annotations, records."""

MAX_DEPTH = 64
"""Deepest nesting of JSON and YAML."""

MAX_YAML_VALUES = 100_000
"""Most values of a YAML document, those behind aliases counted as often as they are named."""


def check_regular(path: str | Path, *, error: type[DeepLabGygoError] = InputError) -> int:
    """Checks that a path is a regular file, links followed.

    Args:
        path: The file.
        error: Class of the errors.

    Returns:
        Its size, bytes.

    Raises:
        DeepLabGygoError: There is no such file, or it is a folder, a pipe, a device or a socket.
            It is of the class `error`.
    """
    try:
        status = os.stat(path)
    except (OSError, ValueError) as problem:  # ValueError: a zero byte in the name
        raise _unreadable(path, problem, error) from problem
    if not stat.S_ISREG(status.st_mode):
        raise error("An input is a regular file", met=_kind(status.st_mode), where=path)
    return status.st_size


def read_bytes(
    path: str | Path, limit: int = MAX_TEXT_BYTES, *, error: type[DeepLabGygoError] = InputError
) -> bytes:
    """Reads a whole regular file; a pipe or device is refused without waiting for it.

    Args:
        path: The file.
        limit: Largest size, bytes.
        error: Class of the errors.

    Returns:
        Its content.

    Raises:
        DeepLabGygoError: As in `check_regular`; or the file cannot be read, or is larger.

    Example:
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> _ = (Path(folder.name) / "list.txt").write_text("shoe")
        >>> read_bytes(Path(folder.name) / "list.txt")
        b'shoe'
    """
    try:
        # Without O_NONBLOCK opening a named pipe waits for a writer; regular files ignore it.
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        with open(os.open(path, flags | getattr(os, "O_CLOEXEC", 0)), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise error("An input is a regular file", met=_kind(status.st_mode), where=path)
            # The file may grow; a read reserves what it is allowed to return.
            content = file.read(min(limit, status.st_size) + 1)
    except (OSError, ValueError) as problem:
        raise _unreadable(path, problem, error) from problem
    if status.st_size > limit:
        rule = f"A file of this kind has at most {limit} bytes"
        raise error(rule, met=f"{status.st_size} bytes", where=path)
    return content[: status.st_size]


def read_text(
    path: str | Path, limit: int = MAX_TEXT_BYTES, *, error: type[DeepLabGygoError] = InputError
) -> str:
    """Reads a file of text in UTF-8, with or without a byte order mark; see `read_bytes`."""
    try:
        return read_bytes(path, limit, error=error).decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        raise error("Text is UTF-8", met=problem, where=path) from problem


def read_json(
    path: str | Path, limit: int = MAX_TEXT_BYTES, *, error: type[DeepLabGygoError] = InputError
) -> Any:
    """Reads a JSON file; see `read_bytes` and `parse_json`."""
    return parse_json(read_text(path, limit, error=error), path, error=error)


def parse_json(
    text: str | bytes, where: str | Path, *, error: type[DeepLabGygoError] = InputError
) -> Any:
    """Parses JSON (RFC 8259).

    Args:
        text: The document.
        where: Its source, for messages.
        error: Class of the errors.

    Returns:
        Plain values.

    Raises:
        DeepLabGygoError: The text is no JSON, nests deeper than `MAX_DEPTH`, or has numbers that
            JSON does not: NaN, Infinity, or beyond the range of a float.

    Example:
        >>> parse_json('{"frame": 3}', "example")
        {'frame': 3}
    """
    try:
        values = json.loads(text, parse_constant=_no_number, parse_float=_finite)
    except (ValueError, RecursionError) as problem:
        deep = isinstance(problem, RecursionError)
        met = f"nested deeper than {MAX_DEPTH}" if deep else " ".join(str(problem).split())
        raise error("JSON is well-formed", met=met, where=where) from problem
    if _depth_exceeds(values, MAX_DEPTH):
        raise error("JSON is well-formed", met=f"nested deeper than {MAX_DEPTH}", where=where)
    return values


def parse_yaml(text: str, where: str | Path, *, error: type[DeepLabGygoError] = InputError) -> Any:
    """Parses one YAML document of plain values; no tag makes an object.

    Args:
        text: The document.
        where: Its source, for messages.
        error: Class of the errors.

    Returns:
        Plain values.

    Raises:
        DeepLabGygoError: The text is no YAML, nests deeper than `MAX_DEPTH`, contains itself, or
            unfolds to more than `MAX_YAML_VALUES` values.

    Example:
        >>> parse_yaml("steps: 40", "example")
        {'steps': 40}
    """
    try:
        depth = 0
        for event in yaml.parse(text, Loader=yaml.SafeLoader):  # composing would recurse
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
            if depth > MAX_DEPTH:
                raise ValueError(f"nested deeper than {MAX_DEPTH}")
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _count_values(node, {}, set())
        return loader.construct_document(node)
    except (yaml.YAMLError, ValueError, RecursionError, OverflowError) as problem:
        met = " ".join(str(problem).split())
        raise error("YAML is well-formed", met=met, where=where) from problem


def _count_values(node: yaml.Node, counted: dict[int, int], above: set[int]) -> int:
    """Counts the values below a node, aliases unfolded."""
    key = id(node)
    if key in above:
        raise ValueError("an alias of the value that it is in")
    if key in counted:
        return counted[key]
    children: list[yaml.Node] = []
    if isinstance(node, yaml.SequenceNode):
        children = node.value
    elif isinstance(node, yaml.MappingNode):
        children = [item for pair in node.value for item in pair]
    total = 1 + sum(_count_values(child, counted, above | {key}) for child in children)
    if total > MAX_YAML_VALUES:
        raise ValueError(f"more than {MAX_YAML_VALUES} values, aliases unfolded")
    counted[key] = total
    return total


def _depth_exceeds(values: Any, limit: int) -> bool:
    """Checks the nesting of plain values, level by level."""
    level = [values]
    for _ in range(limit + 1):
        level = [
            child
            for value in level
            if isinstance(value, (dict, list))
            for child in (value.values() if isinstance(value, dict) else value)
        ]
        if not level:
            return False
    return True


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number of JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:40]} is too large")
    return number


def _kind(mode: int) -> str:
    names = {
        stat.S_IFDIR: "a folder", stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device", stat.S_IFBLK: "a device",
    }  # fmt: skip
    return names.get(stat.S_IFMT(mode), "another kind of file")


def _unreadable(
    path: str | Path, problem: Exception, error: type[DeepLabGygoError]
) -> DeepLabGygoError:
    met = getattr(problem, "strerror", None) or str(problem)
    return error("An input is a file that can be read", met=met.lower(), where=path)
