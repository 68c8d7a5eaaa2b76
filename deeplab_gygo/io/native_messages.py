"""Messages that a library in C writes to standard error and reports in no other way."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_STDERR = 2
_lock = threading.Lock()
if hasattr(os, "register_at_fork"):  # another thread may hold the lock when a process forks

    def _renew_lock() -> None:
        global _lock
        _lock = threading.Lock()

    os.register_at_fork(after_in_child=_renew_lock)


@contextmanager
def captured_stderr(start: str) -> Iterator[list[str]]:
    """Collects the lines that are written to standard error and begin with a text.

    The descriptor belongs to the whole process: one thread captures at a time, and other lines,
    which another thread may write meanwhile, are written when the context is left. Keep it short.

    Args:
        start: Begin of the lines that are collected.

    Yields:
        The lines, filled when the context is left.
    """
    lines: list[str] = []
    with _lock, _sink() as sink:
        try:
            stderr = os.dup(_STDERR)
        except OSError:  # a process without standard error
            yield lines
            return
        try:
            os.dup2(sink, _STDERR)
            yield lines
        finally:
            os.dup2(stderr, _STDERR)
            os.close(stderr)
            for line in _content(sink):
                if line.startswith(start.encode()):
                    lines.append(line.decode(errors="replace").strip())
                else:
                    os.write(_STDERR, line)


def _content(sink: int) -> list[bytes]:
    size = os.fstat(sink).st_size
    os.lseek(sink, 0, os.SEEK_SET)
    return os.read(sink, size).splitlines(keepends=True) if size else []


@contextmanager
def _sink() -> Iterator[int]:
    """Yields the descriptor of an empty file without a name."""
    if hasattr(os, "memfd_create"):
        sink = os.memfd_create("stderr")
        try:
            yield sink
        finally:
            os.close(sink)
    else:
        with tempfile.TemporaryFile() as file:
            yield file.fileno()
