"""Downloads against a real server on loopback that cuts, forgets and replaces."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import io
import json
import os
import socket
import tarfile
import threading
from collections import namedtuple

import pytest

from deeplab_gygo.datasets import transfer
from deeplab_gygo.datasets.archive import extract_archive
from deeplab_gygo.datasets.download import LOCK_NAME, download, fetch_gygo
from deeplab_gygo.errors import InputError, StorageError, UsageError

CONTENT = bytes(range(256)) * 4096  # 1 MiB, and any byte out of place changes it
QUICK = {"progress": False, "pause": 0.001, "timeout": 5.0}


def sha256_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """Serves one file; the tests set how badly.

    Attributes:
        cuts: Bytes after which each of the next answers breaks off; None sends an answer whole.
        replacements: Contents that take the place of the file, one after each answer.
        statuses: Statuses of the next answers, before anything is served.
        requests: The `Range` and `If-Range` fields of every request.
    """

    def __init__(self, content: bytes):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.etag = content, '"first"'
        self.ranges, self.check_condition, self.lengths = True, True, True
        self.cuts, self.replacements, self.statuses, self.requests = [], [], [], []
        self.daemon_threads = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/gygo.tar.gz"


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        server: Server = self.server
        wanted, condition = self.headers.get("Range"), self.headers.get("If-Range")
        server.requests.append((wanted, condition))
        if server.statuses:
            self.send_error(server.statuses.pop(0))
            return
        content, first, status = server.content, 0, 200
        current = not server.check_condition or condition in (None, server.etag)
        if wanted and server.ranges and current:
            first, status = int(wanted.removeprefix("bytes=").removesuffix("-")), 206
        if first >= len(content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.send_header("ETag", server.etag)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(status)
        if server.etag:
            self.send_header("ETag", server.etag)
        if server.lengths:
            self.send_header("Content-Length", str(len(content) - first))
        if status == 206:
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        cut = server.cuts.pop(0) if server.cuts else None
        self.wfile.write(content[first:] if cut is None else content[first : first + cut])
        if server.replacements:
            server.content = server.replacements.pop(0)
            server.etag = '"replaced"'


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    """A proxy of the machine must not stand between the tests and their server."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def server():
    with Server(CONTENT) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield running
        running.shutdown()


