"""The settings of a run: everything that its masks follow from, besides the clip."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from deeplab_gygo.errors import DependencyError, UsageError, WeightsError
from deeplab_gygo.inference.config import (
    Engine,
    OnlineConfig,
    check_preset,
    default_preset,
    make_options,
)
from deeplab_gygo.io.config_file import MAX_SEED, check_choices, read_yaml, to_plain
from deeplab_gygo.io.names import expanded
from deeplab_gygo.io.plain_values import shown
from deeplab_gygo.io.scratch import held
from deeplab_gygo.io.storage import is_url
from deeplab_gygo.methods import MethodName, find_method, method_of_architecture
from deeplab_gygo.models.config import Precision
from deeplab_gygo.models.weight_file import file_hash, read_parent_file, shipped_parent
from deeplab_gygo.runs.output_kinds import (
    DEFAULT_OPTIONS,
    DEFAULT_OUTPUTS,
    OUTPUTS,
    OutputOptions,
)
from deeplab_gygo.runs.progress_displays import ProgressKind

NO_WEIGHTS = "none"
"""Entry in the hashes of a record for a method without weights."""


@dataclass(frozen=True)
class RunSettings:
    """The settings of a run, checked without loading Keras.

    Attributes:
        online: Online options of the method.
        weights: Parent file of the method, or its URL; None takes the shipped one.
        precision: Numeric policy.
        seed: Seed of every random number generator, 0..2**32 - 1.
        outputs: Kinds of results to write, of `OUTPUTS`.
        output_options: Options of the kinds.
        overwrite: Whether existing results are replaced.
        progress: Whether progress is shown: bars on a terminal, lines elsewhere.
        json_progress: Whether it is shown as JSON lines instead, whatever `progress` is.
        preset: Name of the preset that `online` started from; empty for none. It is recorded, but
            results follow from `online` alone.
        method: Name of the segmentation method.
        engine: Runtime of the encoder.

    Raises:
        UsageError: A value is out of range, or not one of the method.
        WeightsError: The weights are absent, damaged, no parent, or of another method.

    Example:
        >>> RunSettings(OnlineConfig(mode="one-shot"), outputs=("masks",)).online.short_side
        320
    """

    online: Any = field(default_factory=OnlineConfig)
    weights: str | Path | None = None
    precision: Precision = "auto"
    seed: int = 0
    outputs: tuple[str, ...] = DEFAULT_OUTPUTS
    output_options: OutputOptions = DEFAULT_OPTIONS
    overwrite: bool = False
    progress: bool = True
    json_progress: bool = False
    preset: str = ""
    method: MethodName = "deeplab"
    engine: Engine = "keras"

    def __post_init__(self):
        check_choices(self)
        options = find_method(self.method).resolve("options")
        if type(self.online) is not options:
            raise UsageError(
                f"The method {self.method} takes the options of {options.__name__}",
                met=type(self.online).__name__,
                where="--method",
            )
        check_preset(self.preset, self.method)
        if not (isinstance(self.seed, int) and 0 <= self.seed <= MAX_SEED):
            raise UsageError(f"A seed is in 0..{MAX_SEED}", met=shown(self.seed), where="--seed")
        unknown = [name for name in self.outputs if name not in OUTPUTS]
        if unknown or not self.outputs:
            met = ", ".join(unknown) or "none"
            raise UsageError(f"Outputs are of {', '.join(OUTPUTS)}", met=met, where="--outputs")
        if "report" in self.outputs:
            if find_spec("jinja2") is None:
                raise DependencyError("jinja2", "report", "A report")
            if "masks" not in self.outputs:
                raise UsageError(
                    "A report shows the masks",
                    met=", ".join(self.outputs),
                    where="--outputs",
                    remedy="Add masks to --outputs",
                )
        if self.engine != "keras" and self.method != "deeplab":
            raise UsageError(
                "Another engine than keras runs the encoder of the method deeplab",
                met=f"--method {self.method}",
                where="--engine",
                remedy="Leave --engine out",
            )
        is_full = self.online.mode == "fine-tune" and getattr(self.online, "adapt", "") == "full"
        if self.engine != "keras" and is_full:
            raise UsageError(
                "Another engine than keras runs an encoder that is not fine-tuned",
                met="--adapt full",
                where="--engine",
                remedy="Leave --engine out, or give --adapt decoder",
            )
        path = self.weights_path
        if path is None and self.weights is not None:
            raise UsageError(
                f"The method {self.method} has no weights",
                met=self.weights,
                where="--weights",
                remedy="Leave --weights out",
            )
        trained = self.method
        if path is not None:
            trained = method_of_architecture(read_parent_file(path, header_only=True)[0]).name
        if trained != self.method:
            raise WeightsError(
                f"Weights are of the method that segments, {self.method}",
                met=f"weights of {trained}",
                where=path,
                remedy=f"Give --method {trained}, or other weights",
            )

    @property
    def weights_path(self) -> Path | None:
        """The parent file; None for a method without weights."""
        if not find_method(self.method).architecture:
            return None
        return shipped_parent(self.method) if self.weights is None else held(self.weights)

    @cached_property
    def weights_hash(self) -> str:
        """SHA-256 of the parent file, hexadecimal; `NO_WEIGHTS` for a method without weights."""
        return NO_WEIGHTS if self.weights_path is None else file_hash(self.weights_path)

    @property
    def progress_kind(self) -> ProgressKind:
        """How progress is shown."""
        return "json" if self.json_progress else "auto" if self.progress else "none"

    @property
    def identity(self) -> dict[str, Any]:
        """The settings that results follow from, as plain values."""
        return {
            "method": self.method,
            "online": to_plain(self.online),
            "precision": self.precision,
            "engine": self.engine,
            "outputs": sorted(self.outputs),
            **self.output_options.identity(self.outputs),
        }


def make_settings(
    *,
    method: MethodName = "deeplab",
    preset_name: str | None = None,
    mode: str | None = None,
    config: str | Path | None = None,
    online: Mapping[str, Any] | None = None,
    weights: str | Path | None = None,
    **others: Any,
) -> RunSettings:
    """Makes the settings of a run: a preset, overridden by a file, overridden by single options.

    Args:
        method: Name of the segmentation method.
        preset_name: Name of its preset; None takes the default one.
        mode: Mode to segment in; None takes that of `online`, of the file, or of the method.
        config: YAML file of online options; None for no file.
        online: Online options by name. `seconds` without `steps` lifts the limit of steps.
        weights: Parent file, or its URL; None takes the shipped one.
        **others: Further fields of `RunSettings`.

    Raises:
        UsageError: A value or the file is unusable.
        WeightsError: The weights are unusable.

    Example:
        >>> make_settings(preset_name="fast").online.steps
        40
    """
    weights = weights if weights is None or is_url(weights) else expanded(weights)
    given = {**(online or {}), **({"mode": mode} if mode else {})}
    written = read_yaml(config) if config else {}
    mode = given.get("mode") or written.get("mode") or ""
    if preset_name is None:
        trunk = ""
        if method in ("osmn", "osvos"):  # their options depend on the trunk of the weights
            path = held(weights) if weights else shipped_parent(method)
            trunk = read_parent_file(path, header_only=True)[0].trunk_name
        preset_name = default_preset(method, trunk)
    options = make_options(
        method, preset_name, mode, (written, config or ""), (given, "command line")
    )
    return RunSettings(options, weights, preset=preset_name, method=method, **others)
