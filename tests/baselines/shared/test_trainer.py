"""Training of thin OSMN and OSVOS: convergence, exact resuming, parameter groups, schedules."""

import csv
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from deeplab_gygo.baselines.osmn.config import OsmnModel, OsmnTraining
from deeplab_gygo.baselines.osmn.training import OsmnTrainer
from deeplab_gygo.baselines.osvos.config import OsvosModel, OsvosTraining
from deeplab_gygo.baselines.osvos.training import OsvosTrainer, deep_supervision
from deeplab_gygo.baselines.shared.config import PiecewiseConstant
from deeplab_gygo.baselines.shared.losses import named_loss
from deeplab_gygo.errors import UsageError
from deeplab_gygo.models.config import ModelConfig
from deeplab_gygo.models.weight_file import read_parent_file, save_parent, variables_by_name
from deeplab_gygo.synthesis.config import SourceConfig
from deeplab_gygo.training.config import ValidationConfig

SIZE = (64, 96)
THIN_HEAD = ModelConfig(aspp_channels=8, low_level_channels=4, decoder_channels=8, refine_guides=3)
LIGHT = OsmnModel(
    trunk="efficientnet_lite0", decoder="deeplab", spatial_relu=False, deeplab=THIN_HEAD
)
SIDES = OsmnModel(trunk="vgg16", side_channels=8)  # quickest to build and to run


