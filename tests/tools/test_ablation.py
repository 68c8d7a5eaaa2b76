"""The ablation measures every row once, lists missing rows, and makes a table.

The network is replaced by a runner that writes the annotations, shifted by the number of steps.
"""

import json
from contextlib import closing
from functools import partial

import numpy as np
import pytest

from deeplab_gygo.errors import InputError, UsageError
from deeplab_gygo.inference.config import OnlineConfig, preset
from deeplab_gygo.io.masks import write_mask
from deeplab_gygo.runs.clip import ClipStream
from deeplab_gygo.runs.output_directory import output_directory
from deeplab_gygo.runs.run_record import RunRecord

ROWS = """
- {name: base, group: steps}
- {name: shifted, group: steps, online: {steps: 7}}
- {name: same, group: views, online: {steps: 80}}
- {name: other, group: backbone, weights: runs/parent_other/parent.npz}
"""


class Oracle:
    """Runner that writes the annotations, shifted right by the number of steps unless it is 80."""

    done: list[tuple[int, list[str]]] = []

    def __init__(self, settings):
        self.settings = settings

    def run(self, clip, out, *, keep_bars=True):
        steps = self.settings.online.steps
        shift = 0 if steps == 80 else steps
        with output_directory(out) as folder, closing(ClipStream(clip, ahead=2)) as stream:
            for frame in stream:
                assert frame.image.shape[:2] == clip.sequence.size
                mask = np.roll(clip.truth(frame.index), shift, axis=1)
                write_mask(folder / "masks" / f"{frame.name}.png", mask)
            frames = len(stream) - 1
            record = RunRecord(
                command=["test"], config=self.settings.identity,
                seed=self.settings.seed, frames=frames,
                hashes={**clip.hashes(), "weights": self.settings.weights_hash},
                adaptation_seconds=2.0, steps=steps, name=clip.sequence.name, masks=frames + 1,
                total_seconds=2.0 + 0.5 * frames, preset=self.settings.preset,
            )  # fmt: skip
            record.write(folder)
        Oracle.done.append((steps, clip.sequence.frame_names))
        return record


@pytest.fixture
def ablation(tool, tmp_path, monkeypatch):
    """The tool with the oracle as its runner and weights below `tmp_path`."""
    module, rows = tool("ablation"), tool("ablation_rows")
    measure = partial(module.measure, make_runner=Oracle)
    monkeypatch.setattr(module, "measure", measure)
    monkeypatch.setattr(rows, "ROOT", tmp_path)
    monkeypatch.setattr(module, "code_version", lambda: "today")
    monkeypatch.setattr(Oracle, "done", [])
    (tmp_path / "rows.yaml").write_text(ROWS)
    return module


@pytest.fixture
def run(ablation, tmp_path, make_dataset):
    """Function that runs the tool; returns its status and the steps of the rows measured."""
    root = make_dataset(tmp_path / "data", {"bag": 13, "shoes/red": 16})

    def run(*words):
        Oracle.done.clear()
        status = ablation.main(
            ["--rows", str(tmp_path / "rows.yaml"), "--results", str(tmp_path / "ablation.json"),
             "--out", str(tmp_path / "out"), "--dataset", "gygo", "--root", str(root),
             "--split", "val", *words]
        )  # fmt: skip
        return status, [steps for steps, _ in Oracle.done[::2]]

    return run


def _table(tmp_path):
    """Cells of the table by the name of the row."""
    lines = (tmp_path / "ablation.md").read_text().splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if "|" in line]
    return {row[0]: row[1:] for row in rows}


def test_a_row_is_measured_on_every_third_frame_by_the_official_protocol(run, tmp_path):
    status, _ = run("--only", "shifted")
    assert status == 0
    assert [names for _, names in Oracle.done] == [
        ["00000", "00003", "00006", "00009", "00012"],
        ["00000", "00003", "00006", "00009", "00012", "00015"],
    ]
    (kept,) = json.loads((tmp_path / "ablation.json").read_text())["measurements"]
    # The square is 28 wide and moved by 7: 21 of 35 columns are shared.
    assert kept["J"] == pytest.approx(21 / 35)
    assert kept["J_decay"] == pytest.approx(0)
    assert kept["adaptation_seconds"] == 2.0
    assert kept["amortized_fps"] == pytest.approx(9 / (4 + 4.5), abs=1e-5)
    assert "7 of 11 counted" in kept["frames"]  # without the first and the last of a sequence


def test_stride_1_is_every_frame(run, tmp_path):
    run("--only", "shifted", "--stride", "1")
    assert [len(names) for _, names in Oracle.done] == [13, 16]
    assert "One frame in" not in (tmp_path / "ablation.md").read_text()
    run("--only", "shifted")
    assert "One frame in 3 of every sequence" in (tmp_path / "ablation.md").read_text()