def leftovers(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_whole_file_in_one_go(server, tmp_path):
    fetched = download(server.url, tmp_path / "new" / "file.bin", **QUICK)
    assert fetched.path.read_bytes() == CONTENT
    assert (fetched.size, fetched.sha256) == (len(CONTENT), sha256_of(CONTENT))
    assert fetched.etag == '"first"'
    assert server.requests == [(None, None)]
    assert leftovers(tmp_path / "new") == ["file.bin"]


def test_every_cut_is_continued_where_it_stopped(server, tmp_path):
    server.cuts = [100_000, 200_000, 1]
    fetched = download(server.url, tmp_path / "file.bin", sha256=sha256_of(CONTENT), **QUICK)
    assert fetched.path.read_bytes() == CONTENT
    assert server.requests == [
        (None, None),
        ("bytes=100000-", '"first"'),
        ("bytes=300000-", '"first"'),
        ("bytes=300001-", '"first"'),
    ]
    assert leftovers(tmp_path) == ["file.bin"]


def test_a_later_run_continues_what_an_earlier_one_left(server, tmp_path):
    server.cuts = [70_000, 0]
    with pytest.raises(StorageError, match="goes on where it stopped"):
        download(server.url, tmp_path / "file.bin", retries=0, **QUICK)
    assert leftovers(tmp_path) == ["file.bin.part", "file.bin.part.json"]
    assert (tmp_path / "file.bin.part").read_bytes() == CONTENT[:70_000]
    server.requests.clear()
    download(server.url, tmp_path / "file.bin", **QUICK)
    assert server.requests == [("bytes=70000-", '"first"')]
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


def test_many_cuts_with_progress_are_no_reason_to_give_up(server, tmp_path):
    server.cuts = [50_000] * 15
    download(server.url, tmp_path / "file.bin", retries=1, **QUICK)
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


def test_gives_up_where_a_server_cannot_resume_and_is_always_cut(server, tmp_path):
    server.ranges, server.cuts = False, [40_000] * 50
    with pytest.raises(StorageError, match="3 times in a row"):
        download(server.url, tmp_path / "file.bin", retries=2, **QUICK)
    assert len(server.requests) == 4
    assert not (tmp_path / "file.bin").exists()


def test_server_that_ignores_ranges_sends_it_all_again(server, tmp_path):
    server.ranges, server.cuts = False, [300_000]
    download(server.url, tmp_path / "file.bin", **QUICK)
    assert (tmp_path / "file.bin").read_bytes() == CONTENT
    assert len(server.requests) == 2


@pytest.mark.parametrize("honest", [True, False])
def test_two_versions_are_never_mixed(server, tmp_path, honest):
    """Also not where the server disregards `If-Range` and sends a part of the new file."""
    replacement = CONTENT[::-1] + b"longer"
    server.cuts, server.replacements, server.check_condition = [400_000], [replacement], honest
    fetched = download(server.url, tmp_path / "file.bin", **QUICK)
    assert fetched.path.read_bytes() == replacement
    assert fetched.etag == '"replaced"'


def test_without_a_validator_only_a_hash_vouches_for_the_rest(server, tmp_path):
    server.etag, server.cuts = "", [1000]
    download(server.url, tmp_path / "plain.bin", **QUICK)
    assert server.requests[1] == (None, None)
    server.requests.clear()
    server.cuts = [1000]
    download(server.url, tmp_path / "hashed.bin", sha256=sha256_of(CONTENT), **QUICK)
    assert server.requests[1] == ("bytes=1000-", None)
    assert (tmp_path / "hashed.bin").read_bytes() == CONTENT


def test_weak_etag_is_not_used_as_a_condition(server, tmp_path):
    server.etag, server.cuts = 'W/"first"', [1000]
    download(server.url, tmp_path / "file.bin", **QUICK)
    assert server.requests[1] == (None, None)


def test_part_that_was_whole_already_is_only_renamed(server, tmp_path):
    (tmp_path / "file.bin.part").write_bytes(CONTENT)
    record = {"url": server.url, "etag": '"first"', "last_modified": None, "size": len(CONTENT)}
    (tmp_path / "file.bin.part.json").write_text(json.dumps(record))
    download(server.url, tmp_path / "file.bin", **QUICK)
    assert server.requests == []
    # The size was not known: the server says by 416 that there is nothing more.
    (tmp_path / "other.bin.part").write_bytes(CONTENT)
    (tmp_path / "other.bin.part.json").write_text(json.dumps(record | {"size": None}))
    download(server.url, tmp_path / "other.bin", **QUICK)
    assert server.requests == [(f"bytes={len(CONTENT)}-", '"first"')]
    assert (tmp_path / "other.bin").read_bytes() == CONTENT


def test_part_longer_than_the_file_is_thrown_away(server, tmp_path):
    (tmp_path / "file.bin.part").write_bytes(CONTENT + b"too much")
    record = {"url": server.url, "etag": '"first"', "last_modified": None, "size": None}
    (tmp_path / "file.bin.part.json").write_text(json.dumps(record))
    download(server.url, tmp_path / "file.bin", **QUICK)
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("record", [None, "no json", '{"url": "http://elsewhere/"}'])
def test_part_that_nothing_vouches_for_is_thrown_away(server, tmp_path, record):
    (tmp_path / "file.bin.part").write_bytes(b"of something else")
    if record:
        (tmp_path / "file.bin.part.json").write_text(record)
    download(server.url, tmp_path / "file.bin", **QUICK)
    assert (tmp_path / "file.bin").read_bytes() == CONTENT
    assert server.requests == [(None, None)]


def test_wrong_hash_leaves_nothing_and_names_both(server, tmp_path):
    wrong = sha256_of(b"something else")
    with pytest.raises(InputError) as caught:
        download(server.url, tmp_path / "file.bin", sha256=wrong, **QUICK)
    assert wrong in str(caught.value) and sha256_of(CONTENT) in str(caught.value)
    assert leftovers(tmp_path) == []


def test_wrong_size_is_refused_before_the_download(server, tmp_path):
    with pytest.raises(InputError, match="1048576 bytes instead of 5"):
        download(server.url, tmp_path / "file.bin", size=5, **QUICK)
    assert leftovers(tmp_path) == []


def test_size_is_checked_where_the_server_does_not_say_it(server, tmp_path):
    server.lengths, server.cuts = False, [500]  # looks like an end
    with pytest.raises(InputError, match="size in bytes"):
        download(server.url, tmp_path / "file.bin", size=len(CONTENT), **QUICK)
    assert not (tmp_path / "file.bin").exists()


def test_passing_errors_are_tried_again_and_final_ones_are_not(server, tmp_path):
    server.statuses = [503, 429]
    download(server.url, tmp_path / "file.bin", **QUICK)
    assert len(server.requests) == 3
    server.requests.clear()
    server.statuses = [404, 404]
    with pytest.raises(InputError, match="404"):
        download(server.url, tmp_path / "absent.bin", **QUICK)
    assert len(server.requests) == 1


def test_pauses_double_and_are_bounded(server, tmp_path, monkeypatch):
    pauses = []
    monkeypatch.setattr("deeplab_gygo.datasets.download.time.sleep", pauses.append)
    server.statuses = [500] * 8
    download(server.url, tmp_path / "file.bin", progress=False, retries=8, pause=1.0)
    assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]


