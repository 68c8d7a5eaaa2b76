"""The script over `val.txt` is the batch command."""

import importlib.util
from pathlib import Path

import pytest

from deeplab_gygo.cli import main as cli

SCRIPT = Path(__file__).parents[2] / "tools" / "segment_val.py"


@pytest.fixture
def script(monkeypatch):
    """The script's `main`, and the words that it hands to the command line."""
    spec = importlib.util.spec_from_file_location("segment_val", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    words = []
    monkeypatch.setattr(cli, "main", lambda given: words.extend(given) or 3)
    return module.main, words


@pytest.mark.parametrize(
    ("listed", "found"),
    [
        ([], "{root}/ImageSets/val.txt"),
        (["--list", "ImageSets/Train.txt"], "{root}/ImageSets/Train.txt"),
        (["--list", "{root}/ImageSets/val.txt"], "{root}/ImageSets/val.txt"),
        (["--list", "ImageSets/train.txt"], "train"),
    ],
)
def test_it_runs_the_batch_over_the_list(tmp_path, make_dataset, script, listed, found):
    root = make_dataset(tmp_path / "data", {"bag": 1})
    main, words = script
    listed = [word.format(root=root) for word in listed]
    status = main(["--root", str(root), *listed, "--out", "o", "--steps", "5", "--overwrite"])
    assert status == 3
    place = ["--root", str(root), "--split", found.format(root=root), "--out", "o"]
    assert words == ["batch", "--dataset", "gygo", *place, "--steps", "5", "--overwrite"]
