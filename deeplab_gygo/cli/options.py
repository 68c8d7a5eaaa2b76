"""Options that several commands share, and the settings of a run that they make."""

from __future__ import annotations

import argparse
import dataclasses
import gc
import io
import os
import sys
import typing
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from importlib import import_module
from typing import TYPE_CHECKING

from deeplab_gygo.cli.config_options import add_config_options, given_values
from deeplab_gygo.cli.output_options import add_output_options, output_kinds, output_options
from deeplab_gygo.cli.progress_options import add_progress_option
from deeplab_gygo.errors import UsageError
from deeplab_gygo.inference.config import Engine, default_preset, preset_names
from deeplab_gygo.methods import METHODS, find_method
from deeplab_gygo.models.config import Precision

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

    from deeplab_gygo.runs.runner import SequenceRunner
    from deeplab_gygo.runs.settings import RunSettings

SHORT_ONLINE = ("mode", "steps", "seconds", "adapt", "size")
"""Online options that have a short flag beside `--online.<name>`."""

REPEATABLE = ("--mask",)
"""Options that may be given several times; of any other one only the last value would hold."""

DATASETS = ("gygo", "davis2016", "davis2017", "youtube-vos", "mose")

_OPTIONAL = ("matplotlib", "pandas", "scipy", "jax")
"""Packages that Keras on TensorFlow imports where they are installed, and works without."""


@dataclasses.dataclass(frozen=True)
class Request:
    """The options that a command has and shows.

    Attributes:
        method: Chosen method; an unknown one is refused by the parser.
        show_all: Whether the help shows rarely used options and those of other methods.
    """

    method: str = "deeplab"
    show_all: bool = False

    @classmethod
    def of(cls, words: Sequence[str]) -> Request:
        """Finds the method and `--help-all` on a command line, and checks its words.

        Raises:
            UsageError: An option is repeated, or an online option is not one of the method.
        """
        methods = [word[9:] for word in words if word.startswith("--method=")]
        methods += [b for a, b in zip(words, words[1:], strict=False) if a == "--method"]
        method = methods[0] if methods and methods[0] in METHODS else "deeplab"
        kind = find_method(method).resolve("options")
        known = [field.name for field in dataclasses.fields(kind)]
        seen = set()
        for word in words:
            flag = word.partition("=")[0]
            name, key = flag.replace("--online.", "--"), flag.removeprefix("--online.")
            if word.startswith("--") and name in seen and name not in REPEATABLE:
                raise UsageError("An option is given once", met=f"{flag} again")
            seen.add(name)
            if not word.startswith("--online.") or key in known:
                continue
            remedy = f"See: deeplab-gygo segment --method {method} --help"
            renamed, removed = getattr(kind, "RENAMED_KEYS", {}), getattr(kind, "REMOVED_KEYS", {})
            owners = [
                other.name
                for other in METHODS.values()
                if key in (field.name for field in dataclasses.fields(other.resolve("options")))
            ]
            if key in renamed:
                remedy = f"Write --online.{renamed[key]}"
            elif key in removed:
                remedy = f"Leave it out: {removed[key]}"
            elif owners:
                remedy = f"It is an option of --method {', '.join(owners)}"
            raise UsageError(
                f"The method {method} has the options {', '.join(f'--online.{n}' for n in known)}",
                met=flag,
                where=f"--method {method}",
                remedy=remedy,
            )
        return cls(method, "--help-all" in words)


class Help(argparse.HelpFormatter):
    """Shows defaults in brackets, and texts of several lines as they are."""

    def _get_help_string(self, action: argparse.Action) -> str:
        text, default = action.help or "", action.default
        is_given = default is not None and default is not False and default != argparse.SUPPRESS
        return f"{text} [{default}]" if is_given and not text.endswith("]") else text

    def _get_default_metavar_for_optional(self, action: argparse.Action) -> str:
        return action.dest.rpartition(".")[2].upper()

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if not action.option_strings or action.nargs == 0:
            return super()._format_action_invocation(action)
        value = self._format_args(action, self._get_default_metavar_for_optional(action))
        return f"{', '.join(action.option_strings)} {value}"

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if "\n" in text else super()._fill_text(text, width, indent)


def add_common(parser: ArgumentParser) -> None:
    """Adds the options of every command: how much it reports."""
    parser.add_argument("-q", "--quiet", action="store_true", help="no notes, no progress bars")
    parser.add_argument("--debug", action="store_true", help="more notes, tracebacks of errors")


