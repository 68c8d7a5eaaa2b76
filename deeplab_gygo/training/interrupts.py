"""Signals that interrupt a training, deferred to places where its state is whole."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

SIGNALS = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT")
    if hasattr(signal, name)
)
"""Signals that are deferred where the program handles them."""


class DeferredInterrupts:
    """Context in which signals are handled in its `allowed` blocks only.

    A step interrupted in the middle would leave some weights new, some old and some lost; a second
    Ctrl-C would interrupt the checkpoint that the first one causes. So a signal waits for the next
    `allowed` block, or for the end of the context, and after one whose handler raised, all others
    are ignored until the end. Signals that the program ignores or leaves to the system are not
    touched, nor is anything outside of the main thread, which alone handles signals.

    Example:
        >>> done = []
        >>> try:
        ...     with DeferredInterrupts() as interrupts:
        ...         signal.raise_signal(signal.SIGINT)
        ...         done.append("step")
        ...         with interrupts.allowed():
        ...             done.append("wait")
        ... except KeyboardInterrupt:
        ...     done.append("stop")
        >>> done
        ['step', 'stop']
    """

    def __init__(self) -> None:
        self._handlers: dict[int, Callable[[int, Any], Any]] = {}
        self._received: int | None = None
        self._is_allowed, self._has_raised = False, False

    def __enter__(self) -> DeferredInterrupts:
        if threading.current_thread() is threading.main_thread():
            found = {number: signal.getsignal(number) for number in SIGNALS}
            self._handlers = {n: handler for n, handler in found.items() if callable(handler)}
            for number in self._handlers:
                signal.signal(number, self._receive)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        if self._received is not None and kind is None:
            signal.raise_signal(self._received)

    @contextmanager
    def allowed(self) -> Iterator[None]:
        """Lets a signal, also one that came before, interrupt the block."""
        self._is_allowed = True
        try:
            if self._received is not None:
                self._handle()
            yield
        finally:
            self._is_allowed = False

    def _receive(self, number: int, frame: Any) -> None:
        if self._has_raised:
            return
        self._received = self._received or number
        if self._is_allowed:
            self._handle()

    def _handle(self) -> None:
        number = self._received
        assert number is not None
        self._is_allowed, self._has_raised = False, True
        self._handlers[number](number, None)
        # A handler that raises nothing does not end the training.
        self._is_allowed, self._has_raised, self._received = True, False, None
