"""The configuration of a benchmark is checked when it is read."""

import pytest

from deeplab_gygo.benchmark.plan import BenchmarkConfig, cells_of
from deeplab_gygo.errors import UsageError
from deeplab_gygo.io.config_file import load_yaml


def test_cells_are_datasets_times_rows_in_order(bench):
    cells = cells_of(bench.config, "out")
    assert [cell.row.name for cell in cells] == ["copy", "zero", "one", "osmn"]
    assert cells[1].folder.as_posix() == "out/cells/clips_val/zero"


def test_rows_are_chosen_by_name_and_by_dataset(bench):
    assert [c.row.name for c in cells_of(bench.config, "out", ("one", "copy"))] == ["copy", "one"]
    with pytest.raises(UsageError, match="best"):
        cells_of(bench.config, "out", ("best",))
    second = {"name": "more", "label": "More", "kind": "gygo"}
    bench.change(datasets=[{"name": "clips_val", "label": "C", "kind": "gygo"}, second])
    bench.change_row("zero", datasets=["more"])
    names = [(c.dataset.name, c.row.name) for c in cells_of(bench.config, "out")]
    assert ("clips_val", "zero") not in names and ("more", "zero") in names


def test_titles_of_classical_methods_have_no_mode(bench):
    titles = [row.title for row in bench.config.rows]
    expected = ["First mask copied", "DeepLabV3+ zero-shot", "DeepLabV3+ one-shot (exact)"]
    assert titles == [*expected, "OSMN one-shot"]


def test_options_start_from_the_preset_of_the_method(bench):
    bench.change_row("one", mode="fine-tune", preset="fast", online={"num_views": 3})
    online = bench.config.rows[2].online_config()
    assert (online.mode, online.steps, online.num_views) == ("fine-tune", 40, 3)


@pytest.mark.parametrize(
    ("row", "changes", "met"),
    [
        ("copy", {"mode": "fine-tune"}, "fine-tune"),
        ("one", {"preset": "quick"}, "quick"),
        ("one", {"online": {"stepps": 3}}, "stepps"),
        ("one", {"online": {"mode": "zero-shot"}}, "online.mode"),
        ("one", {"name": "copy"}, "copy"),
        ("one", {"name": "../one"}, "../one"),
        ("one", {"datasets": ["davis"]}, "davis"),
        ("one", {"steps": 3}, "steps"),
        ("copy", {"weights": "a.npz"}, "a.npz"),
    ],
)
def test_a_wrong_row_is_refused_by_its_value(bench, row, changes, met):
    bench.change_row(row, **changes)
    with pytest.raises(UsageError, match=met.replace(".", r"\.")):
        load_yaml(BenchmarkConfig, bench.path)


@pytest.mark.parametrize(
    ("changes", "met"),
    [
        ({"rows": []}, "none"),
        ({"strip_rows": ["best"]}, "best"),
        ({"strips": -1}, "-1"),
        ({"seed": -1}, "-1"),
        ({"datasets": [{"name": "a", "label": "A", "kind": "gygo", "quoted": ["x-val"]}]}, "x-val"),
    ],
)
def test_a_wrong_benchmark_is_refused_by_its_value(bench, changes, met):
    bench.change(**changes)
    with pytest.raises(UsageError, match=met):
        load_yaml(BenchmarkConfig, bench.path)
