"""Options that several commands share, and the settings of a run that they make."""

from __future__ import annotations

import dataclasses
import io
import os
import sys
import typing
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deeplab_gygo.cli.config_options import add_online_options, config_of, given_values
from deeplab_gygo.cli.startup import import_keras
from deeplab_gygo.errors import UsageError
from deeplab_gygo.inference.config import (
    ALL_PRESETS,
    DEFAULT_PRESET,
    UNLIMITED_STEPS,
    Engine,
    default_preset,
    preset,
)
from deeplab_gygo.methods import METHODS, find_method
from deeplab_gygo.models.config import Precision

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

    from deeplab_gygo.runs.runner import SequenceRunner
    from deeplab_gygo.runs.settings import RunSettings

DATASETS = ("gygo", "davis2016", "davis2017")
DEFAULT_OUTPUTS = "masks,overlay"


def add_common(parser: ArgumentParser) -> None:
    """Adds what every command has: how much it says."""
    parser.add_argument("-q", "--quiet", action="store_true", help="no notes and no progress bars")
    parser.add_argument(
        "--debug", action="store_true", help="more notes, and the traceback of an error"
    )


def add_run_options(parser: ArgumentParser) -> None:
    """Adds the options of how sequences are segmented: of `segment`, `batch` and others."""
    parser.add_argument(
        "--method", type=str, choices=METHODS, default="deeplab",
        help="what segments; copy, flow and grabcut are references without weights",
    )  # fmt: skip
    parser.add_argument(
        "--preset", type=str, choices=ALL_PRESETS,
        help="numbers to start from: for deeplab from the quickest to the most exact, for osmn and "
        "osvos by the trunk of their weights, which also chooses where none is given; --config "
        "overrides them, and the options below override both; the defaults shown with these are "
        f"without a preset [{DEFAULT_PRESET} of deeplab]",
    )  # fmt: skip
    parser.add_argument(
        "--config", type=str, metavar="FILE", help="YAML file of the method's online options"
    )
    add_online_options(parser)
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
    parser.add_argument(
        "--engine", type=str, choices=typing.get_args(Engine), default="keras",
        help="runtime of the encoder on a CPU; all but keras need the extra onnx or openvino",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="of everything random")


def add_dataset_options(parser: ArgumentParser, *, required: bool, purpose: str) -> None:
    """Adds which data set is meant and where it lies."""
    parser.add_argument("--dataset", type=str, choices=DATASETS, required=required, help=purpose)
    parser.add_argument("--root", type=str, required=required, help="folder of the data set")
    parser.add_argument(
        "--resolution", type=str, default="480p", help="folder below JPEGImages of the data set"
    )


# === From options to a run ===


def run_settings(options: Namespace) -> RunSettings:
    """Makes the settings of a run from the options of `add_run_options`.

    Raises:
        UsageError: A value is out of range, or the configuration file cannot be used.
        WeightsError: The weights are no parent.
    """
    from deeplab_gygo.runs.settings import RunSettings

    method, name = options.method, options.preset
    name = default_preset(method, _trunk_of_weights(options)) if name is None else name
    base = preset(name, method, (options.get("online") or {}).get("mode") or "")
    given = given_values(options.get("online"))
    _check_given(method, given)
    online = config_of(type(base), options.config, options.get("online"), base=base)
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
        preset=name,
        method=method,
        engine=options.engine,
    )


def _trunk_of_weights(options: Namespace) -> str:
    """Returns the trunk that the weights stand on, where numbers depend on it."""
    if options.method not in ("osmn", "osvos"):
        return ""
    from deeplab_gygo.models.weight_file import read_parent_file, shipped_parent

    path = Path(options.weights).expanduser() if options.weights else shipped_parent(options.method)
    return read_parent_file(path)[0].trunk_name


def _check_given(method: str, given: Mapping[str, Any]) -> None:
    """Raises `UsageError` where an online option or mode was given that a method has not."""
    from deeplab_gygo.runs.settings import check_mode

    known = [field.name for field in dataclasses.fields(find_method(method).resolve("options"))]
    strange = [name for name in given if name not in known]
    if strange:
        raise UsageError(
            f"The method {method} has the options {', '.join(f'--online.{n}' for n in known)}",
            met=", ".join(f"--online.{name}" for name in strange),
            where=f"--method {method}",
            remedy="Leave them out",
        )
    if "mode" in given:
        check_mode(method, given["mode"])


def start_runner(settings: RunSettings, debug: bool) -> SequenceRunner:
    """Loads Keras and the network; what their start has to say is kept from the terminal.

    Args:
        settings: Settings of all runs.
        debug: Let everything be said.

    Returns:
        The runner.
    """
    with quiet_start(debug):
        if settings.engine == "keras":  # converting for other runtimes needs what this leaves out
            import_keras()
        from deeplab_gygo import backend
        from deeplab_gygo.runs.runner import SequenceRunner

        if settings.method == "deeplab" and settings.online.adapt == "decoder":
            backend.compile_quickly()
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
