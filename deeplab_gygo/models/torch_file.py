"""Reader of PyTorch state dicts with NumPy alone, without running code of the file.

A file of the legacy `torch.save` is a sequence of five pickles (magic number, protocol version,
method information, state dict, storage keys) followed by the raw numbers of each storage
(`torch/serialization.py`, `_legacy_save`). Unpickling can call any function, so the reader
accepts four names and refuses all others.
"""

from __future__ import annotations

import io
import pickle
from collections import OrderedDict
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from deeplab_gygo.errors import WeightsError
from deeplab_gygo.io.reading import read_bytes

MAX_BYTES = 512 << 20
"""Limit on a file, and on its tensors together, bytes."""

# torch/serialization.py: MAGIC_NUMBER and PROTOCOL_VERSION.
_MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
_PROTOCOL_VERSION = 1001
_STORAGE_TYPES = {"FloatStorage": "<f4", "LongStorage": "<i8"}


class _Storage(NamedTuple):
    key: str
    number_type: str
    length: int


class _TensorRecord(NamedTuple):
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _PlainUnpickler(pickle._Unpickler):  # type: ignore[name-defined]
    """Unpickler of numbers, strings and containers: every global is refused.

    It is the one in Python: the one in C makes a table as long as the largest number that the file
    gives to a value, of any size.
    """

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"the file asks for {module}.{name}")

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError("the file refers to a storage outside its state dict")


class _StateDictUnpickler(_PlainUnpickler):
    """Unpickler that also accepts tensors, as records of the positions of their numbers.

    Storage types are strings, which the pickle machine can neither call nor change.
    """

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return self._record_tensor
        if module == "torch" and name in _STORAGE_TYPES:
            return _STORAGE_TYPES[name]
        return super().find_class(module, name)

    def persistent_load(self, pid: Any) -> _Storage:
        kind, number_type, key, _device, length, view = pid
        if kind != "storage" or view is not None or number_type not in _STORAGE_TYPES.values():
            raise pickle.UnpicklingError("the file holds a storage of an unknown kind")
        return _Storage(str(key), number_type, int(length))

    def _record_tensor(self, storage, offset, shape, strides, *_gradient_settings) -> _TensorRecord:
        if not isinstance(storage, _Storage):
            raise pickle.UnpicklingError("a tensor has no storage")
        record = _TensorRecord(
            storage, int(offset), tuple(map(int, shape)), tuple(map(int, strides))
        )
        if len(record.shape) != len(record.strides):
            raise pickle.UnpicklingError("a tensor has other axes than strides")
        return record


def read_state_dict(path: str | Path) -> dict[str, np.ndarray]:
    """Reads the tensors of a PyTorch state dict saved in the legacy (not zip) format.

    Args:
        path: The file, usually named `.pth`.

    Returns:
        Tensors by name, float32 or int64, in PyTorch's axis order, each contiguous in memory.

    Raises:
        WeightsError: The file cannot be read, is damaged, is of another format, or asks for
            anything beyond tensors.
    """
    content = read_bytes(path, MAX_BYTES, error=WeightsError)
    try:
        return _read_legacy_file(io.BytesIO(content))
    # A damaged pickle makes the pickle machine fail in any way (see the documentation of
    # `pickle.UnpicklingError`), hence the breadth.
    except Exception as error:
        raise WeightsError(
            "A PyTorch weights file must be a state dict of tensors in the legacy format",
            met=error,
            where=path,
            remedy="Fetch the file again, or save it with torch.save(model.state_dict(), PATH, "
            "_use_new_zipfile_serialization=False)",
        ) from error


def _read_legacy_file(file: io.BytesIO) -> dict[str, np.ndarray]:
    if _PlainUnpickler(file).load() != _MAGIC_NUMBER:
        raise ValueError("the magic number of PyTorch's legacy format is absent")
    if (version := _PlainUnpickler(file).load()) != _PROTOCOL_VERSION:
        raise ValueError(f"protocol version {version} is unknown")
    if not _PlainUnpickler(file).load().get("little_endian", False):
        raise ValueError("the file was written on a big-endian machine")
    records = _StateDictUnpickler(file).load()
    keys = _PlainUnpickler(file).load()
    if not isinstance(records, dict) or not all(
        isinstance(name, str) and isinstance(record, _TensorRecord)
        for name, record in records.items()
    ):
        raise ValueError("the file holds something other than named tensors")
    sizes = [prod(r.shape) * np.dtype(r.storage.number_type).itemsize for r in records.values()]
    if sum(sizes) > MAX_BYTES:
        raise ValueError(f"tensors of {sum(sizes)} bytes, more than {MAX_BYTES}")
    storages = _read_storages(file, keys, {r.storage.key: r.storage for r in records.values()})
    tensors = {
        name: _read_tensor(record, storages[record.storage.key]) for name, record in records.items()
    }
    for name, tensor in tensors.items():
        if not np.isfinite(tensor).all():
            raise ValueError(f"NaN or infinity in {name}")
    return tensors


def _read_storages(
    file: io.BytesIO, keys: list[str], known: dict[str, _Storage]
) -> dict[str, np.ndarray]:
    end = file.getbuffer().nbytes
    arrays = {}
    for key in keys:
        storage = known[key]
        length = int.from_bytes(file.read(8), "little", signed=True)
        if length != storage.length:
            raise ValueError(f"storage {key} has {length} numbers instead of {storage.length}")
        size = length * np.dtype(storage.number_type).itemsize
        if length < 0 or size > end - file.tell():
            raise ValueError("the file ends too early")
        arrays[key] = np.frombuffer(file.read(size), storage.number_type)
    return arrays


def _read_tensor(record: _TensorRecord, storage: np.ndarray) -> np.ndarray:
    """Gathers a tensor by its strides: PyTorch may store a kernel in another axis order."""
    count = prod(record.shape)
    last = record.offset + sum(
        (size - 1) * stride for size, stride in zip(record.shape, record.strides, strict=True)
    )
    if (
        min(record.offset, *record.shape, *record.strides, 0) < 0
        or count > storage.size
        or (count and last >= storage.size)
    ):
        raise ValueError("a tensor reaches beyond its storage")
    view = np.lib.stride_tricks.as_strided(
        storage[record.offset :],
        record.shape,
        [stride * storage.itemsize for stride in record.strides],
        writeable=False,
    )
    return np.ascontiguousarray(view).reshape(record.shape)
