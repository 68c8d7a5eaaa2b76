"""Training configurations: experiment files, ranges, keys of older versions."""

from pathlib import Path

import pytest
import yaml

from deeplab_gygo.errors import UsageError
from deeplab_gygo.io.config_file import from_dict
from deeplab_gygo.models.config import ModelConfig
from deeplab_gygo.synthesis.config import AugmentConfig, SourceConfig
from deeplab_gygo.training.config import TrainConfig, ValidationConfig, load_training

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
FILES = sorted(
    path.name
    for pattern in ("parent_*", "small_*", "mix_*")
    for path in EXPERIMENTS.glob(f"{pattern}.yaml")
)
HELD_OUT = {"boat", "dance-jump", "mallard-fly", "scooter-gray", "soccerball"}


@pytest.mark.parametrize("name", FILES)
def test_experiments_load_with_current_keys_and_held_out_validation(name):
    path = EXPERIMENTS / name
    config = load_training(path)
    written = yaml.safe_load(path.read_text())
    assert not set(written) & set(TrainConfig.RENAMED_KEYS)
    assert not {key for s in written["sources"] for key in s} & set(SourceConfig.RENAMED_KEYS)
    assert isinstance(config, TrainConfig) and config.sources
    for source in config.sources:
        if source.root == "davis16":
            assert source.split == "train" and set(source.exclude) == HELD_OUT
    for validation in config.validation:
        if validation.kind == "davis2016":
            assert validation.split == "train" and set(validation.sequences) == HELD_OUT


def test_keys_of_older_versions_are_read():
    old = {
        "initial": "parent.npz", "grow": True, "trained": "refinement", "head_rate": 1e-3,
        "backbone_rate": 1e-4, "clip": 2.0, "dice": 0.5, "edge": 2.0, "ema": 0.9,
        "sources": [{"kind": "compose", "root": "cutouts", "guided": 0.6}],
    }  # fmt: skip
    assert from_dict(TrainConfig, old, "old.yaml") == TrainConfig(
        init_from="parent.npz", allow_missing=True, trainable="refinement",
        head_learning_rate=1e-3, backbone_learning_rate=1e-4, grad_clip_norm=2.0,
        dice_weight=0.5, edge_weight=2.0, ema_momentum=0.9,
        sources=[SourceConfig(kind="compose", root="cutouts", ambiguous_fraction=0.6)],
    )  # fmt: skip


def test_unknown_keys_are_refused_by_name():
    with pytest.raises(UsageError, match="learning_rate"):
        from_dict(TrainConfig, {"learning_rate": 1e-3}, "wrong.yaml")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("steps", 0),
        ("steps", 10**12),
        ("crop", (0, 352)),
        ("crop", (-16, 352)),
        ("crop", (288, 350)),
        ("crop", (16, 100_000)),
        ("crop", (288,)),
        ("batch", 3),
        ("batch", 0),
        ("batch", 10**6),
        ("head_learning_rate", -1e-3),
        ("head_learning_rate", 1e30),
        ("backbone_learning_rate", float("inf")),
        ("weight_decay", float("nan")),
        ("grad_clip_norm", 1e30),
        ("frozen_stages", -2),
        ("frozen_stages", 100),
        ("ema_momentum", 1.5),
        ("guide_dropout", -0.1),
        ("memory_dropout", float("nan")),
        ("validate_every", 0),
        ("checkpoint_every", 0),
        ("log_every", 10**7),
        ("seconds", -1.0),
        ("seconds", float("inf")),
        ("workers", 10**6),
        ("worker_processes", -1),
        ("worker_processes", 10**6),
        ("cache_gb", -1.0),
        ("cache_gb", float("inf")),
        ("cache_gb", 1e12),
        ("seed", -1),
        ("seed", 2**32),
        ("trainable", "head"),
    ],
)
def test_values_out_of_range_are_refused_by_name(name, value):
    with pytest.raises(UsageError, match=name):
        TrainConfig(**{name: value})


def test_training_only_a_missing_refinement_is_refused():
    with pytest.raises(UsageError, match="refinement"):
        TrainConfig(model=ModelConfig(refine=False), trainable="refinement")


@pytest.mark.parametrize(
    ("kind", "values", "name"),
    [
        (ValidationConfig, {"kind": "gygo", "stride": 0}, "stride"),
        (ValidationConfig, {"kind": "gygo", "stride": -5}, "stride"),
        (ValidationConfig, {"kind": "stills"}, "kind"),
        (SourceConfig, {"kind": "gygo", "weight": -1.0}, "weight"),
        (SourceConfig, {"kind": "gygo", "weight": 1e308}, "weight"),
        (SourceConfig, {"kind": "compose", "ambiguous_fraction": 1.1}, "ambiguous_fraction"),
        (AugmentConfig, {"flip": 2.0}, "flip"),
        (AugmentConfig, {"scale": (0.0, 1.0)}, "scale"),
        (AugmentConfig, {"scale": (-1.0, 1.0)}, "scale"),
        (AugmentConfig, {"scale": (1.5, 0.5)}, "scale"),
        (AugmentConfig, {"scale": (1.5,)}, "scale"),
    ],
)
def test_values_of_parts_out_of_range_are_refused_by_name(kind, values, name):
    with pytest.raises(UsageError, match=name):
        kind(**values)
