"""The programs in `examples` run and give the results that they describe."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
FRAMES, HEIGHT, WIDTH = 6, 64, 96


@pytest.fixture
def clip(tmp_path, monkeypatch):
    """A folder with `clip/`, a bright moving square, its first mask `clip.png`, and `truth/`."""
    noise = np.random.default_rng(0).integers(0, 60, (HEIGHT, WIDTH, 3), np.uint8)
    for folder in ("clip", "truth"):
        (tmp_path / "clips" / folder).mkdir(parents=True)
    for index in range(FRAMES):
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        mask[20:44, 20 + 2 * index : 44 + 2 * index] = 255
        frame = np.where(mask[..., None] > 0, np.uint8([40, 90, 230]), noise)
        cv2.imwrite(str(tmp_path / "clips" / "clip" / f"{index:05d}.png"), frame)
        cv2.imwrite(str(tmp_path / "clips" / "truth" / f"{index:05d}.png"), mask)
        if index == 0:
            cv2.imwrite(str(tmp_path / "clips" / "clip.png"), mask)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "clips"


@pytest.fixture
def run(monkeypatch, capsys):
    """A function that runs an example with arguments and returns the lines that it prints."""

    def run_example(name: str, *arguments: object) -> list[str]:
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return capsys.readouterr().out.splitlines()

    return run_example


def test_segment_clip_prints_area_and_confidence_of_every_frame(clip, run):
    lines = run("segment_clip.py", clip / "clip", clip / "clip.png")
    assert [line.split()[0] for line in lines] == [f"{i:05d}" for i in range(FRAMES)]
    for line in lines:
        area, confidence = float(line.split()[2].rstrip("%")), float(line.split()[-1])
        assert area == pytest.approx(100 * 24 * 24 / (HEIGHT * WIDTH), abs=2)
        assert 0.5 < confidence <= 1


def test_stream_writes_a_cutout_of_every_frame(clip, run):
    lines = run("stream.py", clip / "clip", clip / "clip.png", "cutouts")
    assert len(lines) == FRAMES
    for index in range(FRAMES):
        cutout = cv2.imread(f"cutouts/{index:05d}.png", cv2.IMREAD_UNCHANGED)
        frame = cv2.imread(str(clip / "clip" / f"{index:05d}.png"))
        np.testing.assert_array_equal(cutout[..., :3], frame)
        assert cutout[32, 32 + 2 * index, 3] > 127 > cutout[5, 5, 3]


def test_batch_folder_and_score_give_a_high_jaccard(clip, run):
    (line,) = run("batch_folder.py", clip, "masks")
    assert line.startswith(f"clip: {FRAMES} masks")
    (line,) = run("score.py", "masks/clip", clip / "truth")
    assert float(line.split("J ")[1].split()[0]) > 0.8


@pytest.mark.slow
def test_an_exported_model_propagates_the_mask(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = run("export_and_run.py", "model")
    assert (tmp_path / "model" / "saved_model.pb").is_file()
    for line in lines[-3:]:
        assert float(line.split()[-1].rstrip("%")) == pytest.approx(11, abs=2)


def test_every_example_is_tested():
    text = Path(__file__).read_text(encoding="utf-8")
    assert all(f'"{path.name}"' in text for path in EXAMPLES.glob("*.py"))
