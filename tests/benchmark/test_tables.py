"""Tables show and distinguish measured and quoted values."""

import csv
import io
import re
from dataclasses import replace

import pytest

from deeplab_gygo.benchmark import tables
from deeplab_gygo.benchmark.tables import COLUMNS, dataset_tables, hardware_words, sources_of


@pytest.fixture(scope="session")
def shown(rendered):
    """Main tables, results and sources."""
    results, _, bench = rendered
    datasets = [results[0].dataset]
    return dataset_tables(datasets, results), results, sources_of(datasets)


def _rows(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_a_cell_of_the_csv_has_the_values_of_the_result(shown):
    main, results, sources = shown
    rows = {row["row"]: row for row in _rows(tables.cells_csv(main, results, sources))}
    result = next(result for result in results if result.row.name == "zero")
    row = rows["zero"]
    expected = {
        "J": result.region.mean, "J_recall": result.region.recall, "J_decay": result.region.decay,
        "F": result.contour.mean, "F_recall": result.contour.recall,
        "F_decay": result.contour.decay, "adaptation_seconds": 2.0, "fps": result.fps,
        "seconds_per_frame": 0.5, "sequences": 3, "frames_counted": 21,
    }  # fmt: skip
    assert {key: float(row[key]) for key in expected} == pytest.approx(expected, abs=1e-6)
    assert (row["origin"], row["dataset"], row["mode"]) == ("measured", "clips_val", "zero-shot")
    assert row["trained_on"] == "squares"
    assert row["weights_sha256"] == result.records[0].hashes["weights"]
    assert row["hardware"] == "Intel Xeon, 2 cores"


def test_absent_rows_have_a_reason(shown):
    row = next(r for r in _rows(tables.cells_csv(*shown)) if r["row"] == "osmn")
    assert (row["origin"], row["J"], row["note"]) == ("absent", "", "VGG-16")
    assert "weights missing" in row["reason"]


def test_quoted_rows_are_marked_in_every_form(shown):
    main, results, sources = shown
    quoted = [r for r in _rows(tables.cells_csv(*shown)) if r["origin"] == "quoted"]
    row = next(r for r in quoted if r["method"] == "GyGO-DeepLabv3+" and r["mode"] == "fine-tune")
    assert (float(row["J"]), float(row["fps"]), row["hardware"]) == (0.96, 0.52, "NVIDIA P100")
    assert (row["dataset"], row["row"]) == ("gygo-val", "")
    assert "gygo-dataset" in row["source"]
    text = tables.markdown("Title", main, sources)
    lines = [line for line in text.splitlines() if line.startswith("| GyGO-")]
    assert lines and all("| quoted [1] " in line for line in lines)
    assert any("~0.52" in line for line in lines)
    assert "0.930" not in text  # no digit that the source does not give
    assert re.search(r"GyGO-OSMN .*& quoted \[1\]", tables.latex(main, sources))


def test_what_a_method_was_trained_on_is_shown_for_measured_and_quoted_rows(shown):
    _, results, _ = shown
    dataset = replace(results[0].dataset, quoted=["davis2016-val"])
    results = [replace(r, cell=replace(r.cell, dataset=dataset)) for r in results]
    text = tables.markdown("", dataset_tables([dataset], results), sources_of([dataset]))
    assert re.search(r"\| zero-shot .*\| squares +\| measured", text)
    assert re.search(r"\| STM .*\| photos, DAVIS-2017, YouTube-VOS +\| quoted \[2\]", text)


def test_sequences_are_listed_worst_first(shown):
    rows = [r for r in _rows(tables.sequences_csv(shown[1])) if r["row"] == "zero"]
    assert [row["sequence"] for row in rows] == ["bag", "cup", "shoes/red"]
    assert [float(row["J"]) for row in rows] == pytest.approx([22 / 34, 25 / 31, 27 / 29], abs=1e-6)


def test_the_best_measured_values_are_bold_and_quoted_ones_are_not(shown):
    main, _, sources = shown
    best = {row.name: row.best for row in main[0].rows if row.best}
    assert best == {"one": {"J", "F"}}
    text = tables.markdown("Title", main, sources)
    assert re.search(r"\| one-shot, exact \| +\*\*1\.000\*\* \|", text)
    assert r"\textbf{1.000}" in tables.latex(main, sources)
    assert "**0.972**" not in text


def test_latex_has_all_columns_and_no_bare_special_character(shown):
    main, _, sources = shown
    text = tables.latex(main, sources)
    body = text.partition(r"\midrule")[2].partition(r"\bottomrule")[0]
    lines = [line for line in body.splitlines() if line.endswith(r"\\")]
    assert len(lines) == len(main[0].rows)
    for line in lines:
        assert len(re.findall(r"(?<!\\)&", line)) + 1 == len(COLUMNS) + 5, line
    assert r"Clips\_val" in text
    assert not re.search(r"(?<!\\)[%#_]", re.sub(r"^%.*$", "", text, flags=re.M))


def test_text_from_data_is_escaped_in_every_table(shown):
    hostile = "=1|<img src=x onerror=y>\x1b[2J\u202e**_$%&#{a}\\input"
    _, results, sources = shown
    dataset = replace(results[0].dataset, label=hostile, note=hostile)
    results = [
        replace(r, cell=replace(r.cell, dataset=dataset, row=replace(r.row, label=hostile)))
        for r in results
    ]
    main = dataset_tables([dataset], results)
    texts = {
        "markdown": tables.markdown(hostile, main, sources),
        "latex": tables.latex(main, sources),
        "text": "\n".join(map(tables.text, main)),
        "cells": tables.cells_csv(main, results, sources),
        "sequences": tables.sequences_csv(results),
    }
    for name, text in texts.items():
        assert all(line.isprintable() for line in text.splitlines()), name
        assert r"\x1b" in text or "x1b" in text, name
    assert "<img" not in texts["markdown"]
    body = [line for line in texts["markdown"].splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in body}) == 1
    assert not re.search(r"(?<!\\)[#_]|\\input|textbf\{[^0-9]", texts["latex"].partition("%")[2])
    for name in ("cells", "sequences"):
        rows = _rows(texts[name])
        assert rows[0]["method"].startswith("'=1|<img")
        for cell in (cell for row in rows for cell in row.values()):
            assert not cell.startswith(("=", "+", "@")), cell


def test_the_terminal_table_has_measured_rows_and_reasons(shown):
    lines = tables.text(shown[0][0]).splitlines()
    assert lines[0] == "Clips_val"
    assert lines[1].split()[:2] == ["row", "J"]
    assert [line.split()[0] for line in lines[2:]] == ["copy", "zero", "one", "osmn:"]


@pytest.mark.parametrize(
    ("hardware", "words"),
    [
        ({"cpu": "Intel(R) Core(TM) i7-10 @ 2.80GHz", "cores": 8}, "Intel Core i7-10, 8 cores"),
        ({"cpu": "AMD EPYC", "cores": 1, "gpu": None}, "AMD EPYC, 1 core"),
        ({"cpu": "AMD EPYC", "cores": 64, "gpu": "NVIDIA H200"}, "NVIDIA H200"),
    ],
)  # fmt: skip
def test_hardware_is_worded_for_a_table(hardware, words):
    assert hardware_words(hardware) == words
