"""URLs as paths: what they are, how they are read, which faults pass, and what is never shown."""

import logging
import sys
import traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from storage_servers import ACCESS_KEY, SECRET_KEY, Faults

from deeplab_gygo.errors import DependencyError, InputError, StorageError
from deeplab_gygo.io import storage

SIGNED = "https://me:pass-word@{}/shoe.mp4?X-Amz-Signature=abcdef0123"


@pytest.mark.parametrize(
    "path",
    ["s3://b/x", "gs://b/x", "gcs://b/x", "az://c/x", "abfs://c/x", "oss://b/x", "https://h/x",
     "http://h/x", "memory://x", "file:///x", "S3://b/x", "ftp://h/x"],
)  # fmt: skip
def test_a_url_of_a_known_kind_is_one(path):
    assert storage.is_url(path)


@pytest.mark.parametrize(
    "path", ["shoe.mp4", "C:/shoe.mp4", "C://shoe.mp4", "/a/b", "foo://x", "a=b", "", None, "s3:/b"]
)
def test_a_plain_path_is_no_url(path, tmp_path):
    assert not storage.is_url(path)
    assert not storage.is_url(tmp_path)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://me:secret@host/a.mp4?sig=secret#secret", "https://host/a.mp4?..."),
        ("https://secret@host/a@2.png", "https://host/a@2.png"),
        ("https://host?sig=secret", "https://host?..."),
        ("s3://key:secret@bucket/a.mp4", "s3://bucket/a.mp4"),
        ("az://box:secret@account/a", "az://account/a"),
        ("az://box@account/a?sv=secret", "az://box@account/a?..."),
        ("/data/a?b.png", "/data/a?b.png"),
    ],
)
def test_what_gives_access_is_not_shown(url, shown):
    assert storage.display(url) == shown
    assert "secret" not in storage.redacted(f"cannot open '{url}', see <{url}>", url)


@pytest.mark.parametrize(
    ("base", "part", "joined"),
    [
        ("s3://b/lists", "shoe.mp4", "s3://b/lists/shoe.mp4"),
        ("s3://b", "../../shoe.mp4", "s3://b/shoe.mp4"),
        ("s3://b/lists/", "./a/../shoe.mp4", "s3://b/lists/shoe.mp4"),
        ("s3://b/lists", "gs://c/shoe.mp4", "gs://c/shoe.mp4"),
        ("s3://b/lists", "/data/shoe.mp4", "/data/shoe.mp4"),
        ("lists", "shoe.mp4", "lists/shoe.mp4"),
        ("lists", "s3://b/shoe.mp4", "s3://b/shoe.mp4"),
    ],
)
def test_relative_paths_start_at_the_folder_of_the_list(base, part, joined):
    assert storage.join(base, part) == joined


@pytest.mark.parametrize("url", ["s3://", "https://host/..", "https://host/a%2f..", "s3://b/a\x1b"])
def test_a_url_without_a_name_is_refused(url):
    with pytest.raises(InputError, match="ends with the name"):
        storage.name_of(url)


