"""`segment` as a function: the results of the command, and nothing of the process changed."""

import logging
import signal
import sys
import threading
import warnings

import cv2
import numpy as np
import pytest

import deeplab_gygo
from deeplab_gygo.errors import InputError, UsageError
from deeplab_gygo.io.array_sequence import StreamSequence
from deeplab_gygo.io.masks import read_mask
from deeplab_gygo.runs.api import segment


@pytest.fixture
def clip():
    """Frames of a moving bright square, and the mask of the first one."""
    frames = np.full((4, 64, 96, 3), 70, np.uint8)
    for index, frame in enumerate(frames):
        frame[20:44, 20 + 3 * index : 50 + 3 * index] = (230, 210, 40)
    mask = np.zeros((64, 96), np.uint8)
    mask[20:44, 20:50] = 255
    return frames, mask


def test_frames_in_memory_are_segmented_into_a_folder(tmp_path, clip, tiny_parent):
    frames, mask = clip
    record = segment(
        list(frames), mask, out=tmp_path / "out", mode="one-shot", size=64, weights=tiny_parent,
        outputs=["masks", "cutout"], preset="fast", seed=3,
    )  # fmt: skip
    assert (record.masks, record.frames, record.preset, record.seed) == (4, 3, "fast", 3)
    assert (record.source, record.mask_source) == ("<memory>", "<memory>")
    assert record.config["online"]["size"] == 64
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"masks", "cutouts", "run.json"}
    assert (read_mask(tmp_path / "out" / "masks" / "00000.png") == (mask > 0)).all()
    with pytest.raises(UsageError, match="--out is a new folder"):
        segment(list(frames), mask, out=tmp_path / "out", mode="one-shot", weights=tiny_parent)


def test_it_writes_the_masks_of_the_command(tmp_path, make_clip, command, tiny_parent):
    make_clip(tmp_path / "clip", 3)
    mask = tmp_path / "clip-masks" / "00000.png"
    segment(
        tmp_path / "clip", mask, out=tmp_path / "python", steps=2, num_views=2, size=64,
        weights=tiny_parent,
    )  # fmt: skip
    result = command(
        "segment", tmp_path / "clip", "--mask", mask, "--out", tmp_path / "command",
        "--steps", 2, "--online.num_views", 2, "--size", 64, "--weights", tiny_parent,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    for name in ("00000.png", "00001.png", "00002.png"):
        made, wanted = (tmp_path / way / "masks" / name for way in ("python", "command"))
        assert made.read_bytes() == wanted.read_bytes()


def _state_of_the_process():
    import keras

    return {
        "signals": [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)],
        "threads of OpenCV": cv2.getNumThreads(),
        "policy": keras.config.dtype_policy().name,
        "float": keras.config.floatx(),
        "warnings": list(warnings.filters),
        "logging": [
            (logger.handlers[:], logger.level, logger.propagate)
            for logger in (logging.getLogger(), logging.getLogger("deeplab_gygo"))
        ],
        "hooks": (sys.excepthook, sys.unraisablehook, threading.excepthook),
        "streams": (sys.stdout, sys.stderr),
    }


def test_the_process_is_as_before(tmp_path, clip, tiny_parent):
    frames, mask = clip
    before = _state_of_the_process()
    words = {"mode": "one-shot", "size": 64, "weights": tiny_parent, "precision": "bfloat16"}
    record = segment(list(frames), mask, out=tmp_path / "out", **words)
    assert record.precision == "bfloat16"
    assert _state_of_the_process() == before
    with pytest.raises(InputError):
        segment(list(frames), mask * 0, out=tmp_path / "failed", **words)
    assert _state_of_the_process() == before
    assert not (tmp_path / "failed").exists()


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"mask": None}, UsageError, "no --mask.*zero-shot"),
        ({"mask": np.zeros((64, 96), np.uint8)}, InputError, "show the object"),
        ({"mask": np.eye(64, 200, dtype=np.uint8)}, InputError, "size of the frame"),
        ({"frame": "9"}, UsageError, "index from 0 to 3"),
        ({"mode": "two-shot"}, UsageError, "mode"),
        ({"preset": "turbo"}, UsageError, "turbo"),
        ({"method": "yolo"}, UsageError, "method"),
        ({"views": 0}, UsageError, "num_views"),
        ({"lucid": 0.5}, UsageError, "constant of OnlineConfig"),
        ({"nonsense": 1}, UsageError, "nonsense"),
        ({"threshold": 7}, UsageError, "threshold"),
        ({"outputs": ["film"]}, UsageError, "film"),
        ({"source": StreamSequence(np.zeros((2, 64, 96, 3), np.uint8))}, UsageError, "a stream"),
        ({"source": "nowhere.mp4"}, InputError, "nowhere.mp4"),
        ({"source": [np.zeros((4, 4))]}, InputError, "frame"),
        ({"engine": "abacus"}, UsageError, "engine"),
        ({"precision": "int4"}, UsageError, "precision"),
    ],
    ids=lambda value: str(next(iter(value))) if isinstance(value, dict) else "",
)
def test_bad_input_gets_the_errors_of_the_package(
    tmp_path, clip, parent_header, changes, error, message
):
    frames, mask = clip
    given = {
        "source": list(frames),
        "mask": mask,
        "out": tmp_path / "out",
        "weights": parent_header,
    }
    with pytest.raises(error, match=message):
        segment(**{**given, **changes})
    assert not (tmp_path / "out").exists()


def test_it_is_a_part_of_the_front_door():
    assert deeplab_gygo.segment is segment
