"""Decoded pictures kept in memory up to a limit, shared by the threads of a trainer."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

from deeplab_gygo.errors import UsageError


def _byte_size(value: Any) -> int:
    """Counts the bytes of the arrays in `value`, which may be nested in tuples."""
    if isinstance(value, tuple | list):
        return sum(_byte_size(part) for part in value) + 64
    return int(getattr(value, "nbytes", 0)) + 64


class MemoryCache:
    """Least-recently-used store with a limit in bytes; safe to use from several threads.

    What it hands out is shared: callers must not write into it.

    Args:
        limit_bytes: Largest number of bytes of array data kept; 0 keeps nothing.
    """

    def __init__(self, limit_bytes: int):
        if limit_bytes < 0:
            raise UsageError("a cache needs a limit of zero or more bytes", met=limit_bytes)
        self.limit_bytes = int(limit_bytes)
        self._entries: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    @property
    def used_bytes(self) -> int:
        """Bytes of array data held now."""
        return self._bytes

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """Returns the value stored under `key`, making and storing it when it is absent.

        `make` runs outside the lock, so that threads decode side by side; two threads that miss
        the same key at once both decode, and the value is stored once.

        Args:
            key: Name of the value.
            make: Returns an array, or a tuple of arrays, when the value is not stored.

        Returns:
            The stored or new value.
        """
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None:
                self._entries.move_to_end(key)
                return entry[0]
        value = make()
        size = _byte_size(value)
        if size > self.limit_bytes:
            return value
        with self._lock:
            if key not in self._entries:
                self._entries[key] = (value, size)
                self._bytes += size
            while self._bytes > self.limit_bytes:
                _, (_, dropped) = self._entries.popitem(last=False)
                self._bytes -= dropped
        return value
