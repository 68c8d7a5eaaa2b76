"""OSMN: published sizes, modulators, and initial equality with the parent that it modulates."""

import dataclasses

import keras
import numpy as np
import pytest

from deeplab_gygo.baselines.osmn.config import OsmnModel
from deeplab_gygo.baselines.osmn.network import ROLES, Osmn
from deeplab_gygo.baselines.shared.trunks import modulated_units
from deeplab_gygo.errors import UsageError, WeightsError
from deeplab_gygo.models.config import ModelConfig
from deeplab_gygo.models.weight_file import load_parent, read_parent_file

CONVOLUTIONS = 14_714_688  # of VGG-16
FULLY_CONNECTED = (25_088 * 4096 + 4096) + (4096 * 4096 + 4096)
SIDES = sum(9 * width * 16 + 16 for width in (128, 256, 512, 512))
FUSION = 4 * 16 + 1
SCALES = 3 * 256 + 6 * 512
NORMALIZED_SHIFTS = 5 * SCALES  # a 1x1 kernel on one channel and four vectors of BatchNorm

LIGHT = {"trunk": "efficientnet_lite0", "decoder": "deeplab", "spatial_relu": False}
THIN_HEAD = ModelConfig(aspp_channels=16, low_level_channels=8, decoder_channels=16)


@pytest.fixture(scope="module")
def original() -> Osmn:
    """The original's shapes, without values: with them it takes more than half a gigabyte."""
    with keras.StatelessScope(initialize_variables=False):
        return Osmn(OsmnModel())


def _thin(thin_trunks, **architecture) -> Osmn:
    keras.utils.set_random_seed(7)
    with thin_trunks():
        return Osmn(OsmnModel(**architecture))


@pytest.fixture(scope="module")
def thin(thin_trunks) -> Osmn:
    return _thin(thin_trunks)


@pytest.fixture(scope="module")
def light(thin_trunks) -> Osmn:
    return _thin(thin_trunks, **LIGHT, deeplab=THIN_HEAD)


def _inputs(batch: int = 1) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(8)
    return {
        "image": rng.uniform(0, 255, (batch, 48, 64, 3)).astype(np.float32),
        "crop": rng.uniform(0, 255, (batch, 224, 224, 3)).astype(np.float32),
        "crop_mask": rng.integers(0, 2, (batch, 224, 224, 1)).astype(np.float32),
        "spatial": rng.uniform(0, 1, (batch, 48, 64, 1)).astype(np.float32),
    }


def _segment(osmn: Osmn, inputs: dict, scales: np.ndarray) -> np.ndarray:
    image = {name: inputs[name] for name in ("image", "spatial")}
    return np.array(osmn.segmentation({**image, "scales": scales}, training=False))


def test_the_original_has_the_number_of_parameters_of_its_layers(original):
    visual = CONVOLUTIONS + FULLY_CONNECTED + 4096 * SCALES + SCALES
    assert original.visual.count_params() == visual == 149_993_024
    segmentation = CONVOLUTIONS + SIDES + FUSION + NORMALIZED_SHIFTS
    assert original.segmentation.count_params() == segmentation == 14_936_769
    assert original.network.count_params() == visual + segmentation


def test_the_original_has_the_kernels_of_its_layers(original):
    visual, segmentation = original.visual.get_layer, original.segmentation.get_layer
    assert tuple(visual("fc6").kernel.shape) == (7, 7, 512, 4096)
    assert tuple(visual("fc7").kernel.shape) == (1, 1, 4096, 4096)
    assert tuple(visual("fc8").kernel.shape) == (4096, 3840)
    assert visual("fc6_dropout").rate == visual("fc7_dropout").rate == 0.5
    for stage, channels in ((3, 768), (4, 1536), (5, 1536)):
        assert tuple(segmentation(f"spatial{stage}_conv").kernel.shape) == (1, 1, 1, channels)
        norm = segmentation(f"spatial{stage}_norm")
        assert norm.momentum == 0.99 and norm.epsilon == 0.001
    assert tuple(segmentation("side2_conv").kernel.shape) == (3, 3, 128, 16)
    assert tuple(segmentation("fuse").kernel.shape) == (1, 1, 64, 1)
    assert original.stride == 16


