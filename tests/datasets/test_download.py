"""Downloads from a real server on loopback that cuts, fails and replaces."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import http.server
import io
import json
import shutil
import socket
import tarfile
import threading

import pytest

from deeplab_gygo.datasets import archive, transfer
from deeplab_gygo.datasets.download import LOCK_NAME, download, fetch_gygo
from deeplab_gygo.errors import InputError, StorageError, UsageError

CONTENT = bytes(range(256)) * 4096  # 1 MiB, and any byte out of place changes it
QUICK = {"progress": False, "pause": 0.001, "timeout": 5.0}


def sha256_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """Serves one file.

    Attributes:
        cuts: Number of bytes after which each of the next answers breaks off.
        lengths: Whether answers state their length.
        gate: Event that answers wait for.
        location: Address that requests are redirected to.
        statuses: Statuses of the next answers, before anything is served.
        requests: Number of requests.
    """

    def __init__(self, content: bytes):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.cuts, self.statuses, self.requests = content, [], [], 0
        self.lengths, self.location, self.gate = True, None, threading.Event()
        self.gate.set()
        self.daemon_threads = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/gygo.tar.gz"


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        server: Server = self.server
        server.requests += 1
        if server.statuses:
            self.send_error(server.statuses.pop(0))
            return
        self.send_response(302 if server.location else 200)
        if server.location:
            self.send_header("Location", server.location)
        if server.lengths:
            self.send_header("Content-Length", str(len(server.content)))
        self.end_headers()
        server.gate.wait(5)
        with contextlib.suppress(ConnectionError):  # a client that has enough
            self.wfile.write(server.content[: server.cuts.pop(0) if server.cuts else None])


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    """Bypasses a proxy of the machine for the server of the tests."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def server():
    with Server(CONTENT) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield running
        running.shutdown()


def leftovers(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_complete_file(server, tmp_path):
    path = download(server.url, tmp_path / "new" / "file.bin", **QUICK)
    assert path.read_bytes() == CONTENT and server.requests == 1
    assert leftovers(tmp_path / "new") == ["file.bin"]


def test_a_cut_transfer_is_tried_again(server, tmp_path):
    server.cuts = [100_000, 0]
    download(server.url, tmp_path / "file.bin", sha256=sha256_of(CONTENT), **QUICK)
    assert (tmp_path / "file.bin").read_bytes() == CONTENT and server.requests == 3
    assert leftovers(tmp_path) == ["file.bin"]


def test_a_cut_transfer_leaves_nothing_when_the_tries_are_used_up(server, tmp_path):
    server.cuts = [70_000] * 3
    with pytest.raises(StorageError, match="after 3 tries"):
        download(server.url, tmp_path / "file.bin", retries=2, **QUICK)
    assert server.requests == 3 and leftovers(tmp_path) == []


def test_wrong_hash_leaves_nothing_and_names_both(server, tmp_path):
    wrong = sha256_of(b"something else")
    with pytest.raises(InputError) as caught:
        download(server.url, tmp_path / "file.bin", sha256=wrong, **QUICK)
    assert wrong in str(caught.value) and sha256_of(CONTENT) in str(caught.value)
    assert leftovers(tmp_path) == [] and server.requests == 1


def test_temporary_errors_are_tried_again_and_final_ones_are_not(server, tmp_path):
    server.statuses = [503, 429]
    download(server.url, tmp_path / "file.bin", **QUICK)
    assert server.requests == 3
    server.statuses = [404, 404]
    with pytest.raises(InputError, match="404"):
        download(server.url, tmp_path / "absent.bin", **QUICK)
    assert server.requests == 4


def test_pauses_double_and_are_bounded(server, tmp_path, monkeypatch):
    pauses = []
    monkeypatch.setattr("deeplab_gygo.datasets.transfer.time.sleep", pauses.append)
    server.statuses = [500] * 8
    download(server.url, tmp_path / "file.bin", progress=False, retries=8, pause=1.0)
    assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]


