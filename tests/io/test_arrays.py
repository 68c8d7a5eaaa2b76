"""Archives of arrays: what NumPy writes is read, and nothing else is unpacked."""

import io
import os
import resource
import struct
import warnings
import zipfile

import numpy as np
import pytest

from deeplab_gygo.errors import InputError, WeightsError
from deeplab_gygo.io.arrays import open_npz, read_npy


def _npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array)
    return stream.getvalue()


def _headed(header: str, numbers: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    text = header.encode("latin1")
    length = struct.pack("<H" if version == b"\x01\x00" else "<I", len(text))
    return b"\x93NUMPY" + version + length + text + numbers


def _archive(path, members: dict[str, bytes], method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def _read_all(path, **options):
    with open_npz(path, **options) as archive:
        return {name: archive.read(name) for name in archive.names}


def _refused(path, match, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(InputError, match=match) as error:
            _read_all(path, **options)
    assert str(path) in str(error.value)
    return error.value


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_of_numpy_are_read_as_they_were(save, tmp_path):
    rng = np.random.default_rng(0)
    arrays = {
        "layer/kernel": rng.normal(size=(3, 3, 5, 7)).astype(np.float16),
        "columns first": np.asfortranarray(rng.normal(size=(4, 6))),
        "scalar": np.array(7, np.int64),
        "empty": np.zeros((0, 4), np.float32),
        "long": np.arange(3_000_000, dtype=np.uint8),
        "big-endian": np.arange(5, dtype=">i4"),
        "flags": np.array([True, False]),
    }
    save(tmp_path / "arrays.npz", **arrays)
    found = _read_all(tmp_path / "arrays.npz")
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype and found[name].shape == array.shape
        np.testing.assert_array_equal(found[name], array)
    with open_npz(tmp_path / "arrays.npz") as archive:
        assert archive.names == tuple(arrays)
        header = archive.header("layer/kernel")
        assert (header.shape, header.dtype) == ((3, 3, 5, 7), np.float16)


def test_sizes_are_compared_before_anything_is_unpacked(tmp_path):
    """300 kB that unpack to 300 MB; also where a single array is asked for."""
    header = _headed(f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({100 << 20},)}}")
    path = _archive(tmp_path / "large.npz", {f"{n}.npy": header + bytes(100 << 20) for n in "abc"})
    assert path.stat().st_size < 400_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    _refused(path, "31457.* bytes unpacked, more than", max_bytes=200 << 20)
    with (
        open_npz(path) as archive,
        pytest.raises(InputError, match="10485.* bytes, more than 1000"),
    ):
        archive.read("a", 1000)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KiB


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"no array", "is no array"),
        (_npy(np.zeros(3))[:20], "EOF|header"),
        (_npy(np.zeros(300))[:-8], "bytes for the shape"),
        (_npy(np.zeros(3)) + b"more", "bytes for the shape"),
        (_npy(np.zeros(3, "c8")), "dtype complex64"),
        (_npy(np.zeros(3, "U5")), "dtype <U5"),
        (_npy(np.zeros(3, [("a", "f4"), ("b", "f4")])), "dtype"),
        (_headed("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", b"12345678"), "dtype"),
        (_headed("{'descr': '<f4', 'fortran_order': False, 'shape': (-1, -1)}", bytes(4)), "shape"),
        (
            _headed("{'descr': '<f4', 'fortran_order': False, 'shape': (10**99,)}"),
            "malformed|header",
        ),
        (_headed("{'descr': '<f4', 'fortran_order': False, 'shape': (%s,)}" % ("9" * 99)), "shape"),
        (_headed("{'descr': '<f4', 'fortran_order': False, 'shape': (1L,)}", bytes(3)), "bytes"),
        (_headed("(" * 3000), "Error"),
        (_headed("{'descr': [%s], 'fortran_order': False, 'shape': ()}" % ("[" * 50)), "Error"),
        (_headed("{'descr': 7, 'fortran_order': False, 'shape': ()}"), "descr"),
        (_headed("x" * 60_000), "header"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\x7f" + bytes(100), "header"),
        (b"\x93NUMPY\x09\x00" + bytes(100), "version"),
    ],
    ids=range(18),
)
def test_damaged_arrays_are_refused_without_a_warning(content, match, tmp_path):
    _refused(_archive(tmp_path / "arrays.npz", {"a.npy": content}), match)


