"""The command and the server as processes, with the real engine and network."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

from deeplab_gygo.cli import serve as command_module
from deeplab_gygo.cli.main import main
from deeplab_gygo.errors import DependencyError
from deeplab_gygo.io.masks import read_mask
from deeplab_gygo.io.palette import write_mask
from deeplab_gygo.io.video import VideoWriter
from deeplab_gygo.server.client import Client, ServerError

FRAMES = 3


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    """A video of a square, and its first mask."""
    folder = tmp_path_factory.mktemp("material")
    mask = np.zeros((64, 96), np.uint8)
    mask[18:46, 20:48] = 1
    with VideoWriter(folder / "clip.mp4", (64, 96), frame_rate=10) as writer:
        for index in range(FRAMES):
            image = np.full((64, 96, 3), 80, np.uint8)
            image[np.roll(mask, index, 1) > 0] = (230, 210, 40)
            writer.write(image)
    write_mask(folder / "mask.png", mask)
    return folder


@pytest.fixture
def serve_command(tmp_path, command_environment):
    """Function that starts the command; returns the process and the address that it prints."""
    processes = []

    def start(*words):
        process = subprocess.Popen(
            [sys.executable, "-m", "deeplab_gygo", "serve", "--port", "0", "--data",
             str(tmp_path / "data"), *words],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=command_environment,
        )  # fmt: skip
        processes.append(process)
        address = process.stdout.readline().strip()
        assert address, process.communicate()[1]
        return process, address

    yield start
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()


def _children(process) -> list[int]:
    paths = Path(f"/proc/{process.pid}/task").glob("*/children")
    return [int(word) for path in paths for word in path.read_text().split()]


def _is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"  # ended; whoever started it has not looked yet


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_server_segments_a_clip_and_ends_within_seconds(serve_command, material, tmp_path):
    process, address = serve_command("--host", "0.0.0.0")
    assert address.startswith("http://127.0.0.1:") and "/?token=" in address
    server, _, token = address.partition("/?token=")
    client = Client(server, token=token)
    with pytest.raises(ServerError):
        Client(server, token="").info()
    job = client.start_job(
        material / "clip.mp4", material / "mask.png", preset="fast", mode="one-shot",
        outputs=["masks"],
    )  # fmt: skip
    assert client.wait(job.id, timeout=120, interval=0.1).state == "done"
    client.save_result(job.id, tmp_path / "result.zip")
    with zipfile.ZipFile(tmp_path / "result.zip") as archive:
        archive.extractall(tmp_path / "result")
        record = archive.read("run.json").decode()
    assert str(tmp_path) not in record
    masks = sorted((tmp_path / "result" / "masks").iterdir())
    truth, found = read_mask(material / "mask.png"), read_mask(masks[0])
    assert len(masks) == FRAMES and np.array_equal(truth, found)
    frames = json.loads(client.save_result(job.id, tmp_path / "rle.json", "rle").read_text())
    assert [frame["name"] for frame in frames["frames"]] == [path.stem for path in masks]
    workers = _children(process)
    started = time.monotonic()
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 143 and "Traceback" not in err
    assert workers and token not in out + err
    # The process that looks after the memory of the worker sees the end a moment later.
    while any(map(_is_running, workers)):
        assert time.monotonic() - started < 10
        time.sleep(0.05)


def test_ctrl_c_ends_the_server_though_a_stream_is_open(serve_command, material):
    process, address = serve_command()
    client = Client(address)
    session = client.create_session(client.upload(material / "clip.mp4"))
    host, port = address.removeprefix("http://").rstrip("/").split(":")
    with socket.create_connection((host, int(port))) as stream:
        path = f"/api/sessions/{session.id}/events"
        stream.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert b"200 OK" in stream.recv(4096)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 130 and "interrupted" in err and "Traceback" not in err


def test_an_address_in_use_is_an_error_before_anything_is_loaded(tmp_path, capsys, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["serve", "--port", str(port), "--data", str(tmp_path / "data")]) == 2
    assert "free port" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [["--token", "short"], ["--allow", "http://a"], ["--max-jobs", "0"]]
)
def test_options_out_of_range_are_usage_errors(tmp_path, capsys, words):
    assert main(["serve", "--data", str(tmp_path / "data"), *words]) == 2
    assert not (tmp_path / "data").exists()


def test_a_missing_package_names_its_command(monkeypatch):
    monkeypatch.setattr(command_module, "find_spec", lambda name: None)
    with pytest.raises(DependencyError, match=r"pip install 'deeplab-gygo\[server\]'"):
        command_module.require_server_packages()


def test_the_token_of_the_environment_is_taken(tmp_path, monkeypatch):
    from jsonargparse import Namespace

    monkeypatch.setenv(command_module.TOKEN_VARIABLE, "token-of-the-environment")
    options = Namespace(
        host="127.0.0.1", port=0, data=str(tmp_path), token=None, allow=[], server_name=[],
        max_mb=1, max_pixels=1, max_frames=1, max_jobs=1, max_seconds=1.0, keep_days=0.0,
        keep_gb=0.0, keep_clip_days=0.0,
    )  # fmt: skip
    assert command_module._settings(options).token == "token-of-the-environment"
    monkeypatch.delenv(command_module.TOKEN_VARIABLE)
    assert command_module._settings(options).token == ""
    options.host = "0.0.0.0"
    assert len(command_module._settings(options).token) == 32
