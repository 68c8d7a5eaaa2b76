"""Eight-bit kernels: small, near, and whole again."""

import numpy as np
import pytest

from deeplab_gygo.models.config import ModelConfig
from deeplab_gygo.models.deeplab import DeepLabV3Plus
from deeplab_gygo.models.quantized import LEVELS, SCALE, dequantize, quantize
from deeplab_gygo.models.weight_file import load_parent, read_parent_file, save_parent


@pytest.mark.parametrize(("shape", "channel"), [((3, 3, 5, 7), 3), ((5, 5, 6, 1), 2), ((4, 9), 1)])
def test_every_output_channel_has_a_scale_and_errs_by_half_a_level(shape, channel):
    rng = np.random.default_rng(0)
    kernel = rng.normal(0, 1, shape).astype(np.float32)
    kernel *= np.geomspace(1e-3, 1e3, shape[channel]).reshape(
        [-1 if axis == channel else 1 for axis in range(len(shape))]
    )
    stored = quantize({"kernel": kernel, "bias": kernel.ravel()[:3]})
    assert stored["kernel"].dtype == np.int8 and stored["kernel" + SCALE].shape == (shape[channel],)
    assert np.abs(stored["kernel"]).max() == LEVELS
    back = dequantize(stored)
    assert set(back) == {"kernel", "bias"}
    np.testing.assert_array_equal(back["bias"], kernel.ravel()[:3])
    largest = np.abs(kernel).max(tuple(a for a in range(len(shape)) if a != channel), keepdims=True)
    assert (np.abs(back["kernel"] - kernel) <= 0.5001 * largest / LEVELS).all()


def test_a_channel_of_zeros_stays_zero():
    kernel = np.zeros((1, 1, 4, 2), np.float32)
    kernel[..., 0] = 1.0
    back = dequantize(quantize({"k": kernel}))["k"]
    np.testing.assert_allclose(back, kernel, atol=1e-6)


def test_a_parent_in_eight_bits_is_half_as_large_and_has_nearly_the_same_features(tmp_path):
    parent = DeepLabV3Plus(ModelConfig(aspp_channels=16, low_level_channels=8, decoder_channels=16))
    half = save_parent(tmp_path / "half.npz", parent)
    small = save_parent(tmp_path / "small.npz", parent, storage="int8")
    assert small.stat().st_size < 0.6 * half.stat().st_size
    assert read_parent_file(small)[1].keys() == read_parent_file(half)[1].keys()
    image = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3)).astype(np.float32)
    features = [
        load_parent(path, inference_only=False)[0].encoder(image)["low"] for path in (half, small)
    ]
    one, other = (np.asarray(f) for f in features)
    assert np.abs(one - other).mean() < 0.05 * np.abs(one).mean()
