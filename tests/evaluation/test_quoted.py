"""The published values are those of their sources."""

import json

import pytest

from deeplab_gygo.evaluation.quoted import read_quotations

# README of github.com/ilchemla/gygo-dataset: J, FPS by method, mode and set.
README = {
    ("GyGO-OSMN", "one-shot", "gygo-val"): (0.963, 7),
    ("GyGO-OSMN", "one-shot", "davis2016-val"): (0.800, 8),
    ("GyGO-OSMN", "fine-tune", "gygo-val"): (0.972, 0.18),
    ("GyGO-OSMN", "fine-tune", "davis2016-val"): (0.832, 0.2),
    ("GyGO-DeepLabv3+", "zero-shot", "gygo-val"): (0.933, 8.27),
    ("GyGO-DeepLabv3+", "zero-shot", "davis2016-val"): (0.759, 8.53),
    ("GyGO-DeepLabv3+", "fine-tune", "gygo-val"): (0.960, 0.52),
    ("GyGO-DeepLabv3+", "fine-tune", "davis2016-val"): (0.790, 1.38),
    ("original OSMN", "one-shot", "gygo-val"): (0.951, 7),
    ("original OSMN", "one-shot", "davis2016-val"): (0.736, 8),
    ("original OSVOS", "fine-tune", "gygo-val"): (0.93, None),
    ("original OSVOS", "fine-tune", "davis2016-val"): (0.798, 0.11),
}


def test_the_table_of_the_gygo_readme_is_quoted_whole():
    found = {
        (value.method, value.mode, value.set): (value.J, value.fps)
        for value in read_quotations().values
        if value.source == "gygo"
    }
    assert found == README


def test_published_sequences_average_to_the_published_mean():
    values = [value for value in read_quotations().values if value.sequences]
    assert {value.method for value in values} == {"OSMN", "OSVOS"}
    for value in values:
        assert len(value.sequences) == read_quotations().sets[value.set].sequences
        mean = sum(value.sequences.values()) / len(value.sequences)
        assert mean == pytest.approx(value.J, abs=0.001)


def test_the_values_agree_with_the_official_ones(golden):
    methods = json.loads((golden / "davis16_published.json").read_text())["methods"]
    keys = {"MaskTrack": "msk", "OSVOS-S": "osvoss"}
    names = ("J", "J_recall", "J_decay", "F", "F_recall", "F_decay")
    quoted = [v for v in read_quotations().values if v.source.startswith("davis")]
    assert len(quoted) == 20
    for value in quoted:
        published = methods[keys.get(value.method, value.method.lower())]
        if value.set == "davis2016-val":
            for name in names:
                key = name if "_" in name else f"{name}_mean"
                assert getattr(value, name) == pytest.approx(published["val"][key], abs=0.0011)
            continue
        rows = published["val_dev_sequences"].values()
        for name in ("J", "F"):
            mean = sum(row[f"{name}_mean"] for row in rows) / len(rows)
            assert getattr(value, name) == pytest.approx(mean, abs=0.0006)


def test_values_are_chosen_by_their_set():
    chosen = read_quotations().only(["davis2016-val_dev"])
    assert {value.set for value in chosen.values} == {"davis2016-val_dev"}
    assert list(chosen.sources) == ["davis-raw"]
    assert list(chosen.sets) == ["davis2016-val_dev"]
