"""The network: shapes, the paper's parts, and what the guide does."""

import keras
import numpy as np
import pytest

from deeplab_gygo.config import ModelConfig
from deeplab_gygo.models.deeplab import ASPP_RATES, DeepLabV3Plus, guide_at_stride
from deeplab_gygo.models.layers import GuideMatching

SMALL = dict(aspp_channels=16, low_level_channels=8, decoder_channels=16)


@pytest.fixture(scope="module")
def parent() -> DeepLabV3Plus:
    keras.utils.set_random_seed(3)
    return DeepLabV3Plus(ModelConfig(**SMALL))


def _image(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (1, height, width, 3)).astype(np.uint8)


def test_logits_have_stride_4_and_stay_float32(parent):
    guide = np.zeros((1, 16, 24, 1), np.float32)
    logits = parent.network({"image": _image(64, 96), "guide": guide})
    assert tuple(logits.shape) == (1, 16, 24, 1)
    assert keras.backend.standardize_dtype(logits.dtype) == "float32"


def test_encoder_and_head_make_the_network(parent):
    image, guide = _image(64, 64), np.ones((1, 16, 16, 1), np.float32)
    whole = parent.network({"image": image, "guide": guide}, training=False)
    features = dict(parent.encoder(image, training=False))
    features["guide"] = keras.ops.convert_to_tensor(guide)
    parts = parent.head(features, training=False)
    np.testing.assert_allclose(whole, parts, atol=1e-5)


@pytest.mark.parametrize("output_stride", [8, 16])
def test_aspp_has_the_papers_five_branches(output_stride):
    head = DeepLabV3Plus(ModelConfig(**SMALL, output_stride=output_stride)).head
    rates = [
        layer.dilation_rate
        for layer in head.layers
        if layer.name.startswith("aspp_rate") and layer.name.endswith("_depthwise")
    ]
    assert rates == [(rate, rate) for rate in ASPP_RATES[output_stride]]
    assert head.get_layer("aspp_concat").output.shape[-1] == 5 * SMALL["aspp_channels"]


def test_default_widths_are_the_papers():
    head = DeepLabV3Plus(ModelConfig(guide=False)).head
    assert head.get_layer("aspp_concat").output.shape[-1] == 1280
    assert head.get_layer("decoder_concat").output.shape[-1] == 304
    assert head.get_layer("decoder2_pointwise").output.shape[-1] == 256
    assert "guide" not in head.input


def test_dense_convolutions_are_to_be_had():
    head = DeepLabV3Plus(ModelConfig(**SMALL, separable=False)).head
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


def test_guide_is_averaged_over_blocks():
    guide = -np.ones((8, 8, 1), np.float32)
    guide[:4, :2] = 1.0
    np.testing.assert_array_equal(guide_at_stride(guide)[..., 0], [[0.0, -1.0], [-1.0, -1.0]])
