"""Missing cells are run, finished ones are kept, impossible ones are reported."""

import json

from deeplab_gygo.benchmark.plan import cells_of
from deeplab_gygo.benchmark.run import run_missing, settings_of
from deeplab_gygo.errors import InputError

NAMES = ["shoes/red", "bag", "cup"]


def test_every_cell_whose_weights_are_there_is_measured(bench):
    troubles = bench.measure()
    modes = [("copy", "one-shot"), ("deeplab", "zero-shot"), ("deeplab", "one-shot")]
    assert bench.log == [(*mode, name) for mode in modes for name in NAMES]
    assert [(t.cell.row.name, t.failed) for t in troubles] == [("osmn", False)]
    assert "experiments/osmn.yaml" in troubles[0].message


def test_a_finished_benchmark_makes_no_runner(bench):
    bench.measure()
    scores = bench.cell("one").folder / "scores" / "scores.json"
    before = scores.stat().st_mtime_ns

    def make_runner(settings):
        raise AssertionError("a network was loaded")

    config = bench.config
    cells = cells_of(config, bench.out, ("copy", "zero", "one"))
    assert run_missing(cells, config, bench.data, make_runner=make_runner) == []
    assert scores.stat().st_mtime_ns == before


def test_an_interrupted_cell_is_resumed(bench):
    troubles = bench.measure(("one",), trouble={"bag": InputError("A frame is readable")})
    assert [trouble.failed for trouble in troubles] == [True]
    assert "1 of 3" in troubles[0].message
    assert [name for _, _, name in bench.log] == ["shoes/red", "cup"]
    bench.log.clear()
    assert bench.measure(("one",)) == []
    assert [name for _, _, name in bench.log] == ["bag"]


def test_other_options_and_annotations_are_run_again(bench):
    bench.measure(("one",))
    bench.log.clear()
    bench.change_row("one", online={"threshold": 0.4})
    bench.measure(("one",))
    assert len(bench.log) == 3
    bench.log.clear()
    masks = bench.data / "clips" / "Annotations" / "480p" / "bag"
    (masks / "00000.png").write_bytes((masks / "00003.png").read_bytes())
    bench.measure(("one",))
    assert [name for _, _, name in bench.log] == ["bag"]


def test_scores_follow_the_newest_results(bench):
    bench.measure(("zero",))
    folder = bench.cell("zero").folder
    first = json.loads((folder / "scores" / "scores.json").read_text())["mean"]["J"]["mean"]
    bench.change_row("zero", mode="one-shot")
    bench.measure(("zero",))
    second = json.loads((folder / "scores" / "scores.json").read_text())["mean"]["J"]["mean"]
    assert first < 1.0 and second == 1.0


def test_absent_data_is_reported_and_no_failure(bench):
    datasets = [{"name": "gone", "label": "Gone", "kind": "gygo", "root": "nowhere"}]
    bench.change(datasets=datasets)
    troubles = bench.measure(("copy",))
    assert [(t.failed, "nowhere" in t.message) for t in troubles] == [(False, True)]


def test_settings_of_a_row(bench, parent_header):
    bench.change_row("one", mode="fine-tune", preset="best", online={"steps": 7})
    bench.change(seed=5, precision="float32")
    settings = settings_of(bench.config.rows[2], bench.config)
    assert (settings.method, settings.preset, settings.seed) == ("deeplab", "best", 5)
    assert (settings.online.steps, settings.online.tta_flip) == (7, True)
    assert (settings.precision, settings.outputs) == ("float32", ("masks",))
    assert settings.weights_path == parent_header
