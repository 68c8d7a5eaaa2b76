"""How sequences are segmented: everything that a run is given and its record repeats."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from deeplab_gygo.config import OnlineConfig, Precision
from deeplab_gygo.errors import UsageError
from deeplab_gygo.models.weights import file_hash, read_parent_file, shipped_parent
from deeplab_gygo.presets import check_preset

OUTPUTS = ("masks", "overlay", "cutout", "soft")
"""What can be written: palette PNGs, a video to look at, PNGs with alpha, probabilities."""


@dataclass(frozen=True)
class RunSettings:
    """The settings of a run; checked when made, without Keras.

    Attributes:
        online: Mode, fine-tuning and propagation.
        weights: Parent file; None takes the shipped one.
        precision: Numeric policy.
        seed: Of everything random.
        outputs: What is written, of `OUTPUTS`.
        overwrite: Whether results that are there already are replaced.
        progress: Whether progress bars are shown on a terminal.
        preset: Preset that `online` started from; empty for none. Recorded, but no part of what
            results follow from: that is `online`, all of it resolved.

    Raises:
        UsageError: A value is out of range.
        WeightsError: The weights are absent, damaged or no parent.
    """

    online: OnlineConfig = field(default_factory=OnlineConfig)
    weights: str | Path | None = None
    precision: Precision = "auto"
    seed: int = 0
    outputs: tuple[str, ...] = ("masks", "overlay")
    overwrite: bool = False
    progress: bool = True
    preset: str = ""

    def __post_init__(self):
        _check_online(self.online)
        if self.preset:
            check_preset(self.preset)
        if self.seed < 0:
            raise UsageError("A seed is 0 or more", met=self.seed, where="--seed")
        unknown = [name for name in self.outputs if name not in OUTPUTS]
        if unknown or not self.outputs:
            raise UsageError(
                f"Outputs are of {', '.join(OUTPUTS)}",
                met=", ".join(unknown) or "none",
                where="--outputs",
            )
        read_parent_file(self.weights_path)

    @property
    def weights_path(self) -> Path:
        """The parent file."""
        return shipped_parent() if self.weights is None else Path(self.weights).expanduser()

    @cached_property
    def weights_hash(self) -> str:
        """SHA-256 of the parent file, hexadecimal."""
        return file_hash(self.weights_path)


def _check_online(config: OnlineConfig) -> None:
    """Raises `UsageError` where a number of a configuration is out of its range."""
    least = {
        "steps": 0, "seconds": 0, "views": 1, "window": 1, "replay": 0,
        "backbone_rate": 0, "rate": 0, "dice": 0, "anchor": 0,
        "memory": 0, "memory_every": 1,
        "online_steps": 0, "online_every": 1, "online_rate": 0, "online_weight": 0,
    }  # fmt: skip
    for name, bound in least.items():
        if getattr(config, name) < bound:
            raise UsageError(
                f"{name} is {bound} or more", met=getattr(config, name), where=f"--online.{name}"
            )
    if config.size and config.size < 16:
        raise UsageError(
            "size is 16 or more, or 0 for the default of the mode",
            met=config.size,
            where="--online.size",
        )
    if config.tuned_size < 16:
        raise UsageError(
            "tuned_size is 16 or more", met=config.tuned_size, where="--online.tuned_size"
        )
    shares = (
        "lucid",
        "distractors",
        "guide_dropout",
        "memory_dropout",
        "keep",
        "trust",
        "lost",
        "threshold",
    )
    for name in shares:
        if not 0 <= getattr(config, name) <= 1:
            raise UsageError(
                f"{name} is in 0..1", met=getattr(config, name), where=f"--online.{name}"
            )
    if not -1 <= config.recognize <= 1:
        raise UsageError("recognize is in -1..1", met=config.recognize, where="--online.recognize")
    low, high = config.view_scale
    if not 0 < low <= high:
        raise UsageError(
            "view_scale is a range above 0", met=config.view_scale, where="--online.view_scale"
        )
