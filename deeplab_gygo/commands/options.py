"""Options that several commands share, and options made from configuration dataclasses."""

from __future__ import annotations

import dataclasses
import inspect
import io
import os
import re
import sys
import typing
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml

from deeplab_gygo.config import (
    UNLIMITED_STEPS,
    OnlineConfig,
    Precision,
    from_dict,
    load_yaml,
    to_plain,
)
from deeplab_gygo.errors import UsageError
from deeplab_gygo.presets import DEFAULT_PRESET, PRESETS, preset

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

    from deeplab_gygo.batch.job import SequenceRunner
    from deeplab_gygo.batch.settings import RunSettings

DATASETS = ("gygo", "davis2016", "davis2017")
DEFAULT_OUTPUTS = "masks,overlay"

SHORT_ONLINE = ("mode", "steps", "seconds", "adapt", "size")
"""Fields of `OnlineConfig` that have an option of their own name beside the dotted one."""


def add_common(parser: ArgumentParser) -> None:
    """Adds what every command has: how much it says."""
    parser.add_argument("-q", "--quiet", action="store_true", help="no notes and no progress bars")
    parser.add_argument(
        "--debug", action="store_true", help="more notes, and the traceback of an error"
    )


def add_run_options(parser: ArgumentParser) -> None:
    """Adds the options of how sequences are segmented: of `segment`, `batch` and others."""
    parser.add_argument(
        "--preset", type=str, choices=tuple(PRESETS), default=DEFAULT_PRESET,
        help="numbers to start from, from the quickest to the most exact; --config overrides them, "
        "and the options below override both; the defaults shown with these are those of "
        f"{DEFAULT_PRESET}",
    )  # fmt: skip
    parser.add_argument("--config", type=str, metavar="FILE", help="YAML file of an OnlineConfig")
    add_config_options(parser, OnlineConfig, "online", shown="online", short=SHORT_ONLINE)
    add_model_options(parser)
    parser.add_argument(
        "--outputs",
        type=str,
        default=DEFAULT_OUTPUTS,
        metavar="LIST",
        help="what is written, with commas: masks, overlay, cutout, soft",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace results that are there already"
    )


def add_model_options(parser: ArgumentParser) -> None:
    """Adds which weights are used and how they compute."""
    parser.add_argument("--weights", type=str, metavar="FILE", help="parent instead of the shipped")
    parser.add_argument(
        "--precision", type=str, choices=typing.get_args(Precision), default="auto",
        help="numbers that the network computes with",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="of everything random")


def add_dataset_options(parser: ArgumentParser, *, required: bool, purpose: str) -> None:
    """Adds which data set is meant and where it lies."""
    parser.add_argument("--dataset", type=str, choices=DATASETS, required=required, help=purpose)
    parser.add_argument("--root", type=str, required=required, help="folder of the data set")
    parser.add_argument(
        "--resolution", type=str, default="480p", help="folder below JPEGImages of the data set"
    )


# === Options from dataclasses ===


def add_config_options(
    parser: ArgumentParser,
    kind: type,
    group: str,
    *,
    shown: str = "",
    short: tuple[str, ...] = (),
) -> None:
    """Adds an option for every field of a configuration, nested ones with dots.

    Nothing has a default here, so that what is given can be told from what is not.

    Args:
        parser: Where to add.
        kind: Dataclass.
        group: Name of the values in the parsed options.
        shown: What the options begin with, `--<shown>.<field>`; empty leaves `--<field>`.
        short: Fields that have `--<field>` as well.
    """
    hints, purposes = typing.get_type_hints(kind), _purposes(kind)
    for field in dataclasses.fields(kind):
        hint, name = hints[field.name], field.name
        dotted = f"{shown}.{name}" if shown else name
        if dataclasses.is_dataclass(hint):
            add_config_options(parser, hint, f"{group}.{name}", shown=dotted)
            continue
        flags = [f"--{name}"] if name in short else []
        _add_field(
            parser, [*flags, f"--{dotted}"], f"{group}.{name}", field, hint, purposes.get(name, "")
        )


def _add_field(
    parser: ArgumentParser,
    flags: list[str],
    destination: str,
    field: dataclasses.Field,
    hint: Any,
    purpose: str,
) -> None:
    default = field.default if field.default is not dataclasses.MISSING else None
    text = purpose + (f" [{default}]" if default not in (None, "") else "")
    kind: dict[str, Any] = {"type": hint}
    if typing.get_origin(hint) is Literal and all(
        isinstance(value, str) for value in typing.get_args(hint)
    ):
        # Choices make a better message than a type does.
        kind = {"type": str, "choices": typing.get_args(hint)}
    parser.add_argument(*flags, dest=destination, help=text.replace("%", "%%"), **kind)


