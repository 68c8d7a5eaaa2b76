"""Batches: a pure function of the step, made by threads or processes."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial

import cv2
import numpy as np
import pytest

from deeplab_gygo.errors import DeepLabGygoError
from deeplab_gygo.models.guide import guide_at_stride
from deeplab_gygo.synthesis.config import SourceConfig
from deeplab_gygo.synthesis.sources import build_source
from deeplab_gygo.training.config import TrainConfig
from deeplab_gygo.training.examples import ClipMaker, batches, stack, start_pool


def _example(rng) -> dict[str, np.ndarray]:
    return {
        "image": rng.integers(0, 256, (16, 16, 3)).astype(np.uint8),
        "mask": rng.integers(0, 2, (16, 16)).astype(np.uint8),
        "valid": np.ones((16, 16), np.uint8),
        "guide": rng.uniform(-1, 1, (16, 16, 1)).astype(np.float32),
        "reference": np.ones((16, 16, 1), np.float32),
        "has_score": np.float32(1),
        "rollout": np.float32(0),
    }


def _clip(step: int, clip: int):
    rng = np.random.default_rng([step, clip])
    return stack([_example(rng), _example(rng)])


def _collect(first: int, workers: int, make=_clip, last: int = 6):
    work = (ThreadPoolExecutor(workers), make)
    return list(batches(work, first_step=first, last_step=last, batch=4))


def _assert_equal(some, others):
    for (inputs, targets), (other_inputs, other_targets) in zip(some, others, strict=True):
        assert inputs.keys() == other_inputs.keys()
        for name, values in inputs.items():
            np.testing.assert_array_equal(values, other_inputs[name])
        np.testing.assert_array_equal(targets, other_targets)


def test_batches_do_not_depend_on_threads_and_first_step():
    alone, many = _collect(0, 1), _collect(3, 3)
    assert len(alone) == 6
    _assert_equal(alone[3:], many)
    inputs, targets = alone[0]
    assert inputs["image"].shape == (4, 16, 16, 3) and inputs["image"].dtype == np.uint8
    assert inputs["guide"].shape == inputs["reference"].shape == (4, 4, 4, 1)
    assert targets.shape == (4, 16, 16, 1)


def test_guides_are_averaged_at_the_stride_of_the_decoder():
    example = _example(np.random.default_rng(0))
    inputs, _ = stack([example])
    np.testing.assert_allclose(inputs["guide"][0], guide_at_stride(example["guide"]), atol=1e-7)


def test_an_error_of_a_thread_is_raised():
    def broken(step, clip):
        raise ValueError("unreadable image")

    with pytest.raises(ValueError, match="unreadable image"):
        _collect(0, 2, broken)


def test_void_becomes_255_in_the_targets():
    example = _example(np.random.default_rng(0))
    _, targets = stack([{**example, "valid": np.zeros((16, 16), np.uint8)}])
    assert (targets == 255).all()


def test_the_pool_is_shut_down_with_the_batches():
    pool = ThreadPoolExecutor(2)
    feed = batches((pool, _clip), first_step=0, last_step=1000, batch=4)
    next(feed)
    feed.close()
    with pytest.raises(RuntimeError, match="shutdown"):
        pool.submit(_clip, 0, 0)


@pytest.fixture
def config(tmp_path):
    """Configuration with stills of a disk on noise."""
    rng = np.random.default_rng(0)
    for folder in ("images", "masks"):
        (tmp_path / "stills" / folder).mkdir(parents=True)
    for index in range(3):
        image = rng.integers(0, 90, (80, 96, 3)).astype(np.uint8)
        mask = np.zeros((80, 96), np.uint8)
        cv2.circle(mask, (48, 30 + 8 * index), 20, 255, -1)
        image[mask > 0] += 90
        cv2.imwrite(str(tmp_path / "stills/images" / f"{index}.png"), image)
        cv2.imwrite(str(tmp_path / "stills/masks" / f"{index}.png"), mask)
    sources = [SourceConfig(kind="stills", root="stills")]
    return TrainConfig(sources=sources, crop=(32, 48), batch=4, cache_gb=0.1)


def test_processes_and_threads_make_the_same_batches(config, tmp_path):
    source = build_source(config.sources, str(tmp_path), 0.1)
    found = {}
    for processes in (0, 2):
        config.worker_processes = processes
        work = start_pool(config, source, tmp_path, partial(ClipMaker, config=config))
        found[processes] = list(batches(work, first_step=2, last_step=5, batch=4))
    _assert_equal(found[0], found[2])
    assert (found[0][0][1] == 1).any()


def test_an_error_of_a_process_is_raised(config, tmp_path):
    source = build_source(config.sources, str(tmp_path), 0.1)
    config.worker_processes = 1
    for path in (tmp_path / "stills/images").iterdir():
        path.write_bytes(path.read_bytes()[:200])
    work = start_pool(config, source, tmp_path, partial(ClipMaker, config=config))
    feed = batches(work, first_step=0, last_step=1, batch=2)
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


def test_examples_are_made_without_keras():
    code = (
        "import sys, deeplab_gygo.training.examples;"
        "assert not {'keras', 'tensorflow', 'jax'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
