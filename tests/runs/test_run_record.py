"""Records survive JSON, refuse bad values, and identify the run that they describe."""

import dataclasses
import hashlib
import json
import math
import os
import subprocess
import sys

import numpy as np
import pytest

import deeplab_gygo
from deeplab_gygo.errors import InputError, StorageError
from deeplab_gygo.inference.config import OnlineConfig
from deeplab_gygo.io.array_sequence import ArraySequence
from deeplab_gygo.io.palette import write_mask
from deeplab_gygo.runs import environment
from deeplab_gygo.runs.clip import open_clip
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
    made = record(config={"path": "a", "nested": {"x": [1, 2]}}).write(tmp_path)
    assert [item.name for item in tmp_path.iterdir()] == [RECORD_NAME]
    assert RunRecord.read(tmp_path) == made
    written = json.loads((tmp_path / RECORD_NAME).read_text())
    assert written["amortized_fps"] == made.amortized_fps


def test_a_record_names_every_file_with_its_size_and_hash(tmp_path):
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "0.png").write_bytes(b"mask")
    (tmp_path / "overlay.mp4").write_bytes(b"")
    record().write(tmp_path)
    assert RunRecord.read(tmp_path).files == {
        "masks/0.png": [4, hashlib.sha256(b"mask").hexdigest()],
        "overlay.mp4": [0, hashlib.sha256(b"").hexdigest()],
    }


def test_a_value_that_is_not_finite_is_null_in_json(tmp_path):
    record(losses=[0.5, math.nan], confidence={"00001": math.nan}).write(tmp_path)
    written = json.loads((tmp_path / RECORD_NAME).read_text())
    assert (written["losses"], written["confidence"]) == ([0.5, None], {"00001": None})
    read = RunRecord.read(tmp_path)
    assert math.isnan(read.losses[1]) and math.isnan(read.confidence["00001"])


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="run.json"):
        record().write(tmp_path / "file")


# Identity


@pytest.fixture
def clip():
    frames = np.random.default_rng(0).integers(0, 255, (3, 16, 24, 3)).astype(np.uint8)
    return open_clip(ArraySequence(frames), np.eye(16, 24, dtype=np.uint8))


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
    other = open_clip(clip.sequence, clip.mask[::-1])
    assert not made.matches(other, settings)
    assert not made.matches(dataclasses.replace(clip, annotations={}), settings)
    assert not made.matches(open_clip(clip.sequence, clip.mask, frame="1"), settings)
    two = {0: clip.mask, 2: clip.mask}
    assert not made.matches(open_clip(clip.sequence, two), settings)
    weights = tmp_path / "other.npz"
    weights.write_bytes(settings.weights_path.read_bytes() + b" ")
    assert settings.weights_hash != dataclasses.replace(settings, weights=weights).weights_hash
    monkeypatch.setattr(deeplab_gygo, "__version__", "9.9")
    assert not made.matches(clip, settings)


@pytest.fixture
def result(tmp_path):
    """A folder with two masks, an overlay and a record."""
    for name in ("0", "1"):
        write_mask(tmp_path / "masks" / f"{name}.png", np.eye(8, dtype=np.uint8))
    (tmp_path / "overlay.mp4").write_bytes(b"video")
    record(masks=2, outputs=["masks", "overlay"]).write(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["masks/0.png", "overlay.mp4"])
@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "folder"])
def test_a_result_is_finished_only_if_its_files_are_whole(result, name, damage):
    assert finished_record(result).masks == 2
    path = result / name
    content = path.read_bytes()
    path.unlink()
    if damage == "empty":
        path.touch()
    elif damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "folder":
        path.mkdir()
    assert finished_record(result) is None


def test_a_pipe_in_the_place_of_a_mask_is_not_waited_for(result):
    (result / "masks" / "0.png").unlink()
    os.mkfifo(result / "masks" / "0.png")
    assert finished_record(result) is None


def test_a_mask_that_was_corrected_by_hand_is_no_damage(result):
    write_mask(result / "masks" / "0.png", np.zeros((8, 8), np.uint8))
    assert finished_record(result).masks == 2


def test_a_record_without_masks_or_that_is_unreadable_is_not_finished(result):
    record(masks=3, outputs=["masks"]).write(result)
    assert finished_record(result) is None
    record(masks=0, outputs=["overlay"]).write(result)
    assert finished_record(result) is None
    (result / RECORD_NAME).write_text("{oops")
    assert finished_record(result) is None


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
        {"files": {"../mask.png": [1, "0" * 64]}},
        {"files": {"/etc/passwd": [1, "0" * 64]}},
        {"files": {"mask.png": [1, "short"]}},
        {"files": {"mask.png": "0" * 64}},
    ],
)
def test_bad_values_are_refused(changes):
    with pytest.raises(InputError, match=next(iter(changes))):
        record(**changes)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"schema": 99}', '{"schema": 3, "seed": 1}', "\x00"]
)
def test_damaged_records_are_named(tmp_path, text):
    (tmp_path / RECORD_NAME).write_text(text)
    with pytest.raises(InputError, match="run.json"):
        RunRecord.read(tmp_path)


# Environment


def test_what_a_record_lacks_is_not_filled_from_this_process(tmp_path):
    record().write(tmp_path)
    values = json.loads((tmp_path / RECORD_NAME).read_text())
    for key in ("versions", "hardware", "peak_memory_mb"):
        del values[key]
    (tmp_path / RECORD_NAME).write_text(json.dumps(values))
    found = RunRecord.read(tmp_path)
    assert (found.versions, found.hardware, found.peak_memory_mb) == ({}, {}, 0.0)


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
