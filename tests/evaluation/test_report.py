"""Files and tables of a report: official names, columns and decimals, and remarks."""

from __future__ import annotations

import csv
import json
import os
import re

import numpy as np
import pytest

from deeplab_gygo.errors import StorageError
from deeplab_gygo.evaluation import markdown_table, text_table, write_report
from deeplab_gygo.evaluation.scores import DatasetScore, SequenceScore


def sequence(name: str, region: list[list[float]], contour: list[list[float]]) -> SequenceScore:
    region, contour = np.array(region, dtype=float), np.array(contour, dtype=float)
    names = tuple(f"{index:05d}" for index in range(region.shape[1]))
    return SequenceScore(name, names, tuple(range(1, len(region) + 1)), region, contour)


@pytest.fixture
def pair() -> DatasetScore:
    """Two sequences of one object; J means .6 and .75, F means .5 and .25."""
    nothing = np.nan
    return DatasetScore(
        "davis2016",
        "val",
        (
            sequence(
                "bear",
                [[nothing, 0.9, 0.8, 0.6, 0.4, 0.3, 1.0]],
                [[nothing, 0.5, 0.5, 0.5, 0.5, 0.5, 1.0]],
            ),
            sequence(
                "batch-1/cup",
                [[nothing, 0.75, 0.75, 0.75, 0.75, 0.75, 0.0]],
                [[nothing, 0.25, 0.25, 0.25, 0.25, 0.25, 0.0]],
            ),
        ),
    )


@pytest.fixture
def short() -> DatasetScore:
    """Three clips: 2 frames (none counts), 4 frames (2 count), 7 frames (5 count)."""
    return DatasetScore(
        "gygo",
        "val",
        (
            sequence("two", [[np.nan, 0.2]], [[np.nan, 0.2]]),
            sequence("four", [[np.nan, 0.8, 0.6, 0.1]], [[np.nan, 0.8, 0.6, 0.1]]),
            sequence("seven", [[np.nan] + [0.9] * 6], [[np.nan] + [0.9] * 6]),
        ),
    )


def test_official_tables(pair, tmp_path):
    write_report(pair, tmp_path)
    # bear: J decay (.9 + .8)/2 - (.4 + .3)/2 = .5, recall 3/5; F .5 is not above .5.
    assert (tmp_path / "global_results-val.csv").read_text() == (
        "J&F-Mean,J-Mean,J-Recall,J-Decay,F-Mean,F-Recall,F-Decay\n"
        "0.525,0.675,0.800,0.250,0.375,0.000,0.000\n"
    )
    assert (tmp_path / "per-sequence_results-val.csv").read_text() == (
        "Sequence,J-Mean,F-Mean\nbear_1,0.600,0.500\nbatch-1/cup_1,0.750,0.250\n"
    )


