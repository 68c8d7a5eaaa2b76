"""Ctrl-C and SIGTERM between two steps, not within one."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def deferred_interrupts() -> Iterator[None]:
    """Lets a block come to its end before a request to stop is acted on.

    A step that is left half done would leave some weights new, some old and some lost, and the
    checkpoint that an interrupted training writes would hold them.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's
        return
    held: list[int] = []
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    # A handler that was not set from Python cannot be put back, and is left.
    before = {number: handler for number, handler in before.items() if handler is not None}
    for number in before:
        signal.signal(number, lambda received, _: held.append(received))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for number in held[:1]:
            signal.raise_signal(number)
