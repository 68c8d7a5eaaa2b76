"""Training of a tiny parent: learning, files, freezing, exact resuming."""

import csv
from dataclasses import replace

import cv2
import numpy as np
import pytest

from deeplab_gygo.errors import UsageError
from deeplab_gygo.models.config import ModelConfig
from deeplab_gygo.models.stroke_decoder import encoder_digest
from deeplab_gygo.models.weight_file import file_hash, read_parent_file, variables_by_name
from deeplab_gygo.synthesis.config import SourceConfig
from deeplab_gygo.training.config import TrainConfig
from deeplab_gygo.training.parent_trainer import ParentTrainer

pytestmark = pytest.mark.usefixtures("on_small_backbone")

THIN = dict(aspp_channels=16, low_level_channels=8, decoder_channels=16, separable=False,
            refine_guides=3)  # fmt: skip
PLAIN = ModelConfig(**THIN, guide=False, memory=False, refine=False)


@pytest.fixture
def stills(tmp_path):
    """Stills of a bright disk on noise."""
    folder = tmp_path / "stills"
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    rng = np.random.default_rng(0)
    for index in range(4):
        image = rng.integers(0, 90, (80, 96, 3)).astype(np.uint8)
        mask = np.zeros((80, 96), np.uint8)
        cv2.circle(mask, (int(rng.integers(30, 66)), int(rng.integers(30, 50))), 22, 255, -1)
        image[mask > 0] = (230, 60, 40)
        cv2.imwrite(str(folder / "images" / f"{index}.png"), image)
        cv2.imwrite(str(folder / "masks" / f"{index}.png"), mask)
    return folder


def _config(stills, **changes) -> TrainConfig:
    values = dict(
        model=ModelConfig(**THIN),
        sources=[SourceConfig(kind="stills", root=str(stills))],
        crop=(64, 64),
        batch=2,
        steps=6,
        warmup=2,
        frozen_stages=5,
        log_every=2,
        checkpoint_every=2,
        validate_every=100,
        cache_gb=0.1,
        precision="float32",
    )
    return TrainConfig(**{**values, **changes})


def _trainer(config, folder) -> ParentTrainer:
    return ParentTrainer(config, folder, backbone_weights=None)


@pytest.mark.slow
def test_a_resumed_training_equals_an_uninterrupted_one(stills, tmp_path):
    config = _config(stills)
    whole = _trainer(config, tmp_path / "whole").run()
    killed = _trainer(config, tmp_path / "killed")
    run_step = killed._run_step

    def interrupted(inputs, targets):
        if killed.step == 3:
            raise KeyboardInterrupt
        return run_step(inputs, targets)

    killed._run_step = interrupted
    with pytest.raises(KeyboardInterrupt):
        killed.run()
    resumed = _trainer(config, tmp_path / "killed")
    assert resumed.step == 3
    again = resumed.run()
    _, expected, _ = read_parent_file(whole)
    _, got, _ = read_parent_file(again)
    for name, values in expected.items():
        np.testing.assert_allclose(
            got[name].astype(np.float32), values.astype(np.float32), rtol=2e-3, atol=2e-5
        )


@pytest.mark.slow
def test_a_training_stopped_within_a_validation_resumes_with_it(stills, tmp_path):
    config = _config(stills, steps=4, validate_every=2)
    trainer = _trainer(config, tmp_path / "run")

    def interrupted():
        raise KeyboardInterrupt

    trainer.validation.run = interrupted
    with pytest.raises(KeyboardInterrupt):
        trainer.run()
    weights = {n: np.array(v.numpy()) for n, v in variables_by_name(trainer.parent).items()}
    resumed = _trainer(config, tmp_path / "run")
    assert resumed.step == 2
    for name, variable in variables_by_name(resumed.parent).items():
        np.testing.assert_array_equal(variable.numpy(), weights[name], err_msg=name)
    validated, run = [], resumed.validation.run

    def recorded():
        validated.append(resumed.step)
        return run()

    resumed.validation.run = recorded
    resumed.run()
    assert validated == [2, 4]


def test_learns_logs_and_writes_a_parent(stills, tmp_path):
    trainer = _trainer(
        _config(stills, steps=40, head_learning_rate=5e-3, ema_momentum=0.0), tmp_path / "run"
    )
    path = trainer.run()
    with open(tmp_path / "run" / "log.csv", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["name"] == "loss"]
    losses = [float(row["value"]) for row in rows]
    assert np.mean(losses[-3:]) < 0.8 * np.mean(losses[:3])
    config, _, card = read_parent_file(path)
    assert config == trainer.config.model
    assert card["step"] == 40 and card["training"]["sources"][0]["kind"] == "stills"


def test_another_configuration_is_refused(stills, tmp_path):
    config = _config(stills, steps=2, model=PLAIN)
    _trainer(config, tmp_path / "run").run()
    with pytest.raises(UsageError, match="another configuration"):
        _trainer(replace(config, head_learning_rate=1e-4), tmp_path / "run")
    # More steps of the same training continue it.
    assert _trainer(replace(config, steps=4), tmp_path / "run").step == 2


