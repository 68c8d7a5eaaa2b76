"""Cache of decoded images with a memory limit, shared by the threads of a trainer."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any


class MemoryCache:
    """A thread-safe least-recently-used cache; callers must not write into its values.

    Args:
        limit_bytes: Maximum number of bytes of array data held; 0 caches nothing.
    """

    def __init__(self, limit_bytes: int):
        self.limit_bytes = limit_bytes
        self._entries: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    @property
    def used_bytes(self) -> int:
        """Bytes of array data held."""
        return self._bytes

    def get(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """Returns the value of a key, making and storing it if it is absent.

        `make` runs outside the lock, so that threads decode in parallel; two threads that miss the
        same key at once both decode, and the value is stored once.

        Args:
            key: Key of the value.
            make: Makes an array, or a tuple of arrays.
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


def _byte_size(value: Any) -> int:
    """Returns the bytes of arrays, which may be nested in tuples."""
    if isinstance(value, tuple | list):
        return sum(_byte_size(part) for part in value) + 64
    return int(getattr(value, "nbytes", 0)) + 64
