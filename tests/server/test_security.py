from __future__ import annotations

import asyncio
import hmac
import logging
import re
import stat
from dataclasses import replace

import pytest
from fake_engine import FakeEngine, no_path
from served_app import ADDRESS

from deeplab_gygo.errors import InputError, UsageError
from deeplab_gygo.server import security
from deeplab_gygo.server.answers import without_paths
from deeplab_gygo.server.routes_service import PAGE_FOLDER
from deeplab_gygo.server.settings import ServerSettings
from deeplab_gygo.server.states import Problem

TOKEN = "secret-token-of-tests"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def remote(start):
    """A server that other machines reach."""
    return start(host="0.0.0.0", token=TOKEN, server_names=("media.lan",))


def page_token(client, headers=None) -> str:
    text = client.get("/", headers=headers).text
    return re.search('name="page-token" content="([^"]+)"', text)[1]


@pytest.mark.parametrize(
    "host, status",
    [
        ("127.0.0.1:8000", 200), ("localhost", 200), ("[::1]:8000", 200), ("LOCALHOST:9", 200),
        ("evil.example", 403), ("evil.example:8000", 403), ("127.0.0.1.evil.example", 403),
        ("192.168.1.5:8000", 403), ("", 403), ("localhost@evil.example", 403), ("[::1", 403),
        ("localhost:8000.evil.example", 403), ("localhost.", 403),
    ],
)  # fmt: skip
def test_a_server_of_this_machine_answers_to_its_own_names_alone(client, host, status):
    """A page that leads its name to 127.0.0.1 (DNS rebinding) still names itself as the host."""
    for path in ("/api/info", "/", "/healthz", "/page/main.js"):
        answer = client.get(path, headers={"Host": host})
        assert answer.status_code == status, (path, answer.text)


@pytest.mark.parametrize(
    "host, status",
    [("10.1.2.3:8000", 200), ("media.lan", 200), ("[fd00::1]:80", 200), ("evil.example", 403)],
)
def test_a_server_of_a_network_answers_to_addresses_and_its_names(remote, host, status):
    answer = remote.get("/api/info", headers={"Host": host, **BEARER})
    assert answer.status_code == status


@pytest.mark.parametrize(
    "headers, status",
    [
        ({}, 200), ({"Origin": ADDRESS}, 200), ({"Origin": "https://127.0.0.1:8000"}, 200),
        ({"Origin": "http://evil.example"}, 403), ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:8001"}, 403), ({"Origin": "http://127.0.0.1"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 200), ({"Sec-Fetch-Site": "none"}, 200),
        ({"Sec-Fetch-Site": "cross-site"}, 403), ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, 403),
    ],
)  # fmt: skip
def test_requests_of_other_origins_are_refused(client, headers, status):
    assert client.get("/api/info", headers=headers).status_code == status


