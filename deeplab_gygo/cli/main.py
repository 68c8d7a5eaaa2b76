"""The command line: parses, runs a command, and turns errors into messages and exit statuses.

Results go to standard output; progress, notes and errors go to standard error. Exit statuses: 0
done, 1 unexpected, 2 usage, 3 a batch finished with failures, 65 unusable input, 130 interrupted,
143 terminated.
"""

from __future__ import annotations

import argparse
import errno
import logging
import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any, NoReturn

from deeplab_gygo import __version__
from deeplab_gygo.errors import DeepLabGygoError, StorageError, UsageError

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

PROGRAM = "deeplab-gygo"

COMMANDS = {
    "segment": "Segment one clip from one mask: a mask for every frame.",
    "batch": "Segment every sequence of a data set's split, or every video of a list.",
    "evaluate": "Measure J and F of masks against annotations.",
    "benchmark": "Measure every method on every data set; write one page and its tables.",
    "train": "Train a parent offline.",
    "export": "Write a model for serving.",
    "data": "Verify or download a data set; pack training material.",
    "demo": "Render a product clip, segment it and measure the result.",
}
ALIASES = {"predict": "segment"}  # what users of other tools type

_FULL_DISK = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space of your quota",
    errno.EFBIG: "raise the limit of file sizes",
    errno.EROFS: "choose a folder that may be written",
    errno.EACCES: "choose files and folders that you may use",
    errno.EPERM: "choose files and folders that you may use",
}


AGAIN = 0.05
"""Seconds after which a signal is sent again that was ignored."""


class Terminated(KeyboardInterrupt):
    """The process was asked to end (SIGTERM); it cleans up as after Ctrl-C."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        arguments: Words behind the name of the program; None takes those of the process.

    Returns:
        The exit status.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] in (["--version"], ["-V"]):
        print(f"{PROGRAM} {__version__}")
        return 0
    debug = "--debug" in words
    # TensorFlow reads it when it is imported: its start-up notes are no news to a user.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        with _terminating():
            status = _run(words)
            sys.stdout.flush()
            return status
    except Terminated:
        return _stopped("terminated", 143)
    except KeyboardInterrupt:
        return _stopped("interrupted", 130)
    except Exception as error:
        return _failed(error, debug)


def _run(words: list[str]) -> int:
    words = [ALIASES.get(words[0], words[0]), *words[1:]] if words else ["--help"]
    command, options = _parse(words)
    with _logging(options):
        return _module(command).run(options)


def _parse(words: list[str]) -> tuple[str, Namespace]:
    from jsonargparse import ArgumentError

    chosen = words[0]
    try:
        namespace = _make_parser(chosen).parse_args(words)
    except ArgumentError as error:
        # `--help` leaves by SystemExit, which passes through.
        help_of = f"{PROGRAM} {chosen} --help" if chosen in COMMANDS else f"{PROGRAM} --help"
        raise UsageError(
            "The command line must be valid",
            met=_plain_words(str(error)),
            remedy=f"See: {help_of}",
        ) from error
    return namespace.command, namespace[namespace.command]


def _plain_words(message: str) -> str:
    """Says what the parser met by the names of options, not of its own fields and types."""
    for pattern, words in (
        (r'Parser key "(?:training\.)?([\w.]+)":', r"--\1:"),
        (r"\bdata\.(?:verify|download|pack|unpack)\.", ""),
        (r"<class '(\w+)'>", r"\1"),
        (r"Expected an? ", "expected "),
        (r"\btyping\.Literal\[([^]]*)\]", r"value of \1"),
    ):
        message = re.sub(pattern, words, message)
    return " ".join(message.split())


class _Help(argparse.HelpFormatter):
    """Shows defaults in brackets; the kinds of values follow from names and texts."""

    def _get_help_string(self, action: argparse.Action) -> str:
        text, default = action.help or "", action.default
        is_given = default is not None and default is not False and default != argparse.SUPPRESS
        if not is_given or text.endswith("]"):
            return text
        return f"{text} [{default}]"

    def _get_default_metavar_for_optional(self, action: argparse.Action) -> str:
        return action.dest.rpartition(".")[2].upper()


def _make_parser(chosen: str) -> ArgumentParser:
    """Builds the parser; only the chosen command's options, so that the start is quick."""
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(
        prog=PROGRAM,
        exit_on_error=False,
        formatter_class=_Help,
        description="One clip, one mask on its first frame, a mask for every frame.",
    )
    parser.add_argument("-V", "--version", action="version", version=f"{PROGRAM} {__version__}")
    commands = parser.add_subcommands(dest="command", required=True, metavar="COMMAND")
    for name, purpose in COMMANDS.items():
        command = ArgumentParser(exit_on_error=False, formatter_class=_Help, description=purpose)
        commands.add_subcommand(name, command, help=purpose)
        if name == chosen:
            _module(name).add_arguments(command)
    return parser


