"""Fixtures that several test modules share."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from PIL import Image

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
pytest_plugins = ["material", "squares", "storage_servers"]
REPOSITORY = Path(__file__).resolve().parents[1]

LONGEST = (
    "export/test_formats", "page/test_annotate", "backend/test_backend", "runs/test_runner",
    "inference/test_frame_program", "inference/test_engines", "export/test_saved_model",
    "baselines/shared/test_trainer", "training/test_parent_trainer", "hostile/test_hostile",
    "training/test_trainer", "inference/test_compilation", "training/test_steps",
    "test_end_to_end", "test_front_door", "runs/test_api", "runs/test_remote_results",
    "inference/test_modes", "inference/test_segmenter", "training/test_data_parallel",
    "test_examples", "backend/kernels/test_in_a_network", "runs/test_ray_workers",
    "cli/test_main", "backend/test_convolution",
)  # fmt: skip
"""Files that take longest, which start first: no process is left with one at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Moves the tests of the longest files to the front."""
    places = {f"tests/{name}.py": place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.nodeid.partition("::")[0], len(places)))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with DAVIS-2016 and other data for measurements; skips if absent."""
    variable = "DEEPLAB_GYGO_DATA"
    folder = Path(os.environ.get(variable, REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no data for measurements: set {variable} to its folder")
    return folder


@pytest.fixture(scope="session")
def golden() -> Path:
    """Folder of values and masks of the official evaluation."""
    return REPOSITORY / "tests" / "golden"


@pytest.fixture(scope="session")
def small_backbone():
    """The module `small_backbone`: what stands for a backbone, and a network on it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parent))
        return importlib.import_module("small_backbone")


@pytest.fixture(scope="session")
def small_parent(small_backbone):
    """Function that builds a thin network with random weights: `(seed, **architecture)`."""
    return small_backbone.build_small_parent


@pytest.fixture(scope="session")
def thin_trunks():
    """Function that makes a context in which OSVOS and OSMN are built on thin trunks.

    They have the strides, the stages and the names of the real ones. Files are loaded in it too.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parent))
        return importlib.import_module("small_trunks").thin_trunks


FRAME_SIZE = (64, 96)  # height and width; small, so that a command takes seconds


@pytest.fixture(scope="session")
def tiny_parent(tmp_path_factory) -> Path:
    """A parent file with random weights: good for everything but scores."""
    return _save_random_parent(tmp_path_factory.mktemp("weights") / "tiny.npz")


def _save_random_parent(path: Path) -> Path:
    import keras
    from small_backbone import THIN

    from deeplab_gygo.models.config import ModelConfig
    from deeplab_gygo.models.deeplab import DeepLabV3Plus
    from deeplab_gygo.models.weight_file import save_parent

    keras.utils.set_random_seed(5)
    config = ModelConfig(**THIN)
    return save_parent(path, DeepLabV3Plus(config), {"made for": "tests"})


@pytest.fixture(scope="module")
def thin_parent(tmp_path_factory) -> Path:
    """The same on a backbone of thin stages of one block, until the module ends.

    For tests, inside this process, of what is done with a network: it is built and traced in a
    part of the time.
    """
    from deeplab_gygo.models import backbones
    from deeplab_gygo.models.inverted_residual import build_inverted_residual, efficientnet_lite

    name, spec = "efficientnet_lite0", efficientnet_lite(0.25, 0.25)
    build = partial(build_inverted_residual, spec=spec)
    with (
        mock.patch.dict(backbones.INVERTED_RESIDUAL, {name: spec}),
        mock.patch.dict(backbones._BUILDERS, {name: build}),
    ):
        yield _save_random_parent(tmp_path_factory.mktemp("weights") / "thin.npz")


@pytest.fixture(scope="session")
def parent_header(tmp_path_factory) -> Path:
    """A file that is a parent as far as its header goes, for tests that build no network."""
    head = json.dumps({"format": "deeplab_gygo.parent.1", "model": {}, "card": {}})
    path = tmp_path_factory.mktemp("weights") / "header.npz"
    np.savez(path, __card__=np.frombuffer(head.encode(), np.uint8))
    return path


@pytest.fixture(scope="session")
def make_clip():
    """Function that writes frames and exact masks of a moving square: `(folder, count, seed)`."""
    return write_clip


@pytest.fixture(scope="session")
def make_dataset():
    """Function that writes a data set in GyGO's layout: `(root, {name: frame count})`."""

    def make(root: Path, sequences: dict[str, int]) -> Path:
        for number, (name, count) in enumerate(sequences.items()):
            images = root / "JPEGImages" / "480p" / name
            masks = root / "Annotations" / "480p" / name
            write_clip(images, count, seed=number, masks=masks)
        lists = root / "ImageSets"
        lists.mkdir(parents=True, exist_ok=True)
        for split in ("Train", "val"):
            (lists / f"{split}.txt").write_text("".join(f"{name}\n" for name in sequences))
        return root

    return make


def write_clip(folder: Path, count: int, seed: int = 0, masks: Path | None = None) -> Path:
    """Writes `<folder>/00000.jpg` and so on, and masks of 0 and 255 beside it or in `masks`."""
    masks = masks or folder.with_name(f"{folder.name}-masks")
    folder.mkdir(parents=True, exist_ok=True)
    masks.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for index in range(count):
        image = rng.integers(60, 120, (*FRAME_SIZE, 3)).astype(np.uint8)
        mask = np.zeros(FRAME_SIZE, np.uint8)
        left = 20 + index % 20
        mask[18:46, left : left + 28] = 255
        image[mask > 0] = (230, 210, 40)
        Image.fromarray(image).save(folder / f"{index:05d}.jpg", quality=95)
        Image.fromarray(mask).save(masks / f"{index:05d}.png")
    return folder


@pytest.fixture(scope="session")
def command_environment() -> dict[str, str]:
    """The environment of a command: this checkout first, one thread, no graphics card."""
    path = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


@pytest.fixture(scope="session")
def command(command_environment):
    """Function that runs `python -m deeplab_gygo` in a process of its own."""

    def run(*words: object, **options) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, "-m", "deeplab_gygo", *map(str, words)],
            capture_output=True,
            text=True,
            env=command_environment,
            **{"timeout": 900, **options},
        )

    return run
