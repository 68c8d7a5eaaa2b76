"""The command `report`: of a clip and of a batch, and what it refuses."""

import json

import cv2
import numpy as np
import pytest

from deeplab_gygo.cli.main import main
from deeplab_gygo.io.palette import write_mask
from deeplab_gygo.runs.run_record import RunRecord

SIZE = (24, 32)


@pytest.fixture
def result(tmp_path):
    """The result of a clip of 3 frames, in the folder of a batch."""
    frames, folder = tmp_path / "frames", tmp_path / "batch" / "clip"
    frames.mkdir()
    for index in range(3):
        cv2.imwrite(str(frames / f"{index:05d}.png"), np.full((*SIZE, 3), 90, np.uint8))
        write_mask(folder / "masks" / f"{index:05d}.png", np.eye(*SIZE, dtype=np.uint8))
    RunRecord(
        config={}, seed=0, hashes={"input": "a", "mask": "b", "weights": "c"}, name="clip",
        source=str(frames), first_frame="00000", masks=3, frames=2, objects=1, outputs=["masks"],
        confidence={"00001": 0.9, "00002": 0.95},
    ).write(folder)  # fmt: skip
    row = {"sequence": "clip", "status": "done", "J": None, "F": None}
    (tmp_path / "batch" / "summary.json").write_text(json.dumps({"sequences": [row], "mean": {}}))
    return folder


def test_the_path_of_the_report_is_printed(result, capsys):
    for folder in (result, result.parent):
        assert main(["report", str(folder)]) == 0
        assert capsys.readouterr().out == f"report: {folder / 'report.html'}\n"
        assert (folder / "report.html").stat().st_size > 3000
    assert "clip/report.html" in (result.parent / "report.html").read_text()


def test_frames_that_moved_are_given_by_an_option(result, tmp_path, capsys):
    (tmp_path / "frames").rename(tmp_path / "moved")
    assert main(["report", str(result)]) == 65
    assert "--source" in capsys.readouterr().err
    assert main(["report", str(result), "--source", str(tmp_path / "moved")]) == 0


def test_the_working_directory_can_be_reported(result, monkeypatch):
    monkeypatch.chdir(result)
    assert main(["report", "."]) == 0
    assert (result / "report.html").is_file()


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["nothing"], 65, "no such folder"),
        (["frames"], 65, "neither"),
        (["batch", "--source", "frames"], 2, "Leave --source out"),
    ],
)
def test_what_is_no_result_is_refused(
    result, tmp_path, monkeypatch, capsys, words, status, message
):
    monkeypatch.chdir(tmp_path)
    assert main(["report", *words]) == status
    assert message in capsys.readouterr().err