@pytest.fixture(autouse=True)
def on_thin_trunks(thin_trunks):
    with thin_trunks():
        yield


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Clips of two equal squares that move over noise; the upper or the lower is the object."""
    root = tmp_path_factory.mktemp("material") / "pairs"
    rng = np.random.default_rng(0)
    names = [f"pair{number}" for number in range(6)]
    for number, name in enumerate(names):
        images, masks = (root / kind / "480p" / name for kind in ("JPEGImages", "Annotations"))
        images.mkdir(parents=True)
        masks.mkdir(parents=True)
        for index in range(6):
            image = rng.integers(40, 90, (*SIZE, 3)).astype(np.uint8)
            mask = np.zeros(SIZE, np.uint8)
            for row, left in ((6, 30 + 2 * index), (36, 42 - 2 * index)):
                image[row : row + 22, left : left + 22] = (230, 200, 60)
                if (row == 6) == (number % 2 == 0):
                    mask[row : row + 22, left : left + 22] = 255
            Image.fromarray(image).save(images / f"{index:05d}.jpg", quality=95)
            Image.fromarray(mask).save(masks / f"{index:05d}.png")
    (root / "ImageSets").mkdir()
    for split in ("Train", "val"):
        (root / "ImageSets" / f"{split}.txt").write_text("".join(f"{name}\n" for name in names))
    return root.parent


@pytest.fixture(scope="module")
def single(tmp_path_factory, make_dataset):
    """Clips of one moving square."""
    return make_dataset(tmp_path_factory.mktemp("material") / "square", {"a": 4, "b": 4}).parent


def _config(kind, root, folder, **changes):
    values = dict(
        sources=[SourceConfig(kind="gygo", root=folder)],
        validation=[],
        data_root=str(root),
        trunk_weights="none",
        crop=SIZE,
        scales=(1.0,),
        batch=2,
        accumulate_steps=1,
        steps=6,
        log_every=2,
        checkpoint_every=2,
        validate_every=10**6,
        weight_decay=0.0,
        optimizer="adam",
        loss="balanced-mean",
        learning_rate_schedule=PiecewiseConstant((), (1.0,)),
        cache_gb=0.1,
        precision="float32",
    )
    return kind(**{**values, **changes})


def _osmn(root, **changes) -> OsmnTraining:
    return _config(
        OsmnTraining, root, "pairs", **{"model": SIDES, "learning_rate": 1e-3, **changes}
    )


def _osvos(root, **changes) -> OsvosTraining:
    model = OsvosModel(trunk="vgg16", side_channels=4)
    rates = dict(learning_rate=1e-3, side_multiplier=1.0, fuse_multiplier=1.0, bias_multiplier=1.0)
    return _config(OsvosTraining, root, "square", **{"model": model, **rates, **changes})


def _build(config, folder):
    trainer = OsmnTrainer if isinstance(config, OsmnTraining) else OsvosTrainer
    return trainer(config, folder)


def _trained(config, folder):
    trainer = _build(config, folder)
    trainer.run()
    return trainer


def _rows(folder, name) -> list[float]:
    with open(folder / "log.csv", newline="") as stream:
        return [float(r["value"]) for r in csv.DictReader(stream) if r["name"] == name]


def _values(parent) -> dict[str, np.ndarray]:
    return {n: np.array(v.numpy()) for n, v in variables_by_name(parent).items()}


@pytest.mark.slow
def test_osmn_learns_the_guided_one_of_two_objects(root, tmp_path):
    # The BatchNorm of the original's shifts needs a thousand steps. Without it shifts need a high
    # learning rate to reach the size of the features, which are large in a random trunk.
    model = replace(SIDES, spatial_relu=False)
    config = _osmn(
        root, model=model, steps=350, learning_rate=3e-3, spatial_learning_rate=0.3,
        dice_weight=1.0, loss="cross-entropy",
        validation=[ValidationConfig(kind="gygo", root="pairs", split="val", stride=2)],
    )  # fmt: skip
    _trained(config, tmp_path / "run")
    (score,) = _rows(tmp_path / "run", "validation/pairs/true-guide")
    # The squares are equal: without its guides the network cannot exceed a half.
    assert score > 0.7
    config, _, card = read_parent_file(tmp_path / "run" / "parent.npz")
    assert config == model and card["method"] == "osmn" and "random" in card["trunk"]
    assert card["training"]["method"] == "osmn"


def test_osvos_learns_a_moving_object(single, tmp_path):
    config = _osvos(
        single, steps=120, learning_rate=3e-3, dice_weight=1.0,
        validation=[ValidationConfig(kind="gygo", root="square", split="val", stride=2)],
    )  # fmt: skip
    _trained(config, tmp_path / "run")
    (score,) = _rows(tmp_path / "run", "validation/square/zero-shot")
    assert score > 0.7
    losses = _rows(tmp_path / "run", "loss")
    assert np.mean(losses[-5:]) < 0.3 * np.mean(losses[:3])


@pytest.mark.parametrize("make", [pytest.param(_osmn, marks=pytest.mark.slow), _osvos])
def test_a_killed_training_resumes_exactly(make, root, single, tmp_path):
    # Half of the gradients of an update are in the optimizer when the training is killed.
    config = make(root if make is _osmn else single, accumulate_steps=2, ema_momentum=0.5)
    whole = _trained(config, tmp_path / "whole")
    killed = _build(config, tmp_path / "killed")
    train_step = killed._run_step

    def dies(*batch):
        if killed.step == 3:
            raise KeyboardInterrupt
        return train_step(*batch)

    killed._run_step = dies
    with pytest.raises(KeyboardInterrupt):
        killed.run()
    resumed = _trained(config, tmp_path / "killed")
    assert resumed.step == 6
    expected = _values(whole.parent)
    for name, value in _values(resumed.parent).items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-4, atol=1e-6, err_msg=name)


def test_a_later_stage_starts_from_the_stage_before(root, tmp_path):
    first = _build(_osmn(root), tmp_path / "first")
    path = save_parent(tmp_path / "stage.npz", first.parent, storage="float32")
    second = _build(_osmn(root, init_from=str(path)), tmp_path / "second")
    expected = _values(first.parent)
    for name, value in _values(second.parent).items():
        np.testing.assert_array_equal(value, expected[name])
    other = _osmn(root, init_from=str(path), model=replace(SIDES, modulate_early=True))
    with pytest.raises(UsageError, match="architecture"):
        _build(other, tmp_path / "third")


def _rates(trainer) -> dict[str, float]:
    """Peak rate of every trained variable by its path."""
    return {
        variable.path: rate
        for rate, _, variables in trainer.train_step._groups
        for variable in variables
    }


def test_modulators_have_their_own_learning_rates(root, tmp_path):
    for model in (SIDES, LIGHT):
        config = _osmn(
            root,
            model=model,
            learning_rate=1e-5,
            modulator_learning_rate=1e-4,
            spatial_learning_rate=1e-3,
        )
        trainer = _build(config, tmp_path / model.trunk)
        rates = _rates(trainer)
        groups = trainer.train_step._groups
        trained = {id(v) for _, _, variables in groups for v in variables}
        assert trained == {id(v) for v in trainer.parent.network.trainable_variables}
        layers = {
            rate: {p.split("/")[0] for p, r in rates.items() if r == rate}
            for rate in (1e-5, 1e-4, 1e-3)
        }
        assert layers[1e-4] == ({"fc6", "fc7", "fc8"} if model is SIDES else {"scales"})
        assert layers[1e-3] == {p.split("/")[0] for p in rates if p.startswith("spatial")}
        assert layers[1e-3] and set(rates.values()) == set(layers)
    one = _build(_osmn(root, learning_rate=1e-5), tmp_path / "one")
    assert set(_rates(one).values()) == {1e-5}


def test_frozen_stages_and_batch_norm_are_not_trained(root, tmp_path):
    config = _osmn(root, model=LIGHT, frozen_stages=4)
    trainer = _build(config, tmp_path / "frozen")
    paths = _rates(trainer)
    stages = {path.split("_")[0] for path in paths if path.startswith(("stem", "stage"))}
    assert stages == {"stage5", "stage6", "stage7"}
    assert not [path for path in paths if path.endswith(("gamma", "beta"))]
    assert set(trainer.average.values()) == set() and any("spatial" in path for path in paths)


def test_batch_norm_of_the_decoder_is_trained_unless_frozen(root, tmp_path):
    for fixed in (False, True):
        config = _osmn(root, model=LIGHT, freeze_batch_norm=fixed)
        trainer = _build(config, tmp_path / str(fixed))
        scales = [path for path in _rates(trainer) if path.endswith("gamma")]
        assert not [path for path in scales if path.startswith(("stem", "stage"))]
        assert bool(scales) is not fixed


def test_osvos_learning_rates_follow_the_multipliers(single, tmp_path):
    config = _osvos(
        single, learning_rate=1e-2, bias_multiplier=2.0, side_multiplier=0.1,
        fuse_multiplier=0.01, optimizer="sgd",
    )  # fmt: skip
    rates = _rates(_build(config, tmp_path / "run"))
    for path, factor in (
        ("conv3_2/kernel", 1.0), ("conv3_2/bias", 2.0), ("side4_conv/kernel", 1.0),
        ("side4_score/kernel", 0.1), ("side4_score/bias", 0.2), ("fuse/kernel", 0.01),
        ("fuse/bias", 0.02),
    ):  # fmt: skip
        assert rates[path] == pytest.approx(1e-2 * factor), path


def test_sides_are_weighted_in_the_loss():
    loss = deep_supervision(named_loss("balanced-mean"))
    mask = np.zeros((1, 4, 4, 1), np.uint8)
    mask[0, 0] = 1
    even, wrong = np.zeros((1, 4, 4, 1), np.float32), np.full((1, 4, 4, 1), 3, np.float32)
    one, two = (float(named_loss("balanced-mean")(x, mask)) for x in (even, wrong))
    for weight in (0.0, 0.5, 1.0):
        targets = {"mask": mask, "side_weight": np.array(weight, np.float32)}
        total = loss({"fused": even, "side2": wrong, "side3": wrong}, targets)
        assert float(total) == pytest.approx(one + weight * 2 * two, rel=1e-5)


def test_the_weight_of_the_sides_follows_its_schedule(single, tmp_path):
    trainer = _build(_osvos(single, steps=100), tmp_path / "run")
    weights = []
    for trainer.step in (0, 29, 30, 59, 60, 99):
        weights.append(float(trainer.step_targets(np.zeros(1))["side_weight"]))
    assert weights == [1.0, 1.0, 0.5, 0.5, 0.0, 0.0]


def test_the_learning_rate_follows_its_schedule_or_a_cosine(single, tmp_path):
    schedule = PiecewiseConstant((0.25, 0.5), (1.0, 0.1, 0.5))
    trainer = OsvosTrainer(
        _osvos(single, steps=100, learning_rate_schedule=schedule, warmup=4), tmp_path / "a"
    )
    factors = {}
    for step in (0, 3, 24, 25, 50, 99):
        trainer.step = step
        factors[step] = trainer.learning_rate_factor()
    assert factors == pytest.approx({0: 0.25, 3: 1.0, 24: 1.0, 25: 0.1, 50: 0.5, 99: 0.5})
    trainer.config.learning_rate_schedule = PiecewiseConstant()
    trainer.step = 50
    assert trainer.learning_rate_factor() == pytest.approx(0.5)
    trainer.config.seconds, trainer.seconds = 10.0, 7.5
    assert trainer.learning_rate_factor() == pytest.approx(0.5 * (1 - np.sqrt(0.5)), rel=1e-4)


def test_only_kernels_decay(single, tmp_path):
    trainer = _build(_osvos(single, weight_decay=0.5), tmp_path / "run")
    step = trainer.train_step._step
    kernels = [v.numpy() for v in step.variables if v.path.endswith("kernel")]
    assert 0 < len(kernels) < len(step.variables)
    expected = 0.25 * sum(np.square(kernel).sum() for kernel in kernels)
    penalty = step.regularizer([v.value for v in step.variables])
    assert float(penalty) == pytest.approx(expected, rel=1e-5)
