"""The summary of a batch becomes a stored result and a row of the README."""

import json
from dataclasses import replace

import numpy as np
import pytest

from deeplab_gygo.errors import UsageError
from deeplab_gygo.evaluation import DatasetScore, SequenceScore, write_report
from deeplab_gygo.inference.config import OnlineConfig, preset
from deeplab_gygo.io.config_file import to_plain

# First and last frame do not count; of the nine others the first and the last three determine the
# decay.
FALLING = [1.0, 0.9, 0.9, 0.9, 0.7, 0.7, 0.7, 0.5, 0.5, 0.5, 0.0]
STEADY = [1.0] + [0.8] * 9 + [0.0]
HARDWARE = {"cpu": "Z80", "cores": 2, "gpu": None}


@pytest.fixture
def update_results(tool, tmp_path, monkeypatch):
    """The tool, working in a folder of its own."""
    module = tool("update_results")
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "RESULTS", tmp_path / "experiments" / "results")
    module.RESULTS.mkdir(parents=True)
    return module


def _batch(folder, *, online=None, name="balanced", label="", scored=True):
    """Writes what a batch of two sequences leaves."""
    rows = [
        {"sequence": sequence, "frames": 11, "adaptation_seconds": 4.0, "amortized_fps": 2.0,
         "J": float(np.mean(values[1:-1])), "F": 0.6, "status": "done"}
        for sequence, values in (("shoes/red", FALLING), ("bag", STEADY))
    ]  # fmt: skip
    mean = {**rows[0], "sequence": "mean of 2", "frames": 22, "J": 0.75}
    settings = {"online": to_plain(online or OnlineConfig()), "seed": 0, "preset": name}
    summary = {"sequences": rows, "mean": mean, "settings": settings}
    (folder / "bag").mkdir(parents=True)
    (folder / f"summary{label}.json").write_text(json.dumps(summary))
    record = {"hashes": {"weights": "abc"}, "hardware": HARDWARE, "versions": {}}
    (folder / "bag" / "run.json").write_text(json.dumps(record))
    if scored:
        names = tuple(f"{index:05d}" for index in range(11))
        scores = [
            SequenceScore(sequence, names, (1,), np.array([values]), np.array([values]))
            for sequence, values in (("shoes/red", FALLING), ("bag", STEADY))
        ]
        write_report(DatasetScore("davis2016", "val", tuple(scores)), folder / f"scores{label}")
    return folder / f"summary{label}.json"


def _kept(module, name):
    return json.loads((module.RESULTS / f"{name}.json").read_text())


def _rows(module, name="table"):
    """Cells of the table's rows, without header."""
    lines = [line for line in getattr(module, name)().splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


@pytest.mark.parametrize("label", ["", "-0-of-2"])
def test_decay_and_worst_sequence_are_kept(update_results, tmp_path, label):
    update_results.add("davis--fine-tune", _batch(tmp_path / "out", label=label))
    kept = _kept(update_results, "davis--fine-tune")
    assert [row["J_decay"] for row in kept["sequences"]] == pytest.approx([0.4, 0.0])
    assert kept["mean"]["J_decay"] == pytest.approx(0.2)
    assert kept["worst"] == {"sequence": "shoes/red", "J": 0.7}
    assert kept["hardware"] == HARDWARE
    (row,) = _rows(update_results)
    assert row == ["davis", "fine-tune, `--preset balanced`", "0.750", "0.600", "0.200",
                   "shoes/red (0.70)"]  # fmt: skip


def test_a_batch_without_scores_has_no_decay(update_results, tmp_path):
    update_results.add("davis--fine-tune", _batch(tmp_path / "out", scored=False))
    assert _kept(update_results, "davis--fine-tune")["mean"]["J_decay"] is None
    assert _rows(update_results)[0][4] == "-"


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("best", {}, "fine-tune, `--preset best`"),
        ("best", {"steps": 9}, "fine-tune, `--preset best`, `--online.steps 9`"),
        ("balanced", {"mode": "zero-shot"}, "zero-shot"),
        ("best", {"mode": "one-shot"}, "one-shot, `--preset best`"),
    ],
)
def test_the_mode_names_the_preset_and_the_changed_options(
    update_results, tmp_path, name, changes, words
):
    online = replace(preset(name, mode=changes.get("mode", "")), **changes)
    update_results.add("davis--x", _batch(tmp_path / "out", online=online, name=name))
    assert _rows(update_results)[0][1] == words


def test_a_failed_sequence_has_no_values(update_results, tmp_path):
    for mode in ("zero-shot", "fine-tune"):
        summary = _batch(tmp_path / mode, online=OnlineConfig(mode=mode))
        data = json.loads(summary.read_text())
        failed = dict.fromkeys(data["sequences"][0])
        data["sequences"].append({**failed, "sequence": "cup", "status": "failed"})
        summary.write_text(json.dumps(data))
        update_results.add(f"davis--{mode}", summary)
    assert [row[5] for row in _rows(update_results)] == ["shoes/red (0.70)"] * 2


