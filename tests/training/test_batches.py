"""Batches are a pure function of the step, whoever makes them."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import cv2
import numpy as np
import pytest

from deeplab_gygo.errors import DeepLabGygoError, UsageError
from deeplab_gygo.models.guide import guide_at_stride
from deeplab_gygo.synthesis.config import SourceConfig
from deeplab_gygo.synthesis.material import build_source
from deeplab_gygo.training.batches import batches
from deeplab_gygo.training.config import TrainConfig
from deeplab_gygo.training.examples import open_pool, stack


def _example(rng) -> dict[str, np.ndarray]:
    return {
        "image": rng.integers(0, 256, (16, 16, 3)).astype(np.uint8),
        "mask": rng.integers(0, 2, (16, 16)).astype(np.uint8),
        "valid": np.ones((16, 16), np.uint8),
        "guide": rng.uniform(-1, 1, (16, 16, 1)).astype(np.float32),
        "reference": np.ones((16, 16, 1), np.float32),
    }


def _clip(step: int, clip: int):
    rng = np.random.default_rng([step, clip])
    return stack([_example(rng), _example(rng)], 4)


def _collect(first: int, workers: int, make=_clip, last: int = 6):
    work = (ThreadPoolExecutor(workers), make)
    return list(batches(work, first_step=first, last_step=last, batch=4))


def _assert_equal(some, others):
    for (inputs, targets), (other_inputs, other_targets) in zip(some, others, strict=True):
        assert inputs.keys() == other_inputs.keys()
        for name, values in inputs.items():
            np.testing.assert_array_equal(values, other_inputs[name])
        np.testing.assert_array_equal(targets, other_targets)


def test_number_of_threads_and_first_step_do_not_matter():
    alone, many = _collect(0, 1), _collect(3, 3)
    assert len(alone) == 6
    _assert_equal(alone[3:], many)
    inputs, targets = alone[0]
    assert inputs["image"].shape == (4, 16, 16, 3) and inputs["image"].dtype == np.uint8
    assert inputs["guide"].shape == inputs["reference"].shape == (4, 4, 4, 1)
    assert targets.shape == (4, 16, 16, 1)


def test_coded_masks_are_averaged_as_the_network_takes_them():
    example = _example(np.random.default_rng(0))
    inputs, _ = stack([example], 4)
    np.testing.assert_allclose(inputs["guide"][0], guide_at_stride(example["guide"]), atol=1e-7)


def test_an_error_of_a_thread_reaches_the_trainer():
    def broken(step, clip):
        raise ValueError("unreadable picture")

    with pytest.raises(ValueError, match="unreadable picture"):
        _collect(0, 2, broken)


def test_void_becomes_255_in_the_targets():
    example = _example(np.random.default_rng(0))
    _, targets = stack([{**example, "valid": np.zeros((16, 16), np.uint8)}], 4)
    assert (targets == 255).all()


def test_the_pool_ends_with_the_feed():
    pool = ThreadPoolExecutor(2)
    feed = batches((pool, _clip), first_step=0, last_step=1000, batch=4)
    next(feed)
    feed.close()
    with pytest.raises(RuntimeError, match="shutdown"):
        pool.submit(_clip, 0, 0)


# === Processes ===


@pytest.fixture
def config(tmp_path):
    """Photos of a disk on noise."""
    rng = np.random.default_rng(0)
    for folder in ("images", "masks"):
        (tmp_path / "photos" / folder).mkdir(parents=True)
    for index in range(3):
        image = rng.integers(0, 90, (80, 96, 3)).astype(np.uint8)
        mask = np.zeros((80, 96), np.uint8)
        cv2.circle(mask, (48, 30 + 8 * index), 20, 255, -1)
        image[mask > 0] += 90
        cv2.imwrite(str(tmp_path / "photos/images" / f"{index}.png"), image)
        cv2.imwrite(str(tmp_path / "photos/masks" / f"{index}.png"), mask)
    sources = [SourceConfig(kind="stills", root="photos")]
    return TrainConfig(sources=sources, crop=(32, 48), batch=4, cache_gb=0.1)


def test_processes_make_what_threads_make(config, tmp_path):
    source = build_source(config.sources, str(tmp_path), 0.1)
    found = {}
    for processes in (0, 2):
        config.worker_processes = processes
        work = open_pool(config, source, tmp_path, 4)
        found[processes] = list(batches(work, first_step=2, last_step=5, batch=4))
    _assert_equal(found[0], found[2])
    assert (found[0][0][1] == 1).any()


def test_an_error_of_a_process_reaches_the_trainer(config, tmp_path):
    source = build_source(config.sources, str(tmp_path), 0.1)
    config.worker_processes = 1
    for path in (tmp_path / "photos/images").iterdir():
        path.write_bytes(path.read_bytes()[:200])
    feed = batches(open_pool(config, source, tmp_path, 4), first_step=0, last_step=1, batch=2)
    with pytest.raises(DeepLabGygoError, match="readable") as raised:
        next(feed)
    assert raised.value.exit_status == 65


def test_killed_processes_are_reported():
    class Broken(ThreadPoolExecutor):
        def submit(self, *_):
            raise BrokenProcessPool("a process was terminated abruptly")

    feed = batches((Broken(1), _clip), first_step=0, last_step=1, batch=2)
    with pytest.raises(DeepLabGygoError, match="worker_processes"):
        next(feed)


def test_a_negative_number_of_processes_is_refused(config, tmp_path):
    config.worker_processes = -1
    with pytest.raises(UsageError, match="worker_processes"):
        open_pool(config, None, tmp_path, 4)


def test_a_process_that_makes_examples_needs_no_backend():
    code = (
        "import sys, deeplab_gygo.training.examples;"
        "assert not {'keras', 'tensorflow', 'jax'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
