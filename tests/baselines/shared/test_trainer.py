"""Training thin OSMN and OSVOS: each learns a moving object, resumes, and trains what it should."""

import csv
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from deeplab_gygo.baselines.osmn.config import OsmnModel, TrainOsmn
from deeplab_gygo.baselines.osvos.config import OsvosModel, TrainOsvos
from deeplab_gygo.baselines.shared.config import Stairs
from deeplab_gygo.baselines.shared.steps import supervised
from deeplab_gygo.baselines.shared.trainer import OsmnTrainer, OsvosTrainer, build_trainer
from deeplab_gygo.errors import UsageError
from deeplab_gygo.models.config import ModelConfig
from deeplab_gygo.models.losses import balanced_loss
from deeplab_gygo.models.weight_file import read_parent_file, save_parent, variables_by_name
from deeplab_gygo.synthesis.config import SourceConfig
from deeplab_gygo.training.config import ValidationConfig

SIZE = (64, 96)
THIN_HEAD = ModelConfig(aspp_channels=8, low_level_channels=4, decoder_channels=8)
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
    """Clips of two like squares that cross a noisy picture; the upper or the lower is meant."""
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
        average=1,
        steps=6,
        log_every=2,
        checkpoint_every=2,
        validate_every=10**6,
        weight_decay=0.0,
        optimizer="adam",
        loss="balanced-mean",
        rate_stairs=Stairs((), (1.0,)),
        cache_gb=0.1,
        precision="float32",
    )
    return kind(**{**values, **changes})


def _osmn(root, **changes) -> TrainOsmn:
    return _config(TrainOsmn, root, "pairs", **{"model": SIDES, "rate": 1e-3, **changes})


def _osvos(root, **changes) -> TrainOsvos:
    model = OsvosModel(trunk="vgg16", side_channels=4)
    rates = dict(rate=1e-3, side_multiplier=1.0, fuse_multiplier=1.0, bias_multiplier=1.0)
    return _config(TrainOsvos, root, "square", **{"model": model, **rates, **changes})


def _trained(config, folder):
    trainer = build_trainer(config, folder, progress=False)
    trainer.run()
    return trainer


def _rows(folder, name) -> list[float]:
    with open(folder / "log.csv", newline="") as stream:
        return [float(r["value"]) for r in csv.DictReader(stream) if r["name"] == name]


def _values(parent) -> dict[str, np.ndarray]:
    return {n: np.array(v.numpy()) for n, v in variables_by_name(parent).items()}


# === They learn ===


def test_osmn_learns_which_of_two_moving_objects_is_meant(root, tmp_path):
    # The BatchNorm of the original's shifts takes a thousand steps to settle. Without it shifts
    # must be quick to reach the size of the features, which are large in a random trunk.
    model = replace(SIDES, spatial_relu=False)
    config = _osmn(
        root, model=model, steps=350, rate=3e-3, spatial_rate=0.3, dice=1.0,
        loss="cross-entropy",
        validation=[ValidationConfig(kind="gygo", root="pairs", split="val", stride=2)],
    )  # fmt: skip
    _trained(config, tmp_path / "run")
    (told,) = _rows(tmp_path / "run", "validation/pairs/told")
    # Both squares look alike: without its guides the network cannot exceed a half.
    assert told > 0.7
    config, _, card = read_parent_file(tmp_path / "run" / "parent.npz")
    assert config == model and card["method"] == "osmn" and "random" in card["trunk"]
    assert card["training"]["method"] == "osmn"


def test_osvos_learns_a_moving_object(single, tmp_path):
    config = _osvos(
        single, steps=120, rate=3e-3, dice=1.0,
        validation=[ValidationConfig(kind="gygo", root="square", split="val", stride=2)],
    )  # fmt: skip
    _trained(config, tmp_path / "run")
    (score,) = _rows(tmp_path / "run", "validation/square/zero-shot")
    assert score > 0.7
    losses = _rows(tmp_path / "run", "loss")
    assert np.mean(losses[-5:]) < 0.3 * np.mean(losses[:3])


# === They resume ===


