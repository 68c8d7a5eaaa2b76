"""The record of a run, written beside its results; it decides whether a run must be repeated."""

from __future__ import annotations

import json
import math
import re
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path, PurePosixPath
from typing import Any, get_origin, get_type_hints

import deeplab_gygo
from deeplab_gygo.errors import InputError
from deeplab_gygo.io.atomic import replacing, storage_error
from deeplab_gygo.io.reading import read_json
from deeplab_gygo.runs.clip import Clip
from deeplab_gygo.runs.environment import hardware, peak_memory_mb, versions
from deeplab_gygo.runs.result_files import (
    MASK_FOLDER,
    RECORD_NAME,
    Files,
    hash_files,
    inspect_files,
    places_of_results,
)
from deeplab_gygo.runs.settings import RunSettings

SCHEMA = 3
"""Version of the keys of the record and of their meaning."""

_MAX_BYTES = 512 << 20  # a frame with all outputs has about 500 bytes

COUNTED = (
    "total_seconds: wall time of adaptation and of all frames from decoding to the last byte "
    "written, compilation in the first sequence of a process included; importing and loading the "
    "network excluded; of a resumed run in all its processes, each until the last frame that it "
    "kept. amortized_fps: frames by total_seconds; the given mask is no frame. "
    "network_seconds: network and post-processing alone"
)
"""Definition of the times of a record, written into it."""


@dataclass(frozen=True)
class RunRecord:
    """Inputs, settings, times and environment of one segmented sequence.

    Attributes:
        config: Every setting that the results follow from, as plain values.
        seed: Seed of the run.
        hashes: SHA-256, hexadecimal, of `input`, `mask` and `weights`.
        name: Name of the sequence.
        source: The input.
        mask_source: File of the given mask; empty without one.
        first_frame: Name of the first segmented frame.
        annotated: Names of the frames whose masks were given.
        masks: Number of masks written, the given ones included.
        frames: Number of masks made by the network, the given ones excluded.
        objects: Number of objects.
        outputs: Kinds of results written.
        method: Name of the segmentation method.
        trunk: Backbone and the source of its first weights; empty without one.
        weights: The parent file.
        precision: Numeric policy in force.
        preset: Preset that the configuration started from.
        adaptation_seconds: Wall time of fine-tuning.
        steps: Number of fine-tuning steps.
        losses: Loss at the recorded steps.
        total_seconds: See `COUNTED`.
        frame_seconds: Wall time of every frame made by the network.
        network_seconds: Time of every frame in network and post-processing.
        confidence: Expected J of the mask, 0..1, by frame name.
        warnings: Notes for the user.
        command: Words of the command line.
        versions: Of this package, Python and the main dependencies.
        hardware: CPU, cores, GPU.
        peak_memory_mb: Largest resident memory of the process, MiB; 0 if unknown.
        files: Every file of the result but the record: size in bytes and SHA-256, hexadecimal, by
            path relative to its folder. Filled in by `write`.
        counted: Definition of the times.
        schema: Version of this form.

    Raises:
        InputError: A value has another type or is out of its range.
    """

    config: dict[str, Any]
    seed: int
    hashes: dict[str, str]
    name: str = ""
    source: str = ""
    mask_source: str = ""
    first_frame: str = ""
    masks: int = 0
    frames: int = 0
    objects: int = 0
    outputs: list[str] = field(default_factory=list)
    method: str = "deeplab"
    trunk: str = ""
    weights: str = ""
    precision: str = ""
    preset: str = ""
    adaptation_seconds: float = 0.0
    steps: int = 0
    losses: list[float] = field(default_factory=list)
    total_seconds: float = 0.0
    frame_seconds: list[float] = field(default_factory=list)
    network_seconds: list[float] = field(default_factory=list)
    confidence: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    annotated: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=versions)
    hardware: dict[str, Any] = field(default_factory=hardware)
    peak_memory_mb: float = field(default_factory=peak_memory_mb)
    files: Files = field(default_factory=dict)
    counted: str = COUNTED
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        for name, hint in get_type_hints(type(self)).items():
            kind = get_origin(hint) or hint
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(
                value, (int, float) if kind is float else kind
            ):
                _reject(name, value, f"is a {kind.__name__}")
            if kind in (int, float) and name != "seed" and not 0 <= value < math.inf:
                _reject(name, value, "is 0 or more")
        for name in ("losses", "frame_seconds", "network_seconds"):
            for value in getattr(self, name):
                if isinstance(value, bool) or not isinstance(value, (int, float)):
                    _reject(name, value, "holds numbers")
                if name != "losses" and not value >= 0:
                    _reject(name, value, "holds seconds of 0 or more")
        for key in ("input", "mask", "weights"):
            if not isinstance(self.hashes.get(key), str) or not self.hashes[key]:
                _reject("hashes", self.hashes, f"has a SHA-256 of the {key}")
        for name, entry in self.files.items():
            path = PurePosixPath(name)
            if not path.parts or path.is_absolute() or ".." in path.parts or "\0" in name:
                _reject("files", name, "names files inside of its folder")
            if not _is_file_entry(entry):
                _reject("files", entry, "has the size and the SHA-256 of every file")

    @property
    def amortized_fps(self) -> float:
        """Number of frames divided by `total_seconds`; 0 where nothing was timed."""
        return self.frames / self.total_seconds if self.total_seconds > 0 else 0.0

    @property
    def seconds_per_frame(self) -> float:
        """Mean wall time of a frame without fine-tuning; 0 where nothing was timed."""
        return math.fsum(self.frame_seconds) / max(len(self.frame_seconds), 1)

    @property
    def version(self) -> str:
        """Version of the package that made the results; empty if unknown."""
        return self.versions.get("deeplab-gygo", "")

    def matches(self, clip: Clip, settings: RunSettings, *, any_version: bool = False) -> bool:
        """Checks whether a run would give these results again.

        Input, masks, weights, settings and seed must be the same, and the version of the package
        unless `any_version`.
        """
        return (
            self.seed == settings.seed
            and (any_version or self.version == deeplab_gygo.__version__)
            and self.config == settings.identity
            and self.hashes == {**clip.hashes(), "weights": settings.weights_hash}
        )

    def write(self, folder: str | Path) -> RunRecord:
        """Writes the record atomically into a folder of results, with the derived rates.

        Args:
            folder: The folder, with all files of the result.

        Returns:
            The record as written, with size and hash of every file in the folder.

        Raises:
            StorageError: The file cannot be written.
        """
        path = Path(folder) / RECORD_NAME
        try:
            record = replace(self, files=hash_files(path.parent))
        except OSError as error:
            raise storage_error(error.filename or folder, error) from error
        values = asdict(record)
        values["amortized_fps"] = self.amortized_fps
        values["seconds_per_frame"] = self.seconds_per_frame
        with replacing(path) as side:
            text = json.dumps(_finite(values), indent=1, allow_nan=False) + "\n"
            side.write_text(text, encoding="utf-8")
        return record

    @classmethod
    def read(cls, folder: str | Path) -> RunRecord | None:
        """Reads the record of a folder of results.

        Returns:
            The record; None where there is none.

        Raises:
            InputError: The record is damaged or of another version.
        """
        path = Path(folder) / RECORD_NAME
        if not path.exists():
            return None
        values = read_json(path, _MAX_BYTES)
        if not isinstance(values, dict) or values.get("schema") != SCHEMA:
            found = values.get("schema") if isinstance(values, dict) else type(values).__name__
            raise InputError(f"A run record has the schema {SCHEMA}", met=found, where=path)
        known = {item.name for item in fields(cls)}
        # Nothing of this process fills what is missing.
        absent: dict[str, Any] = {"versions": {}, "hardware": {}, "peak_memory_mb": 0.0}
        values = absent | {key: value for key, value in values.items() if key in known}
        if isinstance(values.get("losses"), list):
            values["losses"] = [math.nan if x is None else x for x in values["losses"]]
        if isinstance(values.get("confidence"), dict):
            known_values = values["confidence"].items()
            values["confidence"] = {k: math.nan if x is None else x for k, x in known_values}
        try:
            return cls(**values)
        except TypeError as error:
            raise InputError("A run record is complete", met=error, where=path) from error
        except InputError as error:
            raise InputError(error.rule, met=error.met, where=path) from error


