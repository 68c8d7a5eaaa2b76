"""The network: shapes, the paper's parts, and what guide and memory do."""

import keras
import numpy as np
import pytest

from deeplab_gygo.models.config import ModelConfig
from deeplab_gygo.models.deeplab import DeepLabV3Plus
from deeplab_gygo.models.head import ASPP_RATES, build_head
from deeplab_gygo.models.layers import GuideMatching, GuideMean
from deeplab_gygo.models.memory import readout_channels

SMALL = dict(aspp_channels=16, low_level_channels=8, decoder_channels=16)


@pytest.fixture(scope="module")
def parent(small_parent) -> DeepLabV3Plus:
    return small_parent(seed=3)


def _image(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (1, height, width, 3)).astype(np.uint8)


def _inputs(parent, height: int, width: int, seed: int = 1) -> dict[str, np.ndarray]:
    """An image and all that can be known beside it."""
    rng = np.random.default_rng(seed)
    stride = parent.config.output_stride
    readout = (1, height // stride, width // stride, readout_channels(parent.config.block_size))
    return {
        "image": _image(height, width),
        "guide": rng.uniform(-1, 1, (1, height // 4, width // 4, 2)).astype(np.float32),
        "readout": rng.uniform(-1, 1, readout).astype(np.float32),
    }


@pytest.mark.parametrize(
    ("refine", "output_stride", "stride"), [(True, 16, 1), (False, 16, 4), (True, 8, 1)]
)
def test_logits_have_their_stride_and_stay_float32(small_parent, refine, output_stride, stride):
    parent = small_parent(refine=refine, output_stride=output_stride)
    logits = parent.network(_inputs(parent, 64, 96))
    assert tuple(logits.shape) == (1, 64 // stride, 96 // stride, 1)
    assert keras.backend.standardize_dtype(logits.dtype) == "float32"


def test_a_real_backbone_fits():
    parent = DeepLabV3Plus(ModelConfig(**SMALL))
    shapes = {name: output.shape[-1] for name, output in parent.encoder.output.items()}
    assert shapes == {"fine": 16, "low": 24, "high": 320, "key": parent.config.key_channels}
    logits = parent.network(_inputs(parent, 32, 48), training=False)
    assert tuple(logits.shape) == (1, 32, 48, 1)


def test_encoder_head_and_refinement_make_the_network(parent):
    inputs = _inputs(parent, 64, 64)
    whole = parent.network(inputs, training=False)
    features = parent.encoder(inputs["image"], training=False)
    head_inputs = parent.head_inputs(features, inputs["guide"], inputs["readout"])
    parts = parent.refine(features, parent.head(head_inputs, training=False))
    np.testing.assert_allclose(whole, parts, atol=1e-5)


def test_what_is_not_known_is_zero(parent):
    features = parent.encoder(_image(64, 64), training=False)
    head_inputs = parent.head_inputs(features)
    assert sorted(head_inputs) == sorted(parent.head.input)
    assert tuple(head_inputs["guide"].shape) == (1, 16, 16, 2) and not np.any(head_inputs["guide"])
    assert tuple(head_inputs["readout"].shape) == (1, 4, 4, 18) and not np.any(
        head_inputs["readout"]
    )


def test_an_architecture_has_only_the_parts_that_it_names(small_parent):
    parent = small_parent(guide=False, memory=False, refine=False)
    assert sorted(parent.encoder.output) == ["high", "low"]
    assert sorted(parent.head.input) == ["high", "low"]
    assert parent.refiner is None and parent.parts == [parent.encoder, parent.head]
    features = parent.encoder(_image(32, 32), training=False)
    assert sorted(parent.head_inputs(features)) == ["high", "low"]


def test_a_memory_that_was_never_trained_does_no_harm(small_parent):
    parent = small_parent(seed=3)
    inputs = _inputs(parent, 64, 64)
    silent = {**inputs, "readout": np.zeros_like(inputs["readout"])}
    expected = np.array(parent.network(silent, training=False))
    np.testing.assert_array_equal(parent.network(inputs, training=False), expected)
    for name in ("recall_join", "recall_sharp_join"):
        kernel = parent.head.get_layer(name).kernel
        kernel.assign(np.ones(kernel.shape, np.float32))
        logits = np.array(parent.network(inputs, training=False))
        assert np.abs(logits - expected).max() > 1e-4, f"{name} has no effect"
        kernel.assign(np.zeros(kernel.shape, np.float32))


@pytest.mark.parametrize("output_stride", [8, 16])
def test_aspp_has_the_papers_five_branches(small_parent, output_stride):
    head = small_parent(output_stride=output_stride).head
    rates = [
        layer.dilation_rate
        for layer in head.layers
        if layer.name.startswith("aspp_rate") and layer.name.endswith("_depthwise")
    ]
    assert rates == [(rate, rate) for rate in ASPP_RATES[output_stride]]
    assert head.get_layer("aspp_concat").output.shape[-1] == 5 * SMALL["aspp_channels"]


def test_default_widths_are_the_papers():
    head = build_head(ModelConfig(guide=False), 24, 320)
    assert head.get_layer("aspp_concat").output.shape[-1] == 1280
    assert head.get_layer("decoder_concat").output.shape[-1] == 304
    assert head.get_layer("decoder2_pointwise").output.shape[-1] == 256
    assert "guide" not in head.input


def test_dense_convolutions_are_to_be_had():
    head = build_head(ModelConfig(**SMALL, separable=False), 24, 320)
    assert head.get_layer("decoder1_conv").kernel.shape == (3, 3, 16 + 8 + 1, 16)


def test_guide_matching_finds_what_looks_like_the_object():
    embedding = np.zeros((1, 4, 4, 2), np.float32)
    embedding[..., 0], embedding[0, :2, :2] = 1.0, (0.0, 1.0)
    guide = -np.ones((1, 4, 4, 1), np.float32)
    guide[0, 0, 0] = 1.0  # only one place of the object is known
    matches = np.array(GuideMatching()([embedding, guide]))
    assert matches[0, 1, 1, 0] > 0.99 and matches[0, 3, 3, 0] < 0.01
    assert matches[0, 3, 3, 1] > matches[0, 1, 1, 1]


def test_without_a_guide_nothing_matches():
    embedding = np.random.default_rng(0).normal(size=(1, 4, 4, 3)).astype(np.float32)
    matches = GuideMatching()([embedding, np.zeros((1, 4, 4, 1), np.float32)])
    assert not np.array(matches).any()


def test_unknown_planes_do_not_count_in_the_mean_of_a_guide():
    rng = np.random.default_rng(0)
    guide = rng.uniform(-1, 1, (3, 4, 5, 2)).astype(np.float32)
    guide[1, ..., 1] = guide[2] = 0.0
    mean = np.array(GuideMean()(guide))
    np.testing.assert_allclose(mean[0, ..., 0], guide[0].mean(axis=-1), atol=1e-6)
    np.testing.assert_array_equal(mean[1], guide[1, ..., :1])
    assert not mean[2].any()
