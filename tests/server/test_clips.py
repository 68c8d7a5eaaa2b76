from __future__ import annotations

import asyncio
import stat
import struct
import zipfile
from concurrent.futures import ThreadPoolExecutor

import pytest
from fake_engine import no_path
from starlette.requests import Request

from deeplab_gygo.server.routes_clips import gone
from deeplab_gygo.server.settings import Limits


def upload(client, content, name="clip.mp4"):
    return client.post("/api/clips", files={"file": (name, content)})


def test_a_video_is_uploaded_listed_looked_at_and_removed(client, video):
    made = upload(client, video)
    assert made.status_code == 201
    info = made.json()
    assert (info["name"], info["frames"], info["width"], info["height"]) == ("clip.mp4", 4, 24, 16)
    assert client.get("/api/clips").json() == [info]
    frame = client.get(f"/api/clips/{info['id']}/frames/3?width=20")
    assert frame.content.startswith(b"\xff\xd8")
    assert "immutable" in frame.headers["cache-control"]
    assert client.get(f"/api/clips/{info['id']}/frames/4").status_code == 404
    assert client.delete(f"/api/clips/{info['id']}").status_code == 204
    assert client.get(f"/api/clips/{info['id']}").status_code == 404


def test_frames_of_a_zip_are_in_natural_order_under_numbers(client, make_zip):
    content = make_zip(["clip/f10.png", "clip/f9.png", "clip/notes.txt", "__MACOSX/clip/._f9.png"])
    info = upload(client, content, "frames.zip").json()
    assert info["frames"] == 2
    folder = client.settings.data / "clips" / info["id"] / "frames"
    assert sorted(path.name for path in folder.iterdir()) == ["000000.png", "000001.png"]
    assert not list(folder.parent.glob("clip.*p4"))


@pytest.mark.parametrize(
    "name",
    ["../../evil.mp4", "/etc/cron.d/evil", "..\\..\\evil.mp4", "a\0b.mp4", "clip.mp4/", "~root"],
)
def test_the_name_of_an_upload_never_becomes_a_path(client, video, name):
    answer = upload(client, video, name)
    assert answer.status_code in (201, 400), answer.text
    assert "/" not in answer.json().get("name", "")
    files = {path for path in client.settings.data.parent.rglob("*") if path.is_file()}
    outside = {path for path in files if not path.is_relative_to(client.settings.data)}
    assert not outside
    assert not [path for path in files if "evil" in path.name or "root" in path.name]


@pytest.mark.parametrize("name", ["../../evil.png", "/evil.png", "C:\\evil.png", "a/../../e.png"])
def test_names_in_a_zip_never_become_paths(client, make_zip, name):
    answer = upload(client, make_zip([name, "0.png"]))
    assert answer.status_code in (201, 422)  # images of two folders are refused
    names = {path.name for path in client.settings.data.parent.rglob("*.png")}
    assert names <= {"000000.png", "000001.png"}


def links(make_zip):
    entry = zipfile.ZipInfo("link.png")
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    return make_zip({entry: "/etc/passwd"})


def encrypted(make_zip):
    content = bytearray(make_zip(["a.png"]))
    for signature, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = content.index(signature) + place
        content[at : at + 2] = struct.pack("<H", 1)
    return bytes(content)


def damaged(make_zip):
    content = bytearray(make_zip(["a.png"]))
    content[60] ^= 0xFF
    return bytes(content)


@pytest.mark.parametrize(
    "make",
    [
        links,
        encrypted,
        damaged,
        lambda make_zip: make_zip(["a.txt"]),
        lambda make_zip: make_zip([]),
        lambda make_zip: make_zip(["a/1.png", "b/1.png"]),
        lambda make_zip: make_zip({"a.png": b"no image"}),
        lambda make_zip: make_zip(["a.png"])[:-10],
    ],
)
def test_an_unusable_zip_is_refused_and_leaves_nothing(client, make_zip, make):
    answer = upload(client, make(make_zip), "frames.zip")
    assert answer.status_code == 422 and no_path(answer.text), answer.text
    assert not list((client.settings.data / "clips").iterdir())