def test_a_pickle_is_not_run(tmp_path):
    class Harmful:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "made"),)

    np.savez(tmp_path / "arrays.npz", np.array([Harmful()], object))
    _refused(tmp_path / "arrays.npz", "dtype object")
    assert not (tmp_path / "made").exists()


def test_only_arrays_are_members_and_each_once(tmp_path):
    array = _npy(np.zeros(3))
    _refused(_archive(tmp_path / "a.npz", {"x.npy": array, "note.txt": b"x"}), "note.txt' is no")
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        archive.writestr("x.npy", array)
        archive.writestr("x.npy", array)
    _refused(tmp_path / "b.npz", "two arrays of the name 'x.npy'")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compression_is_refused(method, tmp_path):
    path = _archive(tmp_path / "arrays.npz", {"a.npy": _npy(np.zeros(3))}, method)
    _refused(path, "compression method")


def test_what_the_list_of_members_states_wrongly_is_refused(tmp_path):
    """Encryption, and sizes that are not those of the members."""
    path = _archive(tmp_path / "arrays.npz", {"a.npy": _npy(np.zeros(100))}, zipfile.ZIP_STORED)
    content = bytearray(path.read_bytes())
    entry = content.index(b"PK\x01\x02")
    for offset, value, match in (
        (8, b"\x01", "encrypted"),
        (8, b"\x20", "NotImplementedError"),
        (20, struct.pack("<I", 400), "two sizes"),
        (20, struct.pack("<II", 10**9, 10**9), "EOFError"),
        (20, struct.pack("<II", 464, 464), "Bad CRC"),
        (42, struct.pack("<I", 10**6), "BadZipFile"),
        (16, b"\x00\x01\x02\x03", "Bad CRC"),
    ):
        changed = bytearray(content)
        changed[entry + offset : entry + offset + len(value)] = value
        path.write_bytes(changed)
        _refused(path, match)


def test_a_long_list_of_members_is_not_read(tmp_path):
    path = tmp_path / "long.npz"
    member = struct.pack("<4s4B4HL2L5H2L", b"PK\x01\x02", *[0] * 18)
    count = (9 << 20) // len(member)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0, 0, count * len(member), 0, 0)
    path.write_bytes(member * count + end)
    _refused(path, "list of members")


@pytest.mark.parametrize("content", [b"", b"PK", b"<html>", _npy(np.zeros(3)), b"PK\x05\x06" * 20])
def test_other_files_are_refused(content, tmp_path):
    path = tmp_path / "arrays.npz"
    path.write_bytes(content)
    _refused(path, "BadZipFile")


def test_no_pipe_is_waited_for_and_no_folder_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.npz")
    _refused(tmp_path / "pipe.npz", "named pipe")
    _refused(tmp_path, "folder")
    _refused(tmp_path / "absent.npz", "no such file")


def test_dtypes_rule_remedy_and_class_are_those_asked_for(tmp_path):
    np.savez(tmp_path / "arrays.npz", a=np.zeros(3), b=np.zeros(3, np.float32))
    words = {"rule": "Weights are whole", "remedy": "Copy them again", "error": WeightsError}
    error = _refused(
        tmp_path / "arrays.npz", "a has the dtype float64", dtypes=[np.float32], **words
    )
    assert type(error) is WeightsError
    assert str(error).startswith("Weights are whole") and str(error).endswith("Copy them again.")
    with pytest.raises(InputError, match="other names"), open_npz(tmp_path / "arrays.npz"):
        raise ValueError("other names")


def test_an_array_alone_is_read_without_running_anything(tmp_path):
    path = tmp_path / "a.npy"
    for array in (np.arange(6).reshape(2, 3), np.asfortranarray(np.eye(3, 2)), np.zeros(0)):
        np.save(path, array)
        assert (read_npy(path) == array).all() and read_npy(path).dtype == array.dtype
    np.save(path, np.array([{}], object), allow_pickle=True)
    with pytest.raises(InputError, match="dtype object"):
        read_npy(path)
    np.save(path, np.zeros((4, 4)))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match="has 127 bytes for the shape"):
        read_npy(path)
    np.save(path, np.zeros(10_000))
    with pytest.raises(InputError, match="at most 5096 bytes"):
        read_npy(path, max_bytes=1000)