def test_silent_server_counts_as_cut(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"http://127.0.0.1:{mute.getsockname()[1]}/file"
        with pytest.raises(StorageError, match="timed out"):
            download(url, tmp_path / "f", progress=False, retries=0, timeout=0.1, pause=0.001)


def test_existing_file_is_taken_when_its_hash_is_right(server, tmp_path):
    (tmp_path / "file.bin").write_bytes(CONTENT)
    download(server.url, tmp_path / "file.bin", sha256=sha256_of(CONTENT).upper(), **QUICK)
    assert server.requests == []
    with pytest.raises(InputError, match="SHA-256"):
        download(server.url, tmp_path / "file.bin", sha256="0" * 64, **QUICK)
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


def test_full_disk_is_said_before_the_download(server, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(transfer.shutil, "disk_usage", lambda _: usage(10**9, 10**9, len(CONTENT)))
    with pytest.raises(StorageError, match="free disk space") as caught:
        download(server.url, tmp_path / "file.bin", **QUICK)
    assert caught.value.remedy


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
def test_disk_that_fills_during_the_download(server, tmp_path):
    (tmp_path / "file.bin.part").symlink_to("/dev/full")
    with pytest.raises(StorageError, match="disk is full"):
        download(server.url, tmp_path / "file.bin", **QUICK)


def test_addresses_that_are_not_http_are_refused(tmp_path):
    with pytest.raises(UsageError, match="http"):
        download("file:///etc/hostname", tmp_path / "f", **QUICK)


# --- the data set ---------------------------------------------------------------------------------


def archive_bytes(members: dict[str, bytes], **links: str) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        for name, target in links.items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, target
            archive.addfile(member)
    return stream.getvalue()


GYGO_MEMBERS = {
    "JPEGImages/480p/batch-00001/toy/00000.jpg": b"a photo",
    "Annotations/480p/batch-00001/toy/00000.png": b"a mask",
    "ImageSets/Train.txt": b"batch-00001/toy\n",
    "ImageSets/._Train.txt": b"\0\5\26\7",
}


def nested(folder: str) -> dict[str, bytes]:
    return {f"{folder}/{name}": content for name, content in GYGO_MEMBERS.items()}


@pytest.mark.parametrize("members", [GYGO_MEMBERS, nested("gygo-dataset"), nested("other-name")])
def test_fetch_survives_a_cut_pins_and_opens(server, tmp_path, members):
    server.content = archive_bytes(members)
    server.cuts = [len(server.content) // 2]
    dataset = fetch_gygo(tmp_path / "data", url=server.url, **QUICK)
    assert dataset.names("train") == ["batch-00001/toy"]
    assert len(server.requests) == 2
    assert leftovers(tmp_path / "data") == ["gygo-dataset", LOCK_NAME]
    lock = json.loads((tmp_path / "data" / LOCK_NAME).read_text())
    assert lock["sha256"] == sha256_of(server.content)
    assert (lock["size"], lock["etag"]) == (len(server.content), '"first"')
    # It is there now: nothing is asked of the server any more.
    server.requests.clear()
    assert fetch_gygo(tmp_path / "data", url=server.url, **QUICK).root == dataset.root
    assert server.requests == []


def remove_content(root) -> None:
    (root / "gygo-dataset").rename(root.parent / "away")


def test_replaced_archive_is_refused_and_the_lock_is_named(server, tmp_path):
    root = tmp_path / "data"
    server.content = archive_bytes(GYGO_MEMBERS)
    fetch_gygo(root, url=server.url, **QUICK)
    remove_content(root)
    same_size = bytearray(server.content)
    same_size[4] ^= 1  # the time stamp of the gzip header: same content, another archive
    for replacement in (bytes(same_size), server.content + b"\0"):
        server.content, server.etag = replacement, '"replaced"'
        with pytest.raises(InputError, match="remove that file") as caught:
            fetch_gygo(root, url=server.url, **QUICK)
        assert LOCK_NAME in caught.value.remedy
        assert leftovers(root) == [LOCK_NAME]


def test_lock_holds_for_local_archives_and_given_hashes(tmp_path):
    root, archive = tmp_path / "data", tmp_path / "hand.tar.gz"
    archive.write_bytes(archive_bytes(GYGO_MEMBERS))
    fetch_gygo(root, archive=archive, sha256=sha256_of(archive.read_bytes()), progress=False)
    assert archive.exists(), "an archive that was given is not ours to remove"
    remove_content(root)
    with pytest.raises(InputError, match="pinned"):
        fetch_gygo(root, archive=archive, sha256="0" * 64, progress=False)
    archive.write_bytes(archive_bytes(GYGO_MEMBERS | {"more": b"x"}))
    with pytest.raises(InputError, match="pinned"):
        fetch_gygo(root, archive=archive, progress=False)
    (root / LOCK_NAME).write_text("{}")
    with pytest.raises(InputError, match="readable"):
        fetch_gygo(root, archive=archive, progress=False)
    (root / LOCK_NAME).unlink()
    assert fetch_gygo(root, archive=archive, progress=False).splits() == ["train"]


def test_wrong_hash_given_for_an_archive(tmp_path):
    archive = tmp_path / "hand.tar.gz"
    archive.write_bytes(archive_bytes(GYGO_MEMBERS))
    with pytest.raises(InputError, match="SHA-256"):
        fetch_gygo(tmp_path / "data", archive=archive, sha256="0" * 64, progress=False)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (archive_bytes(GYGO_MEMBERS | {"../escaped.txt": b"x"}), "land inside"),
        (archive_bytes(GYGO_MEMBERS, outside="../../etc"), "land inside"),
        (archive_bytes({"readme.txt": b"x"}), "readme.txt"),
        (archive_bytes(nested("gygo"))[:-60], "whole tar archive"),
        (archive_bytes(nested("gygo"))[:-8] + b"8 bytes?", "whole tar archive"),
        (gzip.decompress(archive_bytes(GYGO_MEMBERS))[:1030], "has no end"),
        (b"<html>not found</html>", "whole tar archive"),
    ],
    ids=[
        "traversal",
        "link outside",
        "another content",
        "truncated",
        "checksum",
        "cut header",
        "no archive",
    ],
)
def test_bad_archives_leave_nothing_behind(tmp_path, content, message):
    archive = tmp_path / "bad.tar.gz"
    archive.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        fetch_gygo(tmp_path / "place" / "data", archive=archive, progress=False)
    assert str(archive) in str(caught.value)
    assert leftovers(tmp_path / "place" / "data") == []
    assert leftovers(tmp_path) == ["bad.tar.gz", "place"]


def test_unpacking_clears_what_a_killed_run_left(tmp_path):
    archive = tmp_path / "a.tar.gz"
    archive.write_bytes(archive_bytes(GYGO_MEMBERS))
    stale = tmp_path / "data" / ".gygo-dataset.unpacking" / "JPEGImages" / "stale"
    stale.mkdir(parents=True)
    dataset = fetch_gygo(tmp_path / "data", archive=archive, progress=False)
    assert not (dataset.root / "JPEGImages" / "stale").exists()


def test_unpacking_needs_a_free_place_and_an_archive(tmp_path):
    with pytest.raises(InputError, match="must exist"):
        extract_archive(tmp_path / "absent.tar", tmp_path / "out", find_content=lambda path: path)
    (tmp_path / "a.tar.gz").write_bytes(archive_bytes(GYGO_MEMBERS))
    with pytest.raises(InputError, match="not exist yet"):
        extract_archive(tmp_path / "a.tar.gz", tmp_path, find_content=lambda path: path)
