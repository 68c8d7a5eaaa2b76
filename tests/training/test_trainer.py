"""The training loop: sources, processes, logs, and losses that are not finite."""

import csv

import cv2
import numpy as np
import pytest

from deeplab_gygo.errors import DeepLabGygoError, InputError
from deeplab_gygo.models.config import ModelConfig
from deeplab_gygo.models.weight_file import variables_by_name
from deeplab_gygo.synthesis.config import SourceConfig
from deeplab_gygo.training.config import TrainConfig, ValidationConfig
from deeplab_gygo.training.parent_trainer import ParentTrainer

pytestmark = pytest.mark.usefixtures("on_small_backbone")


@pytest.fixture
def data(tmp_path, make_dataset):
    """A dataset, and stills of a bright disk."""
    root = tmp_path / "data"
    make_dataset(root / "clips", {"walk": 3, "held": 2})
    rng = np.random.default_rng(0)
    for folder in ("images", "masks"):
        (root / "stills" / folder).mkdir(parents=True)
    for index in range(3):
        image = rng.integers(0, 90, (80, 96, 3)).astype(np.uint8)
        mask = np.zeros((80, 96), np.uint8)
        cv2.circle(mask, (48, 30 + 8 * index), 20, 255, -1)
        image[mask > 0] = (230, 60, 40)
        cv2.imwrite(str(root / "stills/images" / f"{index}.png"), image)
        cv2.imwrite(str(root / "stills/masks" / f"{index}.png"), mask)
    return root


def _config(root, **changes) -> TrainConfig:
    # The loop is the same for every network; tests of the parent trainer have the parts left out.
    plain = dict(guide=False, memory=False, refine=False)
    values = dict(
        model=ModelConfig(aspp_channels=8, low_level_channels=4, decoder_channels=8, **plain),
        sources=[SourceConfig(kind="stills", root="stills")],
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
    trainer = ParentTrainer(config, folder, backbone_weights=None)
    trainer.run()
    return trainer


def _rows(folder, name):
    with open(folder / "log.csv", newline="") as stream:
        return [(int(r["step"]), float(r["value"])) for r in csv.DictReader(stream)
                if r["name"] == name]  # fmt: skip


@pytest.mark.slow
def test_processes_train_as_threads_do(data, tmp_path):
    # With guide and memory, whose examples are sampled too.
    model = ModelConfig(aspp_channels=8, low_level_channels=4, decoder_channels=8)
    one = _train(_config(data, model=model), tmp_path / "one")
    other = _train(_config(data, model=model, worker_processes=2), tmp_path / "other")
    expected = variables_by_name(one.parent)
    for name, variable in variables_by_name(other.parent).items():
        np.testing.assert_allclose(
            variable.numpy(), expected[name].numpy(), rtol=1e-4, atol=1e-6, err_msg=name
        )


def test_validation_is_logged(data, tmp_path):
    sets = [ValidationConfig(kind="gygo", root="clips", split="val", sequences=["held"])]
    _train(_config(data, validation=sets, steps=1), tmp_path / "run")
    ((step, score),) = _rows(tmp_path / "run", "validation/clips/zero-shot")
    assert step == 1 and 0.0 <= score <= 1.0


def test_input_wait_is_logged(data, tmp_path):
    trainer = _train(_config(data), tmp_path / "run")
    rows = _rows(tmp_path / "run", "input_wait")
    assert [step for step, _ in rows] == [2, 4]
    assert all(0.0 <= value <= 1.0 for _, value in rows)
    assert 0.0 < trainer.meter.input_wait < 1.0


def test_a_dry_run_trains_nothing(data, tmp_path):
    trainer = ParentTrainer(_config(data, batch=4), tmp_path / "run", backbone_weights=None)
    before = [np.array(v) for part in trainer.parent.parts for v in part.trainable_variables]
    found = trainer.dry_run()
    after = [np.array(v) for part in trainer.parent.parts for v in part.trainable_variables]
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    assert (found["steps"], found["examples"]) == (4, 16)
    assert sum(v.size for v in after) == found["trained"] < found["parameters"]
    assert {path.name for path in (tmp_path / "run").iterdir()} <= {"config.json", ".lock"}


def test_a_loss_that_is_not_finite_leaves_no_checkpoint(data, tmp_path):
    trainer = ParentTrainer(
        _config(data, checkpoint_every=3), tmp_path / "run", backbone_weights=None
    )  # fmt: skip
    step = trainer.train_step

    def diverges(*given):
        loss = step(*given)
        return float("nan") if trainer.step == 2 else loss

    diverges.prepare = step.prepare
    trainer.train_step = diverges
    with pytest.raises(DeepLabGygoError, match="step 3"):
        trainer.run()
    assert not (tmp_path / "run" / "checkpoint.npz").exists()


def test_a_missing_source_is_refused_before_the_first_step(tmp_path):
    with pytest.raises(InputError, match="stills"):
        ParentTrainer(_config(tmp_path), tmp_path / "run", backbone_weights=None)
