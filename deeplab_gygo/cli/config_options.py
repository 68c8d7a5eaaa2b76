"""Options made from configuration dataclasses, and configurations made from options."""

from __future__ import annotations

import dataclasses
import inspect
import re
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml

from deeplab_gygo.io.config_file import from_dict, load_yaml, to_plain
from deeplab_gygo.methods import METHODS

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

SHORT_ONLINE = ("mode", "steps", "seconds", "adapt", "size")
"""Online fields that have an option of their own name beside the dotted one."""


def add_config_options(
    parser: ArgumentParser,
    kind: type,
    group: str,
    *,
    shown: str = "",
) -> None:
    """Adds an option for every field of a configuration, nested ones with dots.

    Nothing has a default here, so that what is given can be told from what is not.

    Args:
        parser: Where to add.
        kind: Dataclass.
        group: Name of the values in the parsed options.
        shown: What the options begin with, `--<shown>.<field>`; empty leaves `--<field>`.
    """
    hints, purposes = typing.get_type_hints(kind), _purposes(kind)
    for field in dataclasses.fields(kind):
        hint, name = hints[field.name], field.name
        dotted = f"{shown}.{name}" if shown else name
        if dataclasses.is_dataclass(hint):
            add_config_options(parser, hint, f"{group}.{name}", shown=dotted)
            continue
        default = None if field.default is dataclasses.MISSING else field.default
        text = purposes.get(name, "") + _defaults({"": default})
        _add_field(parser, [f"--{dotted}"], f"{group}.{name}", hint, text)


def add_online_options(parser: ArgumentParser) -> None:
    """Adds an option for every online field that some method has.

    The method is an option itself, so that all are known when words are read; what a method has
    not is refused by `run_settings`.
    """
    merged: dict[str, dict[str, tuple[dataclasses.Field, Any, str]]] = {}
    for method, kind in ((m.name, m.resolve("options")) for m in METHODS.values()):
        hints, purposes = typing.get_type_hints(kind), _purposes(kind)
        for field in dataclasses.fields(kind):
            entry = (field, hints[field.name], purposes.get(field.name, ""))
            merged.setdefault(field.name, {})[method] = entry
    for name, by_method in merged.items():
        flags = [f"--{name}"] if name in SHORT_ONLINE else []
        purpose = next(iter(by_method.values()))[2]
        text = purpose + _defaults({s: entry[0].default for s, entry in by_method.items()})
        hint = _joined([entry[1] for entry in by_method.values()])
        _add_field(parser, [*flags, f"--online.{name}"], f"online.{name}", hint, text)


def _defaults(by_method: dict[str, Any]) -> str:
    """Says the defaults of a field by method; those of DeepLabV3+, or of none, without a name."""
    named = {}
    for method, value in by_method.items():
        if value in (None, ""):
            continue
        named.setdefault(f"{value}", []).append(method)
    parts = [
        value if methods[0] in ("", "deeplab") else f"{', '.join(methods)}: {value}"
        for value, methods in named.items()
    ]
    return f" [{'; '.join(parts)}]" if parts else ""


def _joined(hints: list[Any]) -> Any:
    """Makes one type of those that methods give a field of one name."""
    if all(_is_choice(hint) for hint in hints):
        values = dict.fromkeys(value for hint in hints for value in typing.get_args(hint))
        return Literal[tuple(values)]
    different = [hint for place, hint in enumerate(hints) if hint not in hints[:place]]
    return typing.Union[tuple(different)]  # noqa: UP007


def _is_choice(hint: Any) -> bool:
    return typing.get_origin(hint) is Literal and all(
        isinstance(value, str) for value in typing.get_args(hint)
    )


def _add_field(
    parser: ArgumentParser, flags: list[str], destination: str, hint: Any, text: str
) -> None:
    kind: dict[str, Any] = {"type": hint}
    if _is_choice(hint):
        # Choices make a better message than a type does.
        kind = {"type": str, "choices": typing.get_args(hint)}
    parser.add_argument(*flags, dest=destination, help=text.replace("%", "%%"), **kind)


def _purposes(kind: type) -> dict[str, str]:
    """Takes the first sentence on every attribute from a docstring of Google's style."""
    text = inspect.getdoc(kind) or ""
    _, _, attributes = text.partition("Attributes:\n")
    entries = re.findall(r"^ {4}(\w+): (.*(?:\n {6,}.*)*)", attributes, flags=re.MULTILINE)
    return {name: " ".join(body.split()).split(". ")[0].rstrip(".") for name, body in entries}


def given_values(group: Namespace | Mapping[str, Any] | None) -> dict[str, Any]:
    """Returns the options of a group that were given, nested as their names are."""
    values = {}
    if group is None:
        return values
    for name, value in (group.as_dict() if hasattr(group, "as_dict") else dict(group)).items():
        if isinstance(value, dict):
            value = given_values(value) or None
        if value is not None:
            values[name] = value
    return values


def config_of(
    kind: type, path: str | None, group: Namespace | None, base: Any | None = None
) -> Any:
    """Joins a configuration to start from, a file, and the options given beside it.

    Args:
        kind: Dataclass.
        path: YAML file, which wins over `base`; None for no file.
        group: Parsed options made by `add_config_options`, which win over both.
        base: Instance of `kind` to start from; None starts from the defaults.

    Returns:
        An instance of `kind`.

    Raises:
        UsageError: The file cannot be used, or a value cannot.
    """
    config = kind() if base is None else base
    if path:
        config = _with_file(config, Path(path).expanduser())
    values = given_values(group)
    if not values:
        return config
    return from_dict(kind, _merged(to_plain(config), values), "command line")


def _with_file(base: Any, path: Path) -> Any:
    load_yaml(type(base), path)  # refuses what is wrong in the file alone, by its name
    written = yaml.safe_load(path.read_text(encoding="utf-8"))
    return from_dict(type(base), _merged(to_plain(base), written), path)


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, value in over.items():
        nested = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = _merged(result[key], value) if nested else value
    return result
