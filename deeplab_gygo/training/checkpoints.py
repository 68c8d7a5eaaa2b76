"""Checkpoints that make a resumed training equal to an uninterrupted one."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from deeplab_gygo.errors import InputError, UsageError
from deeplab_gygo.io.arrays import ArrayArchive, open_npz
from deeplab_gygo.io.atomic import replacing
from deeplab_gygo.io.reading import parse_json

CHECKPOINT_NAME = "checkpoint.npz"

Groups = dict[str, dict[str, np.ndarray]]
"""Arrays by group (network, average, optimizer, random) and name."""

_STATE = "state"
_MAX_STATE_BYTES = 64 << 20
_RULE = "A checkpoint is a whole file of this training"
_REMEDY = (
    "Restore it from a copy; or start again with another --out, with init_from if there is a "
    "last.npz"
)


def save_checkpoint(folder: Path, groups: Groups, state: dict[str, Any]) -> None:
    """Replaces the checkpoint of a training.

    Args:
        folder: Folder of the training.
        groups: Arrays by group and name.
        state: JSON values: hash of the configuration (`identity`), `step`, `seconds`, best score
            (`best`), last step whose validation is done (`validated`), state of the `meter`.

    Raises:
        StorageError: The checkpoint cannot be written; the previous one is unchanged.
    """
    arrays = {f"{group}|{name}": a for group, part in groups.items() for name, a in part.items()}
    arrays[_STATE] = np.frombuffer(json.dumps(state, allow_nan=False).encode(), np.uint8)
    with replacing(folder / CHECKPOINT_NAME) as side, open(side, "wb") as stream:
        np.savez(stream, **arrays)
        stream.flush()
        os.fsync(stream.fileno())  # before the rename, or a power failure could leave neither file


def load_checkpoint(
    folder: Path, identity: str, like: Groups
) -> tuple[Groups, dict[str, Any]] | None:
    """Reads the checkpoint of a training.

    Args:
        folder: Folder of the training.
        identity: Hash of the configuration.
        like: Arrays with the names, shapes and dtypes of the training; nothing else is unpacked.

    Returns:
        Groups of arrays and state as given to `save_checkpoint`; None if there is no checkpoint.

    Raises:
        InputError: The file is damaged, has other arrays, or has values that are not finite.
        UsageError: It is of another configuration.
    """
    path = folder / CHECKPOINT_NAME
    if not os.path.lexists(path):
        return None
    with open_npz(path, rule=_RULE, remedy=_REMEDY) as archive:
        text = archive.read(_STATE, _MAX_STATE_BYTES).tobytes()
        state = _parsed_state(text)
        if state["identity"] != identity:
            raise UsageError(
                "A folder contains trainings of one configuration",
                met="a checkpoint of another configuration",
                where=folder,
                remedy="Give another --out, or delete the folder",
            )
        expected = {f"{g}|{name}": a for g, part in like.items() for name, a in part.items()}
        _compare_names(set(archive.names) - {_STATE}, set(expected))
        arrays = {key: _read(archive, key, array) for key, array in expected.items()}
    groups = {g: {name: arrays[f"{g}|{name}"] for name in part} for g, part in like.items()}
    wrong = first_not_finite(groups)
    if wrong is not None:
        raise InputError(_RULE, met=f"{wrong} is not finite", where=path, remedy=_REMEDY)
    return groups, state


def first_not_finite(groups: Groups) -> str | None:
    """Returns the name of an array with infinities or NaN; None if there is none."""
    for part in groups.values():
        for name, array in part.items():
            if np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
                return name
    return None


def _read(archive: ArrayArchive, key: str, like: np.ndarray) -> np.ndarray:
    header = archive.header(key)
    if header.shape != like.shape or header.dtype != like.dtype:
        raise ValueError(
            f"{key} is {header.dtype} {list(header.shape)}, not {like.dtype} {list(like.shape)}"
        )
    return archive.read(key)


def _compare_names(found: set[str], expected: set[str]) -> None:
    for kind, names in (("missing", expected - found), ("unknown", found - expected)):
        if names:
            raise ValueError(f"{len(names)} arrays {kind}, such as {min(names)[:100]!r}")


def _parsed_state(text: bytes) -> dict[str, Any]:
    """Returns the state with entries that older versions did not write; `ValueError` if wrong."""
    try:
        values = parse_json(text, _STATE)
    except InputError as error:
        raise ValueError(f"the state is no JSON: {error.met}") from error
    if not isinstance(values, dict):
        raise ValueError("the state is no mapping")
    state = {"validated": values.get("step"), "meter": {}, **values}
    for name, holds in _STATE_RULES.items():
        if name not in state or not holds(state[name]):
            raise ValueError(f"the state has {name}: {str(state.get(name))[:100]}")
    if state["validated"] > state["step"]:
        raise ValueError("the state has a validation of a later step")
    return state


def _is_number(value: Any, low: float = -sys.float_info.max) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and low <= value <= sys.float_info.max


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and _is_number(value, 0)


_AMOUNTS = ("waited", "seconds", "examples")
"""Entries of the state of a `ThroughputMeter` beside its losses."""


def _is_meter(value: Any) -> bool:
    """Checks the state of a `ThroughputMeter`."""
    if not isinstance(value, dict) or not set(value) <= {"losses", *_AMOUNTS}:
        return False
    losses = value.get("losses", [])
    if not isinstance(losses, list) or not all(_is_number(loss) for loss in losses):
        return False
    return all(_is_number(value.get(name, 0.0), 0) for name in _AMOUNTS)


_STATE_RULES: dict[str, Callable[[Any], bool]] = {
    "identity": lambda value: isinstance(value, str),
    "step": _is_count,
    "validated": _is_count,
    "seconds": lambda value: _is_number(value, 0),
    "best": lambda value: _is_number(value, -1),
    "meter": _is_meter,
}