@pytest.mark.parametrize(("url", "package", "extra"), [
    ("s3://bucket/shoe.mp4", "s3fs", "s3"), ("gs://bucket/shoe.mp4", "gcsfs", "gcs"),
    ("az://box/shoe.mp4", "adlfs", "azure"), ("oss://bucket/shoe.mp4", "ossfs", "oss"),
    ("https://host/shoe.mp4", "aiohttp", "storage"), ("memory://shoe.mp4", "fsspec", "storage"),
])  # fmt: skip
def test_a_missing_package_is_named_with_its_command(url, package, extra, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(DependencyError, match=rf"pip install 'deeplab-gygo\[{extra}\]'") as caught:
        storage.read_url(url, 100)
    assert f"'{package}'" in str(caught.value)


@pytest.mark.parametrize("kind", ["memory", "file"])
def test_files_are_written_read_and_listed(kind, tmp_path):
    base = f"memory:/{tmp_path}" if kind == "memory" else tmp_path.as_uri()
    storage.write_url(f"{base}/in/b.txt", b"two")
    storage.write_url(f"{base}/in/a [1].txt", b"one")
    storage.write_url(f"{base}/in/deep/c.txt", b"three")
    assert storage.read_url(f"{base}/in/a [1].txt", 3) == b"one"
    with pytest.raises(InputError, match="at most 2 bytes"):
        storage.read_url(f"{base}/in/b.txt", 2)
    wanted = [f"{base}/in/{name}" for name in ("a [1].txt", "b.txt", "deep/")]
    assert storage.list_folder(f"{base}/in") == wanted
    assert storage.list_files(f"{base}/in") == {"a [1].txt": 3, "b.txt": 3, "deep/c.txt": 5}
    assert storage.list_files(f"{base}/absent") == {}
    with pytest.raises(InputError, match="what exists"):
        storage.list_folder(f"{base}/absent")
    with pytest.raises(InputError, match="what exists"):
        storage.read_url(f"{base}/absent.txt", 3)
    storage.remove(f"{base}/in/b.txt")
    storage.remove(f"{base}/in/b.txt")
    assert storage.list_names(f"{base}/in") and "b.txt" not in storage.list_names(f"{base}/in")


def test_a_bucket_is_written_read_and_listed(bucket):
    storage.write_url(f"{bucket}/lists/a.csv", b"video,mask\n")
    storage.write_url(f"{bucket}/lists/deep/b.csv", b"")
    assert storage.read_url(f"{bucket}/lists/a.csv", 100) == b"video,mask\n"
    assert storage.read_url(f"{bucket}/lists/deep/b.csv", 100) == b""
    assert storage.list_folder(f"{bucket}/lists") == [
        f"{bucket}/lists/a.csv", f"{bucket}/lists/deep/"
    ]  # fmt: skip
    storage.write_url(f"{bucket}/lists/c.csv", b"")  # a listing is not remembered
    assert len(storage.list_folder(f"{bucket}/lists")) == 3
    stored = storage.inspect(f"{bucket}/lists")
    assert stored.is_folder and set(stored.sizes.values()) == {11, 0}


@pytest.mark.parametrize("fault", ["cut", "half", 500, 503, 429])
def test_faults_that_pass_are_tried_again(bucket, s3_proxy, fault):
    storage.write_url(f"{bucket}/a.txt", bytes(range(256)))
    s3_proxy.fault = Faults(fault, 2, "GET", "/a.txt")
    assert storage.read_url(f"{bucket}/a.txt", 1000) == bytes(range(256))
    assert s3_proxy.fault.left == 0


@pytest.mark.parametrize(("status", "words"), [(403, "credentials"), (404, "name of the bucket")])
def test_lasting_faults_are_not_tried_again(bucket, s3_proxy, status, words):
    storage.write_url(f"{bucket}/a.txt", b"text")
    s3_proxy.requests.clear()
    s3_proxy.fault = lambda method, path: status
    with pytest.raises(InputError, match=words):
        storage.read_url(f"{bucket}/a.txt", 100)
    assert len(s3_proxy.requests) <= 3
    with pytest.raises(StorageError, match="credentials|name of the bucket"):
        storage.write_url(f"{bucket}/b.txt", b"text")


@pytest.mark.parametrize("fault", ["cut", 503])
def test_a_storage_that_never_answers_is_given_up(bucket, s3_proxy, fault):
    s3_proxy.fault = lambda method, path: fault
    with pytest.raises(StorageError, match=f"after {storage.TRIES} tries"):
        storage.read_url(f"{bucket}/a.txt", 100)
    with pytest.raises(StorageError, match=f"after {storage.TRIES} tries"):
        storage.write_url(f"{bucket}/a.txt", b"")


@pytest.fixture
def web():
    """A small server of the web: its address, the files and the faults of the next answers."""
    files, faults = {}, []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            path = self.path.partition("?")[0]
            fault = faults.pop(0) if faults else None
            status = fault if isinstance(fault, int) else 200 if path in files else 404
            content = files.get(path, b"") if status == 200 else b""
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content[: len(content) // 2] if fault == "half" else content)

        do_HEAD = do_GET

        def log_message(self, *words):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"127.0.0.1:{server.server_address[1]}", files, faults
    server.shutdown()
    server.server_close()


def test_a_file_of_the_web_is_read(web, monkeypatch):
    monkeypatch.setattr(storage, "PAUSE", 0.0)
    host, files, faults = web
    files["/shoe.txt"] = b"x" * 1000
    faults += [503, 503, "half"]
    assert storage.read_url(f"http://{host}/shoe.txt", 1000) == files["/shoe.txt"]
    assert not faults
    with pytest.raises(InputError, match="what exists"):
        storage.read_url(f"http://{host}/absent.txt", 1000)


@pytest.mark.parametrize("status", [403, 404, 503])
def test_no_message_log_or_trace_has_credentials(web, status, monkeypatch, caplog):
    monkeypatch.setattr(storage, "PAUSE", 0.0)
    host, _, faults = web
    faults += [status] * 100
    url = SIGNED.format(host).replace("https", "http")
    with caplog.at_level(logging.DEBUG, "deeplab_gygo"):
        with pytest.raises((InputError, StorageError)) as caught:
            storage.read_url(url, 100)
        text = "".join(traceback.format_exception(caught.value)) + caplog.text
    assert f"http://{host}/shoe.mp4" in str(caught.value)
    assert "pass-word" not in text and "abcdef0123" not in text


def test_no_message_has_the_keys_of_a_bucket(bucket, s3_proxy, caplog):
    s3_proxy.fault = lambda method, path: 403
    with caplog.at_level(logging.DEBUG, "deeplab_gygo"), pytest.raises(InputError) as caught:
        storage.read_url(f"{bucket}/a.txt", 100)
    text = "".join(traceback.format_exception(caught.value)) + caplog.text
    assert ACCESS_KEY not in text and SECRET_KEY not in text
