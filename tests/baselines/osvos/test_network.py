"""OSVOS: published sizes, side outputs, parameter groups."""

import keras
import numpy as np
import pytest
from keras import ops

from deeplab_gygo.baselines.osvos.config import OsvosModel
from deeplab_gygo.baselines.osvos.network import FUSED, Osvos
from deeplab_gygo.baselines.shared.sides import FuseSides

# 3x3 convolutions of the sides, their scores, and the fusion (osvos.py:57-140).
SIDES = sum(9 * width * 16 + 16 for width in (128, 256, 512, 512))
SCORES = 4 * (16 + 1)
FUSION = 4 * 16 + 1


@pytest.fixture(scope="module")
def original() -> Osvos:
    """The original's shapes, without values."""
    with keras.StatelessScope(initialize_variables=False):
        return Osvos(OsvosModel())


@pytest.fixture(scope="module", params=["vgg16", "efficientnet_lite0"])
def thin(request, thin_trunks) -> Osvos:
    keras.utils.set_random_seed(4)
    with thin_trunks():
        return Osvos(OsvosModel(trunk=request.param))


def test_the_original_has_the_published_number_of_parameters(original):
    assert original.network.count_params() == 14_714_688 + SIDES + SCORES + FUSION == 14_917_637


def test_the_original_has_the_published_kernels(original):
    layer = original.network.get_layer
    for stage, width in ((2, 128), (3, 256), (4, 512), (5, 512)):
        assert tuple(layer(f"side{stage}_conv").kernel.shape) == (3, 3, width, 16)
        assert tuple(layer(f"side{stage}_score").kernel.shape) == (1, 1, 16, 1)
    assert tuple(layer("fuse").kernel.shape) == (1, 1, 64, 1)
    assert original.stride == 16


def test_first_kernels_are_small_and_normal(thin):
    kernel = np.array(thin.network.get_layer("side5_conv").kernel)
    assert kernel.std() == pytest.approx(0.001, rel=0.1)
    assert not np.any(thin.network.get_layer("side5_conv").bias)


def test_every_output_has_the_size_of_the_finest_side(thin):
    image = np.zeros((2, 48, 64, 3), np.float32)
    outputs = thin.network({"image": image})
    stages = (2, 3, 4, 5) if thin.config.trunk == "vgg16" else (1, 2, 3, 5, 7)
    assert list(outputs) == [FUSED, *(f"side{stage}" for stage in stages)]
    assert {tuple(output.shape) for output in outputs.values()} == {(2, 24, 32, 1)}
    assert {output.dtype for output in outputs.values()} == {outputs[FUSED].dtype}


def test_every_trainable_variable_is_in_one_group(thin):
    groups = thin.variables()
    everything = [id(v) for group in groups.values() for v in group.values()]
    assert sorted(everything) == sorted(id(v) for v in thin.network.trainable_variables)
    assert set(groups["fuse"]) == {"fuse/kernel", "fuse/bias"}
    assert {name.split("_")[1] for name in groups["score"]} == {"score/kernel", "score/bias"}
    assert "side5_conv/kernel" in groups["trunk"]


def test_frozen_stages_are_left_out(thin):
    kept = thin.variables(frozen_stages=3)["trunk"]
    first = "conv3_1/kernel" if thin.config.trunk == "vgg16" else "stage3_block1_expand/kernel"
    next_one = first.replace("conv3", "conv4").replace("stage3", "stage4")
    assert first in thin.variables()["trunk"] and first not in kept and next_one in kept
    assert "side3_conv/kernel" in kept and "stem_conv/kernel" not in kept


def test_a_trunk_without_weights_is_random(thin):
    assert thin.trunk_source == "random"


def _sides() -> list[np.ndarray]:
    rng = np.random.default_rng(5)
    sizes = [(1, 32 // 2**n, 48 // 2**n, 16) for n in range(4)]
    return [rng.normal(size=size).astype(np.float32) for size in sizes]


def _bilinear_kernel(factor: int) -> np.ndarray:
    """The fixed kernel of the original's transposed convolution, [2f, 2f]."""
    positions = 1 - np.abs(np.arange(2 * factor) - factor + 0.5) / factor
    return np.outer(positions, positions).astype(np.float32)


def _upsampled(side: np.ndarray, factor: int) -> np.ndarray:
    """Transposed convolution without padding, then the center: the upsampling of the original."""
    if factor == 1:
        return side
    channels = side.shape[-1]
    kernel = _bilinear_kernel(factor)[..., None, None] * np.eye(channels, dtype=np.float32)
    large = np.array(ops.conv_transpose(side, kernel, strides=factor, padding="valid"))
    cut = factor // 2
    height, width = side.shape[1] * factor, side.shape[2] * factor
    return large[:, cut : cut + height, cut : cut + width]


def test_upsampled_scores_equal_scored_upsampled_sides():
    sides, fuse = _sides(), FuseSides()
    fuse.build([side.shape for side in sides])
    fuse.kernel.assign(np.random.default_rng(6).normal(size=(1, 1, 64, 1)).astype(np.float32))
    fuse.bias.assign([0.3])
    got = np.array(fuse([ops.convert_to_tensor(side) for side in sides]))
    joined = np.concatenate([_upsampled(side, 2**n) for n, side in enumerate(sides)], axis=-1)
    expected = np.array(ops.conv(joined, fuse.kernel)) + 0.3
    inside = (slice(None), slice(4, -4), slice(4, -4))  # half of the coarsest side's stride
    np.testing.assert_allclose(got[inside], expected[inside], atol=1e-4)
    assert np.abs(expected[inside]).max() > 1