def test_table_of_frames_marks_the_counted_ones(pair, tmp_path):
    write_report(pair, tmp_path)
    with (tmp_path / "per-frame.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 14
    assert rows[0] == {
        "Sequence": "bear",
        "Object": "1",
        "Frame": "00000",
        "Counted": "0",
        "J": "",
        "F": "",
    }
    assert [row["Counted"] for row in rows[:7]] == list("0111110")
    assert (rows[6]["J"], rows[4]["J"]) == ("1.000000", "0.400000")


def test_files_of_an_earlier_report_are_replaced(pair, short, tmp_path):
    first = write_report(short, tmp_path)
    old = {path: path.read_text() for path in first}
    second = write_report(pair, tmp_path)
    assert second == first
    assert all(path.read_text() != old[path] for path in second)
    assert sorted(path.name for path in second) == sorted(os.listdir(tmp_path))


def test_json_is_strict_and_complete(short, tmp_path):
    write_report(short, tmp_path)

    def refuse(constant):
        raise AssertionError(constant)

    document = json.loads((tmp_path / "scores.json").read_text(), parse_constant=refuse)
    assert document["mean"]["J"]["mean"] == pytest.approx((0.7 + 0.9) / 2)
    assert document["mean_with_last_frame"]["J"]["mean"] == pytest.approx((0.2 + 0.5 + 0.9) / 3)
    two, four, _ = document["sequences"]
    assert two["objects"][0]["J&F"] is None
    assert four["counted"] == [False, True, True, False]
    assert four["objects"][0]["per_frame"]["J"] == [None, 0.8, 0.6, 0.1]
    assert document["frames"] == "official"


def test_absent_means_are_empty_cells(tmp_path):
    score = DatasetScore("gygo", "val", (sequence("two", [[np.nan, 0.2]], [[np.nan, 0.2]]),))
    write_report(score, tmp_path)
    assert (tmp_path / "global_results-val.csv").read_text().splitlines()[1] == ",,,,,,"
    assert "two_1,," in (tmp_path / "per-sequence_results-val.csv").read_text()
    assert "nan" not in text_table(score)


@pytest.mark.parametrize("table", [text_table, markdown_table])
def test_tables_state_the_counted_frames(pair, table):
    text = table(pair)
    assert "first and last frame of every sequence left out" in text
    assert "10 of 14 counted" in text
    assert "last frames counted:" not in text
    assert "0.525" in text and "0.675" in text


@pytest.mark.parametrize("table", [text_table, markdown_table])
def test_tables_remark_on_short_clips(short, table):
    text = table(short)
    assert "No frame counted, left out of the means: two." in text
    assert "Fewer than 5 frames counted, decay is unreliable: four (2)." in text
    assert "With the last frames counted: J&F 0.533, J 0.533, F 0.533." in text


def test_long_clips_of_gygo_are_given_both_ways_too(pair):
    score = DatasetScore("gygo", "val", pair.sequences)
    # J with the last frame: (.6 * 5 + 1) / 6 and (.75 * 5) / 6; F likewise.
    assert "With the last frames counted: J&F 0.521, J 0.646, F 0.396." in text_table(score)


def test_worst_first(short):
    lines = text_table(short, worst_first=True).splitlines()
    order = [line.split()[0] for line in lines if line.split()[0] in ("two", "four", "seven")]
    assert order == ["four", "seven", "two"]


def test_columns_of_the_text_table_line_up(pair):
    lines = text_table(pair).splitlines()[1:7]
    assert len({len(line) for line in lines}) == 1
    assert "bear_1" not in text_table(pair)


def test_markdown_table_has_equal_columns(pair):
    lines = [line for line in markdown_table(pair).splitlines() if line.startswith("|")]
    assert len(lines) == 5
    assert len({line.count("|") for line in lines}) == 1


def test_several_objects_have_a_row_each(tmp_path):
    score = DatasetScore(
        "davis2017",
        "val",
        (
            sequence("dogs", [[1, 0.5, 0.5, 1], [1, 0.7, 0.7, 1]], [[1] * 4, [1] * 4]),
            sequence("car", [[1, 0.9, 0.9, 1]], [[1] * 4]),
        ),
    )
    write_report(score, tmp_path)
    rows = (tmp_path / "per-sequence_results-val.csv").read_text().splitlines()
    assert rows[1:] == ["dogs_1,0.500,1.000", "dogs_2,0.700,1.000", "car_1,0.900,1.000"]
    # The mean is over objects, not over sequences.
    assert score.region.mean == pytest.approx(0.7)
    assert "mean of 3 objects" in text_table(score)
    assert "dogs_2" in text_table(score)


def test_an_unwritable_folder_is_refused(pair, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="writable"):
        write_report(pair, tmp_path / "file")


HOSTILE = "<img src=x onerror=alert(1)>|\x1b[2J\u202e`*_[a](javascript:b)\udcff\n=1+1"


@pytest.fixture
def hostile() -> DatasetScore:
    values = [[np.nan, 0.9, 0.8, 0.5]]
    names = ("=cmd|' /C calc'!A0", "+1+1", "-1+1", "@SUM(1)", "\t=1", HOSTILE)
    return DatasetScore(HOSTILE, "val", tuple(sequence(name, values, values) for name in names))


def test_no_cell_of_a_csv_is_a_formula(hostile, tmp_path):
    for path in write_report(hostile, tmp_path):
        if path.suffix != ".csv":
            continue
        with path.open(newline="") as file:
            rows = list(csv.reader(file))
        assert len({len(row) for row in rows}) == 1
        for cell in (cell for row in rows for cell in row):
            assert not cell.startswith(("=", "+", "@", "\t", "\r")), cell
            assert not cell.startswith("-") or float(cell), cell
            assert cell.isprintable()


def test_numbers_of_a_csv_stay_numbers(tmp_path):
    rising = [[np.nan, 0.1, 0.2, 0.3, 0.9, 0.9]]
    score = DatasetScore("gygo", "val", (sequence("cup", rising, rising),))
    write_report(score, tmp_path)
    cells = (tmp_path / "global_results-val.csv").read_text().splitlines()[1].split(",")
    assert float(cells[3]) < 0 and all(float(cell) == float(cell) for cell in cells)


def test_markdown_and_terminal_show_names_as_they_are(hostile):
    lines = markdown_table(hostile).splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert len(table) == 9 and len({len(re.findall(r"(?<!\\)\|", row)) for row in table}) == 1
    assert all(line.isprintable() for line in lines)
    assert not re.search(r"<|(?<!\\)[`\[]|(?<!\\)\]", "\n".join(lines))
    assert r"\\x1b\[2J\\u202e" in lines[0]
    text = text_table(hostile)
    assert all(line.isprintable() for line in text.splitlines())
    assert r"|\x1b[2J\u202e`*_[a](javascript:b)\udcff\n=1+1" in text


def test_objects_that_join_later_are_named(tmp_path):
    nothing = np.nan
    region = np.array([[nothing] + [0.5] * 9, [nothing] * 7 + [0.1, 0.9, 0.9]])
    names = tuple(f"{index:05d}" for index in range(10))
    joining = SequenceScore("clip", names, (1, 4), region, region, first_frames=(0, 7))
    score = DatasetScore("folder", "all", (joining,))
    text = text_table(score)
    assert "join later count from the frame after their first mask: clip_4 (00007)." in text
    assert "Fewer than 5 frames counted, decay is unreliable: clip_4 (1)." in text
    write_report(score, tmp_path)
    with (tmp_path / "per-frame.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["Counted"] for row in rows[10:]] == list("0000000010")
    objects = json.loads((tmp_path / "scores.json").read_text())["sequences"][0]["objects"]
    assert [row["first_frame"] for row in objects] == ["00000", "00007"]
    assert objects[1]["J"]["mean"] == 0.9


def test_an_object_of_which_no_frame_counts_is_left_out_of_the_means():
    region = np.array([[np.nan, 0.5, 0.5, 0.5], [np.nan, np.nan, np.nan, 0.2]])
    names = ("0", "1", "2", "3")
    joining = SequenceScore("clip", names, (1, 2), region, region, first_frames=(0, 3))
    score = DatasetScore("folder", "all", (joining,))
    assert score.region.mean == 0.5
    assert "No frame counted, left out of the means: clip_2." in text_table(score)