def test_nine_layers_are_modulated_unless_the_early_ones_are_too(original):
    names = [layer.name for layer in original.segmentation.layers]
    modulated = [name for name in names if name.endswith("_modulate")]
    stages = [f"conv{stage}_{n}_modulate" for stage in (3, 4, 5) for n in (1, 2, 3)]
    assert modulated == stages and original.scale_count == 3840
    with keras.StatelessScope(initialize_variables=False):
        early = Osmn(OsmnModel(modulate_early=True))
    assert early.scale_count == early.visual.output.shape[-1] == 4224
    assert "conv1_1_modulate" in [layer.name for layer in early.segmentation.layers]


def test_initial_scales_are_one_for_any_crop(thin, light):
    inputs = _inputs(2)
    for osmn in (thin, light):
        scales = osmn.visual({name: inputs[name] for name in ("crop", "crop_mask")})
        np.testing.assert_array_equal(scales, np.ones((2, osmn.scale_count), np.float32))


def test_shifts_of_the_original_are_zero_without_a_guide_and_never_negative(thin):
    inputs = _inputs()
    ones = np.ones((1, thin.scale_count), np.float32)
    shifts = keras.Model(
        thin.segmentation.input,
        [thin.segmentation.get_layer(f"spatial{stage}_relu").output for stage in (3, 4, 5)],
    )
    given = {"image": inputs["image"], "scales": ones, "spatial": inputs["spatial"]}
    for shift in shifts(given, training=False):
        assert 0 <= np.min(shift) and 0 < np.max(shift) < 0.01
    blank = {**given, "spatial": np.zeros_like(inputs["spatial"])}
    for shift in shifts(blank, training=False):
        assert not np.any(shift)


def test_shifts_without_relu_are_initially_zero_and_can_be_negative(light):
    inputs, ones = _inputs(), np.ones((1, light.scale_count), np.float32)
    blank = {**inputs, "spatial": np.zeros_like(inputs["spatial"])}
    np.testing.assert_array_equal(_segment(light, inputs, ones), _segment(light, blank, ones))
    layer = light.segmentation.get_layer("spatial7_conv")
    layer.kernel.assign(np.full(layer.kernel.shape, -3.0, np.float32))
    try:
        shift = keras.Model(light.segmentation.input, layer.output)
        given = {"image": inputs["image"], "scales": ones, "spatial": inputs["spatial"]}
        # Positions at stride 16 see the mean of the guide.
        means = inputs["spatial"].reshape(1, 3, 16, 4, 16, 1).mean((2, 4))
        expected = np.broadcast_to(-3.0 * means, (1, 3, 4, layer.kernel.shape[-1]))
        np.testing.assert_allclose(shift(given), expected, rtol=1e-4)
        assert np.abs(_segment(light, inputs, ones) - _segment(light, blank, ones)).max() > 0
    finally:
        layer.kernel.assign(np.zeros(layer.kernel.shape, np.float32))


def test_a_scale_acts_on_its_own_channel(thin, thin_trunks):
    with thin_trunks():
        units = modulated_units("vgg16", early=False)
    inputs = _inputs()
    inputs["spatial"][:] = 0
    first = 0
    for unit in units:
        scales = np.ones((1, thin.scale_count), np.float32)
        scales[:, first : first + unit.channels] = 0
        scales[:, first + 2] = 2
        layer = thin.segmentation.get_layer(f"{unit.name}_modulate")
        unit_model = keras.Model(thin.segmentation.input, [layer.input[0], layer.output])
        given = {"image": inputs["image"], "scales": scales, "spatial": inputs["spatial"]}
        before, after = (np.array(value) for value in unit_model(given, training=False))
        np.testing.assert_allclose(after[..., 2], 2 * before[..., 2], rtol=1e-6)
        assert not np.any(np.delete(after, 2, axis=-1))
        first += unit.channels
    assert first == thin.scale_count


def test_scales_are_broadcast_over_images(thin):
    inputs = _inputs(2)
    row = np.random.default_rng(9).uniform(0.5, 1.5, (1, thin.scale_count)).astype(np.float32)
    together = _segment(thin, inputs, row)
    np.testing.assert_allclose(together, _segment(thin, inputs, np.repeat(row, 2, 0)), atol=1e-7)


