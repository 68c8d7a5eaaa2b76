"""`draw`: a mask from points or a box on the demo clip, which `segment` starts from; bad values."""

import json

import numpy as np
import pytest

import deeplab_gygo as dg
from deeplab_gygo.cli.demo import demo_clip
from deeplab_gygo.cli.main import main
from deeplab_gygo.errors import UsageError
from deeplab_gygo.evaluation.measures import jaccard

FRAMES, TRUTH = demo_clip() / "frames", demo_clip() / "masks" / "00000.png"


@pytest.fixture(scope="module")
def truth():
    return dg.read_mask(TRUTH) > 0


def _middle(mask):
    rows, columns = np.nonzero(mask)
    return int(columns.mean()), int(rows.mean())


def test_a_mask_is_drawn_from_a_point_and_corrected(tmp_path, truth, capsys):
    x, y = _middle(truth)
    first, second = tmp_path / "first.png", tmp_path / "second.png"
    words = ["draw", str(FRAMES), "--inside", f"{x},{y}", "--outside", "2,2"]
    assert main([*words, "--out", str(first), "-q"]) == 0
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    mask = dg.read_mask(first) > 0
    assert line["mask"] == str(first) and line["frame"] == "00000"
    assert line["object_share"] == pytest.approx(mask.mean(), abs=1e-4)
    assert mask.shape == truth.shape and mask[y, x] and not mask[2, 2]
    assert jaccard(mask, truth) > 0.8
    words = ["draw", str(FRAMES), "--frame", "0", "--start", str(first), "--outside", f"{x},{y}"]
    assert main([*words, "--out", str(second), "-q"]) == 0
    assert not (dg.read_mask(second) > 0)[y, x]


def test_a_mask_is_drawn_from_a_box_and_from_nothing(truth):
    rows, columns = (np.flatnonzero(truth.any(axis=axis)) for axis in (1, 0))
    box = (columns[0] - 2, rows[0] - 2, columns[-1] + 3, rows[-1] + 3)
    model = dg.load()
    assert jaccard(model.draw(FRAMES, box=box) > 0, truth) > 0.8
    proposed = model.draw(FRAMES)
    assert proposed.shape == truth.shape and set(np.unique(proposed)) <= {0, 1}
    kept = model.draw(FRAMES, start=TRUTH)
    np.testing.assert_array_equal(kept > 0, truth)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--inside", "a,b"], "--inside has numbers between commas; met: a,b"),
        (["--inside", "1"], "A point is x and y"),
        (["--outside", "900,5"], "A point is in the frame"),
        (["--box", "5,5,5,9"], "A box shows a pixel of the frame"),
        (["--frame", "99"], "A frame is a name from 00000"),
    ],
)
def test_bad_values_are_refused(tmp_path, words, message, capsys):
    assert main(["draw", str(FRAMES), *words, "--out", str(tmp_path / "m.png"), "-q"]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_file_is_not_replaced_unasked(tmp_path, capsys):
    out = tmp_path / "m.png"
    out.write_bytes(b"mine")
    assert main(["draw", str(FRAMES), "--inside", "9,9", "--out", str(out), "-q"]) == 2
    assert "Add --overwrite" in capsys.readouterr().err and out.read_bytes() == b"mine"
    assert main(["draw", str(FRAMES), "--inside", "9,9", "--out", str(tmp_path / "m.jpg")]) == 2


def test_frames_that_are_read_once_are_refused():
    with pytest.raises(UsageError, match="a clip that can be read again"):
        dg.load().draw(iter([np.zeros((48, 64, 3), np.uint8)]), inside=[(1, 1)])
