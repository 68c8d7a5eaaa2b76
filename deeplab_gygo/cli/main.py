"""The command line: parses, runs a command, and converts errors to messages and exit statuses.

Results go to standard output; progress, notes and errors go to standard error. Exit statuses: 0
done, 1 unexpected, 2 usage, 3 a batch finished with failures, 65 unusable input, 128 and the number
of the signal that stopped it: 130 interrupted (Ctrl-C), 129, 131 and 143 for SIGHUP, SIGQUIT and
SIGTERM.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any

from deeplab_gygo import __version__
from deeplab_gygo.cli.options import Help, Request
from deeplab_gygo.errors import DeepLabGygoError, InputError, StorageError, UsageError
from deeplab_gygo.io.escaping import printable

if TYPE_CHECKING:
    from jsonargparse import Namespace

PROGRAM = "deeplab-gygo"

COMMANDS = {
    "segment": "Segment one clip from one mask: a mask for every frame.",
    "draw": "Draw the mask of a frame from clicks or a box.",
    "batch": "Segment every sequence of a split of a dataset, or every video of a list.",
    "batch-merge": "Join the summaries, failures and scores of the parts of a batch.",
    "evaluate": "Measure J and F of masks against annotations.",
    "convert": "Write the masks of a result in the format of an annotation tool or benchmark.",
    "report": "Write a page to look at, of a finished clip or batch.",
    "benchmark": "Measure every method on every dataset; write one page and its tables.",
    "train": "Train a parent offline.",
    "export": "Write a model for serving.",
    "data": "Verify or download a dataset.",
    "annotate": "Draw masks of a clip on a page, segment it, look and correct.",
    "serve": "Serve the HTTP API and the page.",
    "demo": "Segment the example clip and measure the result.",
    "warm-up": "Compile the programs of a GPU ahead (JAX), for the image of a container.",
}
ALIASES = {"predict": "segment"}  # the word of other tools

_FULL_DISK = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space of your quota",
    errno.EFBIG: "raise the limit of file sizes",
    errno.EROFS: "choose a folder that may be written",
    errno.EACCES: "choose files and folders that you may use",
    errno.EPERM: "choose files and folders that you may use",
}

_RESEND_SECONDS = 0.05  # delay before a signal is sent again whose exception was ignored
_CLEANING_SECONDS = 10.0  # after a signal, in which further ones are ignored


class Terminated(KeyboardInterrupt):
    """The process received SIGTERM, SIGHUP or SIGQUIT; it cleans up as after Ctrl-C.

    Args:
        number: The signal.
    """

    def __init__(self, number: int = signal.SIGTERM):
        super().__init__()
        self.number = number


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        arguments: Words after the name of the program; None takes those of the process.

    Returns:
        The exit status.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] in (["--version"], ["-V"]):
        print(f"{PROGRAM} {__version__}")
        return 0
    debug = "--debug" in words
    # Read by TensorFlow when it is imported: no notes of its start.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with _terminating(), _printing():
        try:
            command, options = _parse(words or ["--help"])
            with _logging(options):
                status = _module(command).run(options)
            sys.stdout.flush()
            return status
        except KeyboardInterrupt as error:
            number = error.number if isinstance(error, Terminated) else signal.SIGINT
            how = "interrupted" if number == signal.SIGINT else "terminated"
            kept = getattr(error, "__notes__", ["what was finished is kept"])
            _say(f"{PROGRAM}: {how}; {'; '.join(kept)}.")
            if arguments is None:
                _leave(128 + number)
            return 128 + number
        except Exception as error:
            return _failed(error, debug)


def _parse(words: list[str]) -> tuple[str, Namespace]:
    """Returns the command and its options; the parser has those of this command alone."""
    from jsonargparse import ArgumentError, ArgumentParser

    chosen = ALIASES.get(words[0], words[0])
    # --system is the former name of --method.
    words = [chosen, *(re.sub(r"^--system(?==|$)", "--method", word) for word in words[1:])]
    request = Request.of(words)
    form: dict[str, Any] = {"exit_on_error": False, "formatter_class": Help}
    purpose = "One clip, one mask on its first frame, a mask for every frame."
    parser = ArgumentParser(prog=PROGRAM, description=purpose, **form)
    parser.add_argument("-V", "--version", action="version", version=f"{PROGRAM} {__version__}")
    commands = parser.add_subcommands(dest="command", required=True, metavar="COMMAND")
    for name, purpose in COMMANDS.items():
        command = ArgumentParser(description=purpose, **form)
        commands.add_subcommand(name, command, help=purpose)
        if name == chosen:
            module = _module(name)
            command.usage = getattr(module, "USAGE", None)
            command.add_argument("--help-all", action="help", help="show rarely used options too")
            module.add_arguments(command, request)
    try:
        namespace = parser.parse_args(words)
    except ArgumentError as error:
        # `--help` leaves by SystemExit, which passes through.
        help_of = f"{PROGRAM} {chosen} --help" if chosen in COMMANDS else f"{PROGRAM} --help"
        raise UsageError(
            "The command line must be valid",
            met=_plain_words(str(error)),
            remedy=f"See: {help_of}",
        ) from error
    return namespace.command, namespace[namespace.command]


def _module(command: str) -> Any:
    return import_module(f"deeplab_gygo.cli.{command.replace('-', '_')}")


def _plain_words(message: str) -> str:
    """Replaces keys and types of the parser by the names of options in its message."""
    for pattern, words in (
        (r'Parser key "(?:training\.)?([\w.]+)":', r"--\1:"),
        (r"\bdata\.(?:verify|download)\.", ""),
        (r"<class '(\w+)'>", r"\1"),
        (r"Expected an? ", "expected "),
        (r"\btyping\.Literal\[([^]]*)\]", r"value of \1"),
    ):
        message = re.sub(pattern, words, message)
    return " ".join(message.split())


class _Handler(logging.Handler):
    """Writes records to standard error without tearing progress bars."""

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        text = _shown(record.getMessage())
        if record.levelno >= logging.WARNING:
            text = f"{record.levelname.lower()}: {text}"
        with suppress(OSError, ValueError):  # its reader is gone: the work goes on
            tqdm.write(text, file=sys.stderr)


@contextmanager
def _logging(options: Namespace) -> Iterator[None]:
    """Sends the notes of the package to standard error, at the level that the options choose."""
    # The options of `data verify` and the like are one level deeper.
    action = options.get("action")
    chosen = options[action] if action else options
    level = logging.WARNING if chosen.get("quiet") else logging.INFO
    logger = logging.getLogger("deeplab_gygo")
    before = logger.handlers, logger.propagate, logger.level
    logger.handlers, logger.propagate = [_Handler()], False
    logger.setLevel(logging.DEBUG if chosen.get("debug") else level)
    try:
        yield
    finally:
        logger.handlers, logger.propagate = before[:2]
        logger.setLevel(before[2])


def _failed(error: Exception, debug: bool) -> int:
    """Prints an error as a sentence; returns its exit status."""
    if debug:
        with suppress(OSError):
            traceback.print_exception(error)
    known = error if isinstance(error, DeepLabGygoError) else _in_words(error)
    try:
        sys.stdout.flush()
    except OSError:  # else the interpreter would complain again when it ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except ValueError:  # closed
        pass
    if known is not None:
        _say(f"{PROGRAM}: error: {known}")
        for note in getattr(error, "__notes__", []):
            _say(f"{PROGRAM}: {note}.")
        return known.exit_status
    text = " ".join(str(error).split())
    _say(f"{PROGRAM}: unexpected {type(error).__name__}: {text}")
    if not debug:
        _say("Run it again with --debug for the details.")
    return 1


def _in_words(error: Exception) -> DeepLabGygoError | None:
    """Returns the package's error for one of Python; None for an unexpected one."""
    if isinstance(error, BrokenPipeError):
        return StorageError(
            "Output is read to its end",
            met="its reader ended",
            where="standard output",
            remedy="Results in files are whole; write the output to a file",
        )
    if isinstance(error, OSError) and error.errno in _FULL_DISK:
        return StorageError(
            "Files can be read and written",
            met=error.strerror,
            where=error.filename or "standard output",
            remedy=_FULL_DISK[error.errno].capitalize(),
        )
    if isinstance(error, MemoryError):
        return StorageError(
            "The work fits into the memory",
            met=" ".join(str(error).split()) or "out of memory",
            remedy="Give smaller frames or a smaller --size, or use a machine with more memory",
        )
    if isinstance(error, RecursionError):
        return InputError(
            "An input nests no deeper than it can be read",
            met=error,
            remedy="Check the files that the command reads",
        )
    if isinstance(error, UnicodeEncodeError):
        return UsageError(
            "Names are text in the encoding of the system",
            met=ascii(error.object[error.start : error.end])[:100],
            remedy="Rename the file, or set PYTHONUTF8=1",
        )
    return None


