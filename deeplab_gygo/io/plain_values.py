"""Conversion of plain values, of YAML or JSON, to the types that type hints name.

Values become what the hints say, and nothing else: no name in a file is imported or called. A
dataclass may list keys of older versions: `RENAMED_KEYS` (old -> new name) are accepted,
`REMOVED_KEYS` (name -> what to write instead) are errors.
"""

from __future__ import annotations

import math
import re
import types
from dataclasses import MISSING, Field, fields, is_dataclass
from difflib import get_close_matches
from functools import cache
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from deeplab_gygo.errors import DeepLabGygoError, UsageError
from deeplab_gygo.io.reading import MAX_DEPTH

_MAX_INTEGER = 2**63  # magnitude
# PyYAML reads exponents without a point as text.
_NUMBER = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?")


def convert(
    hint: Any,
    value: Any,
    key: str,
    where: str | Path,
    *,
    error: type[DeepLabGygoError] = UsageError,
) -> Any:
    """Converts a plain value to the type of a hint; arguments and errors as `from_dict`.

    Args:
        hint: bool, int, float, str, Path, Literal, Any, a dataclass, or lists, tuples, mappings
            and unions of these.
        value: Plain value.
        key: Its name in messages.
        where: File or option for messages.
        error: Class of the errors.
    """
    return _convert(hint, value, _Place(key, where, error))


class _Place(NamedTuple):
    """A value in a file: its key with those above it, the file, and the class of its errors."""

    key: str
    where: str | Path
    error: type[DeepLabGygoError]
    depth: int = 0

    def below(self, key: str | int) -> _Place:
        """Returns the place of a value in a mapping or, by its index, in a list."""
        if isinstance(key, int):
            name = f"{self.key}[{key}]"
        else:
            name = f"{self.key}.{_short(key if key.isprintable() else repr(key))}"
        return self._replace(key=name.removeprefix("."), depth=self.depth + 1)

    @property
    def name(self) -> str:
        """Its name at the start of a sentence."""
        return self.key or "A configuration"

    def wrong(self, expected: str, value: Any) -> DeepLabGygoError:
        """Returns the error for a value of another type."""
        return self.error(f"{self.name} is {expected}", met=shown(value), where=self.where)


def _convert(hint: Any, value: Any, place: _Place) -> Any:
    if place.depth > MAX_DEPTH:
        raise place.wrong(f"nested {MAX_DEPTH} deep at most", value)
    origin, inner = get_origin(hint) or hint, get_args(hint)
    if origin in (Union, types.UnionType):
        return _one_of(inner, value, place)
    if isinstance(origin, type) and is_dataclass(origin):
        return _instance(origin, value, place)
    if origin is Literal:
        for choice in inner:
            if value == choice and type(value) is type(choice):
                return choice
        raise place.wrong(f"one of {', '.join(map(str, inner))}", value)
    if origin is list or (origin is tuple and inner[1:] == (...,)):
        items = _items(value, "a list", place)
        return origin(_convert(inner[0], item, place.below(n)) for n, item in enumerate(items))
    if origin is tuple:
        items, expected = _items(value, f"a list of {len(inner)}", place), len(inner)
        if len(items) != expected:
            raise place.error(
                f"{place.key} is a list of {expected}", met=f"{len(items)}", where=place.where
            )
        pairs = enumerate(zip(inner, items, strict=True))
        return tuple(_convert(kind, item, place.below(n)) for n, (kind, item) in pairs)
    if origin is dict:
        return {
            name: _convert(inner[1], item, place.below(name))
            for name, item in _mapping(value, place).items()
        }
    return _scalar(hint, value, place)


def _scalar(hint: Any, value: Any, place: _Place) -> Any:
    if hint is Any:
        return _plain(value, place)
    if hint is bool:
        if isinstance(value, bool):
            return value
        raise place.wrong("true or false", value)
    if hint is int:
        if isinstance(value, Integral) and not isinstance(value, bool) and _is_short(value):
            return int(value)
        raise place.wrong("an integer", value)
    if hint is float:
        if isinstance(value, str) and _NUMBER.fullmatch(value):
            value = float(value)
        if isinstance(value, Real) and not isinstance(value, bool) and is_finite(value):
            return float(value)
        raise place.wrong("a number", value)
    if hint in (str, Path):
        if isinstance(value, (str, Path) if hint is Path else str) and _is_unicode(str(value)):
            return hint(value)
        raise place.wrong("a text", value)
    raise TypeError(f"{hint} is no type of a configuration")


def _one_of(hints: tuple[Any, ...], value: Any, place: _Place) -> Any:
    """Converts to the first type of a union that fits."""
    if value is None and type(None) in hints:
        return None
    hints = tuple(hint for hint in hints if hint is not type(None))
    for hint in hints[:-1]:
        try:
            return _convert(hint, value, place)
        except place.error:
            continue
    return _convert(hints[-1], value, place)