def test_a_silent_server_is_a_failed_connection(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"http://127.0.0.1:{mute.getsockname()[1]}/file"
        with pytest.raises(StorageError, match="timed out"):
            download(url, tmp_path / "f", progress=False, retries=0, timeout=0.1, pause=0.001)


def test_an_existing_file_is_kept_when_its_hash_is_right(server, tmp_path):
    (tmp_path / "file.bin").write_bytes(CONTENT)
    download(server.url, tmp_path / "file.bin", sha256=sha256_of(CONTENT).upper(), **QUICK)
    assert server.requests == 0
    (tmp_path / "file.bin").write_bytes(b"something else")
    download(server.url, tmp_path / "file.bin", sha256=sha256_of(CONTENT), **QUICK)
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


def test_a_folder_that_cannot_be_made_is_a_storage_error(server, tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(StorageError, match="writable"):
        download(server.url, tmp_path / "file" / "file.bin", **QUICK)


def test_addresses_that_are_not_http_are_refused(tmp_path):
    with pytest.raises(UsageError, match="http"):
        download("file:///etc/hostname", tmp_path / "f", **QUICK)


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


HTML = b"<html><body>Please log in</body></html>"


@pytest.mark.parametrize(
    ("content", "cut", "lengths"),
    [
        (HTML, None, True),
        (HTML, None, False),
        (b"", None, True),
        (b"", None, False),
        (archive_bytes(GYGO_MEMBERS), 200, False),
        (archive_bytes(GYGO_MEMBERS | {"../escape": b"x"}), None, True),
        (archive_bytes({"JPEGImages/480p/toy/0.jpg": b"x"}), None, True),
    ],
    ids=["login", "login without length", "empty", "empty without length", "cut", "unsafe", "half"],
)
def test_a_wrong_answer_is_not_kept_and_the_next_run_succeeds(
    server, tmp_path, content, cut, lengths
):
    server.content, server.lengths = content, lengths
    server.cuts = [] if cut is None else [cut]
    with pytest.raises(InputError):
        fetch_gygo(tmp_path / "data", url=server.url, **QUICK)
    assert leftovers(tmp_path / "data") == []
    server.content = archive_bytes(GYGO_MEMBERS)
    assert fetch_gygo(tmp_path / "data", url=server.url, **QUICK).splits() == ["train"]
    assert leftovers(tmp_path / "data") == ["gygo-dataset", LOCK_NAME]


def test_a_file_at_the_place_of_the_archive_is_not_trusted_without_a_hash(server, tmp_path):
    server.content = archive_bytes(GYGO_MEMBERS)
    root = tmp_path / "data"
    root.mkdir()
    (root / "gygo-dataset.tar.gz").write_bytes(HTML)
    (root / ".gygo-dataset.tar.gz.part").write_bytes(b"of a run that was killed")
    assert fetch_gygo(root, url=server.url, **QUICK).splits() == ["train"]
    assert leftovers(root) == ["gygo-dataset", LOCK_NAME]


@pytest.mark.parametrize("lengths", [True, False])
def test_a_download_has_a_limit_with_and_without_a_stated_length(server, tmp_path, lengths):
    server.lengths = lengths
    with pytest.raises(InputError, match="at most 5000 bytes"):
        download(server.url, tmp_path / "file.bin", max_bytes=5000, **QUICK)
    assert leftovers(tmp_path) == [] and server.requests == 1


def test_the_pinned_size_is_the_limit_of_the_next_download(server, tmp_path):
    root = tmp_path / "data"
    server.content = archive_bytes(GYGO_MEMBERS)
    fetch_gygo(root, url=server.url, **QUICK)
    remove_content(root)
    size = len(server.content)
    server.content, server.lengths = CONTENT, False
    with pytest.raises(InputError, match=f"at most {size} bytes"):
        fetch_gygo(root, url=server.url, **QUICK)
    assert leftovers(root) == [LOCK_NAME]


def test_a_disk_without_room_is_not_filled(server, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=1 << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    server.lengths = False
    with pytest.raises(StorageError, match="1 MiB free"):
        download(server.url, tmp_path / "file.bin", **QUICK)
    assert leftovers(tmp_path) == []


def test_a_connection_that_only_drips_is_ended(server, tmp_path, monkeypatch):
    monkeypatch.setattr(transfer, "_RATE_AFTER", 0.0)
    monkeypatch.setattr(transfer, "LOWEST_RATE", 10**12)
    with pytest.raises(StorageError, match="bytes per second on average; met: .* bytes in"):
        download(server.url, tmp_path / "file.bin", **QUICK)
    assert leftovers(tmp_path) == [] and server.requests == 1


def test_two_downloads_at_once_into_one_root_make_one(server, tmp_path):
    server.content = archive_bytes(GYGO_MEMBERS)
    server.gate.clear()
    results = []

    def fetch():
        results.append(fetch_gygo(tmp_path / "data", url=server.url, **QUICK).splits())

    threads = [threading.Thread(target=fetch) for _ in range(2)]
    for thread in threads:
        thread.start()
    server.gate.set()
    for thread in threads:
        thread.join(20)
    assert results == [["train"]] * 2 and server.requests == 1
    assert leftovers(tmp_path / "data") == ["gygo-dataset", LOCK_NAME]


def test_the_wait_for_another_download_has_a_limit_that_is_named(server, tmp_path):
    server.gate.clear()
    server.content = archive_bytes(GYGO_MEMBERS)
    root = tmp_path / "data"
    first = threading.Thread(target=fetch_gygo, args=(root,), kwargs={"url": server.url, **QUICK})
    first.start()
    while not server.requests:
        first.join(0.01)
    with pytest.raises(StorageError, match=r"at most 0\.05 s"):
        fetch_gygo(root, url=server.url, lock_timeout=0.05, **QUICK)
    server.gate.set()
    first.join(20)
    assert leftovers(root) == ["gygo-dataset", LOCK_NAME]


@pytest.mark.parametrize("location", ["file:///etc/hostname", "ftp://127.0.0.1/x", "/again"])
def test_a_redirect_that_leads_to_no_file_is_refused_at_once(server, tmp_path, location):
    server.location = location
    with pytest.raises(InputError, match="lead to the file"):
        download(server.url, tmp_path / "f", **QUICK)
    assert leftovers(tmp_path) == [] and server.requests < 40


@pytest.mark.parametrize(
    "url",
    ["http://", "http:///x", "http://a b/", "http://127.0.0.1/ü", "http://127.0.0.1:x/",
     "http://127.0.0.1:99999/", "http://[::1/", "ftp://127.0.0.1/", "http://127.0.0.1/\x1b[2J", ""],
)  # fmt: skip
def test_what_is_no_address_is_a_matter_of_usage(tmp_path, url):
    with pytest.raises(UsageError, match="begins with http://"):
        fetch_gygo(tmp_path / "data", url=url, **QUICK)
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("options", [{"retries": -1}, {"sha256": "xyz"}, {"sha256": ""}])
def test_options_out_of_range_are_a_matter_of_usage(server, tmp_path, options):
    with pytest.raises(UsageError):
        fetch_gygo(tmp_path / "data", url=server.url, **{**QUICK, **options})
    assert leftovers(tmp_path) == [] and server.requests == 0


def test_a_root_that_is_no_folder_is_a_matter_of_usage(server, tmp_path):
    (tmp_path / "file").write_text("no folder")
    (tmp_path / "loop").symlink_to("loop")
    for root in ("file", "file/data", "loop", "n" * 300):
        with pytest.raises(UsageError, match="root of a download"):
            fetch_gygo(tmp_path / root, url=server.url, **QUICK)
    (tmp_path / "data" / LOCK_NAME).mkdir(parents=True)
    with pytest.raises(UsageError, match="regular file; met: a folder"):
        fetch_gygo(tmp_path / "data", url=server.url, **QUICK)


def test_a_folder_of_another_content_is_not_replaced(server, tmp_path):
    server.content = archive_bytes(GYGO_MEMBERS)
    thesis = tmp_path / "data" / "gygo-dataset" / "thesis.tex"
    thesis.parent.mkdir(parents=True)
    thesis.write_text("years")
    with pytest.raises(UsageError, match="Move it away"):
        fetch_gygo(tmp_path / "data", url=server.url, **QUICK)
    assert thesis.read_text() == "years" and server.requests == 0


def test_a_folder_that_appears_meanwhile_is_not_replaced(server, tmp_path, monkeypatch):
    server.content = archive_bytes(GYGO_MEMBERS)
    thesis = tmp_path / "data" / "gygo-dataset" / "thesis.tex"

    def unpack(*arguments, **options):
        archive.unpack_archive(*arguments, **options)
        thesis.parent.mkdir()
        thesis.write_text("years")

    monkeypatch.setattr("deeplab_gygo.datasets.download.unpack_archive", unpack)
    with pytest.raises(StorageError):
        fetch_gygo(tmp_path / "data", url=server.url, **QUICK)
    assert thesis.read_text() == "years"
    assert leftovers(tmp_path / "data") == ["gygo-dataset"]


@pytest.mark.parametrize("members", [GYGO_MEMBERS, nested("gygo-dataset"), nested("other-name")])
def test_fetch_survives_a_cut_pins_and_opens(server, tmp_path, members):
    server.content = archive_bytes(members)
    server.cuts = [len(server.content) // 2]
    dataset = fetch_gygo(tmp_path / "data", url=server.url, **QUICK)
    assert dataset.names("train") == ["batch-00001/toy"]
    assert server.requests == 2
    assert leftovers(tmp_path / "data") == ["gygo-dataset", LOCK_NAME]
    lock = json.loads((tmp_path / "data" / LOCK_NAME).read_text())
    assert lock["sha256"] == sha256_of(server.content)
    assert (lock["size"], lock["url"]) == (len(server.content), server.url)
    # It exists now: the server gets no further request.
    assert fetch_gygo(tmp_path / "data", url=server.url, **QUICK).root == dataset.root
    assert server.requests == 2


def remove_content(root) -> None:
    (root / "gygo-dataset").rename(root.parent / "away")


def test_replaced_archive_is_refused(server, tmp_path):
    root = tmp_path / "data"
    server.content = archive_bytes(GYGO_MEMBERS)
    fetch_gygo(root, url=server.url, **QUICK)
    remove_content(root)
    same_size = bytearray(server.content)
    same_size[4] ^= 1  # the time stamp of the gzip header: same content, another archive
    for replacement in (bytes(same_size), server.content + b"\0"):
        server.content = replacement
        with pytest.raises(InputError, match="SHA-256|at most"):
            fetch_gygo(root, url=server.url, **QUICK)
        assert leftovers(root) == [LOCK_NAME]


def test_lock_holds_for_local_archives_and_given_hashes(tmp_path):
    root, archive = tmp_path / "data", tmp_path / "hand.tar.gz"
    archive.write_bytes(archive_bytes(GYGO_MEMBERS))
    fetch_gygo(root, archive=archive, sha256=sha256_of(archive.read_bytes()), progress=False)
    assert archive.exists(), "a given archive is never removed"
    remove_content(root)
    with pytest.raises(InputError, match="pinned"):
        fetch_gygo(root, archive=archive, sha256="0" * 64, progress=False)
    archive.write_bytes(archive_bytes(GYGO_MEMBERS | {"more": b"x"}))
    with pytest.raises(InputError, match="record that pins"):
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
    assert leftovers(tmp_path / "data") == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (archive_bytes(GYGO_MEMBERS | {"../escaped.txt": b"x"}), "inside the target folder"),
        (archive_bytes(GYGO_MEMBERS | {"/etc/escaped.txt": b"x"}), "inside the target folder"),
        (archive_bytes(GYGO_MEMBERS, outside="../../etc"), "inside the target folder"),
        (archive_bytes(GYGO_MEMBERS, inside="ImageSets"), "inside the target folder"),
        (archive_bytes({"readme.txt": b"x"}), "readme.txt"),
        (archive_bytes(nested("gygo"))[:-60], "complete tar archive"),
        (archive_bytes(nested("gygo"))[:-8] + b"8 bytes?", "complete tar archive"),
        (gzip.decompress(archive_bytes(GYGO_MEMBERS))[:1030], "has no end"),
        (b"<html>not found</html>", "complete tar archive"),
    ],
    ids=[
        "traversal",
        "absolute path",
        "link outside",
        "link inside",
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
    assert set(leftovers(tmp_path)) <= {"bad.tar.gz", "place"}


def test_unpacking_clears_what_a_killed_run_left(tmp_path):
    archive = tmp_path / "a.tar.gz"
    archive.write_bytes(archive_bytes(GYGO_MEMBERS))
    stale = tmp_path / "data" / ".gygo-dataset.unpacking" / "JPEGImages" / "stale"
    stale.mkdir(parents=True)
    dataset = fetch_gygo(tmp_path / "data", archive=archive, progress=False)
    assert not (dataset.root / "JPEGImages" / "stale").exists()


def test_a_downloaded_archive_that_is_damaged_is_not_kept(server, tmp_path):
    server.content = archive_bytes(GYGO_MEMBERS)[:-60]
    with pytest.raises(InputError, match="complete tar archive"):
        fetch_gygo(tmp_path / "data", url=server.url, **QUICK)
    assert leftovers(tmp_path / "data") == []


def test_an_absent_archive_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="can be read; met: no such file"):
        fetch_gygo(tmp_path / "data", archive=tmp_path / "absent.tar", progress=False)
