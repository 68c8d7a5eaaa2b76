"""The errors of the package: the rule, the value found instead, the place, and the remedy.

The library raises these and never prints or exits; the command line turns `exit_status` into the
status of the process.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any


class DeepLabGygoError(Exception):
    """Base of every error that this package raises on purpose.

    Args:
        rule: Condition that must hold, as a sentence without a final full stop.
        met: Value found instead: a value, a size, a list of names.
        where: The file, option or object concerned.
        remedy: Action for the reader, as an imperative sentence.
    """

    exit_status = 1

    def __init__(
        self,
        rule: str,
        *,
        met: object | None = None,
        where: str | Path | None = None,
        remedy: str | None = None,
    ):
        self.rule, self.met, self.where, self.remedy = rule, met, where, remedy
        text = rule.rstrip(".")
        if met is not None:
            text += f"; met: {met}"
        if where is not None:
            text += f" ({where})"
        text += "."
        if remedy:
            text += f" {remedy.rstrip('.')}."
        super().__init__(text)


class InputError(DeepLabGygoError):
    """The data is unusable, and a repetition would fail too: a mask, a video, a dataset."""

    exit_status = 65  # EX_DATAERR of sysexits.h


class WeightsError(InputError):
    """A weights file is damaged or belongs to another architecture."""


class UsageError(DeepLabGygoError):
    """An option or a configuration key has a value that the program cannot take."""

    exit_status = 2


class DependencyError(UsageError):
    """An optional package is missing.

    Args:
        package: Name of the package that failed to import.
        extra: Name of the extra of this distribution that installs it.
        purpose: Feature that needs it.
    """

    def __init__(self, package: str, extra: str, purpose: str):
        super().__init__(
            f"{purpose} needs the package '{package}'",
            met="it is not installed",
            remedy=f"Install it with: pip install 'deeplab-gygo[{extra}]'",
        )
        self._given = package, extra, purpose

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self._given, self.__dict__


class StorageError(DeepLabGygoError):
    """Output cannot be written: disk full, folder not writable."""


class BatchFailed(DeepLabGygoError):
    """A batch ran to its end and some of its sequences failed."""

    exit_status = 3