def test_only_the_text_between_the_markers_is_replaced(update_results, tmp_path, monkeypatch):
    def page(path, *markers):
        path.parent.mkdir(exist_ok=True)
        blocks = [f"{begin}\nold\n{end}\n" for begin, end in markers]
        path.write_text("before\n" + "between\n".join(blocks))
        return path

    results = (update_results.BEGIN, update_results.END)
    pages = [
        page(tmp_path / "README.md", results, update_results.PEERS),
        page(
            tmp_path / "docs" / "results.md",
            update_results.SEQUENCES,
            update_results.PUBLISHED,
            update_results.GPU,
            update_results.CORRECTIONS,
            update_results.STROKES,
            update_results.EFFORT,
        ),
        page(tmp_path / "docs" / "outputs.md", update_results.MATTE),
    ]
    gpu = {
        "rows": [{"measure": "copy", "value": 3.17, "unit": "TB/s", "wanted": ""}],
        "about": "One.",
    }
    (update_results.RESULTS / "gpu.json").write_text(json.dumps(gpu))
    rows = [{"J": 0.7, "J_of_others": 0.65}, {"J": 0.75, "J_of_others": 0.6512}]
    corrections = {"command": "measure", "mean_J": [0.7, 0.75], "sequences": {"dog": rows}}
    (update_results.RESULTS / "corrections.json").write_text(json.dumps(corrections))
    kinds = ("color, true alpha", "color, alpha of the network", "alpha", "alpha, smoothed")
    matte = {"clips": 2, "frames": 3, "preset": "fast"}
    matte["mean"] = {kind: [30.0 + k, 0.5] for k, kind in enumerate(kinds)}
    (update_results.RESULTS / "matte.json").write_text(json.dumps(matte))
    clicks = {"first": {"table": {"count": 3, "J": [0.0, 0.111, 0.2, 0.222, 0.3, 0.3, 0.333]}}}
    clicks["corrected"] = {"table": {"count": 3, "J": [0.4, 0.444, 0.5, 0.555]}}
    strokes = {"mean": clicks, "former": {"mean": clicks}}
    (update_results.RESULTS / "strokes.json").write_text(json.dumps(strokes))
    effort = {"propagation": [{"person_seconds": 19.4, "J": 0.61}] * 2}
    effort["polygons"] = {"person_seconds": 598.0, "J": 0.646}
    effort = {"mean": effort, "command": "measure effort"}
    (update_results.RESULTS / "annotation.json").write_text(json.dumps(effort))
    update_results.add("davis--fine-tune", _batch(tmp_path / "out"))
    monkeypatch.setattr("sys.argv", ["update_results.py", "render"])
    update_results.main()
    readme, docs, outputs = once = [path.read_text() for path in pages]
    assert readme.startswith(f"before\n{results[0]}\n| dataset ")
    assert f"\n{results[1]}\nbetween\n{update_results.PEERS[0]}\n| method " in readme
    assert readme.endswith(f"{update_results.PEERS[1]}\n") and "| STM " in readme
    assert docs.startswith(f"before\n{update_results.SEQUENCES[0]}\n| sequence ")
    assert "| XMem " in docs and "\n1. GyGO" in docs
    assert "3.17 TB/s | -" in docs and "\nOne.\n" in docs
    assert "| dog " in docs and "| 0.700 " in docs and "0.651" in docs
    assert "| 0.111 (0.111) | 0.222 (0.222) | 0.333 (0.333) |" in docs
    assert "| 0.400 (0.400) | 0.444 (0.444) | 0.555 (0.555) |" in docs
    assert "| correction 1 " in docs and "| 598 " in docs and "`measure effort`" in docs
    assert "2 composed clips of 3 frames, preset fast." in outputs and "| 30.0 " in outputs
    assert "old" not in "".join(once)
    update_results.main()
    assert [path.read_text() for path in pages] == once


def test_a_file_without_markers_is_refused(update_results, tmp_path):
    path = tmp_path / "page.md"
    path.write_text("a b")
    with pytest.raises(UsageError, match="<x>.*</x>") as error:
        update_results.write_block(path, "<x>", "</x>", "body")
    assert str(path) in str(error.value)


def test_the_results_of_this_repository_make_a_table(tool):
    rows = _rows(tool("update_results"))
    assert rows
    assert all(len(row) == 6 for row in rows)


def test_peers_stand_beside_measured_rows_with_their_material(tool):
    rows = _rows(tool("update_results"), "peers_table")
    scores = [float(row[2]) for row in rows]
    assert scores == sorted(scores, reverse=True)
    measured = [row for row in rows if row[5] == "measured"]
    assert len(measured) == 5 and len(rows) == 15
    assert all("DAVIS-2016 train" in row[4] for row in measured)
    assert next(row for row in rows if row[0] == "STM")[4].endswith("YouTube-VOS")


def test_every_sequence_stands_beside_its_published_scores(tool, golden):
    module = tool("update_results")
    header = [cell.strip() for cell in module.sequences_table().splitlines()[0].split("|")[1:-1]]
    rows = {row[0]: dict(zip(header, row, strict=True)) for row in _rows(module, "sequences_table")}
    published = json.loads((golden / "davis16_published.json").read_text())
    assert set(rows) == {*published["split"]["val_dev"], "mean"}
    best = _kept(module, "davis-val_dev--best")
    for row in best["sequences"]:
        cells = rows[row["sequence"]]
        assert float(cells["this package, best"]) == pytest.approx(row["J"], abs=0.0006)
        for method in ("STM", "OnAVOS", "FEELVOS", "OSVOS"):
            truth = published["methods"][method.lower()]["val_dev_sequences"][row["sequence"]]
            assert float(cells[f"{method}, quoted"]) == pytest.approx(truth["J_mean"], abs=0.0006)
    assert rows["mean"]["this package, best"] == f"{best['mean']['J']:.3f}"
