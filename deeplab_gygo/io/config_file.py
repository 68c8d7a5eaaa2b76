"""Configuration files: YAML to config dataclasses and back, and checks of their values."""

from __future__ import annotations

import math
import types
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, is_dataclass
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from deeplab_gygo.errors import DeepLabGygoError, UsageError
from deeplab_gygo.io.plain_values import convert, field_types, is_finite, shown
from deeplab_gygo.io.reading import parse_yaml, read_text

Config = TypeVar("Config")

MAX_SEED = 2**32 - 1
"""Largest seed of NumPy's and Keras's random number generators."""

MAX_CONFIG_BYTES = 1 << 20
"""Limit on a configuration file."""


def from_dict(
    kind: type[Config],
    values: dict[str, Any],
    where: str | Path,
    *,
    error: type[DeepLabGygoError] = UsageError,
) -> Config:
    """Builds a config dataclass from the plain values of YAML or JSON.

    Args:
        kind: Dataclass.
        values: Plain values.
        where: File or option for messages.
        error: Class of the errors.

    Returns:
        An instance of `kind`.

    Raises:
        DeepLabGygoError: A key is unknown or missing, or a value has the wrong type or is out of
            range. It is of the class `error`.

    Example:
        >>> from dataclasses import dataclass
        >>> @dataclass
        ... class Crop:
        ...     size: tuple[int, int]
        ...     scale: float = 1.0
        >>> from_dict(Crop, {"size": [288, 352]}, "example")
        Crop(size=(288, 352), scale=1.0)
        >>> from_dict(Crop, {"size": [288, "wide"]}, "example")
        Traceback (most recent call last):
        ...
        deeplab_gygo.errors.UsageError: size[1] is an integer; met: 'wide' (example).
    """
    return convert(kind, {} if values is None else values, "", where, error=error)


def parse_option(hint: Any, flag: str) -> Callable[[Any], Any]:
    """Returns the parser of the text of a command-line option.

    Args:
        hint: Type of the option, as for `convert`.
        flag: Its name.

    Returns:
        Function of the text, which returns the plain value and raises `UsageError` if it does not
        fit the hint. Numbers, lists and mappings are written as in YAML.

    Example:
        >>> parse_option(tuple[int, int], "--crop")("[288, 352]")
        [288, 352]
    """
    kinds = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)

    def parse(text: Any) -> Any:
        value = text
        if isinstance(text, str) and str not in kinds and Path not in kinds:
            with suppress(UsageError):  # said below, in the words of the option
                value = parse_yaml(text, flag, error=UsageError)
        convert(hint, value, flag, "command line")
        return value

    return parse


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Reads a YAML file; raises `UsageError` unless it exists and holds a mapping."""
    if not Path(path).exists():
        raise UsageError("A configuration is an existing YAML file", met="no such file", where=path)
    values = parse_yaml(read_text(path, MAX_CONFIG_BYTES, error=UsageError), path, error=UsageError)
    if not isinstance(values, dict):
        raise UsageError("A configuration is a mapping of keys", met=shown(values), where=path)
    return values


def load_yaml(kind: type[Config], path: str | Path) -> Config:
    """Reads a config dataclass from a YAML file, see `read_yaml` and `from_dict`."""
    return from_dict(kind, read_yaml(path), path)


def to_plain(config: Any) -> Any:
    """Returns a config dataclass as plain values for YAML or JSON.

    Tuples become lists, and paths text.
    """
    if is_dataclass(config) and not isinstance(config, type):
        config = asdict(config)
    if isinstance(config, dict):
        return {key: to_plain(item) for key, item in config.items()}
    if isinstance(config, (list, tuple)):
        return [to_plain(item) for item in config]
    return str(config) if isinstance(config, Path) else config


def check_range(config: Any, name: str, low: float, high: float = math.inf) -> None:
    """Raises `UsageError` unless a field, a number or numbers, is in low..high and finite.

    A field of whole numbers has no other ones.
    """
    value = getattr(config, name)
    numbers = value if isinstance(value, (list, tuple)) else (value,)
    owner: Any = type(config)
    hint = field_types(owner)[name]
    kind = Integral if hint is int or int in get_args(hint) else Real

    def fits(number: Any) -> bool:
        right = isinstance(number, kind) and not isinstance(number, bool)
        return right and is_finite(number) and low <= number <= high

    if all(map(fits, numbers)):
        return
    rule = f"{name} is {low:g} or more"
    if high != math.inf:
        rule = f"{name} is in {low:g}..{high if isinstance(high, int) else format(high, 'g')}"
    raise UsageError(rule, met=shown(value), where=f"{owner.__name__}.{name}")


def check_choices(config: Any) -> None:
    """Raises `UsageError` if a field of a `Literal` type has another value."""
    owner: Any = type(config)
    for name, hint in field_types(owner).items():
        value = getattr(config, name)
        if get_origin(hint) is Literal and value not in get_args(hint):
            raise UsageError(
                f"{name} is one of {', '.join(map(str, get_args(hint)))}",
                met=shown(value),
                where=f"{owner.__name__}.{name}",
            )
