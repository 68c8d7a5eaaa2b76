"""Results are read as measured; missing, mixed or outdated ones have a reason."""

import json
import shutil

import pytest

from deeplab_gygo.benchmark.results import load_cell, sequence_order
from deeplab_gygo.runs.run_record import RECORD_NAME


def _load(bench, name, *, data=True):
    cell = bench.cell(name)
    return load_cell(cell, bench.config, cell.dataset.open(bench.data) if data else None)


def _j(shift):
    return (28 - shift) / (28 + shift)


def test_means_by_hand(measured):
    result = _load(measured, "zero")
    values = {sequence.name: sequence.region.mean for sequence in result.sequences}
    assert values == pytest.approx({"shoes/red": _j(1), "bag": _j(6), "cup": _j(3)})
    assert result.region.mean == pytest.approx((_j(1) + _j(6) + _j(3)) / 3)
    assert result.region.decay == pytest.approx(0)
    assert [s.frame_count for s in result.sequences] == [6, 7, 8]  # first and last left out
    assert [s.name for s in result.worst_first] == ["bag", "cup", "shoes/red"]
    assert result.with_last[0] == pytest.approx(result.region.mean)


def test_times_follow_from_the_records(measured):
    result = _load(measured, "one")
    frames, seconds = 7 + 8 + 9, 3 * 2.0 + 0.5 * (7 + 8 + 9)
    assert result.fps == pytest.approx(frames / seconds)
    assert result.adaptation_seconds == pytest.approx(2.0)


def test_scores_are_read_without_the_data(measured):
    with_data, without = _load(measured, "zero"), _load(measured, "zero", data=False)
    assert not without.reason
    assert without.region == with_data.region


def test_reasons_of_cells_that_were_not_run(measured, bench):
    assert "osmn.npz, made by experiments/osmn.yaml" in _load(measured, "osmn").reason
    assert _load(bench, "copy").reason == "not run"
    assert "the data is absent" in _load(bench, "copy", data=False).reason


def test_an_incomplete_cell_has_no_means(bench):
    bench.measure(("zero",))
    shutil.rmtree(bench.cell("zero").folder / "bag")
    result = _load(bench, "zero")
    assert result.reason == "incomplete: 2 of 3 sequences"


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
    assert not _load(bench, "zero").reason  # results without the weights are shown


def test_outdated_scores_are_computed_again(bench):
    bench.measure(("zero",))
    before = _load(bench, "zero").region.mean
    folder = bench.cell("zero").folder / "bag"
    record = json.loads((folder / RECORD_NAME).read_text())
    annotations = bench.data / "clips" / "Annotations" / "480p" / "bag"
    for mask in (folder / "masks").iterdir():
        shutil.copy(annotations / mask.name, mask)
    (folder / RECORD_NAME).write_text(json.dumps(record | {"warnings": ["run again"]}))
    assert _load(bench, "zero", data=False).reason == "not evaluated, and the data is absent"
    assert _load(bench, "zero").region.mean > before


def test_sequences_are_ordered_by_their_mean_over_the_rows(rendered):
    results, _, _ = rendered
    assert sequence_order(results) == ["bag", "cup", "shoes/red"]
