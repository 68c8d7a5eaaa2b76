"""Configurations: YAML in, dataclasses out, nothing unknown passes."""

from pathlib import Path

import pytest

from deeplab_gygo.errors import UsageError
from deeplab_gygo.io.config_file import from_dict, load_yaml, to_plain
from deeplab_gygo.models.config import ModelConfig
from deeplab_gygo.training.config import TrainConfig

EXPERIMENTS = sorted((Path(__file__).parents[2] / "experiments").glob("parent_*.yaml"))


def test_round_trip_keeps_every_value():
    config = TrainConfig(crop=(64, 96), model=ModelConfig(backbone="resnet50", output_stride=8))
    assert from_dict(TrainConfig, to_plain(config), "memory") == config


def test_exponents_without_point_are_numbers():
    # PyYAML reads 1e-5 as a string.
    assert from_dict(TrainConfig, {"weight_decay": "1e-5"}, "memory").weight_decay == 1e-5


@pytest.mark.parametrize(
    "values",
    [
        {"unknown": 1},
        {"backbone": "vgg"},
        {"dropout": "much"},
        {"output_stride": 4},
    ],
)
def test_wrong_keys_and_values_are_refused(values):
    with pytest.raises(UsageError, match=next(iter(values))):
        from_dict(ModelConfig, values, "memory")


def test_unknown_key_of_a_nested_list_is_refused(tmp_path):
    path = tmp_path / "train.yaml"
    path.write_text("sources:\n  - {kind: stills, rooot: x}\n")
    with pytest.raises(UsageError, match="rooot") as error:
        load_yaml(TrainConfig, path)
    assert str(path) in str(error.value)


def test_yaml_must_exist_and_be_a_mapping(tmp_path):
    with pytest.raises(UsageError, match="existing"):
        load_yaml(TrainConfig, tmp_path / "absent.yaml")
    path = tmp_path / "list.yaml"
    path.write_text("- 1\n")
    with pytest.raises(UsageError, match="mapping"):
        load_yaml(TrainConfig, path)


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_experiment_files_are_valid(path):
    assert load_yaml(TrainConfig, path).sources