@pytest.mark.parametrize("make", [pytest.param(_osmn, marks=pytest.mark.slow), _osvos])
def test_a_killed_training_goes_on_as_an_undisturbed_one(make, root, single, tmp_path):
    # Half of an average is in the optimizer when the training is killed.
    config = make(root if make is _osmn else single, average=2, ema=0.5)
    whole = _trained(config, tmp_path / "whole")
    killed = build_trainer(config, tmp_path / "killed", progress=False)
    train_step = killed._train_step

    def dies(*batch):
        if killed.step == 3:
            raise KeyboardInterrupt
        return train_step(*batch)

    killed._train_step = dies
    with pytest.raises(KeyboardInterrupt):
        killed.run()
    resumed = _trained(config, tmp_path / "killed")
    assert resumed.step == 6
    expected = _values(whole.parent)
    for name, value in _values(resumed.parent).items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-4, atol=1e-6, err_msg=name)


def test_a_later_stage_starts_from_the_stage_before(root, tmp_path):
    first = build_trainer(_osmn(root), tmp_path / "first", progress=False)
    path = save_parent(tmp_path / "stage.npz", first.parent, storage="float32")
    second = build_trainer(_osmn(root, initial=str(path)), tmp_path / "second", progress=False)
    expected = _values(first.parent)
    for name, value in _values(second.parent).items():
        np.testing.assert_array_equal(value, expected[name])
    other = _osmn(root, initial=str(path), model=replace(SIDES, modulate_early=True))
    with pytest.raises(UsageError, match="architecture"):
        build_trainer(other, tmp_path / "third", progress=False)


# === They train what they should ===


def _rates(trainer) -> dict[str, float]:
    """Peak rate of every trained variable by its path."""
    return {
        variable.path: rate
        for rate, _, variables in trainer._step_function._groups
        for variable in variables
    }


def test_guides_and_the_rest_learn_at_their_own_rates(root, tmp_path):
    for model in (SIDES, LIGHT):
        config = _osmn(root, model=model, rate=1e-5, modulator_rate=1e-4, spatial_rate=1e-3)
        trainer = build_trainer(config, tmp_path / model.trunk, progress=False)
        rates = _rates(trainer)
        groups = trainer._step_function._groups
        trained = {id(v) for _, _, variables in groups for v in variables}
        assert trained == {id(v) for v in trainer.parent.network.trainable_variables}
        layers = {
            rate: {p.split("/")[0] for p, r in rates.items() if r == rate}
            for rate in (1e-5, 1e-4, 1e-3)
        }
        assert layers[1e-4] == ({"fc6", "fc7", "fc8"} if model is SIDES else {"scales"})
        assert layers[1e-3] == {p.split("/")[0] for p in rates if p.startswith("spatial")}
        assert layers[1e-3] and set(rates.values()) == set(layers)
    one = build_trainer(_osmn(root, rate=1e-5), tmp_path / "one", progress=False)
    assert set(_rates(one).values()) == {1e-5}


def test_frozen_stages_and_fixed_statistics_are_not_trained(root, tmp_path):
    config = _osmn(root, model=LIGHT, frozen_stages=4)
    trainer = build_trainer(config, tmp_path / "frozen", progress=False)
    paths = _rates(trainer)
    stages = {path.split("_")[0] for path in paths if path.startswith(("stem", "stage"))}
    assert stages == {"stage5", "stage6", "stage7"}
    assert not [path for path in paths if path.endswith(("gamma", "beta"))]
    assert set(trainer.average.values()) == set() and any("spatial" in path for path in paths)


def test_statistics_of_the_decoder_learn_unless_fixed(root, tmp_path):
    for fixed in (False, True):
        config = _osmn(root, model=LIGHT, fix_bn=fixed)
        trainer = build_trainer(config, tmp_path / str(fixed), progress=False)
        scales = [path for path in _rates(trainer) if path.endswith("gamma")]
        assert not [path for path in scales if path.startswith(("stem", "stage"))]
        assert bool(scales) is not fixed


