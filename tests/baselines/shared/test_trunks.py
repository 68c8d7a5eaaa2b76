"""Trunks: units, the hook after every unit, assignment of weights."""

import keras
import numpy as np
import pytest

from deeplab_gygo.baselines.osvos.config import OsvosModel
from deeplab_gygo.baselines.osvos.network import Osvos
from deeplab_gygo.baselines.shared.trunk_weights import TrunkWeights
from deeplab_gygo.baselines.shared.trunks import (
    build_trunk,
    freeze_statistics,
    modulated_units,
    trunk_stage,
    trunk_units,
)
from deeplab_gygo.errors import UsageError, WeightsError
from deeplab_gygo.models.config import ModelConfig
from deeplab_gygo.models.weight_file import load_parent, save_parent, shipped_parent

TRUNKS = ("vgg16", "efficientnet_lite0")


@pytest.mark.parametrize(
    ("trunk", "early", "units", "channels"),
    [
        ("vgg16", False, 9, 3840),
        ("vgg16", True, 13, 4224),
        ("efficientnet_lite0", False, 13, 1744),
        ("efficientnet_lite0", True, 16, 1808),
    ],
)
def test_modulated_units_and_channels(trunk, early, units, channels):
    modulated = modulated_units(trunk, early)
    assert len(modulated) == units and sum(unit.channels for unit in modulated) == channels


def _model(trunk: str, hook=None) -> keras.Model:
    image = keras.Input((64, 64, 3), name="image")
    keras.utils.set_random_seed(1)
    return keras.Model(image, build_trunk(trunk, image, hook))


@pytest.mark.parametrize("trunk", TRUNKS)
def test_the_hook_is_called_for_every_unit(trunk, thin_trunks):
    calls = []

    def record(features, unit, stage):
        calls.append((unit, stage, features.shape[-1], 64 // features.shape[1]))
        return features

    with thin_trunks():
        model = _model(trunk, record)
        units = trunk_units(trunk)
    assert calls == [(unit.name, unit.stage, unit.channels, unit.stride) for unit in units]
    assert list(model.output) == [f"stage{number}" for number in range(1, units[-1].stage + 1)]


@pytest.mark.parametrize("trunk", TRUNKS)
def test_the_output_of_the_hook_replaces_the_features(trunk, thin_trunks):
    stage = 3

    def erase(features, unit, at):
        return keras.layers.Rescaling(0.0)(features) if at == stage else features

    with thin_trunks():
        plain, erased = _model(trunk), _model(trunk, erase)
    erased.set_weights(plain.get_weights())
    rng = np.random.default_rng(2)
    images = rng.uniform(0, 255, (2, 64, 64, 3)).astype(np.float32)
    before, after = plain(images), erased(images)
    np.testing.assert_array_equal(before["stage2"], after["stage2"])
    assert np.abs(after["stage3"]).max() == 0 and np.abs(before["stage3"]).max() > 0
    last = list(after)[-1]
    seen, erased_last = np.array(before[last]), np.array(after[last])
    assert np.abs(seen[0] - seen[1]).max() > 0
    np.testing.assert_array_equal(erased_last[0], erased_last[1])  # nothing of the images is left


def test_only_layers_of_a_trunk_have_a_stage():
    names = {
        "stem_conv": 0, "stem_conv_bn": 0, "stage3_block2_expand": 3, "conv4_1": 4,
        "stage7_block1_project_bn": 7, "side3_conv": None, "spatial3_conv": None,
        "stage3_block1_modulate": None, "fc6": None, "fuse": None, "decoder_low_conv": None,
    }  # fmt: skip
    assert {name: trunk_stage(name) for name in names} == names


def test_frozen_batch_norm_uses_its_moving_statistics(thin_trunks):
    with thin_trunks():
        model = _model("efficientnet_lite0")
    freeze_statistics(model)
    before = [np.array(v) for v in model.non_trainable_variables]
    image = np.full((1, 64, 64, 3), 200, np.float32)
    one, other = model(image, training=True), model(image, training=False)
    np.testing.assert_array_equal(one["stage7"], other["stage7"])
    for old, new in zip(before, model.non_trainable_variables, strict=True):
        np.testing.assert_array_equal(old, new)
    assert {v.name for v in model.trainable_variables} == {"kernel"}


def test_the_trunk_of_a_parent_equals_its_encoder(tiny_parent):
    model = _model("efficientnet_lite0")
    weights = TrunkWeights("efficientnet_lite0", tiny_parent)
    weights.assign_trunk(model)
    assert weights.description.startswith("parent tiny.npz (SHA-256 ")
    rng = np.random.default_rng(3)
    image = rng.uniform(0, 255, (1, 64, 64, 3)).astype(np.float32)
    expected = load_parent(tiny_parent, inference_only=False)[0].encoder(image, training=False)
    got = model(image, training=False)
    for stage, name in (("stage1", "fine"), ("stage2", "low"), ("stage7", "high")):
        assert np.ptp(expected[name]) > 0.1
        np.testing.assert_allclose(got[stage], expected[name], atol=1e-5)


def test_a_trunk_is_initialized_from_a_parent_of_another_method(thin_trunks, tmp_path):
    with thin_trunks():
        first = Osvos(OsvosModel())
        path = save_parent(tmp_path / "first.npz", first, storage="float32")
        second = Osvos(OsvosModel(), path)
    for layer in first.network.layers:
        same = [
            np.array_equal(one, other)
            for one, other in zip(
                layer.get_weights(), second.network.get_layer(layer.name).get_weights(), strict=True
            )
        ]
        # Zero biases are equal without being copied.
        assert all(same) if trunk_stage(layer.name) is not None else not same or not same[0]
    assert second.trunk_source.startswith("parent first.npz (SHA-256 ")


def test_a_parent_on_another_trunk_is_refused():
    with pytest.raises(UsageError, match="vgg16.*met: efficientnet_lite2"):
        TrunkWeights("vgg16", shipped_parent())


def test_a_parent_on_another_backbone_is_refused(small_parent, tmp_path):
    parent = small_parent()
    parent.config = ModelConfig(backbone="mobilenet_v2")
    path = save_parent(tmp_path / "other.npz", parent)
    with pytest.raises(UsageError, match=r"efficientnet_lite0.*mobilenet_v2.*other\.npz"):
        TrunkWeights("efficientnet_lite0", path)


def test_a_parent_of_other_widths_is_refused(small_parent, tmp_path):
    path = save_parent(tmp_path / "thin.npz", small_parent())
    with pytest.raises(WeightsError, match=r"stem_conv.*thin\.npz"):
        TrunkWeights("efficientnet_lite0", path).assign_trunk(_model("efficientnet_lite0"))


def test_missing_files_are_named(tmp_path):
    for name in ("absent.npz", "absent.h5"):
        with pytest.raises(WeightsError, match=name):
            TrunkWeights("vgg16", tmp_path / name)
