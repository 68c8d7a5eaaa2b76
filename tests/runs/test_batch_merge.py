"""The parts of a batch are joined to what one batch would have written."""

import json
import shutil

import pytest
from batch_runner import maker

from deeplab_gygo.cli import batch as batch_command
from deeplab_gygo.cli import main as cli
from deeplab_gygo.datasets.registry import open_dataset
from deeplab_gygo.errors import BatchFailed, InputError
from deeplab_gygo.io.atomic import files_below
from deeplab_gygo.io.storage import read_url, write_url
from deeplab_gygo.runs.batch import Batch
from deeplab_gygo.runs.batch_merge import merge_parts
from deeplab_gygo.runs.plan import part_of, plan_dataset
from deeplab_gygo.runs.settings import RunSettings

SEQUENCES = {"shoes/red": 6, "bag": 5, "cup": 4, "hat": 4, "ring": 5}


@pytest.fixture
def run(tmp_path, make_dataset, parent_header):
    """Function that runs some parts of a batch into a folder."""
    data = make_dataset(tmp_path / "data", SEQUENCES)

    def run(out, num_parts=1, parts=None, errors=(), **changes):
        settings = RunSettings(weights=parent_header, progress=False, **changes)
        items = plan_dataset(open_dataset("gygo", data), "val")
        make_runner = maker(tmp_path / "journal", errors=dict.fromkeys(errors, "bad luck"))
        for part in range(num_parts) if parts is None else parts:
            label = f"-{part}-of-{num_parts}" if num_parts > 1 else ""
            of_part = part_of(items, num_parts, part)
            result = Batch(of_part, settings, out, label, make_runner=make_runner).run()
            try:
                batch_command.report(result, out, "gygo", "val", label)
            except BatchFailed:
                assert errors

    return run


def _without_times(summary):
    for row in (*summary["sequences"], summary["mean"]):
        row["amortized_fps"] = None
    summary["seconds"] = None
    return summary


def _summary(folder):
    return _without_times(json.loads((folder / "summary.json").read_text()))


def _scores(folder):
    return {path.name: path.read_bytes() for path in (folder / "scores").iterdir()}


@pytest.mark.parametrize("num_parts", [2, 3])
def test_merged_parts_are_as_one_batch(tmp_path, run, num_parts, capsys):
    run(tmp_path / "one")
    run(tmp_path / "parts", num_parts)
    assert not (tmp_path / "parts" / "summary.json").exists()
    capsys.readouterr()
    assert cli.main(["batch-merge", str(tmp_path / "parts")]) == 0
    assert "5 done, 0 skipped, 0 failed" in capsys.readouterr().out
    assert _summary(tmp_path / "parts") == _summary(tmp_path / "one")
    assert _scores(tmp_path / "parts") == _scores(tmp_path / "one")
    assert not (tmp_path / "parts" / "failures.jsonl").exists()


def test_failures_are_joined_and_the_status_says_so(tmp_path, run, capsys):
    run(tmp_path / "one", errors=["bag", "ring"])
    run(tmp_path / "parts", 2, errors=["bag", "ring"])
    assert cli.main(["batch-merge", str(tmp_path / "parts")]) == 3
    assert "2 of 5 failed: bag, ring" in capsys.readouterr().err
    one, parts = ((tmp_path / name / "failures.jsonl").read_text() for name in ("one", "parts"))
    assert parts == one
    assert _summary(tmp_path / "parts") == _summary(tmp_path / "one")
    run(tmp_path / "parts", 2)  # what failed is done now
    assert cli.main(["batch-merge", str(tmp_path / "parts")]) == 0
    assert not (tmp_path / "parts" / "failures.jsonl").exists()


def test_seconds_of_parts_are_added_and_the_rate_is_that_of_all(tmp_path, run):
    run(tmp_path / "out", 2)
    parts = [json.loads(path.read_text()) for path in (tmp_path / "out").glob("summary-*.json")]
    result = merge_parts(tmp_path / "out").result
    assert result.seconds == pytest.approx(sum(part["seconds"] for part in parts))
    rows = [row for part in parts for row in part["sequences"]]
    frames = [row["frames"] - 1 for row in rows]
    seconds = sum(n / row["amortized_fps"] for n, row in zip(frames, rows, strict=True))
    assert result.mean_row()["amortized_fps"] == pytest.approx(sum(frames) / seconds)