def _instance(kind: type, values: Any, place: _Place, defaults: Any = None) -> Any:
    """Makes a dataclass from a mapping with the keys of this or an older version.

    `defaults` has the values of absent keys; None for those of the class.
    """
    if isinstance(values, kind):
        return values
    hints = field_types(kind)
    given = {**(defaults or {}), **_current_keys(kind, _mapping(values, place), place)}
    for name in given:
        if name not in hints:
            near = get_close_matches(name, hints, 1)
            raise place.error(
                "A configuration has known keys only",
                met=place.below(name).key,
                where=place.where,
                remedy=f"Write {near[0]}" if near else f"Use {', '.join(hints)}",
            )
    parts = {}
    for field in fields(kind):
        name, below = field.name, place.below(field.name)
        required = field.default is field.default_factory is MISSING
        if name in given and isinstance(given[name], dict) and is_dataclass(hints[name]):
            # A mapping changes the value of the field where this has one.
            default = None if required else vars(_default(field))
            parts[name] = _instance(hints[name], given[name], below, default)
        elif name in given:
            parts[name] = _convert(hints[name], given[name], below)
        elif required:
            rule = f"{below.key} is given"
            raise place.error(rule, met="no such key", where=place.where, remedy="Add the key")
    return _checked(kind, parts, place)


def _checked(kind: type, parts: dict[str, Any], place: _Place) -> Any:
    """Makes a dataclass from its values; errors of its own checks name the key and the file."""
    try:
        return kind(**parts)
    except UsageError as problem:
        if type(problem) is not UsageError:  # a missing package is no fault of the file
            raise
        inside = str(problem.where or "")
        if inside.startswith(f"{kind.__name__}."):
            inside = place.below(inside.removeprefix(f"{kind.__name__}.")).key
        inside = inside or place.key
        where = f"{place.where}: {inside}" if inside else place.where
        raise place.error(
            problem.rule, met=problem.met, where=where, remedy=problem.remedy
        ) from problem


def _default(field: Field[Any]) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()


def _current_keys(kind: type, values: dict[str, Any], place: _Place) -> dict[str, Any]:
    """Returns plain values under the current names of their keys."""
    renamed, removed = getattr(kind, "RENAMED_KEYS", {}), getattr(kind, "REMOVED_KEYS", {})
    for key in values:
        if key in removed:
            raise place.error(
                f"{place.below(key).key} is no key of a configuration any more",
                met=f"{key}: {shown(values[key])}",
                where=place.where,
                remedy=removed[key][0].upper() + removed[key][1:],
            )
    return {renamed.get(key, key): value for key, value in values.items()}


def _mapping(value: Any, place: _Place) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise place.wrong("a mapping of keys", value)
    for name in value:
        if not isinstance(name, str):
            raise place.error(
                f"The keys of {place.key or 'a configuration'} are texts",
                met=shown(name),
                where=place.where,
            )
    return value


def _items(value: Any, expected: str, place: _Place) -> list[Any] | tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        raise place.wrong(expected, value)
    return value


def _plain(value: Any, place: _Place) -> Any:
    """Checks that a value, of any type, is one of JSON."""
    if isinstance(value, dict):
        return {
            name: _convert(Any, item, place.below(name))
            for name, item in _mapping(value, place).items()
        }
    if isinstance(value, (list, tuple)):
        return [_convert(Any, item, place.below(n)) for n, item in enumerate(value)]
    if isinstance(value, int) and _is_short(value):
        return value
    if value is None or (isinstance(value, float) and is_finite(value)):
        return value
    if isinstance(value, str) and _is_unicode(value):
        return value
    raise place.wrong("a text, a number, true or false, null, a list or a mapping", value)


def _is_short(number: Any) -> bool:
    return -_MAX_INTEGER <= number < _MAX_INTEGER


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def is_finite(number: Any) -> bool:
    """Whether a number is finite and, if it is an integer, of 64 bits at most."""
    # The conversion of a long integer to a float would raise.
    return _is_short(number) if isinstance(number, Integral) else math.isfinite(number)


def shown(value: Any) -> str:
    """Returns a plain value as a short text for messages."""
    if isinstance(value, (list, tuple)) and 0 < len(value) < 5:
        if all(isinstance(item, (int, float)) and is_finite(item) for item in value):
            return repr(list(value))
    if isinstance(value, (dict, list, tuple)):
        name = "mapping" if isinstance(value, dict) else "list"
        return f"a {name} of {len(value)}" if value else f"an empty {name}"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int) and not _is_short(value):
        return f"an integer of {value.bit_length()} bits"
    return _short(repr(value))


def _short(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:77]}..."


@cache
def field_types(kind: Any) -> dict[str, Any]:
    """Returns the types of the fields of a dataclass by name."""
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in fields(kind) if field.init}
