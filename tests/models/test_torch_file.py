"""Reading PyTorch state dicts without PyTorch."""

from __future__ import annotations

import io
import os
import pickle
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from deeplab_gygo.errors import WeightsError
from deeplab_gygo.models import torch_file
from deeplab_gygo.models.torch_file import read_state_dict

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C


def _body(value) -> bytes:
    """Pickle opcodes that push a plain value, without the frame of a whole pickle."""
    return pickle.dumps(value, 2)[2:-1]


def _tensor(key, length, offset, shape, strides, kind=b"FloatStorage") -> bytes:
    """Opcodes by which PyTorch refers to a tensor inside a storage."""
    storage = b"(" + _body("storage") + b"ctorch\n" + kind + b"\n" + _body(key) + _body("cpu")
    storage += _body(length) + _body(None) + b"tQ"
    place = _body(offset) + _body(shape) + _body(strides) + _body(False) + _body({})
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + place + b"tR"


def _file(tensors: dict[str, bytes], storages: dict[str, np.ndarray]) -> bytes:
    """A whole file of the legacy format."""
    items = b"".join(_body(name) + tensor for name, tensor in tensors.items())
    parts = [pickle.dumps(MAGIC_NUMBER, 2), pickle.dumps(1001, 2)]
    parts.append(pickle.dumps({"protocol_version": 1001, "little_endian": True}, 2))
    parts.append(b"\x80\x02}(" + items + b"u.")
    parts.append(pickle.dumps(list(storages), 2))
    for numbers in storages.values():
        parts += [len(numbers).to_bytes(8, "little"), numbers.tobytes()]
    return b"".join(parts)


NUMBERS = np.arange(24, dtype=np.float32)


@pytest.fixture
def write(tmp_path):
    def write_file(content: bytes):
        path = tmp_path / "weights.pth"
        path.write_bytes(content)
        return path

    return write_file


def test_tensors_are_gathered_by_their_strides(write):
    tensors = {
        "plain": _tensor("a", 24, 0, (2, 3, 4), (12, 4, 1)),
        "channels_last": _tensor("a", 24, 0, (2, 3, 4), (12, 1, 3)),
        "inner": _tensor("a", 24, 5, (2, 2), (4, 1)),
        "count": _tensor("b", 1, 0, (), (), kind=b"LongStorage"),
    }
    read = read_state_dict(write(_file(tensors, {"a": NUMBERS, "b": np.array([7])})))
    assert list(read) == list(tensors)
    np.testing.assert_array_equal(read["plain"], NUMBERS.reshape(2, 3, 4))
    np.testing.assert_array_equal(
        read["channels_last"], NUMBERS.reshape(2, 4, 3).transpose(0, 2, 1)
    )
    np.testing.assert_array_equal(read["inner"], [[5, 6], [9, 10]])
    assert read["count"].shape == () and read["count"] == 7 and read["count"].dtype == np.int64
    assert all(tensor.flags.c_contiguous for tensor in read.values())


def test_a_file_that_calls_a_function_is_refused_and_nothing_is_called(write, tmp_path):
    trace = tmp_path / "called"
    call = b"cos\nmkdir\n(" + _body(str(trace)) + b"tR"
    # The same opcodes do call the function where nothing holds them back.
    pickle.loads(b"\x80\x02" + call + b".")
    assert trace.is_dir()
    trace.rmdir()
    with pytest.raises(WeightsError, match="os.mkdir|posix.mkdir"):
        read_state_dict(write(_file({"weight": call}, {})))
    for position in range(5):
        parts = [pickle.dumps(MAGIC_NUMBER), pickle.dumps(1001)]
        parts += [pickle.dumps({"little_endian": True}), pickle.dumps({}), pickle.dumps([])]
        parts[position] = b"\x80\x02" + call + b"."
        with pytest.raises(WeightsError, match="mkdir"):
            read_state_dict(write(b"".join(parts)))
    assert not trace.exists()


@pytest.mark.parametrize(
    "tensor",
    [
        _tensor("a", 24, 1, (2, 3, 4), (12, 4, 1)),
        _tensor("a", 24, 0, (2, 3, 4), (13, 4, 1)),
        _tensor("a", 24, -1, (2,), (1,)),
        _tensor("a", 24, 23, (2,), (-1,)),
        _tensor("a", 24, 0, (1000, 1000), (0, 0)),
        _tensor("a", 24, 0, (2, 2), (1,)),
        _tensor("a", 25, 0, (2,), (1,)),
        _tensor("b", 24, 0, (2,), (1,)),
        _tensor("a", 24, 0, (2,), (1,), kind=b"UntypedStorage"),
        b"ctorch._utils\n_rebuild_tensor_v2\n("
        + b"".join(map(_body, ("a", 0, (2,), (1,))))
        + b"tR",
        _body("words"),
    ],
)
def test_a_tensor_beyond_its_storage_is_refused(write, tensor):
    with pytest.raises(WeightsError, match="state dict"):
        read_state_dict(write(_file({"weight": tensor}, {"a": NUMBERS})))


def test_a_file_cut_short_anywhere_is_refused(write):
    whole = _file({"weight": _tensor("a", 24, 0, (24,), (1,))}, {"a": NUMBERS})
    read_state_dict(write(whole))
    for length in range(len(whole)):
        with pytest.raises(WeightsError, match=r"weights\.pth"):
            read_state_dict(write(whole[:length]))


def test_another_format_is_refused_with_the_way_to_convert_it(write):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.writestr("archive/data.pkl", b"")
    with pytest.raises(WeightsError, match="_use_new_zipfile_serialization=False"):
        read_state_dict(write(archive.getvalue()))


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(WeightsError, match=r"no such file.*absent\.pth"):
        read_state_dict(tmp_path / "absent.pth")


def test_values_that_are_not_finite_are_refused(write):
    numbers = np.array([1, np.inf, 2], np.float32)
    path = write(_file({"a": _tensor("s", 3, 0, (3,), (1,))}, {"s": numbers}))
    with pytest.raises(WeightsError, match="infinity in a"):
        read_state_dict(path)


def test_many_tensors_of_one_storage_are_limited_together(write, monkeypatch):
    one = _tensor("a", 240, 0, (240,), (1,))
    numbers = np.zeros(240, np.float32)
    path = write(_file({str(n): one for n in range(100)}, {"a": numbers}))
    monkeypatch.setattr(torch_file, "MAX_BYTES", path.stat().st_size)
    with pytest.raises(WeightsError, match="tensors of 96000 bytes, more than"):
        read_state_dict(path)


def test_numbers_of_values_and_lengths_reserve_no_memory(tmp_path):
    """`r` numbers a value, and with it the table of the unpickler in C; `B` has a length."""
    code = (
        "import resource, sys; from deeplab_gygo.errors import WeightsError;"
        "from deeplab_gygo.models.torch_file import read_state_dict;"
        "resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))\n"
        "try: read_state_dict(sys.argv[1])\n"
        "except WeightsError as error: print(error.met)"
    )
    for content, met in (
        (b"\x80\x02Nr\xff\xff\xff\x7f0N.", "magic number"),
        (b"\x80\x02B\xff\xff\xff\x7fabc.", ""),
    ):
        (tmp_path / "weights.pth").write_bytes(content)
        words = [sys.executable, "-c", code, str(tmp_path / "weights.pth")]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        assert met in done.stdout and "MemoryError" not in done.stdout + done.stderr


def test_no_pipe_is_waited_for(tmp_path):
    os.mkfifo(tmp_path / "weights.pth")
    with pytest.raises(WeightsError, match="named pipe"):
        read_state_dict(tmp_path / "weights.pth")