def test_missing_parts_are_named(tmp_path, run):
    run(tmp_path / "out", 4, parts=[0, 2])
    with pytest.raises(InputError, match=r"missing: 1 of 4, 3 of 4.*--num-parts"):
        merge_parts(tmp_path / "out")


@pytest.mark.parametrize("make", [True, False])
def test_a_folder_without_parts_is_refused(tmp_path, make):
    if make:
        (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match="no summary of a part" if make else "No such file"):
        merge_parts(tmp_path / "out")


def test_parts_of_two_batches_are_refused(tmp_path, run):
    run(tmp_path / "out", 2)
    run(tmp_path / "out", 3)
    with pytest.raises(InputError, match=r"parts of 2 and parts of 3.*summary-\d-of-2\.json"):
        merge_parts(tmp_path / "out")


def test_parts_that_overlap_are_refused(tmp_path, run):
    run(tmp_path / "out", 2)
    shutil.copy(tmp_path / "out" / "summary-0-of-2.json", tmp_path / "out" / "summary-1-of-2.json")
    with pytest.raises(
        InputError, match=r"shoes/red in summary-0-of-2\.json and summary-1-of-2\.json"
    ):
        merge_parts(tmp_path / "out")


def _change(path, change):
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def test_parts_of_two_lists_are_refused(tmp_path, run):
    run(tmp_path / "out", 2)
    _change(tmp_path / "out" / "summary-0-of-2.json", lambda part: part["sequences"].clear())
    with pytest.raises(InputError, match="met: 0, 2 sequences, not 1, 1"):
        merge_parts(tmp_path / "out")


def test_parts_with_other_settings_are_refused(tmp_path, run):
    run(tmp_path / "out", 2, parts=[0])
    run(tmp_path / "out", 2, parts=[1], seed=7)
    with pytest.raises(InputError, match=r"other seed in summary-1-of-2\.json"):
        merge_parts(tmp_path / "out")


def test_parts_at_a_url_are_joined_there(tmp_path, run, capsys):
    run(tmp_path / "parts", 2, errors=["ring"])
    url = "memory://batch-merge/parts"
    for name in files_below(tmp_path / "parts"):
        write_url(f"{url}/{name}", (tmp_path / "parts" / name).read_bytes())
    assert cli.main(["batch-merge", str(tmp_path / "parts")]) == 3
    assert cli.main(["batch-merge", url]) == 3
    assert f"({url}/failures.jsonl)" in capsys.readouterr().err
    for name in (
        "summary.json",
        "failures.jsonl",
        *(f"scores/{n}" for n in _scores(tmp_path / "parts")),
    ):
        assert read_url(f"{url}/{name}", 1 << 20) == (tmp_path / "parts" / name).read_bytes()
    with pytest.raises(InputError, match=r"no summary of a part \(memory://batch-merge/none\)"):
        merge_parts("memory://batch-merge/none")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("summary-1-of-2.json", "{}", "as the batch wrote it"),
        ("summary-1-of-2.json", '{"sequences": [1], "settings": {}, "seconds": 1}', "as the batch"),
        ("summary-1-of-2.json", "{", "JSON is well-formed"),
        ("scores-1-of-2/scores.json", "{}", "Scores are as a batch writes them"),
        ("scores-1-of-2/scores.json", "[]", "Scores are as a batch writes them"),
        ("bag/run.json", None, "has its record; met: none of bag"),
        ("failures-0-of-2.jsonl", "", "is in the list of failures; met: not ring"),
    ],
)
def test_damaged_files_are_named(tmp_path, run, name, text, message):
    run(tmp_path / "out", 2, errors=["ring"])
    if text is None:
        (tmp_path / "out" / name).unlink()
    else:
        (tmp_path / "out" / name).write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        merge_parts(tmp_path / "out")
    assert "-of-2" in str(caught.value)
    assert not (tmp_path / "out" / "summary.json").exists()