def test_frozen_stages_and_statistics_do_not_change(stills, tmp_path):
    trainer = _trainer(_config(stills, steps=2, ema_momentum=0.0), tmp_path / "run")
    before = {v.path: v.numpy() for v in trainer.parent.encoder.variables}
    trainer.run()
    for variable in trainer.parent.encoder.variables:
        changed = not np.array_equal(before[variable.path], variable.numpy())
        trained = any(part in variable.path for part in ("stage6", "stage7", "memory_key/kernel"))
        if "memory_key/bias" not in variable.path:  # no gradient while the memory has no weight
            assert changed == (trained and variable.trainable), variable.path


def test_a_second_stage_starts_from_a_parent_and_keeps_frozen_statistics(stills, tmp_path):
    config = _config(stills, steps=2, ema_momentum=0.0, model=PLAIN)
    first = _trainer(config, tmp_path / "first").run()
    config = replace(config, init_from=str(first), freeze_batch_norm=True, crop=(96, 96))
    second = _trainer(config, tmp_path / "second")
    names = [n for n in variables_by_name(second.parent) if n.endswith("moving_mean")]
    before = {n: variables_by_name(second.parent)[n].numpy() for n in names}
    _, arrays, _ = read_parent_file(first)
    np.testing.assert_array_equal(before[names[-1]], arrays[names[-1]])
    second.run()
    for name in names:
        np.testing.assert_array_equal(variables_by_name(second.parent)[name].numpy(), before[name])


def test_memory_keys_are_trained_with_every_stage_frozen(stills, tmp_path):
    trainer = _trainer(
        _config(stills, steps=12, frozen_stages=7, ema_momentum=0.5), tmp_path / "run"
    )
    keys = trainer.parent.encoder.get_layer("memory_key")
    before = [np.array(v.numpy()) for v in keys.variables]
    path = trainer.run()
    _, kept, _ = read_parent_file(path)
    for old, variable in zip(before, keys.variables, strict=True):
        assert not np.array_equal(old, variable.numpy()), variable.path
        averaged = kept[f"encoder/{variable.path}"].astype(np.float32)
        assert np.abs(averaged - old).max() > 1e-4, "the moving average contains them"


def test_allow_missing_adds_a_memory_and_a_refinement(stills, tmp_path):
    plain = ModelConfig(**THIN, memory=False, refine=False)
    first = _trainer(_config(stills, steps=2, model=plain), tmp_path / "first").run()
    with pytest.raises(UsageError, match="allow_missing"):
        _trainer(_config(stills, init_from=str(first)), tmp_path / "second")
    grown = _trainer(_config(stills, init_from=str(first), allow_missing=True), tmp_path / "third")
    assert grown.parent.config.memory and grown.parent.config.refine
    _, arrays, _ = read_parent_file(first)
    for name, value in arrays.items():
        np.testing.assert_array_equal(variables_by_name(grown.parent)[name].numpy(), value)


def test_training_only_the_refinement_changes_nothing_else(stills, tmp_path):
    plain = ModelConfig(**THIN, refine=False)
    first = _trainer(_config(stills, steps=2, model=plain), tmp_path / "first").run()
    config = _config(
        stills,
        steps=6,
        init_from=str(first),
        allow_missing=True,
        trainable="refinement",
        edge_weight=2.0,
        ema_momentum=0.0,
    )
    _, arrays, card = read_parent_file(_trainer(config, tmp_path / "second").run())
    _, before, _ = read_parent_file(first)
    for name, value in before.items():
        np.testing.assert_array_equal(arrays[name], value, err_msg=name)
    assert np.any(arrays["refiner/refine_change/kernel"])
    assert card["initial"]["sha256"] == file_hash(first) and card["initial"]["step"] == 2


def test_a_start_of_another_architecture_is_refused(stills, tmp_path):
    first = _trainer(_config(stills, steps=2, model=PLAIN), tmp_path / "first").run()
    config = _config(stills, init_from=str(first), model=ModelConfig(aspp_channels=8))
    with pytest.raises(UsageError, match="architecture"):
        _trainer(config, tmp_path / "second")


def test_training_strokes_changes_the_decoder_alone_and_writes_it(stills, tmp_path):
    parent = _trainer(_config(stills, steps=1), tmp_path / "parent").run()
    before = read_parent_file(parent)[1]
    config = _config(
        stills, trainable="strokes", init_from=str(parent), steps=2, freeze_batch_norm=True,
        ema_momentum=0.0,
    )  # fmt: skip
    _, after, card = read_parent_file(_trainer(config, tmp_path / "strokes").run())
    assert {name.split("/")[0] for name in after} == {"head", "refiner"}
    assert any((after[name] != before[name]).any() for name in after)
    assert card["encoder_sha256"] == encoder_digest(before)
    assert card["initial"]["sha256"] == file_hash(parent)
