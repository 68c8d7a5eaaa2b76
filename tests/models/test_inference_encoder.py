"""The inference-only encoder computes the features of the Keras model without building it."""

import keras
import numpy as np
import pytest

from deeplab_gygo import backend
from deeplab_gygo.errors import UsageError, WeightsError
from deeplab_gygo.inference.network import ForwardPass
from deeplab_gygo.models.config import ModelConfig
from deeplab_gygo.models.deeplab import DeepLabV3Plus
from deeplab_gygo.models.inference_encoder import InferenceEncoder
from deeplab_gygo.models.weight_file import load_parent, save_parent, variables_by_name

SMALL = {"aspp_channels": 8, "low_level_channels": 8, "decoder_channels": 8, "key_channels": 8}


def _arrays(parent: DeepLabV3Plus) -> dict[str, np.ndarray]:
    """Every variable by name, with numbers that are not its first ones."""
    rng = np.random.default_rng(0)
    for name, variable in variables_by_name(parent).items():
        if name.endswith(("gamma", "variance")):
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
        elif name.endswith(("beta", "mean", "bias")):
            variable.assign(rng.normal(0, 0.1, variable.shape))
    return {name: np.array(v.numpy()) for name, v in variables_by_name(parent).items()}


def _images(count: int = 2) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (count, 64, 96, 3)).astype(np.uint8)


@pytest.mark.parametrize(
    "architecture",
    [
        {"backbone": "efficientnet_lite0", "memory": True, "refine": True},
        {"backbone": "efficientnet_lite2", "memory": True, "refine": False, "output_stride": 8},
        {"backbone": "mobilenet_v2", "memory": False, "refine": True},
    ],
    ids=lambda architecture: architecture["backbone"],
)
def test_features_are_those_of_the_built_encoder(architecture):
    parent = DeepLabV3Plus(ModelConfig(**SMALL, **architecture))
    encoder = InferenceEncoder.from_arrays(parent.config, _arrays(parent))
    call, weights = encoder.function()
    found = backend.to_numpy(backend.compiled_function(call)(weights, _images()))
    expected = backend.to_numpy(parent.encoder(_images().astype(np.float32), training=False))
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_allclose(found[key], value, atol=2e-3 * np.abs(value).max(), err_msg=key)
        assert encoder.widths.get(key, value.shape[-1]) == value.shape[-1]


def test_it_computes_in_the_dtype_of_the_policy():
    parent = DeepLabV3Plus(ModelConfig(**SMALL))
    encoder = InferenceEncoder.from_arrays(parent.config, _arrays(parent))
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        call, weights = encoder.function()
        found = call(weights, _images(1))
    finally:
        keras.config.set_dtype_policy("float32")
    assert {keras.backend.standardize_dtype(value.dtype) for value in found.values()} == {
        "bfloat16"
    }


@pytest.mark.parametrize("wrong", ["missing", "shape", "unknown"])
def test_arrays_that_do_not_fit_give_no_encoder(wrong):
    parent = DeepLabV3Plus(ModelConfig(**SMALL))
    arrays = _arrays(parent)
    name = "encoder/stage3_block1_project_bn/gamma"
    if wrong == "missing":
        del arrays[name]
    elif wrong == "shape":
        arrays[name] = arrays[name][:-1]
    else:
        arrays["encoder/extra/kernel"] = np.zeros(3, np.float32)
    assert InferenceEncoder.from_arrays(parent.config, arrays) is None


def test_a_backbone_of_another_kind_gives_no_encoder():
    assert InferenceEncoder.from_arrays(ModelConfig(backbone="resnet50"), {}) is None


@pytest.fixture(scope="module")
def parent_file(tmp_path_factory):
    parent = DeepLabV3Plus(ModelConfig(**SMALL))
    _arrays(parent)
    return save_parent(tmp_path_factory.mktemp("parent") / "parent.npz", parent, storage="float32")


def test_a_loaded_network_has_no_keras_encoder_until_it_is_built(parent_file):
    parent, _ = load_parent(parent_file)
    quick = ForwardPass(parent, frozen=True).encode(_images())
    for use in (lambda: parent.encoder, lambda: parent.parts, lambda: parent.network):
        with pytest.raises(UsageError, match="build_encoder"):
            use()
    assert parent.build_encoder() is parent.build_encoder() is parent.encoder
    built = ForwardPass(parent).encode(_images())
    for key, value in backend.to_numpy(built).items():
        np.testing.assert_allclose(
            backend.to_numpy(quick[key]), value, atol=2e-3 * np.abs(value).max(), err_msg=key
        )


def test_a_built_encoder_is_compiled_with_its_current_weights(parent_file):
    parent, _ = load_parent(parent_file)
    before = backend.to_numpy(ForwardPass(parent, frozen=True).encode(_images()))
    for variable in parent.build_encoder().trainable_variables:
        variable.assign(variable.numpy() * 0.5)
    after = backend.to_numpy(ForwardPass(parent, frozen=True).encode(_images()))
    assert np.abs(after["high"] - before["high"]).max() > 0.1 * np.abs(before["high"]).max()


@pytest.mark.parametrize("inference_only", [True, False])
def test_what_is_loaded_is_saved_again_whole(parent_file, tmp_path, inference_only):
    parent, card = load_parent(parent_file, inference_only=inference_only)
    parent.build_encoder()
    again = save_parent(tmp_path / "again.npz", parent, card, storage="float32")
    with np.load(parent_file) as one, np.load(again) as other:
        assert sorted(one.files) == sorted(other.files)
        for name in one.files:
            np.testing.assert_array_equal(one[name], other[name], err_msg=name)


@pytest.mark.parametrize("lost", ["encoder/stem_conv/kernel", "head/logit/bias"])
def test_wrong_arrays_are_refused_while_loading(parent_file, tmp_path, lost):
    with np.load(parent_file) as archive:
        arrays = {name: archive[name] for name in archive.files}
    del arrays[lost]
    np.savez(tmp_path / "less.npz", **arrays)
    with pytest.raises(WeightsError, match=lost):
        load_parent(tmp_path / "less.npz")


def test_a_backbone_of_another_kind_is_compiled_as_it_is(small_parent):
    parent = small_parent()
    found = backend.to_numpy(parent.inference_encoder()(_images()))
    expected = backend.to_numpy(parent.encoder(_images(), training=False))
    for key, value in expected.items():
        np.testing.assert_allclose(found[key], value, atol=1e-4 * np.abs(value).max(), err_msg=key)
