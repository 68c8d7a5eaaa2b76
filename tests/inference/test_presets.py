"""Presets are usable, and what they say differs from the defaults."""

from dataclasses import asdict

import pytest

from deeplab_gygo.errors import UsageError
from deeplab_gygo.inference.config import DEFAULT_PRESET, PRESETS, OnlineConfig, preset
from deeplab_gygo.runs.settings import RunSettings


def test_the_default_preset_is_the_defaults():
    assert preset(DEFAULT_PRESET) == OnlineConfig()


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_names_what_differs_from_the_defaults_and_nothing_else(name):
    defaults, values = asdict(OnlineConfig()), asdict(preset(name))
    assert {key: value for key, value in values.items() if value != defaults[key]} == PRESETS[name]


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_passes_the_checks_of_a_run(name, parent_header):
    assert RunSettings(online=preset(name), weights=parent_header, preset=name).preset == name


def test_a_changed_configuration_leaves_the_preset_as_it_is():
    preset("fast").steps = 1
    assert preset("fast").steps == PRESETS["fast"]["steps"]


def test_an_unknown_preset_is_refused_and_the_known_ones_are_named(parent_header):
    with pytest.raises(UsageError, match="fast, balanced, best; met: turbo"):
        preset("turbo")
    with pytest.raises(UsageError, match="turbo"):
        RunSettings(weights=parent_header, preset="turbo")
