"""Unpacking of hostile archives: nothing outside of the folder, no full disk, no endless work."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import shutil
import subprocess
import sys
import tarfile
import time
import zlib
from pathlib import Path

import pytest

from deeplab_gygo.datasets import archive as unpacking
from deeplab_gygo.datasets.archive import unpack_archive
from deeplab_gygo.errors import InputError, StorageError

MEBIBYTE = 1 << 20
END = bytes(1024)


def header(name: str, size: int = 0, kind: bytes = tarfile.REGTYPE, link: str = "") -> bytes:
    """Returns one block, in the format of GNU, which takes any size."""
    member = tarfile.TarInfo(name)
    member.size, member.type, member.linkname = size, kind, link
    return member.tobuf(tarfile.GNU_FORMAT)


def file_member(name: str, content: bytes = b"x") -> bytes:
    return header(name, len(content)) + content + bytes(-len(content) % 512)


def pax(records: bytes, kind: bytes = tarfile.XHDTYPE) -> bytes:
    return header("pax", len(records), kind) + records + bytes(-len(records) % 512)


def record(key: bytes, value: bytes) -> bytes:
    body = b" " + key + b"=" + value + b"\n"
    length = len(body)
    while length != len(body) + len(str(length)):
        length = len(body) + len(str(length))
    return str(length).encode() + body


@pytest.fixture
def unpack(tmp_path):
    """Function that unpacks bytes into `place/to` and returns that folder."""

    def unpack(content: bytes, **options) -> Path:
        place = tmp_path / "place"
        (place / "to").mkdir(parents=True)
        (tmp_path / "a.tar").write_bytes(content)
        unpack_archive(tmp_path / "a.tar", place / "to", **options)
        return place / "to"

    return unpack


def refused(unpack, tmp_path, content: bytes, message: str, **options) -> InputError:
    """Asserts that an archive is refused and that nothing is outside of the target folder."""
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    with pytest.raises(InputError, match=message) as caught:
        unpack(content, **options)
    assert str(tmp_path / "a.tar") in str(caught.value)
    assert victim.read_text() == "untouched"
    assert sorted(os.listdir(tmp_path)) == ["a.tar", "place", "victim"]
    assert os.listdir(tmp_path / "place") == ["to"]
    assert not [path for path in (tmp_path / "place").rglob("*") if path.is_symlink()]
    return caught.value


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_archives_of_every_format_are_unpacked_with_usual_rights(unpack, form, pack):
    long = "/".join(["of-a-folder" * 8] * 2)
    contents = {"a/b.txt": b"hello", f"{long}/schön.txt": b"y" * 1500, "a/empty": b""}
    if form == tarfile.USTAR_FORMAT:
        contents.pop(f"{long}/schön.txt")
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=form) as made:
        folder = tarfile.TarInfo("./")
        folder.type = tarfile.DIRTYPE
        made.addfile(folder)
        for name, content in contents.items():
            member = tarfile.TarInfo(f"./{name}")
            member.size, member.mode, member.mtime = len(content), 0o6777, 1.5
            made.addfile(member, io.BytesIO(content))
    former = os.umask(0)
    try:
        root = unpack(pack(stream.getvalue()))
    finally:
        os.umask(former)
    found = {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}
    assert found == contents
    assert {p.stat().st_mode & 0o7777 for p in root.rglob("*") if p.is_file()} == {0o644}
    assert {p.stat().st_mode & 0o7777 for p in root.rglob("*") if p.is_dir()} == {0o755}


def test_a_chain_of_links_longer_than_a_path_does_not_lead_outside(unpack, tmp_path):
    """CVE-2025-4517: realpath gives up on the long path, and the filter of tarfile with it."""
    stream = io.BytesIO()
    part = "d" * 247
    with tarfile.open(fileobj=stream, mode="w") as made:

        def add(name, kind, link=""):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, link
            made.addfile(member)

        steps, path = "abcdefghijklmnop", ""
        for step in steps:
            add(f"{path}{part}", tarfile.DIRTYPE)
            add(f"{path}{step}", tarfile.SYMTYPE, part)
            path += f"{part}/"
        chain = "/".join(steps)
        add(f"{chain}/{'l' * 254}", tarfile.SYMTYPE, "../" * len(steps))
        add("escape", tarfile.SYMTYPE, f"{chain}/{'l' * 254}/../..")
        add("flag", tarfile.LNKTYPE, "escape/victim")
        member = tarfile.TarInfo("flag")
        member.size = 5
        made.addfile(member, io.BytesIO(b"taken"))
    refused(unpack, tmp_path, stream.getvalue(), "a symbolic link")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (file_member("../victim"), r"has '\.\.'"),
        (file_member("a/../../victim"), r"has '\.\.'"),
        (file_member("/etc/victim"), "is absolute"),
        (file_member("C:/victim"), "is absolute"),
        (file_member("a\\..\\victim"), "backslash"),
        (header("..", kind=tarfile.DIRTYPE), r"has '\.\.'"),
        (pax(record(b"path", b"../victim")) + file_member("a"), r"has '\.\.'"),
        (pax(record(b"path", b"a\0b")) + file_member("a"), "not printable"),
        (file_member("a\x1b[2Jb"), r"a\\x1b\[2Jb' has a character that is not printable"),
        (file_member("\udcff"), "not printable"),
        (pax(record(b"path", b"p" * 256)) + file_member("a"), "256 bytes"),
        (pax(record(b"path", b"p/" * 600)) + file_member("a"), "1200 bytes"),
        (file_member("d/" * 17 + "f"), "more than 16 folders"),
        (header("ln", kind=tarfile.SYMTYPE, link="/etc"), "symbolic link"),
        (header("ln", kind=tarfile.SYMTYPE, link="inside"), "symbolic link"),
        (header("ln", kind=tarfile.LNKTYPE, link="../victim"), "hard link"),
        (header("pipe", kind=tarfile.FIFOTYPE), "named pipe"),
        (header("null", kind=tarfile.CHRTYPE), "device"),
        (header("sparse", kind=tarfile.GNUTYPE_SPARSE), "sparse"),
        (pax(record(b"GNU.sparse.size", b"9")) + file_member("a"), "sparse"),
        (header("volume", kind=b"V"), "another kind"),
        (pax(record(b"path", b"x"), tarfile.XGLTYPE) + file_member("a"), "for all members"),
        (file_member("a") + file_member("a"), "one name"),
        (file_member("a") + file_member("A"), "one name"),
        (file_member("\u00e9") + file_member("e\u0301"), "one name"),
        (file_member("a/b") + file_member("A/c"), "one name"),
        (file_member("a") + file_member("a/b"), "one name"),
        (file_member("a/b") + file_member("a"), "one name"),
    ],
)
def test_a_member_that_could_do_harm_is_refused(unpack, tmp_path, content, message):
    refused(unpack, tmp_path, content + END, f"inside the target folder.*{message}")


def test_an_attribute_that_the_archive_needs_not_is_skipped(unpack):
    extra = pax(record(b"comment", b"made by git"), tarfile.XGLTYPE)
    extra += pax(record(b"LIBARCHIVE.xattr.x", b"1" * 60_000) + record(b"mtime", b"1.5"))
    root = unpack(extra + file_member("a", b"text") + END)
    assert (root / "a").read_bytes() == b"text"


def test_too_many_members_are_refused(unpack, tmp_path, monkeypatch):
    monkeypatch.setattr(unpacking, "MAX_ENTRIES", 10)
    content = b"".join(file_member(f"{i}/f") for i in range(6))
    refused(unpack, tmp_path, content + END, "more than 10 files and folders")


@pytest.mark.parametrize("position", [0, 1, 2])
@pytest.mark.parametrize("byte", [0, 100, 130, 148, 156, 257])
def test_a_flipped_bit_in_any_header_is_an_error(unpack, tmp_path, position, byte):
    content = bytearray(b"".join(file_member(name) for name in "abc") + END)
    content[1024 * position + byte] ^= 1
    refused(unpack, tmp_path, bytes(content), "complete tar archive")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (file_member("a") + END + file_member("b") + END, "data after the end"),
        (file_member("a"), "has no end"),
        (file_member("a", b"x" * 2000)[:1700], "has no end"),
        (pax(record(b"path", b"b")) + END, "without a member"),
        (pax(b"12 path") + file_member("a") + END, "damaged extended header"),
        (pax(b"0 path=b\n") + file_member("a") + END, "damaged extended header"),
        (pax(b"9" * 5000) + file_member("a") + END, "damaged extended header"),
        (pax(record(b"size", b"-9")) + file_member("a") + END, "no number"),
        (header("a", -1) + END, "negative size"),
        (gzip.compress(file_member("a") + END) + b"more", "complete"),
        (lzma.compress(file_member("a") + END)[:-20], "no end"),
        (lzma.compress(file_member("a") + END) + b"more", "data after the end"),
        (bz2.compress(file_member("a") + END)[:-8], "complete"),
        (b"", "has no end"),
    ],
    ids=lambda value: "" if isinstance(value, bytes) else value.replace(" ", "-"),
)
def test_a_damaged_archive_is_an_error(unpack, tmp_path, content, message):
    refused(unpack, tmp_path, content, message)


def packed_zeros(count: int) -> bytes:
    made = io.BytesIO()
    with gzip.open(made, "wb", compresslevel=1) as stream:
        for _ in range(count // MEBIBYTE):
            stream.write(bytes(MEBIBYTE))
    return made.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda: gzip.compress(header("zeros", 2 << 30), 1) + packed_zeros(256 * MEBIBYTE),
         f"at most {64 * MEBIBYTE} bytes"),
        (lambda: gzip.compress(file_member("a"), 1) + packed_zeros(256 * MEBIBYTE),
         f"at most {64 * MEBIBYTE} bytes"),
        (lambda: gzip.compress(header("huge", 1 << 62)), f"at most {64 * MEBIBYTE} bytes"),
        (lambda: header("pax", 7 * MEBIBYTE, tarfile.XHDTYPE) + bytes(8 * MEBIBYTE), "extended"),
        (lambda: header("long", 7 * MEBIBYTE, tarfile.GNUTYPE_LONGNAME), "extended header"),
        (lambda: header("long", 1 << 60, tarfile.GNUTYPE_LONGNAME), "extended header"),
        (lambda: (header("long", 2, tarfile.GNUTYPE_LONGNAME) + b"a".ljust(512, b"\0")) * 5000,
         "extended header 5"),
        (lambda: gzip.compress(pax(b"9" * MEBIBYTE) * 50, 1), "damaged extended header"),
        (lambda: gzip.compress(b"".join(pax(record(b"a", b"9" * 900_000)) for _ in range(4))
                               + header("end", kind=b"S")), "sparse"),
    ],
    ids=["zeros", "trailing", "declared", "pax", "longname", "exabyte", "chain", "digits",
         "values"],
)  # fmt: skip
def test_a_small_archive_costs_neither_time_nor_memory_nor_disk(tmp_path, content, message):
    (tmp_path / "a.tar").write_bytes(content())
    (tmp_path / "to").mkdir()
    code = (
        "import re, resource, sys\n"
        "from deeplab_gygo.datasets.archive import unpack_archive\n"
        "from deeplab_gygo.errors import InputError\n"
        "started = resource.getrusage(resource.RUSAGE_SELF)\n"
        "try:\n"
        "    unpack_archive(sys.argv[1], sys.argv[2])\n"
        "except InputError as error:\n"
        "    print(error)\n"
        "ended = resource.getrusage(resource.RUSAGE_SELF)\n"
        "seconds = ended.ru_utime + ended.ru_stime - started.ru_utime - started.ru_stime\n"
        # Not ru_maxrss, which starts with that of the process that started this one.
        "status = open('/proc/self/status').read() if sys.platform == 'linux' else 'VmHWM: 0'\n"
        "print(seconds, int(re.search(r'VmHWM:\\s+(\\d+)', status)[1]) // 1024)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "a.tar", tmp_path / "to"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    said, figures = done.stdout.strip().splitlines()
    assert message in said, done.stderr
    seconds, megabytes = map(float, figures.split())
    assert seconds < 5 and megabytes < 500, figures
    written = sum(path.stat().st_size for path in (tmp_path / "to").rglob("*"))
    assert written <= 64 * MEBIBYTE


def test_a_decoder_of_xz_that_wants_much_memory_is_refused(unpack, tmp_path):
    # The size of the dictionary is in the header, whatever the content.
    small = lzma.compress(file_member("a") + END)
    block = bytearray(small[12:24])
    block[4] = 36  # 1 GiB
    block[8:12] = zlib.crc32(bytes(block[:8])).to_bytes(4, "little")
    refused(unpack, tmp_path, small[:12] + bytes(block) + small[24:], "[Mm]emory")


def test_the_limit_can_be_given(unpack, tmp_path):
    content = file_member("a", b"x" * 5000) + END
    refused(unpack, tmp_path, content, "at most 4000 bytes", max_bytes=4000)


def test_a_disk_without_room_is_not_filled(unpack, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=80 * MEBIBYTE)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(StorageError, match="80 MiB free for 20 MiB"):
        unpack(file_member("a") + file_member("b", bytes(20 * MEBIBYTE)) + END)
    assert sorted(os.listdir(tmp_path / "place" / "to")) == ["a", "b"]
    assert (tmp_path / "place" / "to" / "b").stat().st_size == 0


def test_an_archive_that_is_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.tar")
    started = time.monotonic()
    with pytest.raises(InputError, match="named pipe"):
        unpack_archive(tmp_path / "a.tar", tmp_path)
    assert time.monotonic() - started < 1
