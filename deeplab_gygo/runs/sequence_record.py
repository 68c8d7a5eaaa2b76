"""The record of one segmented sequence, and the question whether to segment it again."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deeplab_gygo.runs.clip import Clip
from deeplab_gygo.runs.settings import RunSettings
from deeplab_gygo.io.config_file import to_plain
from deeplab_gygo.errors import InputError
from deeplab_gygo.runs.run_record import RunRecord

COUNTED = (
    "total_seconds: wall time of adaptation and of all frames from decoding to the last byte "
    "written, compilation in the first sequence of a process included; importing and loading the "
    "network excluded. amortized_fps: frames by total_seconds; the given mask is no frame. "
    "network_seconds: network and post-processing alone"
)
"""What the times of a record count; written into it."""


@dataclass(frozen=True)
class SequenceRecord(RunRecord):
    """A run record with what a table of sequences shows.

    Attributes:
        name: Name of the sequence.
        source: The input.
        mask_source: File of the first mask.
        first_frame: Name of the annotated frame, which the masks begin with.
        masks: Number of masks written, the given one included.
        objects: Number of objects.
        outputs: What was written.
        weights: The parent file.
        precision: Numeric policy in force.
        preset: Preset that the configuration started from; `config` has every number in force.
        method: What segmented.
        trunk: Network that it stands on and where its first weights are from; empty for none.
        total_seconds: See `COUNTED`.
        network_seconds: Seconds of every frame in network and post-processing.
        confidence: By the name of a frame, how far its mask can be trusted: the J to expect, 0..1.
        counted: What the times count.
    """

    name: str = ""
    source: str = ""
    mask_source: str = ""
    first_frame: str = ""
    masks: int = 0
    objects: int = 0
    outputs: list[str] = field(default_factory=list)
    weights: str = ""
    precision: str = ""
    preset: str = ""
    method: str = "deeplab"
    trunk: str = ""
    total_seconds: float = 0.0
    network_seconds: list[float] = field(default_factory=list)
    confidence: dict[str, float] = field(default_factory=dict)
    counted: str = COUNTED

    @property
    def amortized_fps(self) -> float:
        """Frames by `total_seconds`; 0 where nothing was timed."""
        return self.frames / self.total_seconds if self.total_seconds > 0 else 0.0


def finished_record(folder: Path) -> SequenceRecord | None:
    """Reads the record of a finished result.

    Args:
        folder: Folder of the result.

    Returns:
        The record; None where there is none that this version understands, so that the sequence
        is segmented anew.
    """
    try:
        return SequenceRecord.read(folder)
    except InputError:
        return None


def hashes_of(clip: Clip, settings: RunSettings) -> dict[str, str]:
    """Returns the SHA-256 of input, mask and weights, hexadecimal; see `RunSettings`."""
    return {**clip.hashes(), "weights": settings.weights_hash}


def identity_config(settings: RunSettings) -> dict[str, Any]:
    """Returns the settings that results follow from, the seed left out, as plain values."""
    config = {
        "online": to_plain(settings.online),
        "precision": settings.precision,
        "outputs": sorted(settings.outputs),
    }
    # Records from before there were other methods and engines do not name them.
    if settings.engine != "keras":
        config["engine"] = settings.engine
    return config if settings.method == "deeplab" else {"method": settings.method, **config}
