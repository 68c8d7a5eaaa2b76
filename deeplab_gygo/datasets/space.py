"""Limits on what a download or an archive may put on a disk."""

from __future__ import annotations

import shutil
from pathlib import Path

from deeplab_gygo.errors import InputError, StorageError

FREE_BYTES = 64 << 20
"""Space that stays free on a disk, for what else is written there."""

_CHECK_BYTES = 16 << 20  # written between two looks at the disk


class SpaceLimit:
    """Counts bytes before they are written to a folder.

    Args:
        folder: An existing folder on the disk.
        limit: Most bytes in all.
        source: Origin of the bytes, for messages.
        what: What has the limit, as the beginning of the rule.
    """

    def __init__(self, folder: Path, limit: int, source: str | Path, what: str):
        self._folder, self._limit, self._source, self._what = folder, limit, source, what
        self._counted, self._unchecked = 0, _CHECK_BYTES  # the first bytes are checked

    def require(self, size: int) -> None:
        """Checks that so many further bytes are within the limit and fit on the disk.

        Raises:
            InputError: They would exceed the limit.
            StorageError: The disk has no room for them, or cannot be asked.
        """
        if self._counted + size > self._limit:
            raise InputError(
                f"{self._what} at most {self._limit} bytes",
                met=f"{self._counted + size} bytes or more",
                where=self._source,
                remedy="Do not use it; get it from its publisher",
            )
        if self._unchecked + size <= _CHECK_BYTES:
            return
        try:
            free = shutil.disk_usage(self._folder).free
        except OSError as error:
            raise StorageError(
                "Output must be writable", met=error.strerror, where=self._folder
            ) from error
        if size + FREE_BYTES > free:
            raise StorageError(
                f"The disk has room for the data, and {FREE_BYTES >> 20} MiB stay free",
                met=f"{free >> 20} MiB free for {size >> 20} MiB",
                where=self._folder,
                remedy="Free space, or choose a folder on another disk",
            )
        self._unchecked = 0

    def count(self, size: int) -> None:
        """Counts bytes that are written next, and checks them as `require`."""
        self.require(size)
        self._counted += size
        self._unchecked += size
