"""`evaluate`: notes, encodings that are named, and results of other commands as they are."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deeplab_gygo.cli.main import main

COUNT = 6


def _write(folder: Path, colors: list) -> Path:
    """Writes masks of two squares; `colors` are the values of background and both."""
    folder.mkdir(parents=True)
    for index in range(COUNT):
        mask = np.zeros((30, 40), np.uint8)
        mask[5:17, 4 + index : 16 + index] = 1
        mask[20:28, 10 + index : 20 + index] = 2
        Image.fromarray(np.array(colors, np.uint8)[mask]).save(folder / f"{index:05d}.png")
    return folder.parent


def _evaluate(*words: object) -> int:
    return main(["evaluate", *map(str, words), "-q"])


def test_a_note_for_the_sequence_is_shown_though_quiet(tmp_path, capsys):
    truth = _write(tmp_path / "truth" / "clip", [0, 1, 2])
    found = _write(tmp_path / "found" / "clip", [(0, 0, 0), (255, 0, 0), (0, 255, 0)])
    assert _evaluate("--truth", truth, "--results", found) == 0
    out, err = capsys.readouterr()
    assert "mean of 2 objects" in out and "1.000" in out
    assert err.splitlines() == [
        "warning: clip, results: matched by the given masks: #ff0000 is 1, #00ff00 is 2"
    ]


def test_the_remedy_of_an_ambiguous_encoding_is_an_option(tmp_path, capsys):
    white = _write(tmp_path / "white" / "clip", [0, 255, 255])
    gray = _write(tmp_path / "gray" / "clip", [0, 100, 200])
    assert _evaluate("--truth", white, "--results", gray) == 65
    assert "--mask-format" in capsys.readouterr().err
    assert _evaluate("--truth", white, "--results", gray, "--mask-format", "binary") == 0
    assert _evaluate("--truth", gray, "--results", white) == 65
    assert "--truth-format" in capsys.readouterr().err
    assert _evaluate("--truth", gray, "--results", white, "--truth-format", "binary") == 0
    assert capsys.readouterr().out.count("1.000") > 0


@pytest.mark.parametrize("quiet", [True, False])
def test_a_result_of_batch_is_measured_as_it_is(tmp_path, capsys, quiet):
    for name in ("a", "b"):
        truth = _write(tmp_path / "truth" / name, [0, 1, 2])
        _write(tmp_path / "out" / name / "masks", [0, 1, 2])
        _write(tmp_path / "out" / name / "cutout", [0, 9, 99])
        (tmp_path / "out" / name / "run.json").write_text("{}")
        (tmp_path / "out" / name / "contact_sheet.jpg").write_bytes(b"")
    (tmp_path / "out" / "summary.json").write_text("{}")
    words = ["evaluate", "--truth", truth, "--results", tmp_path / "out", "--out", tmp_path / "t"]
    assert main([str(word) for word in words] + ["-q"] * quiet) == 0
    out, err = capsys.readouterr()
    assert "mean of 4 objects" in out and "b_2" in out
    assert not quiet or err == ""


@pytest.mark.parametrize("options", [["--json-progress"], ["--json-progress", "-q"], ["-q"], []])
def test_progress_is_shown_as_that_of_other_commands(tmp_path, capsys, options):
    for name in ("a", "b"):
        _write(tmp_path / "truth" / name, [0, 1, 1])
        _write(tmp_path / "out" / name, [0, 1, 1])
    words = ["evaluate", "--truth", tmp_path / "truth", "--results", tmp_path / "out", *options]
    assert main([str(word) for word in words]) == 0
    events = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    counts = [(e["event"], e["sequence"], e["sequences"]) for e in events]
    # The number of sequences in a folder is not known before.
    expected = [("measure", 1, None), ("measure", 2, None)]
    assert counts == (expected if "--json-progress" in options else [])


def test_progress_of_verifying_a_dataset_is_shown_as_that_of_other_commands(
    tmp_path, capsys, make_dataset
):
    root = make_dataset(tmp_path / "data", {"a": 2, "b": 2, "c": 2})
    main(["data", "verify", "--dataset", "gygo", "--root", str(root), "--json-progress", "-q"])
    events = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [e["event"] for e in events] == ["verify"] * len(events)
    assert (events[0]["sequence"], events[-1]["sequence"]) == (1, 3)
    assert events[0]["sequences"] == 3 and events[-1]["eta_seconds"] == 0