def add_run_options(parser: ArgumentParser, request: Request) -> None:
    """Adds the options of a segmentation: method, preset, online options, weights, outputs."""
    method, presets = request.method, preset_names(request.method)
    parser.add_argument(
        "--method", type=str, choices=METHODS, default="deeplab",
        help="segmentation method; `--method NAME --help` shows its options",
    )  # fmt: skip
    parser.add_argument(
        "--preset", type=str, metavar="{" + ",".join(presets) + "}" if presets else "NAME",
        help="options to start from; --config overrides them, and --online options override both "
        f"[{default_preset(method) or 'none'}]",
    )  # fmt: skip
    parser.add_argument("--config", type=str, metavar="FILE", help="YAML file of online options")
    parser.add_argument("--weights", type=str, metavar="FILE", help="parent instead of the shipped")
    parser.add_argument(
        "--precision", type=str, choices=typing.get_args(Precision), default="auto",
        help="floating-point format of the network",
    )  # fmt: skip
    parser.add_argument(
        "--engine", type=str, choices=typing.get_args(Engine), default="keras",
        help="runtime of the encoder on a CPU; openvino and onnxruntime are extras",
    )  # fmt: skip
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="seed of the random number generators"
    )
    add_output_options(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace existing results")
    add_progress_option(parser)
    title = f"online options of {method} (the defaults are those without a preset)"
    online = parser.add_argument_group(title)
    kind = find_method(method).resolve("options")
    add_config_options(online, kind, "online", prefix="online.", short=SHORT_ONLINE)
    if request.show_all:
        parser.epilog = "\n".join(_online_help(name) for name in METHODS if name != method)


def _online_help(method: str) -> str:
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(prog="", usage=argparse.SUPPRESS, add_help=False, formatter_class=Help)
    online = parser.add_argument_group(f"online options of --method {method}")
    kind = find_method(method).resolve("options")
    add_config_options(online, kind, "online", prefix="online.", short=SHORT_ONLINE)
    return parser.format_help()


def add_dataset_options(
    parser: ArgumentParser, request: Request, *, required: bool, purpose: str
) -> None:
    """Adds the choice of a dataset and its folder."""
    parser.add_argument("--dataset", type=str, choices=DATASETS, required=required, help=purpose)
    parser.add_argument(
        "--root",
        type=str,
        required=required,
        metavar="DIR",
        help="folder of the dataset, or its URL",
    )
    parser.add_argument(
        "--resolution", type=str, default="480p", metavar="DIR",
        help="folder below JPEGImages of the dataset" if request.show_all else argparse.SUPPRESS,
    )  # fmt: skip


def run_settings(options: Namespace) -> RunSettings:
    """Makes the settings of a run from the options of `add_run_options`.

    Raises:
        UsageError: A value is out of range, or the configuration file is unusable.
        WeightsError: The weights are no parent.
    """
    from deeplab_gygo.runs.settings import make_settings

    return make_settings(
        method=options.method,
        preset_name=options.preset,
        config=options.config,
        online=given_values(options.get("online")),
        weights=options.weights,
        precision=options.precision,
        engine=options.engine,
        seed=options.seed,
        outputs=output_kinds(options),
        output_options=output_options(options),
        overwrite=options.overwrite,
        progress=not options.quiet,
        json_progress=options.json_progress,
    )


def start_runner(settings: RunSettings, debug: bool) -> SequenceRunner:
    """Loads Keras and the network; `debug` shows the messages of TensorFlow's start."""
    with quiet_start(debug):
        if settings.engine == "keras":  # conversion for other runtimes needs the optional packages
            import_keras()
        from deeplab_gygo import backend
        from deeplab_gygo.runs.runner import SequenceRunner

        if settings.method == "deeplab" and settings.online.adapt == "decoder":
            backend.compile_quickly()
        return SequenceRunner(settings)


def import_keras() -> None:
    """Imports Keras on TensorFlow without the optional packages that it plots and converts with.

    Together with the paused garbage collector this saves 1.1 of 5.1 s of CPU time until the network
    is loaded (tools/measure_startup.py). Only a process of the command line may do it: elsewhere
    Keras keeps all its functions.

    Raises:
        UsageError: Keras is to run on a backend that is unknown or not installed.
    """
    from deeplab_gygo.runs.environment import keras_backend

    if "keras" in sys.modules or keras_backend() != "tensorflow":
        import_module("deeplab_gygo.backend")  # which says why a backend cannot be loaded
        return
    hidden = [name for name in _OPTIONAL if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # None: as if they were not installed
    gc.disable()
    try:
        import_module("keras")
    finally:
        for name in hidden:
            if sys.modules.get(name, ...) is None:
                del sys.modules[name]
        gc.freeze()  # modules stay: later collections need not visit them
        gc.enable()


@contextmanager
def quiet_start(debug: bool) -> Iterator[None]:
    """Discards what C++ code writes to standard error; messages of Python follow afterwards.

    TensorFlow reports missing graphics cards before its log level is in force. With `debug` nothing
    is discarded.
    """
    if debug:
        yield
        return
    sys.stderr.flush()
    kept, discarded, messages = os.dup(2), os.open(os.devnull, os.O_WRONLY), io.StringIO()
    os.dup2(discarded, 2)
    try:
        with redirect_stderr(messages):
            yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(discarded)
        sys.stderr.write(messages.getvalue())


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