def test_a_link_from_elsewhere_opens_the_page_and_nothing_else(client):
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert client.get("/", headers=link).status_code == 200
    assert client.get("/", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert client.post("/", headers=link).status_code == 403


def test_no_other_origin_is_ever_allowed(client):
    preflight = client.options(
        "/api/clips",
        headers={"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"},
    )
    assert preflight.status_code == 403
    for answer in (preflight, client.get("/api/info", headers={"Origin": ADDRESS})):
        assert not [name for name in answer.headers if name.startswith("access-control")]


def test_a_page_names_its_token_to_change_something(client, clip_id):
    token = page_token(client)
    del client.headers["user-agent"]
    body = {"clip": clip_id}
    browser = {"Origin": ADDRESS}
    assert client.post("/api/sessions", json=body, headers=browser).status_code == 403
    wrong = browser | {"X-Page-Token": "x" * len(token)}
    assert client.post("/api/sessions", json=body, headers=wrong).status_code == 403
    right = browser | {"X-Page-Token": token}
    assert client.post("/api/sessions", json=body, headers=right).status_code == 201
    # The cookie alone, which the client has by now, is not enough either.
    assert client.cookies
    assert client.post("/api/sessions", json=body).status_code == 403
    client.cookies.clear()
    assert client.post("/api/sessions", json=body).status_code == 201  # a program


def test_the_cookie_of_the_page_is_strict_and_of_one_port(client):
    cookie = client.get("/").headers["set-cookie"]
    assert cookie.startswith("deeplab_gygo_page_8000=")
    assert "SameSite=Strict" in cookie and "HttpOnly" in cookie


def test_the_page_token_survives_a_restart_and_is_for_its_owner_alone(tmp_path):
    settings = ServerSettings(tmp_path / "data")
    first = security.Access(settings).page_token
    assert len(first) >= 32 and security.Access(settings).page_token == first
    mode = stat.S_IMODE((tmp_path / "data" / "page_token").stat().st_mode)
    assert mode == 0o600
    assert security.Access(ServerSettings(tmp_path / "other")).page_token != first


@pytest.mark.parametrize(
    "headers, status",
    [
        ({}, 401), (BEARER, 200), ({"Authorization": f"bearer {TOKEN}"}, 200),
        ({"Authorization": f"Bearer {TOKEN[:-1]}"}, 401), ({"Authorization": TOKEN}, 401),
        ({"Authorization": f"Basic {TOKEN}"}, 401), ({"Authorization": "Bearer "}, 401),
        ({"Authorization": "Bearer \u00e9".encode()}, 401),
    ],
)  # fmt: skip
def test_a_server_of_a_network_requires_its_token(remote, headers, status):
    for path in ("/api/info", "/api/clips", "/api/jobs", "/metrics", "/openapi.json", "//api/info"):
        wanted = 404 if path == "//api/info" and status == 200 else status
        assert remote.get(path, headers=headers).status_code == wanted, path
    assert remote.post("/api/sessions", json={}, headers=headers).status_code in (401, 422)
    assert remote.get("/healthz").status_code == 200


def test_the_page_is_opened_with_the_token_once(remote):
    assert remote.get("/").status_code == 401
    assert remote.get("/?token=wrong").status_code == 401
    answer = remote.get(f"/?token={TOKEN}", follow_redirects=False)
    assert answer.status_code == 303 and answer.headers["location"] == "./"
    assert remote.get("/").status_code == 200
    assert remote.get("/api/info").status_code == 200  # by the cookie
    assert remote.post("/api/sessions", json={}).status_code == 403
    token = page_token(remote)
    named = {"X-Page-Token": token}
    assert remote.post("/api/sessions", json={}, headers=named).status_code == 422


def test_tokens_are_compared_in_constant_time(remote, monkeypatch):
    compared = []

    def compare(a, b):
        compared.append((len(a), len(b)))
        return hmac.compare_digest(a, b)

    monkeypatch.setattr(security.hmac, "compare_digest", compare)
    remote.get("/api/info", headers={"Authorization": "Bearer a"})
    remote.get("/api/info", headers=BEARER)
    assert (32, 32) in compared and len(set(compared)) == 1


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.com"])
def test_a_server_of_a_network_without_a_token_does_not_start(tmp_path, host):
    with pytest.raises(UsageError, match="has a token"):
        ServerSettings(tmp_path, host=host)


@pytest.mark.parametrize(
    "values",
    [
        {"token": "short"}, {"token": "with spaces in it!"}, {"port": 70000},
        {"allow": ("http://a/",)}, {"allow": ("a:b",)}, {"server_names": ("a b",)},
    ],
)  # fmt: skip
def test_settings_out_of_range_are_refused(tmp_path, values):
    with pytest.raises(UsageError):
        ServerSettings(tmp_path, **values)


@pytest.mark.parametrize(
    "path", ["/", "/healthz", "/api/info", "/nothing", "/api/clips/unknown", "/page/main.js"]
)
def test_every_answer_has_the_headers(client, path):
    answer = client.get(path)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy and "http" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert "server" not in answer.headers


def test_headers_are_on_refusals_and_errors_too(client, monkeypatch):
    refused = client.get("/api/info", headers={"Host": "evil.example"})
    monkeypatch.setattr(client.engine, "clips", lambda: 1 / 0)
    failed = client.get("/api/clips")
    assert (refused.status_code, failed.status_code) == (403, 500)
    for answer in (refused, failed):
        assert set(security.HEADERS) <= {name.title() for name in answer.headers} | set(
            security.HEADERS
        )
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")


def test_the_page_has_no_script_or_style_inline_and_nothing_from_elsewhere(client):
    text = client.get("/").text
    assert not re.search(r"<script(?![^>]*\bsrc=)[^>]*>|<style|\sstyle=|\son\w+=|javascript:", text)
    assert not re.search(r"""(?:src|href)=["'](?:https?:)?//""", text)


def test_files_of_the_page_have_their_types_and_nothing_else_is_served(client):
    kinds = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
    for path in PAGE_FOLDER.rglob("*"):
        if path.suffix in kinds:
            answer = client.get(f"/page/{path.relative_to(PAGE_FOLDER).as_posix()}")
            assert answer.headers["content-type"].startswith(kinds[path.suffix])
            tag = {"If-None-Match": answer.headers["etag"]}
            assert client.get(answer.url.path, headers=tag).status_code == 304
    for name in ("../app.py", "%2e%2e/app.py", "..%2fapp.py", "/etc/passwd", "index.html", ""):
        answer = client.get(f"/page/{name}")
        assert answer.status_code == 404, name


def test_an_unexpected_error_is_an_id_in_the_log(client, monkeypatch, caplog):
    monkeypatch.setattr(client.engine, "clips", lambda: open("/tmp/secret/place"))
    caplog.set_level(logging.ERROR, "deeplab_gygo")
    answer = client.get("/api/clips")
    assert answer.status_code == 500 and no_path(answer.text)
    identity = answer.json()["error"]["id"]
    assert identity in caplog.text and "secret/place" in caplog.text
    assert "secret" not in answer.text


def test_errors_of_the_package_are_answered_without_their_paths(client, monkeypatch):
    def fail():
        raise InputError(
            "A file is /data/clips/a.mp4", met="no C:\\data\\clip.mp4", where="/data/x",
            remedy="Look at /srv/data/log",
        )  # fmt: skip

    monkeypatch.setattr(client.engine, "clips", fail)
    answer = client.get("/api/clips")
    assert answer.status_code == 422
    assert answer.json()["error"] == {
        "rule": "A file is a.mp4", "met": "no clip.mp4", "remedy": "Look at log", "id": None,
    }  # fmt: skip


def test_a_full_disk_is_503(client, monkeypatch, video):
    def full():
        raise OSError(28, "No space left on device", "/data/secret")

    monkeypatch.setattr(client.engine, "new_clip_folder", full)
    answer = client.post("/api/clips", files={"file": ("a.mp4", video)})
    assert answer.status_code == 503 and no_path(answer.text)


def test_text_of_users_is_never_markup(client, video):
    name = '<img src=x onerror=alert(1)>".mp4'
    answer = client.post("/api/clips", files={"file": (name, video)})
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    shown = client.post("/api/clips", files={"file": ("a\u202egpj.mp4", video)}).json()["name"]
    assert "\u202e" not in shown


def test_paths_are_removed_from_texts():
    assert without_paths("at /a/b/c.png, https://x.de/a/b, image/png") == (
        "at c.png, https://x.de/a/b, image/png"
    )


_FORM = b"multipart/form-data; boundary=x"


def _sent(client, path, receive):
    """Returns what is answered to a request whose body is received by a function."""
    sent = []

    async def run():
        scope = {
            "type": "http", "method": "POST", "path": path, "raw_path": path.encode(),
            "headers": [(b"host", b"localhost"), (b"content-type", _FORM)],
            "query_string": b"", "client": ("127.0.0.1", 1), "scheme": "http", "root_path": "",
            "http_version": "1.1", "server": ("127.0.0.1", 8000),
        }  # fmt: skip

        async def send(message):
            sent.append(message)

        await client.app(scope, receive, send)

    client.portal.call(run)
    return sent


def test_a_stalled_body_is_given_up(client, monkeypatch):
    monkeypatch.setattr(security, "STALL_SECONDS", 0.05)
    sent = _sent(client, "/api/clips", lambda: asyncio.sleep(10))
    assert sent[0]["status"] == 400


def test_a_client_that_leaves_in_the_middle_is_no_fault_of_the_server(client, caplog):
    async def receive():
        return {"type": "http.disconnect"}

    assert _sent(client, "/api/clips", receive) == []
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert not list((client.settings.data / "clips").glob("*"))


def test_sessions_are_answered_without_paths(client, clip_id):
    state = client.engine.create_session(clip_id)
    problem = Problem("A clip is whole", "/srv/data/clips/a.mp4 ends")
    client.engine._sessions[state.id] = replace(state, error=problem)
    for path in (f"/api/sessions/{state.id}", "/api/sessions"):
        assert no_path(client.get(path).text) and "/srv" not in client.get(path).text


def test_engine_fixture_is_complete():
    from deeplab_gygo.server.engine import Engine

    wanted = {name for name in vars(Engine) if not name.startswith("_")}
    assert wanted - {"ready", "problem"} <= set(dir(FakeEngine))
