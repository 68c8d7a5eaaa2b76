"""What a trainer reads and waits for: shards, processes, and a log that says how long."""

import csv

import cv2
import numpy as np
import pytest
from deeplab_gygo.data.shard_writer import pack_material

from deeplab_gygo.errors import DeepLabGygoError, InputError
from deeplab_gygo.io.atomic import CACHE_VARIABLE
from deeplab_gygo.models.config import ModelConfig
from deeplab_gygo.models.weight_file import variables_by_name
from deeplab_gygo.synthesis.config import SourceConfig
from deeplab_gygo.training.config import TrainConfig, ValidationConfig
from deeplab_gygo.training.parent_trainer import ParentTrainer

pytestmark = pytest.mark.usefixtures("on_small_backbone")


@pytest.fixture
def material(tmp_path, make_dataset):
    """Clips to train and to measure on, and photos of a bright disk."""
    root = tmp_path / "material"
    make_dataset(root / "clips", {"walk": 3, "held": 2})
    rng = np.random.default_rng(0)
    for folder in ("images", "masks"):
        (root / "photos" / folder).mkdir(parents=True)
    for index in range(3):
        image = rng.integers(0, 90, (80, 96, 3)).astype(np.uint8)
        mask = np.zeros((80, 96), np.uint8)
        cv2.circle(mask, (48, 30 + 8 * index), 20, 255, -1)
        image[mask > 0] = (230, 60, 40)
        # A low quality, so that packing copies the file.
        quality = [cv2.IMWRITE_JPEG_QUALITY, 60]
        cv2.imwrite(str(root / "photos/images" / f"{index}.jpg"), image, quality)
        cv2.imwrite(str(root / "photos/masks" / f"{index}.png"), mask)
    return root


def _config(root, **changes) -> TrainConfig:
    values = dict(
        model=ModelConfig(aspp_channels=8, low_level_channels=4, decoder_channels=8),
        sources=[SourceConfig(kind="stills", root="photos")],
        data_root=str(root),
        crop=(32, 32),
        batch=2,
        steps=4,
        warmup=1,
        frozen_stages=5,
        log_every=2,
        cache_gb=0.1,
        precision="float32",
    )
    return TrainConfig(**{**values, **changes})


def _train(config, folder) -> ParentTrainer:
    trainer = ParentTrainer(config, folder, backbone_weights=None, progress=False)
    trainer.run()
    return trainer


def _rows(folder, name):
    with open(folder / "log.csv", newline="") as stream:
        return [(int(r["step"]), float(r["value"])) for r in csv.DictReader(stream)
                if r["name"] == name]  # fmt: skip


def test_shards_and_processes_train_what_folders_and_threads_train(material, tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    plain = _config(material)
    pack_material(plain, material, tmp_path / "packed", progress=False)
    one = _train(plain, tmp_path / "one")
    other = _train(_config(tmp_path / "packed", worker_processes=2), tmp_path / "other")
    assert other.root.parent == tmp_path / "cache"
    expected = variables_by_name(one.parent)
    for name, variable in variables_by_name(other.parent).items():
        np.testing.assert_allclose(
            variable.numpy(), expected[name].numpy(), rtol=1e-4, atol=1e-6, err_msg=name
        )


def test_packed_material_can_be_measured_on(material, tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    measured = [ValidationConfig(kind="gygo", root="clips", split="val", sequences=["held"])]
    config = _config(material, validation=measured, steps=1)
    pack_material(config, material, tmp_path / "packed", progress=False)
    config.data_root = str(tmp_path / "packed")
    _train(config, tmp_path / "run")
    assert 0.0 <= _rows(tmp_path / "run", "validation/clips/zero-shot")[0][1] <= 1.0


def test_the_log_says_how_long_the_trainer_waited(material, tmp_path):
    trainer = _train(_config(material), tmp_path / "run")
    rows = _rows(tmp_path / "run", "input_wait")
    assert [step for step, _ in rows] == [2, 4]
    assert all(0.0 <= value <= 1.0 for _, value in rows)
    assert 0.0 < trainer.pace.input_wait < 1.0


def test_a_loss_that_is_not_finite_leaves_no_checkpoint(material, tmp_path):
    trainer = ParentTrainer(
        _config(material, checkpoint_every=3), tmp_path / "run", backbone_weights=None,
        progress=False,
    )  # fmt: skip
    step = trainer._step_function

    def diverges(*given):
        loss = step(*given)
        return float("nan") if trainer.step == 2 else loss

    trainer._step_function = diverges
    with pytest.raises(DeepLabGygoError, match="step 3"):
        trainer.run()
    assert not (tmp_path / "run" / "checkpoint.npz").exists()


def test_missing_material_is_found_before_the_first_step(tmp_path):
    with pytest.raises(InputError, match="photos"):
        ParentTrainer(_config(tmp_path), tmp_path / "run", backbone_weights=None, progress=False)
