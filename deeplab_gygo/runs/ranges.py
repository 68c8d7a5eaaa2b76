"""Ranges of the online options of the methods beside DeepLabV3+, by the names of their fields."""

from __future__ import annotations

import dataclasses
from typing import Any

from deeplab_gygo.errors import UsageError

_LEAST: dict[str, float] = {
    "steps": 0, "seconds": 0, "rate": 0, "views": 0, "frozen_stages": 0, "dice": 0,
    "weight_decay": 0, "bias_multiplier": 0, "fuse_multiplier": 0, "iterations": 1, "reach": 0,
    "anchor": 0,
}  # fmt: skip
_SHARES = ("threshold", "lucid", "flip", "momentum", "final_rate")


def check_ranges(config: Any) -> None:
    """Raises `UsageError` where a number of a configuration is out of its range.

    Args:
        config: Of one of `methods.METHODS`. Fields that have no range here, or are
            not there, are not looked at.
    """
    values = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    for name, bound in _LEAST.items():
        if name in values and values[name] < bound:
            _refuse(name, f"{bound} or more", values[name])
    for name in _SHARES:
        if name in values and not 0 <= values[name] <= 1:
            _refuse(name, "in 0..1", values[name])
    if 0 < values.get("size", 0) < 16 or values.get("size", 0) < 0:
        _refuse("size", "16 or more, or 0 for the default of the trunk", values["size"])
    scales = values.get("scales")
    if scales is not None and (not scales or min(scales) <= 0):
        _refuse("scales", "one or more zooms above 0", scales)
    low, high = values.get("view_scale", (1.0, 1.0))
    if not 0 < low <= high:
        _refuse("view_scale", "a range above 0", (low, high))


def _refuse(name: str, rule: str, met: Any) -> None:
    raise UsageError(f"{name} is {rule}", met=met, where=f"--online.{name}")
