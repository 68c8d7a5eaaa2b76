"""Results are read as they were measured; what is missing, mixed or out of date is said."""

import json
import shutil

import pytest

from deeplab_gygo.benchmark.availability import find_dataset
from deeplab_gygo.benchmark.loading import load_cell
from deeplab_gygo.benchmark.results import sequence_order
from deeplab_gygo.runs.run_record import RECORD_NAME


def _load(bench, name, *, data=True):
    cell = bench.cell(name)
    return load_cell(cell, bench.config, find_dataset(cell.dataset, bench.data) if data else None)


def _j(shift):
    return (28 - shift) / (28 + shift)


def test_means_and_sequences_are_those_of_the_masks(measured):
    result = _load(measured, "zero")
    values = {sequence.name: sequence.region.mean for sequence in result.sequences}
    assert values == pytest.approx({"shoes/red": _j(1), "bag": _j(6), "cup": _j(3)})
    assert result.region.mean == pytest.approx((_j(1) + _j(6) + _j(3)) / 3)
    assert result.region.decay == pytest.approx(0)
    assert [s.frame_count for s in result.sequences] == [6, 7, 8]  # first and last left out
    assert [s.name for s in result.worst_first] == ["bag", "cup", "shoes/red"]
    assert result.with_last[0] == pytest.approx(result.region.mean)


def test_times_are_those_of_the_records(measured):
    result = _load(measured, "one")
    frames, seconds = 7 + 8 + 9, 3 * 2.0 + 0.5 * (7 + 8 + 9)
    assert result.fps == pytest.approx(frames / seconds)
    assert result.adaptation_seconds == pytest.approx(2.0)
    assert result.seconds_per_frame == pytest.approx(0.5)
    assert result.trunk == "EfficientNet-Lite0"


def test_without_the_data_what_was_scored_is_read(measured):
    with_data, without = _load(measured, "zero"), _load(measured, "zero", data=False)
    assert without.is_measured
    assert without.region == with_data.region


def test_what_was_not_run_says_why(measured, bench):
    assert "osmn.npz, made by experiments/osmn.yaml" in _load(measured, "osmn").reason
    assert _load(bench, "copy").reason == "not run"
    assert "data is not at hand" in _load(bench, "copy", data=False).reason


def test_an_incomplete_cell_has_no_means(bench):
    bench.measure(("zero",))
    shutil.rmtree(bench.cell("zero").folder / "bag")
    result = _load(bench, "zero")
    assert result.reason == "incomplete: 2 of 3 sequences"
    assert not result.is_measured


def test_results_of_other_options_seed_or_weights_do_not_count(bench, tmp_path):
    bench.measure(("zero",))
    bench.change(seed=4)
    assert "not run with these options" in _load(bench, "zero").reason
    bench.change(seed=0)
    bench.change_row("zero", online={"threshold": 0.3})
    assert "not run with these options" in _load(bench, "zero").reason
    other = tmp_path / "other.npz"
    other.write_bytes(b"other")
    bench.change_row("zero", online={}, weights=str(other))
    assert "not run with these weights" in _load(bench, "zero").reason
    bench.change_row("zero", weights=str(tmp_path / "gone.npz"))
    assert _load(bench, "zero").is_measured  # elsewhere, without the weights


def test_options_that_came_later_are_a_caveat_unless_the_row_sets_them(bench):
    bench.measure(("zero",))
    for path in bench.cell("zero").folder.rglob(RECORD_NAME):
        record = json.loads(path.read_text())
        del record["config"]["online"]["trust"]
        path.write_text(json.dumps(record))
    result = _load(bench, "zero")
    assert result.is_measured
    assert "trust" in result.caveat
    bench.change_row("zero", online={"trust": 0.8})
    assert "not run with these options" in _load(bench, "zero").reason


def test_scores_of_an_earlier_run_are_measured_anew(bench):
    bench.measure(("zero",))
    before = _load(bench, "zero").region.mean
    folder = bench.cell("zero").folder / "bag"
    record = json.loads((folder / RECORD_NAME).read_text())
    annotations = bench.data / "clips" / "Annotations" / "480p" / "bag"
    for mask in (folder / "masks").iterdir():
        shutil.copy(annotations / mask.name, mask)
    (folder / RECORD_NAME).write_text(json.dumps(record | {"warnings": ["run again"]}))
    assert _load(bench, "zero", data=False).reason == "not scored, and the data is not at hand"
    assert _load(bench, "zero").region.mean > before


def test_sequences_are_ordered_by_their_mean_over_the_rows(rendered):
    results, _, _ = rendered
    assert sequence_order(results, results[0].dataset) == ["bag", "cup", "shoes/red"]
