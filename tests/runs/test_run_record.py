"""Records survive JSON, refuse bad values, and identify the run that they describe."""

import dataclasses
import json
import math
import subprocess
import sys

import numpy as np
import pytest

import deeplab_gygo
from deeplab_gygo.errors import InputError, StorageError
from deeplab_gygo.inference.config import OnlineConfig
from deeplab_gygo.io.array_sequence import ArraySequence
from deeplab_gygo.runs import environment
from deeplab_gygo.runs.clip import Clip
from deeplab_gygo.runs.run_record import RECORD_NAME, RunRecord, finished_record
from deeplab_gygo.runs.settings import RunSettings

HASHES = {"input": "aa", "mask": "bb", "weights": "cc"}


def record(**changes) -> RunRecord:
    values = {
        "command": ["segment", "clip.mp4"],
        "config": {"mode": "one-shot", "size": [480, 854]},
        "seed": 3,
        "hashes": HASHES,
        "frames": 4,
        "masks": 5,
        "adaptation_seconds": 6.0,
        "total_seconds": 8.0,
        "steps": 100,
        "losses": [0.7, 0.1],
        "frame_seconds": [0.5, 0.5, 0.5, 0.5],
    }
    return RunRecord(**(values | changes))


def test_amortized_fps_is_frames_by_total_seconds():
    assert record().amortized_fps == 4 / 8
    assert record(adaptation_seconds=0.0, frame_seconds=[9.0]).amortized_fps == 4 / 8
    assert record().seconds_per_frame == 0.5
    untimed = record(total_seconds=0.0, frame_seconds=[])
    assert (untimed.amortized_fps, untimed.seconds_per_frame) == (0, 0)


def test_a_record_is_written_and_read(tmp_path):
    assert RunRecord.read(tmp_path) is None
    made = record(config={"path": "a", "nested": {"x": [1, 2]}})
    path = made.write(tmp_path)
    assert [item.name for item in tmp_path.iterdir()] == [RECORD_NAME] == [path.name]
    assert RunRecord.read(tmp_path) == made
    assert json.loads(path.read_text())["amortized_fps"] == made.amortized_fps


def test_a_loss_that_is_not_finite_is_null_in_json(tmp_path):
    path = record(losses=[0.5, math.nan]).write(tmp_path)
    assert json.loads(path.read_text())["losses"] == [0.5, None]
    assert math.isnan(RunRecord.read(tmp_path).losses[1])


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="run.json"):
        record().write(tmp_path / "file")


# Identity


@pytest.fixture
def clip() -> Clip:
    frames = np.random.default_rng(0).integers(0, 255, (3, 16, 24, 3)).astype(np.uint8)
    return Clip(ArraySequence(frames), 0, np.eye(16, 24, dtype=np.uint8))


@pytest.fixture
def settings(parent_header) -> RunSettings:
    return RunSettings(OnlineConfig(steps=3), weights=parent_header, outputs=("masks",))


def test_a_run_of_the_same_inputs_and_settings_matches(clip, settings, tmp_path):
    record(
        hashes={**clip.hashes(), "weights": settings.weights_hash}, config=settings.identity, seed=0
    ).write(tmp_path)
    stored = RunRecord.read(tmp_path)
    assert stored.matches(clip, settings)
    # Neither the name of the preset nor the progress bars change a mask.
    assert stored.matches(clip, dataclasses.replace(settings, preset="fast", progress=False))


@pytest.mark.parametrize(
    "change",
    [
        {"online": OnlineConfig(steps=4)}, {"precision": "float32"}, {"seed": 1},
        {"outputs": ("masks", "soft")}, {"engine": "openvino"},
    ],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_another_setting_does_not_match(clip, settings, change):
    made = record(
        hashes={**clip.hashes(), "weights": settings.weights_hash}, config=settings.identity, seed=0
    )
    assert not made.matches(clip, dataclasses.replace(settings, **change))


def test_another_input_mask_weight_or_version_does_not_match(clip, settings, tmp_path, monkeypatch):
    made = record(
        hashes={**clip.hashes(), "weights": settings.weights_hash}, config=settings.identity, seed=0
    )
    others = np.zeros((3, 16, 24, 3), np.uint8)
    assert not made.matches(dataclasses.replace(clip, sequence=ArraySequence(others)), settings)
    assert not made.matches(dataclasses.replace(clip, mask=clip.mask[::-1]), settings)
    assert not made.matches(dataclasses.replace(clip, mask=None), settings)
    assert not made.matches(dataclasses.replace(clip, start=1), settings)
    weights = tmp_path / "other.npz"
    weights.write_bytes(settings.weights_path.read_bytes() + b" ")
    assert settings.weights_hash != dataclasses.replace(settings, weights=weights).weights_hash
    monkeypatch.setattr(deeplab_gygo, "__version__", "9.9")
    assert not made.matches(clip, settings)


def test_a_result_is_finished_only_if_all_its_masks_exist(tmp_path):
    (tmp_path / "masks").mkdir()
    for index in range(5):
        (tmp_path / "masks" / f"{index}.png").touch()
    made = record(outputs=["masks", "overlay"])
    made.write(tmp_path)
    assert finished_record(tmp_path).masks == 5
    (tmp_path / "masks" / "3.png").unlink()
    assert finished_record(tmp_path) is None
    record(masks=0, outputs=["overlay"]).write(tmp_path)
    assert finished_record(tmp_path) is None
    (tmp_path / RECORD_NAME).write_text("{oops")
    assert finished_record(tmp_path) is None


# Bad values


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
    "text", ["", "[]", "{}", '{"schema": 99}', '{"schema": 2, "seed": 1}', "\x00"]
)
def test_damaged_records_are_named(tmp_path, text):
    (tmp_path / RECORD_NAME).write_text(text)
    with pytest.raises(InputError, match="run.json"):
        RunRecord.read(tmp_path)


# Environment


def test_the_environment_is_recorded():
    made = record()
    assert made.versions["deeplab-gygo"] == deeplab_gygo.__version__
    assert made.versions["numpy"] == np.__version__
    assert {"python", "keras-backend"} <= set(made.versions)
    assert made.hardware["cores"] >= 1 and made.hardware["cpu"]
    assert 5 < made.peak_memory_mb < 1e6


def test_the_backend_is_read_without_keras(monkeypatch, tmp_path):
    code = (
        "import os, sys; os.environ['KERAS_BACKEND'] = 'jax';"
        "from deeplab_gygo.runs.environment import versions;"
        "assert versions()['keras-backend'] == 'jax';"
        "assert not {'keras', 'tensorflow', 'jax'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    monkeypatch.delitem(sys.modules, "keras", raising=False)
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    assert environment.keras_backend() == "tensorflow"
    (tmp_path / "keras.json").write_text(json.dumps({"backend": "jax"}))
    assert environment.keras_backend() == "jax"
    (tmp_path / "keras.json").write_text("{")
    assert environment.keras_backend() == "tensorflow"


def test_peak_memory_needs_no_resource_module(monkeypatch):
    monkeypatch.setitem(sys.modules, "resource", None)  # as on Windows
    assert environment.peak_memory_mb() == 0 or sys.platform == "win32"
