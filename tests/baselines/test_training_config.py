"""Experiment files of every method: what they say, and what is refused."""

from pathlib import Path

import pytest
import yaml

from deeplab_gygo.baselines.osmn.config import TrainOsmn
from deeplab_gygo.baselines.osvos.config import TrainOsvos
from deeplab_gygo.baselines.shared.config import Stairs
from deeplab_gygo.errors import UsageError
from deeplab_gygo.training.config import TrainConfig, load_training

EXPERIMENTS = Path(__file__).parents[1] / "experiments"
HELD_BACK = {"boat", "dance-jump", "mallard-fly", "scooter-gray", "soccerball"}


def _written(tmp_path, **values) -> Path:
    path = tmp_path / "experiment.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


@pytest.mark.parametrize("method", [{}, {"method": "deeplab"}])
def test_a_file_without_a_system_trains_deeplab(tmp_path, method):
    config = load_training(_written(tmp_path, steps=7, **method))
    assert isinstance(config, TrainConfig) and config.steps == 7


def test_the_key_chooses_the_system(tmp_path):
    osmn = load_training(_written(tmp_path, method="osmn", guide_dropout=0.5))
    assert isinstance(osmn, TrainOsmn) and osmn.guide_dropout == 0.5
    assert isinstance(load_training(_written(tmp_path, method="osvos")), TrainOsvos)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"method": "flow"}, "method to train"),
        ({"method": "osvos", "guide_dropout": 0.1}, "guide_dropout"),
        ({"method": "osmn", "loss": "dice"}, "loss"),
        ({"method": "osmn", "model": {"trunk": "resnet50"}}, "trunk"),
    ],
)
def test_what_a_system_has_not_is_refused(tmp_path, values, text):
    with pytest.raises(UsageError, match=text):
        load_training(_written(tmp_path, **values))


def test_files_that_are_none_are_refused(tmp_path):
    with pytest.raises(UsageError, match="no such file"):
        load_training(tmp_path / "absent.yaml")
    path = tmp_path / "bad.yaml"
    path.write_text("a: [")
    with pytest.raises(UsageError, match="YAML"):
        load_training(path)
    path.write_text("- a")
    with pytest.raises(UsageError, match="mapping"):
        load_training(path)


def test_stairs_are_climbed_at_their_parts():
    stairs = Stairs((0.3, 0.6), (1.0, 0.5, 0.0))
    values = {0.0: 1.0, 0.29: 1.0, 0.3: 0.5, 0.59: 0.5, 0.6: 0.0, 1.0: 0.0}
    assert {fraction: stairs.at(fraction) for fraction in values} == values


@pytest.mark.parametrize(
    "name",
    [
        "osmn_original_stage1",
        "osmn_original",
        "osmn_gygo_stage1",
        "osmn_gygo_stage2",
        "osmn_gygo",
        "osvos_original",
        "osvos_lite0_stage1",
        "osvos_lite0_stage2",
        "osvos_lite0",
    ],  # fmt: skip
)
def test_experiments_hold_sequences_back(name):
    config = load_training(EXPERIMENTS / f"{name}.yaml")
    for source in config.sources:
        if source.kind == "davis2016":
            assert source.split == "train" and set(source.exclude) == HELD_BACK
    (davis,) = (s for s in config.validation if s.kind == "davis2016")
    assert davis.split == "train" and set(davis.sequences) == HELD_BACK


def test_the_original_experiments_have_the_published_numbers():
    stage1 = load_training(EXPERIMENTS / "osmn_original_stage1.yaml")
    assert (stage1.crop, stage1.scales, stage1.batch) == ((400, 400), (0.8, 1.0, 1.2), 8)
    rates = [stage1.rate * stage1.rate_stairs.at(step / 300e3) for step in (1e5, 199e3, 201e3)]
    assert rates == pytest.approx([1e-5, 1e-5, 1e-6])
    stage2 = load_training(EXPERIMENTS / "osmn_original.yaml")
    assert (stage2.batch, stage2.rate, stage2.steps, stage2.fix_bn) == (4, 1e-6, 50_000, True)
    assert (stage2.loss, stage2.dice, stage2.optimizer) == ("balanced-sum", 0.0, "adam")
    osvos = load_training(EXPERIMENTS / "osvos_original.yaml")
    steps = [5e3, 12e3, 20e3, 27e3, 35e3, 45e3]
    rates = [osvos.rate * osvos.rate_stairs.at(step / 50e3) for step in steps]
    assert rates == pytest.approx([1e-8, 1e-9, 1e-8, 1e-9, 1e-8, 1e-9])
    assert [osvos.side_stairs.at(step / 50e3) for step in (1e4, 2e4, 4e4)] == [1.0, 0.5, 0.0]
    assert (osvos.average, osvos.batch, osvos.steps) == (10, 1, 500_000)
