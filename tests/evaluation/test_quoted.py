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
        rows = published["val_dev_sequences"]
        for name in ("J", "F"):
            mean = sum(row[f"{name}_mean"] for row in rows.values()) / len(rows)
            assert getattr(value, name) == pytest.approx(mean, abs=0.0006)
        if value.sequences:
            by_sequence = {name: row["J_mean"] for name, row in rows.items()}
            assert value.sequences == pytest.approx(by_sequence, abs=0.0006)
    listed = {value.method for value in quoted if value.sequences}
    assert listed == {"STM", "OnAVOS", "FEELVOS", "OSVOS", "OSMN"}


def test_peers_have_their_material_and_every_speed_its_hardware():
    material = {}
    for value in read_quotations().values:
        assert not value.fps or value.hardware, value
        material.setdefault(value.method, set()).add(value.trained_on)
    assert all(len(words) == 1 for words in material.values())
    peers = {"OSVOS", "OnAVOS", "FEELVOS", "STM", "STM without YouTube-VOS", "XMem", "Cutie-base",
             "SAM 2.1-L", "SAM 3.1"}  # fmt: skip
    assert all(material[method] != {""} for method in peers)


def test_later_methods_are_quoted_as_published():
    later = {v.method: v for v in read_quotations().values if v.source[:5] not in ("gygo", "davis")}
    scores = {name: (v.J, v.F) if v.JF is None else v.JF for name, v in later.items()}
    assert scores == {
        "STM without YouTube-VOS": (0.848, 0.881),
        "XMem": (0.904, 0.927),
        "Cutie-base": 0.879,
        "SAM 2.1-L": 0.907,
        "SAM 3.1": 0.927,
    }
    assert {v.set for v in later.values() if v.JF is not None} == {"davis2017-val"}


def test_values_are_chosen_by_their_set():
    chosen = read_quotations().only(["davis2016-val_dev"])
    assert {value.set for value in chosen.values} == {"davis2016-val_dev"}
    assert list(chosen.sources) == ["davis-raw"]
    assert list(chosen.sets) == ["davis2016-val_dev"]
