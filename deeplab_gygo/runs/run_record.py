"""The record of a run, written beside its results; it decides whether a run must be repeated."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, get_origin, get_type_hints

import deeplab_gygo
from deeplab_gygo.errors import InputError
from deeplab_gygo.io.atomic import replacing
from deeplab_gygo.runs.clip import Clip
from deeplab_gygo.runs.environment import hardware, peak_memory_mb, versions
from deeplab_gygo.runs.settings import RunSettings

RECORD_NAME = "run.json"
"""Name of the record in a folder of results, which marks the folder as written by this package."""

MASK_FOLDER = "masks"
"""Name of the folder of masks in a folder of results."""

SCHEMA = 2
"""Version of the keys of the record and of their meaning."""

COUNTED = (
    "total_seconds: wall time of adaptation and of all frames from decoding to the last byte "
    "written, compilation in the first sequence of a process included; importing and loading the "
    "network excluded. amortized_fps: frames by total_seconds; the given mask is no frame. "
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
        masks: Number of masks written, the given one included.
        frames: Number of masks made by the network, the given one excluded.
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
    command: list[str] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=versions)
    hardware: dict[str, Any] = field(default_factory=hardware)
    peak_memory_mb: float = field(default_factory=peak_memory_mb)
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

    @property
    def amortized_fps(self) -> float:
        """Number of frames divided by `total_seconds`; 0 where nothing was timed."""
        return self.frames / self.total_seconds if self.total_seconds > 0 else 0.0

    @property
    def seconds_per_frame(self) -> float:
        """Mean wall time of a frame without fine-tuning; 0 where nothing was timed."""
        return math.fsum(self.frame_seconds) / max(len(self.frame_seconds), 1)

    def matches(self, clip: Clip, settings: RunSettings) -> bool:
        """Checks whether a run would give these results again.

        Input, mask, weights, settings, seed and version of the package must be the same.
        """
        return (
            self.seed == settings.seed
            and self.versions.get("deeplab-gygo") == deeplab_gygo.__version__
            and self.config == settings.identity
            and self.hashes == {**clip.hashes(), "weights": settings.weights_hash}
        )

    def write(self, folder: str | Path) -> Path:
        """Writes the record atomically into a folder of results, with the derived rates.

        Returns:
            The file.

        Raises:
            StorageError: The file cannot be written.
        """
        values = asdict(self)
        values["amortized_fps"] = self.amortized_fps
        values["seconds_per_frame"] = self.seconds_per_frame
        # Not-a-number is no JSON; a loss that was not finite is written as null.
        values["losses"] = [x if math.isfinite(x) else None for x in self.losses]
        path = Path(folder) / RECORD_NAME
        with replacing(path) as side:
            text = json.dumps(values, indent=1, allow_nan=False) + "\n"
            side.write_text(text, encoding="utf-8")
        return path

    @classmethod
    def read(cls, folder: str | Path) -> RunRecord | None:
        """Reads the record of a folder of results.

        Returns:
            The record; None where there is none.

        Raises:
            InputError: The record is damaged or of another version.
        """
        path = Path(folder) / RECORD_NAME
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError) as error:
            raise InputError("A run record is readable JSON", met=error, where=path) from error
        if not isinstance(values, dict) or values.get("schema") != SCHEMA:
            found = values.get("schema") if isinstance(values, dict) else type(values).__name__
            raise InputError(f"A run record has the schema {SCHEMA}", met=found, where=path)
        known = {item.name for item in fields(cls)}
        values = {key: value for key, value in values.items() if key in known}
        if isinstance(values.get("losses"), list):
            values["losses"] = [math.nan if x is None else x for x in values["losses"]]
        try:
            return cls(**values)
        except TypeError as error:
            raise InputError("A run record is complete", met=error, where=path) from error
        except InputError as error:
            raise InputError(error.rule, met=error.met, where=path) from error


def finished_record(folder: Path) -> RunRecord | None:
    """Reads the record of a finished result.

    Returns:
        The record; None where there is none that this version reads, or where masks are missing,
        so that the sequence is segmented again.
    """
    try:
        record = RunRecord.read(folder)
    except InputError:
        return None
    if record is None or not record.masks:
        return None
    if "masks" in record.outputs:
        written = sum(1 for _ in (folder / MASK_FOLDER).glob("*.png"))
        return record if written == record.masks else None
    return record


def _reject(name: str, value: object, rule: str) -> None:
    raise InputError(f"'{name}' of a run record {rule}", met=repr(value))
