"""Command-line options made from the fields of configuration dataclasses."""

from __future__ import annotations

import dataclasses
import inspect
import re
import typing
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, Literal

from deeplab_gygo.io.config_file import parse_option

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

_METAVARS = {int: "N", float: "X", str: "TEXT", bool: "{true,false}"}


def add_config_options(
    parser: ArgumentParser, kind: type, group: str, *, prefix: str = "", short: Collection[str] = ()
) -> None:
    """Adds an option for every field of a config dataclass, nested ones with dots.

    The options have no default, so that given options can be distinguished.

    Args:
        parser: Parser, or group of one, to add to.
        kind: Dataclass; the help texts are the first sentences on its attributes in docstrings of
            Google's style.
        group: Name of the values in the parsed options.
        prefix: Start of the option names, with its dot: `--<prefix><field>`.
        short: Fields with an additional `--<field>`.
    """
    hints, texts = typing.get_type_hints(kind), {}
    for base in reversed(kind.__mro__[:-1]):
        attributes = inspect.cleandoc(base.__doc__ or "").partition("Attributes:\n")[2]
        entries = re.findall(r"^ {4}(\w+): (.*(?:\n {6,}.*)*)", attributes, flags=re.MULTILINE)
        texts |= {name: " ".join(text.split()).split(". ")[0].rstrip(".") for name, text in entries}
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
        form: dict[str, Any] = {"type": parse_option(hint, f"--{prefix}{name}")}
        if choices and all(isinstance(choice, str) for choice in choices):
            form = {"type": str, "choices": choices}  # a better message than that of a type
        elif choices:
            form["metavar"] = "{" + ",".join(map(str, choices)) + "}"
        else:
            kinds = [k for k in typing.get_args(hint) if k is not type(None)] or [hint]
            form["metavar"] = _METAVARS.get(kinds[0] if len(kinds) == 1 else hint, "LIST")
        parser.add_argument(
            *flags,
            f"--{prefix}{name}",
            dest=f"{group}.{name}",
            help=text.replace("%", "%%"),
            **form,
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
