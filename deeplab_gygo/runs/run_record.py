"""The record of a run, written beside its results, and the question whether to run again."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import deeplab_gygo

from deeplab_gygo.io.atomic import replacing
from deeplab_gygo.errors import InputError
from deeplab_gygo.runs.environment import (hardware, peak_memory_mb, versions)

RECORD_NAME = "run.json"
"""Name of the record in a folder of results."""

SCHEMA = 1
"""Version of the form of the record."""

_KEYS = ("input", "mask", "weights")


@dataclass(frozen=True)
class RunRecord:
    """What was run on what, and how long it took.

    Attributes:
        command: The words of the command line.
        config: Every setting that the results follow from, as plain values.
        seed: The seed.
        hashes: SHA-256, hexadecimal, of `input`, `mask` and `weights`.
        frames: Number of masks made by the network; the given first mask is not counted.
        adaptation_seconds: Wall time of fine-tuning.
        steps: Steps of fine-tuning.
        losses: Loss at the recorded steps.
        frame_seconds: Wall time of every frame.
        versions: Of this package, Python and what the results lean on.
        hardware: CPU, cores, GPU.
        peak_memory_mb: Largest resident memory of the process, MiB.
        warnings: What the reader should know.
        schema: Version of this form.

    Raises:
        InputError: A value is of another type or out of its range.
    """

    command: list[str]
    config: dict[str, Any]
    seed: int
    hashes: dict[str, str]
    frames: int
    adaptation_seconds: float
    steps: int
    losses: list[float] = field(default_factory=list)
    frame_seconds: list[float] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=versions)
    hardware: dict[str, Any] = field(default_factory=hardware)
    peak_memory_mb: float = field(default_factory=peak_memory_mb)
    warnings: list[str] = field(default_factory=list)
    schema: int = SCHEMA

    def __post_init__(self):
        # An ill-typed record would be met only when a later run asks whether it may be skipped.
        for name, kind in _TYPES.items():
            value = getattr(self, name)
            if not isinstance(value, kind) or isinstance(value, bool):
                _reject(name, value, f"is {_name_of(kind)}")
        for name in ("frames", "adaptation_seconds", "steps", "peak_memory_mb"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                _reject(name, getattr(self, name), "is 0 or more")
        for name in ("losses", "frame_seconds"):
            for value in getattr(self, name):
                if isinstance(value, bool) or not isinstance(value, (int, float)):
                    _reject(name, value, "holds numbers")
        if any(not second >= 0 for second in self.frame_seconds):
            _reject("frame_seconds", min(self.frame_seconds), "holds seconds of 0 or more")
        for key in _KEYS:
            digest = self.hashes.get(key)
            if not isinstance(digest, str) or not digest:
                _reject("hashes", self.hashes, f"has a SHA-256 of the {key}")

    @property
    def amortized_fps(self) -> float:
        """Frames divided by the seconds of adaptation and frames; 0 where nothing was timed."""
        seconds = self.adaptation_seconds + math.fsum(self.frame_seconds)
        return self.frames / seconds if seconds > 0 else 0.0

    @property
    def seconds_per_frame(self) -> float:
        """Mean wall time of a frame without adaptation; 0 where nothing was timed."""
        timed = len(self.frame_seconds)
        return math.fsum(self.frame_seconds) / timed if timed else 0.0

    @property
    def identity(self) -> dict[str, Any]:
        """What the results follow from; equal identities need not be run twice."""
        return {
            "hashes": {key: self.hashes[key] for key in _KEYS},
            "config": _plain(self.config),
            "seed": self.seed,
            "version": self.versions.get("deeplab-gygo"),
        }

    def matches(
        self, hashes: Mapping[str, str], config: Mapping[str, Any], seed: int, version: str = ""
    ) -> bool:
        """Tells whether a run with these inputs would give these results again.

        Args:
            hashes: SHA-256 of `input`, `mask` and `weights`.
            config: The settings.
            seed: The seed.
            version: Version of this package; the running one when empty.

        Returns:
            Whether all of them are the same.
        """
        return self.identity == {
            "hashes": {key: hashes.get(key) for key in _KEYS},
            "config": _plain(config),
            "seed": seed,
            "version": version or deeplab_gygo.__version__,
        }

    def to_json(self) -> str:
        """Returns the record as JSON text, with the derived rates for the reader."""
        values = asdict(self)
        values["amortized_fps"] = self.amortized_fps
        values["seconds_per_frame"] = self.seconds_per_frame
        # Not-a-number is no JSON; a loss that was not finite is written as null.
        values["losses"] = [x if math.isfinite(x) else None for x in self.losses]
        return json.dumps(_plain(values), indent=1, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str, where: str | Path | None = None) -> RunRecord:
        """Reads a record.

        Args:
            text: JSON text.
            where: The file it comes from, for messages.

        Returns:
            The record.

        Raises:
            InputError: The text is no record of this version.
        """
        try:
            values = json.loads(text)
        except ValueError as error:
            raise InputError("A run record is JSON", met=error, where=where) from error
        if not isinstance(values, dict) or values.get("schema") != SCHEMA:
            found = values.get("schema") if isinstance(values, dict) else type(values).__name__
            raise InputError(f"A run record has the schema {SCHEMA}", met=found, where=where)
        known = {item.name for item in fields(cls)}
        values = {key: value for key, value in values.items() if key in known}
        if isinstance(values.get("losses"), list):
            values["losses"] = [math.nan if x is None else x for x in values["losses"]]
        try:
            return cls(**values)
        except TypeError as error:
            raise InputError("A run record is complete", met=error, where=where) from error
        except InputError as error:
            raise InputError(error.rule, met=error.met, where=where) from error

    def write(self, folder: str | Path) -> Path:
        """Writes the record into a folder of results; it appears whole or not at all.

        Args:
            folder: The folder.

        Returns:
            The file.

        Raises:
            StorageError: The file cannot be written.
        """
        path = Path(folder) / RECORD_NAME
        with replacing(path) as side:
            side.write_text(self.to_json(), encoding="utf-8")
        return path

    @classmethod
    def read(cls, folder: str | Path) -> RunRecord | None:
        """Reads the record of a folder of results.

        Args:
            folder: The folder.

        Returns:
            The record; None where there is none.

        Raises:
            InputError: There is one, but it is damaged or of another version.
        """
        path = Path(folder) / RECORD_NAME
        try:
            text = path.read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise InputError("A run record is readable", met=error, where=path) from error
        return cls.from_json(text, path)


_TYPES: dict[str, type | tuple[type, ...]] = {
    "command": list,
    "config": dict,
    "seed": int,
    "hashes": dict,
    "frames": int,
    "adaptation_seconds": (int, float),
    "steps": int,
    "losses": list,
    "frame_seconds": list,
    "versions": dict,
    "hardware": dict,
    "peak_memory_mb": (int, float),
    "warnings": list,
}


def _name_of(kind: type | tuple[type, ...]) -> str:
    return "a number" if isinstance(kind, tuple) else f"a {kind.__name__}"


def _reject(name: str, value: object, rule: str) -> None:
    raise InputError(f"'{name}' of a run record {rule}", met=repr(value))


def _plain(value: Any) -> Any:
    """Turns values into what JSON gives back: string keys, lists, numbers of Python.

    Raises:
        InputError: A value has no JSON form.
    """
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        return value.item()
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    raise InputError("A run record holds plain values", met=type(value).__name__)
