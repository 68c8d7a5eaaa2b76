"""Command-line options made from the fields of configuration dataclasses."""

from __future__ import annotations

import dataclasses
import inspect
import re
import typing
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from deeplab_gygo.errors import UsageError
from deeplab_gygo.methods import METHODS, find_method

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

SHORT_ONLINE = ("mode", "steps", "seconds", "adapt", "size")
"""Online options that have a short flag beside `--online.<name>`."""

_METAVARS = {int: "N", float: "X", str: "TEXT", bool: "{true,false}"}


def add_config_options(
    parser: ArgumentParser, kind: type, group: str, *, prefix: str = "", short: Sequence[str] = ()
) -> None:
    """Adds an option for every field of a config dataclass, nested ones with dots.

    The options have no default, so that given options can be distinguished.

    Args:
        parser: Parser, or group of one, to add to.
        kind: Dataclass; the help texts are the first sentences of its documented attributes.
        group: Name of the values in the parsed options.
        prefix: Start of the option names, with its dot: `--<prefix><field>`.
        short: Fields with an additional `--<field>`.
    """
    hints, texts = typing.get_type_hints(kind), _attribute_texts(kind)
    for field in dataclasses.fields(kind):
        hint, name = hints[field.name], field.name
        if dataclasses.is_dataclass(hint):
            add_config_options(parser, hint, f"{group}.{name}", prefix=f"{prefix}{name}.")
            continue
        flags = [f"--{name}"] if name in short else []
        text = texts.get(name, "")
        if field.default not in (dataclasses.MISSING, None, ""):
            text += f" [{field.default}]"
        choices = typing.get_args(hint) if typing.get_origin(hint) is Literal else ()
        form: dict[str, Any] = {"type": hint}
        if choices and all(isinstance(choice, str) for choice in choices):
            form = {"type": str, "choices": choices}  # a better message than that of a type
        elif not choices:
            kinds = [k for k in typing.get_args(hint) if k is not type(None)] or [hint]
            form["metavar"] = _METAVARS.get(kinds[0] if len(kinds) == 1 else hint, "LIST")
        parser.add_argument(
            *flags,
            f"--{prefix}{name}",
            dest=f"{group}.{name}",
            help=text.replace("%", "%%"),
            **form,
        )


def add_online_options(parser: ArgumentParser, method: str) -> None:
    """Adds an option `--online.<name>` for every online option of a method."""
    kind = find_method(method).resolve("options")
    add_config_options(parser, kind, "online", prefix="online.", short=SHORT_ONLINE)


def check_online_words(words: Sequence[str], method: str) -> None:
    """Checks the names of the online options on a command line, old and foreign ones included.

    Args:
        words: Words of the command line.
        method: Chosen method.

    Raises:
        UsageError: The method has no such option; the message names what to write instead.
    """
    kind = find_method(method).resolve("options")
    known = [field.name for field in dataclasses.fields(kind)]
    for word in words:
        key = word.partition("=")[0].removeprefix("--online.")
        if not word.startswith("--online.") or key in known:
            continue
        renamed, removed = getattr(kind, "RENAMED_KEYS", {}), getattr(kind, "REMOVED_KEYS", {})
        remedy = f"See: deeplab-gygo segment --method {method} --help"
        owners = [
            other.name
            for other in METHODS.values()
            if key in (field.name for field in dataclasses.fields(other.resolve("options")))
        ]
        if key in renamed:
            remedy = f"Write --online.{renamed[key]}"
        elif key in removed:
            remedy = f"Leave it out: {removed[key]}"
        elif owners:
            remedy = f"It is an option of --method {', '.join(owners)}"
        raise UsageError(
            f"The method {method} has the options {', '.join(f'--online.{n}' for n in known)}",
            met=f"--online.{key}",
            where=f"--method {method}",
            remedy=remedy,
        )


def given_values(group: Namespace | Mapping[str, Any] | None) -> dict[str, Any]:
    """Returns the options of a group that were given, nested as their names are."""
    values = {}
    for name, value in dict(group.as_dict() if hasattr(group, "as_dict") else group or {}).items():
        if isinstance(value, dict):
            value = given_values(value) or None
        if value is not None:
            values[name] = value
    return values


def merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Returns nested plain values with those of `over` in place."""
    result = dict(base)
    for key, value in over.items():
        nested = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if nested else value
    return result


def _attribute_texts(kind: type) -> dict[str, str]:
    """Reads the first sentence on every attribute in docstrings of Google's style."""
    entries = []
    for base in reversed(kind.__mro__[:-1]):
        attributes = inspect.cleandoc(base.__doc__ or "").partition("Attributes:\n")[2]
        entries += re.findall(r"^ {4}(\w+): (.*(?:\n {6,}.*)*)", attributes, flags=re.MULTILINE)
    return {name: " ".join(body.split()).split(". ")[0].rstrip(".") for name, body in entries}