def test_the_worst_sequence_has_the_lowest_j(tool, tmp_path):
    measure = tool("ablation_measure")
    rows = [{"sequence": "a", "J": 0.9}, {"sequence": "b", "J": 0.4}, {"sequence": "c", "J": None}]
    assert measure.worst_of(rows) == {"sequence": "b", "J": 0.4}


def test_a_subsampled_sequence_starts_at_the_first_annotation(tool, tmp_path, make_dataset):
    from deeplab_gygo.datasets.registry import open_dataset

    root = make_dataset(tmp_path, {"bag": 9})
    for index in (0, 1):
        (root / "Annotations" / "480p" / "bag" / f"{index:05d}.png").unlink()
    dataset = open_dataset("gygo", root)
    clip = tool("ablation_measure").open_subsampled(dataset, "bag", 3)
    assert clip.sequence.frame_names == ["00002", "00005", "00008"]
    assert [frame.index for frame in clip.sequence] == [0, 1, 2]
    assert (clip.sequence.frame(1).image == dataset.sequence("bag").frame(5).image).all()
    assert (clip.mask == dataset.annotation("bag", 2)).all()
    assert (clip.truth(2) == dataset.annotation("bag", 8)).all()
    with pytest.raises(IndexError):
        clip.sequence.frame(3)


def test_measurements_are_stored_and_shared_by_equal_rows(run, tmp_path):
    assert run() == (0, [80, 7])
    table = _table(tmp_path)
    assert table["same"] == table["base"]
    assert run() == (0, [])
    assert _table(tmp_path) == table


@pytest.mark.parametrize("change", ["seed", "stride", "sequences", "weights", "code", "numbers"])
def test_a_changed_cause_measures_again(run, ablation, tmp_path, monkeypatch, change):
    weights = tmp_path / "weights" / "parent.npz"
    (tmp_path / "rows.yaml").write_text(
        "- {name: base, group: steps, weights: weights/parent.npz}\n"
    )
    weights.parent.mkdir()
    _write_parent(weights, "one")
    run()
    words = []
    if change == "weights":
        _write_parent(weights, "two")
    elif change == "code":
        monkeypatch.setattr(ablation, "code_version", lambda: "tomorrow")
    elif change == "numbers":
        text = (tmp_path / "rows.yaml").read_text()
        (tmp_path / "rows.yaml").write_text(text.replace("}", ", preset: fast}"))
    else:
        value = {"seed": ["1"], "stride": ["2"], "sequences": ["shoes/red", "bag"]}[change]
        words = [f"--{change}", *value]
    assert len(run(*words)[1]) == 1
    assert run(*words)[1] == []


def _write_parent(path, card):
    head = json.dumps({"format": "deeplab_gygo.parent.1", "model": {}, "card": {"is": card}})
    np.savez(path, __card__=np.frombuffer(head.encode(), np.uint8))


def test_a_failed_row_is_reported_and_the_others_are_measured(run, tmp_path, monkeypatch, capsys):
    whole = Oracle.run

    def trouble(self, clip, out, **options):
        if self.settings.online.steps == 7 and clip.sequence.name == "bag":
            raise InputError("A frame is whole", met="half of it")
        return whole(self, clip, out, **options)

    monkeypatch.setattr(Oracle, "run", trouble)
    assert run()[0] == 3
    assert "shifted: Every sequence of a row is segmented" in capsys.readouterr().err
    assert _table(tmp_path)["shifted"][0] == "not run"
    assert _table(tmp_path)["base"][0] == "1.000"
    # The next run repeats the failed sequence only.
    monkeypatch.setattr(Oracle, "run", whole)
    assert run()[0] == 0
    assert [(steps, len(names)) for steps, names in Oracle.done] == [(7, 5)]


def test_rows_without_weights_name_their_experiment(run, tmp_path, capsys):
    assert run()[0] == 0
    reason = "not run: weights missing (made by experiments/parent_other.yaml)"
    assert _table(tmp_path)["other"][0] == reason
    assert f"other: {reason}" in capsys.readouterr().err


def test_a_measurement_outlives_its_weights(run, tmp_path):
    """As after a training on another machine."""
    weights = tmp_path / "runs" / "parent_other" / "parent.npz"
    weights.parent.mkdir(parents=True)
    _write_parent(weights, "one")
    run("--only", "other")
    figures = _table(tmp_path)["other"]
    assert figures[0] == "1.000"
    _write_parent(weights, "two")
    run("--render")
    assert _table(tmp_path)["other"][0] == "not run"  # it was measured with other weights
    weights.unlink()
    run("--render")
    assert _table(tmp_path)["other"] == figures


