"""The command `annotate` without its server: sessions, masks, ports, exports."""

from __future__ import annotations

import json
import socket
import webbrowser
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from jsonargparse import ArgumentParser
from PIL import Image

from deeplab_gygo.cli import annotate
from deeplab_gygo.cli.options import Request
from deeplab_gygo.errors import InputError, UsageError
from deeplab_gygo.server import serving

DEMO = Path(str(files("deeplab_gygo.cli") / "demo_clip"))
PORT = 51234


@pytest.fixture
def served(monkeypatch):
    """Runs the command with words; returns what it would have served and opened."""
    opened = []
    monkeypatch.setattr(webbrowser, "open", opened.append)

    def run(*words):
        found = {}

        def serve(engine, settings, *, on_start):
            found.update(settings=settings, sessions=engine.sessions())
            found["job"] = engine.job_folder("abc")
            found["masks"] = {
                index: engine.mask(each.id, index)[0]
                for each in found["sessions"]
                for index in each.annotated
            }
            on_start(f"http://127.0.0.1:{settings.port or PORT}/")
            engine.close()

        monkeypatch.setattr(serving, "serve", serve)
        parser = ArgumentParser()
        annotate.add_arguments(parser, Request())
        assert annotate.run(parser.parse_args([*map(str, words)])) == 0
        return found | {"opened": list(opened)}

    return run


def test_the_folder_is_gone_on_with_at_the_same_port(served, tmp_path, capsys):
    first = served(DEMO / "frames", "--out", tmp_path / "a", "--preset", "fast")
    (session,) = first["sessions"]
    place = f"http://127.0.0.1:{PORT}/#/sessions/{session.id}"
    assert capsys.readouterr().out == f"{place}\n" and first["opened"] == [place]
    assert session.preset == "fast" and first["settings"].is_local
    limits = first["settings"].limits
    assert limits.keep_days == limits.keep_clip_days == 0  # work and exports are not removed
    assert first["job"] == tmp_path / "a" / "export-abc"
    second = served(DEMO / "frames", "--out", tmp_path / "a", "--no-browser")
    assert second["sessions"][0].id == session.id and len(second["sessions"]) == 1
    assert second["settings"].port == PORT and len(second["opened"]) == 1


def test_another_port_where_the_former_one_is_taken(served, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        served(DEMO / "frames", "--out", tmp_path, "--port", port)
        assert served(DEMO / "frames", "--out", tmp_path)["settings"].port == 0


def test_given_masks_do_not_replace_annotations(served, tmp_path):
    mask = DEMO / "masks" / "00003.png"
    words = (DEMO / "frames", "--out", tmp_path, "--mask", f"3={mask}")
    content = served(*words)["masks"][3]
    other = tmp_path / "other.png"
    Image.fromarray(np.pad(np.ones((9, 9), np.uint8), ((0, 845), (0, 471)))).save(other)
    again = served(DEMO / "frames", "--out", tmp_path, "--mask", f"3={other}")
    assert again["masks"] == {3: content}


def test_a_folder_has_the_work_on_one_clip(served, tmp_path):
    served(DEMO / "frames", "--out", tmp_path)
    with pytest.raises(UsageError, match="one clip"):
        served(DEMO / "masks", "--out", tmp_path)


@pytest.mark.parametrize("content", [{}, {"clip": "CLIP", "session": "none"}, []])
def test_a_record_of_something_else(served, tmp_path, content):
    served(DEMO / "frames", "--out", tmp_path)
    text = json.dumps(content).replace("CLIP", str(DEMO / "frames"))
    (tmp_path / "work" / "annotate.json").write_text(text)
    with pytest.raises(InputError, match="names the session"):
        served(DEMO / "frames", "--out", tmp_path)


def test_a_clip_that_is_none(served, tmp_path):
    with pytest.raises(InputError):
        served(tmp_path / "absent.mp4", "--out", tmp_path / "out")
