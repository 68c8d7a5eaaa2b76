"""OnlineConfig: ranges, presets, keys of older versions."""

import dataclasses

import pytest

from deeplab_gygo.errors import UsageError
from deeplab_gygo.inference.config import (
    DEFAULT_PRESET,
    OnlineConfig,
    default_preset,
    preset,
    preset_names,
)
from deeplab_gygo.io.config_file import from_dict
from deeplab_gygo.runs.settings import RunSettings

PRESETS = OnlineConfig.PRESETS


def test_there_are_at_most_fourteen_options():
    assert len(dataclasses.fields(OnlineConfig)) <= 14


@pytest.mark.parametrize(
    "values",
    [
        {"steps": -1},
        {"seconds": -0.5},
        {"seconds": float("nan")},
        {"size": 8},
        {"size": -1},
        {"size": 100_000},
        {"size": 64.5},
        {"steps": 10**400},
        {"steps": 2.5},
        {"steps": True},
        {"num_views": 0},
        {"num_views": 100_000},
        {"memory_frames": 1000},
        {"learning_rate": 1e30},
        {"learning_rate": -1e-3},
        {"memory_frames": -1},
        {"zero_shot_tta_scale": -1.0},
        {"zero_shot_anchor_frames": -1},
        {"zero_shot_anchor_frames": 101},
        {"threshold": 7.0},
        {"mode": "nonsense"},
        {"adapt": "encoder"},
        {"guide": "flow"},
    ],
    ids=lambda values: "-".join(map(str, *values.items())),
)
def test_a_value_out_of_range_is_refused_whoever_makes_the_options(values):
    (name,) = values
    with pytest.raises(UsageError, match=name):
        OnlineConfig(**values)


def test_a_removed_key_names_what_to_write_and_a_renamed_one_is_read():
    with pytest.raises(UsageError, match="common_fate is no key.*removed; delete the line"):
        from_dict(OnlineConfig, {"common_fate": True}, "file.yaml")
    with pytest.raises(UsageError, match="Write `guide`"):
        from_dict(OnlineConfig, {"shot_guide": "blend"}, "file.yaml")
    old = {"rate": 1e-3, "views": 5, "memory": 2, "flip": True, "agree": 3, "second": 0.5}
    new = from_dict(OnlineConfig, old, "file.yaml")
    assert new == OnlineConfig(
        learning_rate=1e-3,
        num_views=5,
        memory_frames=2,
        tta_flip=True,
        zero_shot_anchor_frames=3,
        zero_shot_tta_scale=0.5,
    )


def test_sizes_and_views_follow_the_mode():
    modes = ("fine-tune", "one-shot", "zero-shot")
    assert [OnlineConfig(mode=mode).short_side for mode in modes] == [320, 320, 360]
    assert OnlineConfig(size=300).short_side == 300
    zero_shot, one_shot = OnlineConfig(mode="zero-shot"), OnlineConfig(mode="one-shot")
    assert zero_shot.flips and not one_shot.flips and zero_shot.zero_shot_tta_scale == 0.7
    assert OnlineConfig(mode="one-shot", tta_flip=True).flips


def test_presets_are_what_was_measured():
    assert preset("fast") == OnlineConfig(
        steps=40, zero_shot_anchor_frames=0, zero_shot_tta_scale=0.0, tta_flip=False
    )
    assert preset(DEFAULT_PRESET) == OnlineConfig() and OnlineConfig().steps == 80
    assert preset("best") == OnlineConfig(tta_flip=True)
    assert preset("best", mode="zero-shot") == OnlineConfig(mode="zero-shot", tta_flip=True)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_passes_the_checks_of_a_run(name, parent_header):
    assert RunSettings(online=preset(name), weights=parent_header, preset=name).preset == name


@pytest.mark.parametrize("seed", [-1, 1 << 32, 10**400, 0.5])
def test_a_seed_that_generators_do_not_take_is_refused(seed, parent_header):
    with pytest.raises(UsageError, match=r"seed is in 0\.\.4294967295.*--seed"):
        RunSettings(weights=parent_header, seed=seed)
    assert RunSettings(weights=parent_header, seed=(1 << 32) - 1).seed == 4294967295


def test_options_cannot_be_changed_after_their_checks():
    with pytest.raises(dataclasses.FrozenInstanceError):
        preset("fast").steps = -1


def test_an_unknown_preset_is_refused_and_the_known_ones_are_named(parent_header):
    with pytest.raises(UsageError, match="fast, balanced, best; met: turbo"):
        preset("turbo")
    with pytest.raises(UsageError, match="turbo"):
        RunSettings(weights=parent_header, preset="turbo")


def test_presets_of_the_other_methods_follow_their_trunk():
    assert default_preset("osvos", "vgg16") == "original"
    assert default_preset("osvos", "efficientnet_lite0") == "light"
    assert default_preset("copy") == "" and preset_names("copy") == ()
    with pytest.raises(UsageError, match="copy has no presets"):
        preset("fast", "copy")