def test_a_zip_that_unpacks_to_too_much_is_refused(start, make_zip):
    client = start(limits=Limits(upload_bytes=200_000))
    bomb = make_zip({"a.png": bytes(10_000_000)}, compression=zipfile.ZIP_DEFLATED)
    assert len(bomb) < 20_000
    assert upload(client, bomb).status_code == 422
    # The size that the archive states is no proof: it is counted while it is unpacked.
    lying = bomb.replace(struct.pack("<I", 10_000_000), struct.pack("<I", 1000))
    assert upload(client, lying).status_code == 422
    assert not list((client.settings.data / "clips").iterdir())


@pytest.mark.parametrize("limits", [{"pixels": 24 * 16 - 1}, {"frames": 3}])
def test_limits_on_pixels_and_frames_hold(start, video, make_zip, limits):
    client = start(limits=Limits(**limits))
    assert upload(client, video).status_code == 413
    assert upload(client, make_zip([f"{i}.png" for i in range(4)])).status_code == 413
    assert not list((client.settings.data / "clips").iterdir())


def test_a_clip_at_the_limits_is_accepted(start, video):
    client = start(limits=Limits(upload_bytes=len(video), pixels=24 * 16, frames=4))
    assert upload(client, video).status_code == 201
    assert upload(client, video + b"\0").status_code == 422


def test_a_body_too_large_is_refused_by_its_stated_and_by_its_counted_length(start):
    client = start(limits=Limits(upload_bytes=1000))
    stated = client.post("/api/clips", content=b"", headers={"content-length": "99999999"})
    assert stated.status_code == 413
    counted = client.post(
        "/api/clips",
        content=(bytes(100_000) for _ in range(20)),
        headers={"content-type": "multipart/form-data; boundary=x"},
    )
    assert counted.status_code == 413
    assert client.post("/api/sessions", content=bytes(2 << 20)).status_code == 413


@pytest.mark.parametrize("content", [b"", b"no video", b"#EXTM3U\n/etc/passwd\n"])
def test_what_is_no_clip_is_refused(client, content):
    answer = upload(client, content)
    assert answer.status_code == 422 and no_path(answer.text), answer.text
    assert answer.json()["error"]["rule"]
    assert not list((client.settings.data / "clips").iterdir())


@pytest.mark.parametrize(
    "kind, content, status",
    [
        ("text/plain", b"x", 415),
        ("multipart/form-data", b"x", 400),
        ("multipart/form-data; boundary=x", b"--x\r\n", 422),
        ("application/json", b"{", 422),
        ("application/json", b'{"url": 3}', 422),
        ("application/json", b'{"url": "http://a/b", "more": 1}', 422),
    ],
)
def test_a_body_of_another_form_is_refused(client, kind, content, status):
    answer = client.post("/api/clips", content=content, headers={"content-type": kind})
    assert answer.status_code == status, answer.text
    assert set(answer.json()) == {"error"}


def test_a_form_has_few_fields_and_files(client, video):
    files = [("file", ("a.mp4", video))] * 3
    assert client.post("/api/clips", files=files).status_code == 400
    answer = client.post(
        "/api/clips", files={"file": ("a", video)}, data={str(i): "" for i in range(30)}
    )
    assert answer.status_code == 400
    assert client.post("/api/clips", files={"other": ("a", video)}).status_code == 422


def test_a_request_whose_client_closes_the_connection_is_gone():
    async def watched(kinds):
        messages = iter(kinds)

        async def receive():
            kind = next(messages, None)
            if kind is None:
                await asyncio.Event().wait()  # the client waits for its answer
            return {"type": kind}

        async with gone(Request({"type": "http", "headers": []}, receive)) as is_gone:
            before = is_gone()
            await asyncio.sleep(0.01)
            return before, is_gone()

    with ThreadPoolExecutor(1) as pool:  # Playwright leaves a loop in the thread of the tests
        answered, left = pool.map(
            lambda kinds: asyncio.run(watched(kinds)),
            [["http.request"], ["http.request", "http.disconnect"]],
        )
    assert answered == (False, False) and left == (False, True)