def test_rendering_measures_nothing(run, tmp_path):
    assert run("--render") == (0, [])
    assert not (tmp_path / "ablation.json").exists()
    assert _table(tmp_path)["base"][0] == "not run"


def test_rows_are_sorted_by_group(run, tmp_path):
    run("--render")
    names = list(_table(tmp_path))
    assert names[0] == "row"
    assert names[2:] == [
        "**backbone**",
        "other",
        "**steps**",
        "base",
        "shifted",
        "**views**",
        "same",
    ]


def test_the_caption_reports_different_code(run, ablation, tmp_path, monkeypatch):
    run()
    assert "versions of the code" not in (tmp_path / "ablation.md").read_text()
    monkeypatch.setattr(ablation, "code_version", lambda: "tomorrow")
    run("--only", "shifted")
    assert "different versions of the code" in (tmp_path / "ablation.md").read_text()


def test_a_row_starts_from_its_preset(tool):
    row = tool("ablation_rows").Row("x", "steps", preset="best", online={"steps": 9})
    assert row.config.steps == 9
    assert row.config.num_views == preset("best").num_views
    assert tool("ablation_rows").Row("x", "steps").config == OnlineConfig()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- {name: a, group: steps, online: {stepz: 3}}", "stepz.*row a"),
        ("- {name: a, group: colors}", "group.*row 1"),
        ("- {name: a, group: steps, preset: turbo}", "turbo"),
        ("- {name: a, group: steps}\n- {name: a, group: views}", "unique name; met: a"),
        ("- {name: a, group: steps, wieghts: x}", "wieghts"),
        ("a: 1", "a list; met: dict"),
        ("{oops", "YAML"),
    ],
)
def test_unusable_rows_are_refused_by_name(tool, tmp_path, text, message):
    (tmp_path / "rows.yaml").write_text(text)
    with pytest.raises(UsageError, match=message):
        tool("ablation_rows").read_rows(tmp_path / "rows.yaml")


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["--only", "ghost"], 2, "met: ghost. Name some of: base, shifted"),
        (["--stride", "0"], 2, "stride is 1 or more"),
        (["--split", "test"], 65, "'test' needs a list"),
    ],
)
def test_unusable_options_are_refused(run, capsys, words, status, message):
    assert run(*words)[0] == status
    assert message in capsys.readouterr().err


def test_without_a_dataset_only_rendering_works(ablation, tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("DEEPLAB_GYGO_DATA", raising=False)
    words = ["--rows", tmp_path / "rows.yaml", "--results", tmp_path / "ablation.json"]
    assert ablation.main([*map(str, words), "--render"]) == 0
    assert ablation.main([*map(str, words)]) == 2
    assert "--root" in capsys.readouterr().err


def test_a_damaged_file_of_results_is_named(run, tmp_path, capsys):
    (tmp_path / "ablation.json").write_text("[]")
    assert run("--render")[0] == 65
    assert "ablation.json" in capsys.readouterr().err


def test_the_rows_of_this_repository_are_usable_and_cover_every_group(tool):
    from typing import get_args

    module = tool("ablation_rows")
    rows = module.read_rows(module.ROOT / "experiments" / "ablation.yaml")
    assert {row.group for row in rows} == set(get_args(module.Group))


def test_the_version_of_the_code_follows_from_imported_modules(tool, tmp_path):
    module = tool("ablation_rows")
    package = tmp_path / "deeplab_gygo"
    sources = {
        "inference/segmenter.py": "from deeplab_gygo.inference.adapter import b\n",
        "inference/adapter.py": "b = 1\n", "runs/clip.py": "", "evaluation/streaming.py": "",
        "training/trainer.py": "",
    }  # fmt: skip
    for name, text in sources.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).parent.joinpath("__init__.py").touch()
        (package / name).write_text(text)
    (package / "__init__.py").touch()
    before = module.code_version(tmp_path)
    (package / "training/trainer.py").write_text("c = 2\n")
    assert module.code_version(tmp_path) == before
    (package / "inference/adapter.py").write_text("b = 2\n")
    assert module.code_version(tmp_path) != before


def test_network_and_measures_are_part_of_the_version_of_the_code(tool):
    module = tool("ablation_rows")
    names = {path.relative_to(module.ROOT / "deeplab_gygo").as_posix()
             for path in module.source_files()}  # fmt: skip
    assert {"inference/adapter.py", "inference/config.py", "models/deeplab.py",
            "evaluation/measures.py", "backend/steps.py", "io/masks.py"} <= names  # fmt: skip
    assert not {name for name in names if name.startswith(("training", "export", "cli"))}