def _shown(text: str) -> str:
    """Makes control characters of names visible; lines stay lines. Local copies are URLs."""
    from deeplab_gygo.io.local_names import cited

    return "\n".join(map(printable, cited(text).split("\n")))


def _say(text: str) -> None:
    """Prints a line to standard error, unless its reader is gone."""
    with suppress(OSError, ValueError):
        print(_shown(text), file=sys.stderr, flush=True)


def _leave(status: int) -> None:
    """Ends the process at once.

    Threads of libraries may still be at work; to finalize the interpreter under them can abort it.
    """
    from deeplab_gygo.io.local_names import remove_name_folders

    with suppress(OSError, ValueError):
        remove_name_folders()
        sys.stdout.flush()
    os._exit(status)


@contextmanager
def _printing() -> Iterator[None]:
    """Lets names be printed that the encoding of the terminal does not have."""
    streams = [s for s in (sys.stdout, sys.stderr) if hasattr(s, "reconfigure")]
    before = [stream.errors for stream in streams]
    for stream in streams:
        stream.reconfigure(errors="backslashreplace")
    try:
        yield
    finally:
        for stream, errors in zip(streams, before, strict=True):
            with suppress(OSError, ValueError):  # closed meanwhile, or its reader gone
                stream.reconfigure(errors=errors)