def finished_record(folder: Path) -> RunRecord | None:
    """Reads the record of a finished result.

    Returns:
        The record; None where there is none that this version reads, or where a file of the result
        is missing or damaged, so that the sequence is segmented again. A mask that was corrected by
        hand is no damage.
    """
    try:
        record = RunRecord.read(folder)
    except InputError:
        return None
    if record is None or not is_complete(record) or inspect_files(folder, record.files).damaged:
        return None
    return record


def is_complete(record: RunRecord) -> bool:
    """Checks whether a record lists as many masks as it has counted."""
    masks = sum(name.startswith(f"{MASK_FOLDER}/") for name in record.files)
    return record.masks > 0 and ("masks" not in record.outputs or masks == record.masks)


def list_files(folder: Path) -> set[str]:
    """Returns the files in a folder of results that belong to the result, the record included.

    Those that the record names; where it names none, as in an earlier version or when it is
    damaged, those at the places where results are written.
    """
    try:
        record = RunRecord.read(folder)
    except InputError:
        record = None
    if record is None or not record.files:
        return places_of_results(folder)
    return {RECORD_NAME, *record.files}


def corrected_masks(folder: Path) -> set[str]:
    """Returns the masks in a folder of results that were corrected by hand, by relative path."""
    try:
        record = RunRecord.read(folder)
    except InputError:
        return set()
    return set() if record is None else set(inspect_files(folder, record.files).corrected)


def _is_file_entry(entry: object) -> bool:
    match entry:
        case [int(size), str(digest)]:
            return size >= 0 and re.fullmatch("[0-9a-f]{64}", digest) is not None
    return False


def _finite(value: Any) -> Any:
    """Replaces numbers that are not finite by None: JSON has none."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _reject(name: str, value: object, rule: str) -> None:
    raise InputError(f"'{name}' of a run record {rule}", met=repr(value))
