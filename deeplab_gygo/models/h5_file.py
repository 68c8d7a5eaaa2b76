"""Checks of HDF5 files of weights before Keras reads them."""

from __future__ import annotations

from pathlib import Path

import h5py

from deeplab_gygo.errors import WeightsError
from deeplab_gygo.io.reading import check_regular

MAX_BYTES = 1 << 30
"""Limit on a file, and on its arrays together, bytes."""

_MAX_ENTRIES = 10_000


def check_h5(path: str | Path, rule: str) -> None:
    """Checks that an HDF5 file has arrays of limited size, all of them in the file itself.

    Args:
        path: The file.
        rule: Condition, for messages.

    Raises:
        WeightsError: The file is missing or damaged, larger, or refers to other files.
    """
    try:
        size = check_regular(path, error=WeightsError)
        with h5py.File(path, "r") as file:
            _check_entries(file, size)
    except WeightsError as error:
        raise WeightsError(rule, met=error.met, where=path) from error
    # h5py raises errors of many classes at damaged files.
    except Exception as error:
        met = " ".join(str(error).split())[:300]
        raise WeightsError(rule, met=met, where=path) from error


def is_whole(path: str | Path) -> bool:
    """Whether a file can be opened as HDF5, which notices a file that was cut."""
    try:
        h5py.File(path, "r").close()
    except OSError:
        return False
    return True


def _check_entries(file: h5py.File, size: int) -> None:
    """Goes through groups and arrays; raises `ValueError` at what is refused."""
    if size > MAX_BYTES:
        raise ValueError(f"{size} bytes, more than {MAX_BYTES}")
    entries, total, seen = [file["/"]], 0, 0
    while entries:
        entry = entries.pop()
        if isinstance(entry, h5py.Dataset):
            if entry.external or entry.is_virtual:
                raise ValueError(f"{entry.name} has its values in another file")
            total += entry.nbytes
        else:
            for name in entry:
                seen += 1
                if seen > _MAX_ENTRIES:  # groups may contain themselves
                    raise ValueError(f"more than {_MAX_ENTRIES} entries")
                if not isinstance(entry.get(name, getlink=True), h5py.HardLink):
                    raise ValueError(f"{name} is a link")
                entries.append(entry[name])
    if total > MAX_BYTES:
        raise ValueError(f"{total} bytes unpacked, more than {MAX_BYTES}")
