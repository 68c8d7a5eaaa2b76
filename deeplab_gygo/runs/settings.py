"""How sequences are segmented: everything that a run is given and its record repeats."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from deeplab_gygo.batch.ranges import check_ranges
from deeplab_gygo.config import Engine, OnlineConfig, Precision
from deeplab_gygo.config_systems import (
    MODEL_CONFIGS,
    MODES,
    ONLINE_CONFIGS,
    SYSTEMS,
    System,
    system_of,
)
from deeplab_gygo.errors import UsageError, WeightsError
from deeplab_gygo.models.weights import file_hash, read_parent_file, shipped_parent
from deeplab_gygo.presets import check_preset

OUTPUTS = ("masks", "overlay", "cutout", "soft")
"""What can be written: palette PNGs, a video to look at, PNGs with alpha, probabilities."""

NO_WEIGHTS = "none"
"""What stands for the hash of weights in the record of a system that has none."""


@dataclass(frozen=True)
class RunSettings:
    """The settings of a run; checked when made, without Keras.

    Attributes:
        online: Mode, fine-tuning and propagation, of the kind that the system takes
            (`config_systems.ONLINE_CONFIGS`); None takes its defaults, which are then in its place.
        weights: Parent file of the system; None takes the shipped one. The references have none.
        precision: Numeric policy.
        seed: Of everything random.
        outputs: What is written, of `OUTPUTS`.
        overwrite: Whether results that are there already are replaced.
        progress: Whether progress bars are shown on a terminal.
        preset: Preset that `online` started from; empty for none. Recorded, but no part of what
            results follow from: that is `online`, all of it resolved.
        system: What segments.
        engine: Runtime of the encoder.

    Raises:
        UsageError: A value is out of range, or not one of the system.
        WeightsError: The weights are absent, damaged, no parent, or of another system.
    """

    online: Any = None
    weights: str | Path | None = None
    precision: Precision = "auto"
    seed: int = 0
    outputs: tuple[str, ...] = ("masks", "overlay")
    overwrite: bool = False
    progress: bool = True
    preset: str = ""
    system: System = "deeplab"
    engine: Engine = "keras"

    def __post_init__(self):
        check_system(self.system)
        if self.online is None:
            object.__setattr__(self, "online", ONLINE_CONFIGS[self.system]())
        _check_kind(self.system, self.online)
        if isinstance(self.online, OnlineConfig):
            _check_online(self.online)
        else:
            check_ranges(self.online)
        check_preset(self.preset, self.system)
        _check_engine(self)
        if self.seed < 0:
            raise UsageError("A seed is 0 or more", met=self.seed, where="--seed")
        unknown = [name for name in self.outputs if name not in OUTPUTS]
        if unknown or not self.outputs:
            raise UsageError(
                f"Outputs are of {', '.join(OUTPUTS)}",
                met=", ".join(unknown) or "none",
                where="--outputs",
            )
        _check_weights(self)

    @property
    def weights_path(self) -> Path | None:
        """The parent file; None for a system without weights."""
        if self.system not in MODEL_CONFIGS:
            return None
        if self.weights is None:
            return shipped_parent(self.system)
        return Path(self.weights).expanduser()

    @cached_property
    def weights_hash(self) -> str:
        """SHA-256 of the parent file, hexadecimal; `NO_WEIGHTS` for a system without weights."""
        return NO_WEIGHTS if self.weights_path is None else file_hash(self.weights_path)

    @property
    def window(self) -> int:
        """Frames that the system looks at at once."""
        return getattr(self.online, "window", 1)


def check_system(system: str) -> None:
    """Raises `UsageError` unless there is a system of this name."""
    if system not in SYSTEMS:
        raise UsageError(f"A system is one of {', '.join(SYSTEMS)}", met=system, where="--system")


def check_mode(system: str, mode: str) -> None:
    """Raises `UsageError` unless a system has a mode."""
    if mode not in MODES[system]:
        raise UsageError(
            f"The system {system} has the mode{'s' * (len(MODES[system]) > 1)} "
            f"{', '.join(MODES[system])}",
            met=mode,
            where="--mode",
        )


def _check_kind(system: str, online: Any) -> None:
    if type(online) is not ONLINE_CONFIGS[system]:
        raise UsageError(
            f"The system {system} takes the options of {ONLINE_CONFIGS[system].__name__}",
            met=type(online).__name__,
            where="--system",
        )
    check_mode(system, online.mode)


def _check_engine(settings: RunSettings) -> None:
    if settings.engine == "keras":
        return
    if settings.system != "deeplab":
        raise UsageError(
            "Another engine than keras runs the encoder of the system deeplab",
            met=f"--system {settings.system}",
            where="--engine",
            remedy="Leave --engine out",
        )
    if settings.online.mode == "fine-tune" and settings.online.adapt == "full":
        raise UsageError(
            "Another engine than keras runs an encoder that is not fine-tuned",
            met="--adapt full",
            where="--engine",
            remedy="Leave --engine out, or give --adapt decoder",
        )


def _check_weights(settings: RunSettings) -> None:
    path = settings.weights_path
    if path is None:
        if settings.weights is not None:
            raise UsageError(
                f"The system {settings.system} has no weights",
                met=settings.weights,
                where="--weights",
                remedy="Leave --weights out",
            )
        return
    model, _, _ = read_parent_file(path)
    if system_of(model) != settings.system:
        raise WeightsError(
            f"Weights are of the system that segments, {settings.system}",
            met=f"weights of {system_of(model)}",
            where=path,
            remedy=f"Give --system {system_of(model)}, or other weights",
        )


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