def _purposes(kind: type) -> dict[str, str]:
    """Takes the first sentence on every attribute from a docstring of Google's style."""
    text = inspect.getdoc(kind) or ""
    _, _, attributes = text.partition("Attributes:\n")
    entries = re.findall(r"^ {4}(\w+): (.*(?:\n {6,}.*)*)", attributes, flags=re.MULTILINE)
    return {name: " ".join(body.split()).split(". ")[0].rstrip(".") for name, body in entries}


def given_values(group: Namespace | Mapping[str, Any] | None) -> dict[str, Any]:
    """Returns the options of a group that were given, nested as their names are."""
    values = {}
    if group is None:
        return values
    for name, value in (group.as_dict() if hasattr(group, "as_dict") else dict(group)).items():
        if isinstance(value, dict):
            value = given_values(value) or None
        if value is not None:
            values[name] = value
    return values


def config_of(
    kind: type, path: str | None, group: Namespace | None, base: Any | None = None
) -> Any:
    """Joins a configuration to start from, a file, and the options given beside it.

    Args:
        kind: Dataclass.
        path: YAML file, which wins over `base`; None for no file.
        group: Parsed options made by `add_config_options`, which win over both.
        base: Instance of `kind` to start from; None starts from the defaults.

    Returns:
        An instance of `kind`.

    Raises:
        UsageError: The file cannot be used, or a value cannot.
    """
    config = kind() if base is None else base
    if path:
        config = _with_file(config, Path(path).expanduser())
    values = given_values(group)
    if not values:
        return config
    return from_dict(kind, _merged(to_plain(config), values), "command line")


def _with_file(base: Any, path: Path) -> Any:
    load_yaml(type(base), path)  # refuses what is wrong in the file alone, by its name
    written = yaml.safe_load(path.read_text(encoding="utf-8"))
    return from_dict(type(base), _merged(to_plain(base), written), path)


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, value in over.items():
        nested = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = _merged(result[key], value) if nested else value
    return result


def run_settings(options: Namespace) -> RunSettings:
    """Makes the settings of a run from the options of `add_run_options`.

    Raises:
        UsageError: A value is out of range, or the configuration file cannot be used.
        WeightsError: The weights are no parent.
    """
    from deeplab_gygo.batch.settings import RunSettings

    online = config_of(
        OnlineConfig, options.config, options.get("online"), base=preset(options.preset)
    )
    given = given_values(options.get("online"))
    if given.get("seconds") and "steps" not in given:
        # Who gives a time and no number of steps means the time.
        online = dataclasses.replace(online, steps=UNLIMITED_STEPS)
    return RunSettings(
        online=online,
        weights=options.weights,
        precision=options.precision,
        seed=options.seed,
        outputs=tuple(name.strip() for name in options.outputs.split(",") if name.strip()),
        overwrite=options.overwrite,
        progress=not options.quiet,
        preset=options.preset,
    )


def start_runner(settings: RunSettings, debug: bool) -> SequenceRunner:
    """Loads Keras and the network; what their start has to say is kept from the terminal.

    Args:
        settings: Settings of all runs.
        debug: Let everything be said.

    Returns:
        The runner.
    """
    with quiet_start(debug):
        from deeplab_gygo.batch.job import SequenceRunner

        return SequenceRunner(settings)


@contextmanager
def quiet_start(debug: bool) -> Iterator[None]:
    """Drops what C++ code writes to standard error; what Python says follows afterwards.

    TensorFlow reports missing graphics cards before its log level is in force.

    Args:
        debug: Drop nothing.
    """
    if debug:
        yield
        return
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    python_stream, sys.stderr = sys.stderr, io.StringIO()
    said = sys.stderr
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        sys.stderr = python_stream
        for descriptor in (kept, nowhere):
            os.close(descriptor)
        sys.stderr.write(said.getvalue())


def require_together(options: Namespace, *names: str) -> None:
    """Checks that options which need each other were all given, or none.

    Raises:
        UsageError: Some were given and some not.
    """
    missing = [f"--{name}" for name in names if options.get(name) is None]
    if missing and len(missing) < len(names):
        raise UsageError(
            f"The options {', '.join(f'--{name}' for name in names)} belong together",
            met=f"no {', '.join(missing)}",
            remedy="Give all of them",
        )
