"""The systems' configurations: the originals' numbers, and no key that is unknown."""

import pytest

from deeplab_gygo.config import from_dict, to_plain
from deeplab_gygo.config_systems import (
    MODEL_CONFIGS,
    MODES,
    ONLINE_CONFIGS,
    SYSTEMS,
    OsmnOnline,
    OsvosOnline,
    system_of,
    trunk_of,
)
from deeplab_gygo.errors import UsageError


@pytest.mark.parametrize("system", SYSTEMS)
def test_configurations_of_every_system_survive_yaml(system):
    kinds = [ONLINE_CONFIGS[system], *filter(None, [MODEL_CONFIGS.get(system)])]
    for kind in kinds:
        assert from_dict(kind, to_plain(kind()), "memory") == kind()
    assert kinds[0]().mode in MODES[system]


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_mode_is_accepted_by_exactly_the_systems_that_have_it(system):
    kind = ONLINE_CONFIGS[system]
    for mode in ("zero-shot", "one-shot", "fine-tune"):
        if mode in MODES[system]:
            assert from_dict(kind, {"mode": mode}, "memory").mode == mode
        else:
            with pytest.raises(UsageError, match="mode"):
                from_dict(kind, {"mode": mode}, "memory")


def test_architectures_know_their_system_and_trunk():
    for system, kind in MODEL_CONFIGS.items():
        assert system_of(kind()) == system
    assert [trunk_of(kind()) for kind in MODEL_CONFIGS.values()] == [
        "efficientnet_lite0", "vgg16", "vgg16"
    ]  # fmt: skip


def test_defaults_are_those_of_the_original_code():
    osmn, osvos = OsmnOnline(), OsvosOnline()
    assert (osmn.steps, osmn.rate, osmn.scales, osmn.threshold) == (100, 1e-5, (0.5, 0.8, 1.0), 0.5)
    assert (osvos.steps, osvos.rate, osvos.momentum, osvos.weight_decay) == (500, 1e-8, 0.9, 2e-4)
    assert osvos.threshold * 255 == pytest.approx(162)
    # Multipliers of osvos.py:85-103; the sides' own scores are not trained online.
    assert (osvos.bias_multiplier, osvos.fuse_multiplier) == (2.0, 0.01)


def test_the_short_side_follows_trunk_and_mode_unless_it_is_given():
    for kind, alone in ((OsmnOnline, "one-shot"), (OsvosOnline, "zero-shot")):
        assert kind().short_side("vgg16") == 480
        assert kind(mode="fine-tune").short_side("efficientnet_lite0") == 416
        assert kind(mode=alone).short_side("efficientnet_lite0") == 360
        assert kind(size=320).short_side("vgg16") == 320