def _module(command: str):
    return import_module(f"deeplab_gygo.commands.{command}")


# === Messages ===


class _BesideBars(logging.Handler):
    """Writes records to standard error without tearing progress bars."""

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        text = record.getMessage()
        if record.levelno >= logging.WARNING:
            text = f"{record.levelname.lower()}: {text}"
        tqdm.write(text, file=sys.stderr)


@contextmanager
def _logging(options: Namespace) -> Iterator[None]:
    """Sends the notes of the package to standard error, as much of them as was asked for."""
    # `data verify` and the like have their options one level down.
    action = options.get("action")
    chosen = options[action] if action else options
    level = logging.WARNING if chosen.get("quiet") else logging.INFO
    logger = logging.getLogger("deeplab_gygo")
    before = logger.handlers, logger.propagate, logger.level
    logger.handlers, logger.propagate = [_BesideBars()], False
    logger.setLevel(logging.DEBUG if chosen.get("debug") else level)
    try:
        yield
    finally:
        logger.handlers, logger.propagate = before[:2]
        logger.setLevel(before[2])


def _failed(error: Exception, debug: bool) -> int:
    if debug:
        traceback.print_exception(error)
    if isinstance(error, OSError) and error.errno in _FULL_DISK:
        error = StorageError(
            "Files can be read and written",
            met=error.strerror,
            where=error.filename or "standard output",
            remedy=_FULL_DISK[error.errno].capitalize(),
        )
        _discard_output()
    if isinstance(error, DeepLabGygoError):
        print(f"{PROGRAM}: error: {error}", file=sys.stderr)
        return error.exit_status
    text = " ".join(str(error).split())
    print(f"{PROGRAM}: unexpected {type(error).__name__}: {text}", file=sys.stderr)
    if not debug:
        print("Run it again with --debug for the details.", file=sys.stderr)
    return 1


def _discard_output() -> None:
    """Keeps the interpreter from complaining again that standard output cannot be written."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _stopped(how: str, status: int) -> int:
    print(f"{PROGRAM}: {how}; what was finished is kept.", file=sys.stderr)
    return status


@contextmanager
def _terminating() -> Iterator[None]:
    """Turns SIGTERM into an exception, so that unfinished output is removed."""

    def handler(number: int, frame: object) -> NoReturn:
        raise Terminated

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, handler)
    try:
        with _insisting():
            yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _insisting() -> Iterator[None]:
    """Sends a signal again whose exception Python could only ignore, as inside a finalizer."""
    report, timers = sys.unraisablehook, []

    def hook(ignored: Any) -> None:
        if not issubclass(ignored.exc_type, KeyboardInterrupt):
            report(ignored)
            return
        number = signal.SIGTERM if issubclass(ignored.exc_type, Terminated) else signal.SIGINT
        # Not at once: it would be raised, and ignored, in here.
        timers.append(threading.Timer(AGAIN, signal.raise_signal, [number]))
        timers[-1].daemon = True
        timers[-1].start()

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = report
        for timer in timers:
            timer.cancel()