def test_osvos_rates_follow_its_multipliers(single, tmp_path):
    config = _osvos(
        single, rate=1e-2, bias_multiplier=2.0, side_multiplier=0.1, fuse_multiplier=0.01,
        optimizer="sgd",
    )  # fmt: skip
    rates = _rates(build_trainer(config, tmp_path / "run", progress=False))
    for path, factor in (
        ("conv3_2/kernel", 1.0), ("conv3_2/bias", 2.0), ("side4_conv/kernel", 1.0),
        ("side4_score/kernel", 0.1), ("side4_score/bias", 0.2), ("fuse/kernel", 0.01),
        ("fuse/bias", 0.02),
    ):  # fmt: skip
        assert rates[path] == pytest.approx(1e-2 * factor), path


def test_sides_count_by_their_weight():
    loss = supervised(balanced_loss("mean"))
    mask = np.zeros((1, 4, 4, 1), np.uint8)
    mask[0, 0] = 1
    even, wrong = np.zeros((1, 4, 4, 1), np.float32), np.full((1, 4, 4, 1), 3, np.float32)
    one, two = (float(balanced_loss("mean")(x, mask)) for x in (even, wrong))
    for weight in (0.0, 0.5, 1.0):
        targets = {"mask": mask, "side_weight": np.array(weight, np.float32)}
        total = loss({"fused": even, "side2": wrong, "side3": wrong}, targets)
        assert float(total) == pytest.approx(one + weight * 2 * two, rel=1e-5)


def test_the_weight_of_the_sides_follows_its_stairs(single, tmp_path):
    trainer = OsvosTrainer(_osvos(single, steps=100), tmp_path / "run", progress=False)
    weights = []
    for trainer.step in (0, 29, 30, 59, 60, 99):
        weights.append(float(trainer._step_targets(np.zeros(1))["side_weight"]))
    assert weights == [1.0, 1.0, 0.5, 0.5, 0.0, 0.0]


def test_the_rate_follows_stairs_or_a_cosine(single, tmp_path):
    stairs = Stairs((0.25, 0.5), (1.0, 0.1, 0.5))
    trainer = OsvosTrainer(
        _osvos(single, steps=100, rate_stairs=stairs, warmup=4), tmp_path / "a", progress=False
    )
    factors = {}
    for step in (0, 3, 24, 25, 50, 99):
        trainer.step = step
        factors[step] = trainer._rate_factor()
    assert factors == pytest.approx({0: 0.25, 3: 1.0, 24: 1.0, 25: 0.1, 50: 0.5, 99: 0.5})
    trainer.config.rate_stairs = Stairs()
    trainer.step = 50
    assert trainer._rate_factor() == pytest.approx(0.5)
    trainer.config.seconds, trainer.seconds = 10.0, 7.5
    assert trainer._rate_factor() == pytest.approx(0.5 * (1 - np.sqrt(0.5)), rel=1e-4)


def test_decay_counts_kernels_only(single, tmp_path):
    trainer = build_trainer(_osvos(single, weight_decay=0.5), tmp_path / "run", progress=False)
    step = trainer._step_function._step
    kernels = [v.numpy() for v in step.variables if v.path.endswith("kernel")]
    assert 0 < len(kernels) < len(step.variables)
    expected = 0.25 * sum(np.square(kernel).sum() for kernel in kernels)
    penalty = step.regularizer([v.value for v in step.variables])
    assert float(penalty) == pytest.approx(expected, rel=1e-5)


# === What is refused ===


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"batch": 3}, "batch"),
        ({"crop": (60, 96)}, "crop"),
        ({"scales": ()}, "scales"),
        ({"average": 0}, "average"),
        ({"threshold": 1.0}, "threshold"),
        ({"spread_perturbation": 0.5}, "spread_perturbation"),
        ({"rate_stairs": Stairs((0.5,), (1.0,))}, "Stairs"),
        ({"rate_stairs": Stairs((0.5, 0.2), (1.0, 1.0, 1.0))}, "Stairs"),
    ],
)
def test_values_out_of_range_are_refused_before_anything_is_read(tmp_path, changes, name):
    with pytest.raises(UsageError, match=name):
        OsmnTrainer(_osmn(tmp_path, **changes), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()
