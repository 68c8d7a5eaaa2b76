"""How sequences are segmented: everything that a run is given and its record repeats."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from deeplab_gygo.runs.ranges import check_ranges
from deeplab_gygo.inference.config import (Engine, OnlineConfig)
from deeplab_gygo.models.config import Precision
from deeplab_gygo.methods import METHODS, MethodName, find_method, method_of_architecture
from deeplab_gygo.errors import (UsageError, WeightsError)
from deeplab_gygo.models.weight_file import (file_hash, read_parent_file, shipped_parent)
from deeplab_gygo.inference.config import check_preset

OUTPUTS = ("masks", "overlay", "cutout", "soft")
"""What can be written: palette PNGs, a video to look at, PNGs with alpha, probabilities."""

NO_WEIGHTS = "none"
"""What stands for the hash of weights in the record of a method that has none."""


@dataclass(frozen=True)
class RunSettings:
    """The settings of a run; checked when made, without Keras.

    Attributes:
        online: Mode, fine-tuning and propagation, of the kind that the method takes
            (`methods.METHODS`); None takes its defaults, which are then in its place.
        weights: Parent file of the method; None takes the shipped one. The references have none.
        precision: Numeric policy.
        seed: Of everything random.
        outputs: What is written, of `OUTPUTS`.
        overwrite: Whether results that are there already are replaced.
        progress: Whether progress bars are shown on a terminal.
        preset: Preset that `online` started from; empty for none. Recorded, but no part of what
            results follow from: that is `online`, all of it resolved.
        method: What segments.
        engine: Runtime of the encoder.

    Raises:
        UsageError: A value is out of range, or not one of the method.
        WeightsError: The weights are absent, damaged, no parent, or of another method.
    """

    online: Any = None
    weights: str | Path | None = None
    precision: Precision = "auto"
    seed: int = 0
    outputs: tuple[str, ...] = ("masks", "overlay")
    overwrite: bool = False
    progress: bool = True
    preset: str = ""
    method: MethodName = "deeplab"
    engine: Engine = "keras"

    def __post_init__(self):
        check_method(self.method)
        if self.online is None:
            object.__setattr__(self, "online", find_method(self.method).resolve("options")())
        _check_kind(self.method, self.online)
        if not isinstance(self.online, OnlineConfig):
            check_ranges(self.online)
        check_preset(self.preset, self.method)
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
        """The parent file; None for a method without weights."""
        if not find_method(self.method).architecture:
            return None
        if self.weights is None:
            return shipped_parent(self.method)
        return Path(self.weights).expanduser()

    @cached_property
    def weights_hash(self) -> str:
        """SHA-256 of the parent file, hexadecimal; `NO_WEIGHTS` for a method without weights."""
        return NO_WEIGHTS if self.weights_path is None else file_hash(self.weights_path)

    @property
    def window(self) -> int:
        """Frames that the method looks at at once."""
        return getattr(self.online, "ENCODE_BATCH", 1)


def check_method(method: str) -> None:
    """Raises `UsageError` unless there is a method of this name."""
    if method not in METHODS:
        raise UsageError(f"A method is one of {', '.join(METHODS)}", met=method, where="--method")


def check_mode(method: str, mode: str) -> None:
    """Raises `UsageError` unless a method has a mode."""
    if mode not in find_method(method).modes:
        raise UsageError(
            f"The method {method} has the mode{'s' * (len(find_method(method).modes) > 1)} "
            f"{', '.join(find_method(method).modes)}",
            met=mode,
            where="--mode",
        )


def _check_kind(method: str, online: Any) -> None:
    if type(online) is not find_method(method).resolve("options"):
        raise UsageError(
            f"The method {method} takes the options of {find_method(method).resolve("options").__name__}",
            met=type(online).__name__,
            where="--method",
        )
    check_mode(method, online.mode)


def _check_engine(settings: RunSettings) -> None:
    if settings.engine == "keras":
        return
    if settings.method != "deeplab":
        raise UsageError(
            "Another engine than keras runs the encoder of the method deeplab",
            met=f"--method {settings.method}",
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
                f"The method {settings.method} has no weights",
                met=settings.weights,
                where="--weights",
                remedy="Leave --weights out",
            )
        return
    model, _, _ = read_parent_file(path)
    if method_of_architecture(model).name != settings.method:
        raise WeightsError(
            f"Weights are of the method that segments, {settings.method}",
            met=f"weights of {method_of_architecture(model).name}",
            where=path,
            remedy=f"Give --method {method_of_architecture(model).name}, or other weights",
        )