def test_the_joint_network_equals_its_parts(thin, light):
    rng = np.random.default_rng(10)
    for osmn, name, stride in ((thin, "fc8", 2), (light, "scales", 1)):
        layer = osmn.visual.get_layer(name)
        before = layer.get_weights()
        layer.kernel.assign(rng.normal(0, 0.1, layer.kernel.shape).astype(np.float32))
        inputs = _inputs()
        scales = osmn.visual({k: inputs[k] for k in ("crop", "crop_mask")}, training=False)
        assert np.ptp(scales) > 0.01
        expected = _segment(osmn, inputs, np.array(scales))
        got = np.array(osmn.network(inputs, training=False))
        np.testing.assert_allclose(got, expected, atol=1e-6)
        assert got.shape == (1, 48 // stride, 64 // stride, 1)
        layer.set_weights(before)


def test_pixels_outside_the_crop_mask_do_not_matter(light):
    layer = light.visual.get_layer("scales")
    before = layer.get_weights()
    layer.kernel.assign(np.random.default_rng(11).normal(0, 1, layer.kernel.shape))
    crop = _inputs()["crop"]
    mask = np.zeros((1, 224, 224, 1), np.float32)
    mask[:, 60:160, 40:180] = 1
    other = np.where(mask > 0, crop, 255 - crop)
    one, two = (
        np.array(light.visual({"crop": c, "crop_mask": mask}, training=False))
        for c in (crop, other)
    )
    np.testing.assert_array_equal(one, two)
    seen = light.visual({"crop": crop, "crop_mask": np.ones_like(mask)}, training=False)
    assert np.abs(one - np.array(seen)).max() > 1e-3
    layer.set_weights(before)


def test_variables_are_grouped_by_role(thin, light):
    for osmn in (thin, light):
        groups = osmn.variables()
        assert tuple(groups) == ROLES
        everything = [id(v) for group in groups.values() for v in group.values()]
        assert sorted(everything) == sorted(id(v) for v in osmn.network.trainable_variables)
    assert {name.split("/")[0] for name in thin.variables()["spatial"]} == {
        f"spatial{stage}_{kind}" for stage in (3, 4, 5) for kind in ("conv", "norm")
    }
    assert "fuse/kernel" in thin.variables()["decoder"] and not thin.variables()["refiner"]
    assert "logit/kernel" in light.variables()["decoder"]
    assert all(name.startswith("refine") for name in light.variables()["refiner"])


def test_frozen_stages_are_left_out_of_both_trunks(thin):
    groups = thin.variables(frozen_stages=4)
    for role in ("trunk", "visual"):
        names = {name for name in groups[role] if name.startswith("conv")}
        assert names == {f"conv5_{n}/{kind}" for n in (1, 2, 3) for kind in ("kernel", "bias")}
    assert "fc6/kernel" in groups["visual"] and "side3_conv/kernel" in groups["decoder"]


def test_the_light_network_initially_equals_its_parent(tiny_parent):
    config, _, _ = read_parent_file(tiny_parent)
    osmn = Osmn(OsmnModel(**LIGHT, deeplab=config), tiny_parent)
    assert osmn.scale_count == 1744 and osmn.trunk_source.startswith("parent tiny.npz")
    inputs = _inputs()
    got = np.array(osmn.network(inputs, training=False))
    parent, _ = load_parent(tiny_parent, inference_only=False)
    features = parent.encoder(inputs["image"], training=False)
    logits = parent.head(parent.head_inputs(features), training=False)
    expected = np.array(parent.refine(features, logits))
    assert np.ptp(expected) > 0
    np.testing.assert_allclose(got, expected, atol=1e-3 * np.ptp(expected))


def test_another_head_than_that_of_the_parent_is_refused(tiny_parent):
    with pytest.raises(WeightsError, match=r"head/.*tiny\.npz"):
        other = dataclasses.replace(THIN_HEAD, decoder_channels=24)
        Osmn(OsmnModel(**LIGHT, deeplab=other), tiny_parent)


@pytest.mark.parametrize(
    "architecture",
    [
        {"trunk": "vgg16", "decoder": "deeplab"},
        {**LIGHT, "deeplab": ModelConfig(output_stride=8)},
    ],
)
def test_a_head_that_does_not_fit_the_trunk_is_refused(architecture):
    with pytest.raises(UsageError, match=r"backbone and output stride.*model\.deeplab"):
        Osmn(OsmnModel(**architecture))
