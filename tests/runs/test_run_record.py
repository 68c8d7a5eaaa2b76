import json
import math
import subprocess
import sys

import numpy as np
import pytest

import deeplab_gygo
from deeplab_gygo.errors import (InputError, StorageError)
from deeplab_gygo.runs.run_record import (RECORD_NAME, RunRecord)

HASHES = {"input": "aa", "mask": "bb", "weights": "cc"}
CONFIG = {"mode": "first-frame", "size": (480, 854), "rate": 0.001}


def record(**changes) -> RunRecord:
    values = {
        "command": ["segment", "clip.mp4"],
        "config": CONFIG,
        "seed": 3,
        "hashes": HASHES,
        "frames": 4,
        "adaptation_seconds": 6.0,
        "steps": 100,
        "losses": [0.7, 0.1],
        "frame_seconds": [0.5, 0.5, 0.5, 0.5],
    }
    return RunRecord(**(values | changes))


def test_amortized_rate_counts_adaptation():
    assert record().amortized_fps == pytest.approx(4 / 8)
    assert record().seconds_per_frame == pytest.approx(0.5)
    assert record(adaptation_seconds=0.0, frame_seconds=[], frames=0).amortized_fps == 0


def test_survives_json():
    first = record(losses=[0.5, math.nan], config={"path": "a", "nested": {"x": [1, 2]}})
    second = RunRecord.from_json(first.to_json())
    assert math.isnan(second.losses[1]) and second.losses[0] == 0.5
    assert second.identity == first.identity
    assert second.to_json() == first.to_json()
    assert json.loads(first.to_json())["amortized_fps"] == first.amortized_fps


def test_written_and_read(tmp_path):
    assert RunRecord.read(tmp_path) is None
    path = record().write(tmp_path)
    assert path.name == RECORD_NAME
    assert [item.name for item in tmp_path.iterdir()] == [RECORD_NAME]
    assert RunRecord.read(tmp_path).frame_seconds == [0.5] * 4


def test_unwritable_place(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="run.json"):
        record().write(tmp_path / "file")


def test_matches_only_when_everything_is_the_same(tmp_path):
    record(config=CONFIG).write(tmp_path)
    stored = RunRecord.read(tmp_path)
    assert stored.matches(HASHES, CONFIG, 3)
    assert stored.matches(HASHES, CONFIG | {"rate": np.float64(0.001)}, 3)
    for key in HASHES:
        assert not stored.matches(HASHES | {key: "other"}, CONFIG, 3)
        assert not stored.matches({k: v for k, v in HASHES.items() if k != key}, CONFIG, 3)
    assert not stored.matches(HASHES, CONFIG | {"rate": 0.002}, 3)
    assert not stored.matches(HASHES, CONFIG, 4)
    assert not stored.matches(HASHES, CONFIG, 3, version="0.0.1")


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": "3"},
        {"seed": True},
        {"frames": -1},
        {"adaptation_seconds": math.inf},
        {"frame_seconds": [0.1, -0.1]},
        {"frame_seconds": ["fast"]},
        {"hashes": {"input": "aa"}},
        {"command": "segment"},
    ],
)
def test_bad_values_are_refused(changes):
    with pytest.raises(InputError, match=next(iter(changes))):
        record(**changes)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"schema": 99}', '{"schema": 1, "seed": 1}', "\x00"]
)
def test_damaged_records_are_named(tmp_path, text):
    (tmp_path / RECORD_NAME).write_text(text)
    with pytest.raises(InputError, match="run.json"):
        RunRecord.read(tmp_path)


def test_environment_is_recorded():
    made = record()
    assert made.versions["deeplab-gygo"] == deeplab_gygo.__version__
    assert made.versions["numpy"] == np.__version__
    assert {"python", "keras-backend"} <= set(made.versions)
    assert made.hardware["cores"] >= 1 and made.hardware["cpu"]
    assert 5 < made.peak_memory_mb < 1e6


def test_backend_is_read_without_keras():
    code = (
        "import os, sys; os.environ['KERAS_BACKEND'] = 'jax';"
        "import deeplab_gygo.outputs as o;"
        "from deeplab_gygo.runs.environment import versions;"
        "assert versions()['keras-backend'] == 'jax';"
        "assert not {'keras', 'tensorflow', 'jax'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
