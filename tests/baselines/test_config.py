"""The methods' configurations: the originals' numbers, and no key that is unknown."""

import pytest

from deeplab_gygo.baselines.osmn.config import OsmnOnline
from deeplab_gygo.baselines.osvos.config import OsvosOnline
from deeplab_gygo.errors import UsageError
from deeplab_gygo.io.config_file import from_dict, to_plain
from deeplab_gygo.methods import METHODS, find_method, method_of_architecture


@pytest.mark.parametrize("method", METHODS)
def test_configurations_of_every_system_survive_yaml(method):
    kinds = [
        find_method(method).resolve("options"),
        *(
            [find_method(method).resolve("architecture")]
            if find_method(method).architecture
            else []
        ),
    ]
    for kind in kinds:
        assert from_dict(kind, to_plain(kind()), "memory") == kind()
    assert kinds[0]().mode in find_method(method).modes


@pytest.mark.parametrize("method", METHODS)
def test_a_mode_is_accepted_by_exactly_the_systems_that_have_it(method):
    kind = find_method(method).resolve("options")
    for mode in ("zero-shot", "one-shot", "fine-tune"):
        if mode in find_method(method).modes:
            assert from_dict(kind, {"mode": mode}, "memory").mode == mode
        else:
            with pytest.raises(UsageError, match="mode"):
                from_dict(kind, {"mode": mode}, "memory")


def test_architectures_know_their_system_and_trunk():
    kinds = {m.name: m.resolve("architecture") for m in METHODS.values() if m.architecture}
    for method, kind in kinds.items():
        assert method_of_architecture(kind()).name == method
    assert [kind().trunk_name for kind in kinds.values()] == [
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
