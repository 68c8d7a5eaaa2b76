"""Configuration files: YAML to config dataclasses and back, and checks of their values.

A dataclass may list keys of older versions: `RENAMED_KEYS` (old -> new name) are accepted,
`REMOVED_KEYS` (name -> what to write instead) are errors.
"""

from __future__ import annotations

import math
import types
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

from deeplab_gygo.errors import UsageError

Config = TypeVar("Config")


def from_dict(kind: type[Config], values: dict[str, Any], where: str | Path) -> Config:
    """Builds a config dataclass from the plain values of YAML or JSON.

    Args:
        kind: Dataclass.
        values: Plain values.
        where: File or option for messages.

    Returns:
        An instance of `kind`.

    Raises:
        UsageError: A key is unknown, or a value has the wrong type or is out of range.
    """
    from jsonargparse import ArgumentError, ArgumentParser

    values = _current_keys(kind, values or {}, where)
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--value", type=kind)
    try:
        return parser.instantiate(parser.parse_object({"value": values})).value
    except (ArgumentError, TypeError, ValueError) as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(
            f"A configuration has the keys and types of {kind.__name__}",
            met=" ".join(str(error).replace("value.", "").split()),
            where=where,
            remedy="Correct the key or value named",
        ) from error


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Reads a YAML file; raises `UsageError` unless it exists and holds a mapping."""
    path = Path(path)
    if not path.is_file():
        raise UsageError("A configuration is an existing YAML file", met="no such file", where=path)
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise UsageError("A configuration is YAML", met=error, where=path) from error
    if not isinstance(values, dict):
        raise UsageError("A configuration is a mapping of keys", met=type(values), where=path)
    return values


def load_yaml(kind: type[Config], path: str | Path) -> Config:
    """Reads a config dataclass from a YAML file, see `read_yaml` and `from_dict`."""
    return from_dict(kind, read_yaml(path), path)


def to_plain(config: Any) -> Any:
    """Returns a config dataclass as plain values for YAML or JSON; tuples become lists."""
    if is_dataclass(config) and not isinstance(config, type):
        config = asdict(config)
    if isinstance(config, dict):
        return {key: to_plain(item) for key, item in config.items()}
    return [to_plain(item) for item in config] if isinstance(config, (list, tuple)) else config


def check_range(config: Any, name: str, low: float, high: float = math.inf) -> None:
    """Raises `UsageError` unless a field, a number or numbers, is in low..high and finite."""
    value = getattr(config, name)
    numbers = value if isinstance(value, (list, tuple)) else (value,)
    if all(isinstance(n, (int, float)) and math.isfinite(n) and low <= n <= high for n in numbers):
        return
    rule = f"{name} is {low:g} or more" if high == math.inf else f"{name} is in {low:g}..{high:g}"
    raise UsageError(rule, met=value, where=f"{type(config).__name__}.{name}")


def check_choices(config: Any) -> None:
    """Raises `UsageError` if a field of a `Literal` type has another value."""
    hints = get_type_hints(type(config))
    for field in fields(config):
        hint = hints[field.name]
        if get_origin(hint) is Literal and getattr(config, field.name) not in get_args(hint):
            raise UsageError(
                f"{field.name} is one of {', '.join(map(str, get_args(hint)))}",
                met=getattr(config, field.name),
                where=f"{type(config).__name__}.{field.name}",
            )


def _current_keys(kind: Any, values: Any, where: str | Path) -> Any:
    """Returns plain values with the current names of their keys."""
    if get_origin(kind) in (Union, types.UnionType):
        kind = next((k for k in get_args(kind) if k is not type(None)), None)
    if get_origin(kind) in (list, tuple) and isinstance(values, (list, tuple)):
        return [_current_keys(get_args(kind)[0], item, where) for item in values]
    if not (isinstance(kind, type) and is_dataclass(kind) and isinstance(values, dict)):
        return values
    hints = get_type_hints(kind)
    renamed, removed = getattr(kind, "RENAMED_KEYS", {}), getattr(kind, "REMOVED_KEYS", {})
    current = {}
    for key, value in values.items():
        if key in removed:
            raise UsageError(
                f"{key} is no key of {kind.__name__} any more",
                met=f"{key}: {value}",
                where=where,
                remedy=removed[key][0].upper() + removed[key][1:],
            )
        name = renamed.get(key, key)
        current[name] = _current_keys(hints[name], value, where) if name in hints else value
    return current