@contextmanager
def _terminating() -> Iterator[None]:
    """Converts signals to exceptions, so that unfinished output is removed.

    Further signals are ignored while it is removed, but not for ever.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ignored_until = 0.0

    def handler(number: int, frame: object) -> None:
        nonlocal ignored_until
        if time.monotonic() >= ignored_until:
            ignored_until = time.monotonic() + _CLEANING_SECONDS
            raise KeyboardInterrupt if number == signal.SIGINT else Terminated(number)

    def resend(ignored: Any) -> None:
        # Python ignores an exception inside a finalizer: the signal is sent again.
        nonlocal ignored_until
        if not issubclass(ignored.exc_type, KeyboardInterrupt):
            report(ignored)
            return
        ignored_until = 0.0
        number = getattr(ignored.exc_value, "number", signal.SIGINT)
        # Not at once: it would be raised, and ignored, in here.
        timers.append(threading.Timer(_RESEND_SECONDS, signal.raise_signal, [number]))
        timers[-1].daemon = True
        timers[-1].start()

    names = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT")  # the last two are not everywhere
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    for number in numbers:
        # Signals that are ignored, as under nohup, or that the caller handles stay as they are.
        if before[number] in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, handler)
    report, sys.unraisablehook, timers = sys.unraisablehook, resend, []
    try:
        yield
    finally:
        for number in numbers:
            if signal.getsignal(number) is handler:
                signal.signal(number, before[number])
        sys.unraisablehook = report
        for timer in timers:
            timer.cancel()
