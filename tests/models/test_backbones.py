"""Backbones: equal to the networks their weights come from, at every output stride."""

from __future__ import annotations

import re
from functools import cache
from importlib import metadata
from pathlib import Path

import keras
import numpy as np
import pytest

from deeplab_gygo.errors import UsageError
from deeplab_gygo.models.backbones import BACKBONES, build_backbone, layers_up_to
from deeplab_gygo.models.imagenet import PACKAGED_WEIGHTS, find_packaged_weights
from deeplab_gygo.models.torch_file import read_state_dict

# Made by tools/make_backbone_reference.py with the published PyTorch implementation.
REFERENCE = Path(__file__).with_name("efficientnet_lite_reference.npz")
LITE = tuple(PACKAGED_WEIGHTS)


@pytest.fixture(scope="module")
def reference() -> dict[str, np.ndarray]:
    with np.load(REFERENCE) as file:
        return dict(file)


@pytest.fixture(params=LITE)
def lite(request) -> str:
    """Name of an EfficientNet-Lite whose weights are installed."""
    try:
        metadata.distribution(PACKAGED_WEIGHTS[request.param].distribution)
    except metadata.PackageNotFoundError:
        pytest.skip(f"the package with the weights of {request.param} is not installed")
    return request.param


@cache
def _random_backbone(name: str, output_stride: int) -> keras.Model:
    """A backbone of some weights or other, kept because building takes a while."""
    return build_backbone(name, output_stride=output_stride)


def _image(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(5).uniform(0, 255, (1, height, width, 3)).astype(np.float32)


def _features(model: keras.Model, image: np.ndarray) -> dict[str, np.ndarray]:
    return {key: np.asarray(value) for key, value in model(image).items()}


def _sample(features, expected: np.ndarray) -> np.ndarray:
    """Take the values that the reference took (`sample` of the tool)."""
    flat = np.asarray(features).reshape(-1)
    return flat[np.linspace(0, flat.size - 1, expected.size).astype(int)]


def _assert_close(actual: np.ndarray, expected: np.ndarray) -> None:
    """Relative 1e-4; where values cancel, 1e-5 of the largest."""
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


def _stage_ends(model: keras.Model) -> dict[int, object]:
    """Output of the last layer of each stage."""
    ends = {}
    for layer in model.layers:
        if match := re.match(r"stage(\d+)_", layer.name):
            ends[int(match.group(1))] = layer.output
    return ends


def _randomize_norms(model: keras.Model) -> None:
    """Give BatchNorm layers statistics and factors that a mistake cannot hide behind."""
    random = np.random.default_rng(3)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            shape = layer.gamma.shape
            layer.set_weights(
                [
                    random.uniform(0.5, 1, shape),
                    random.normal(0, 0.3, shape),
                    random.normal(0, 0.3, shape),
                    random.uniform(0.5, 1.5, shape),
                ]
            )


def test_lite_stages_and_logits_equal_pytorch(lite, reference):
    model = build_backbone(lite, weights="imagenet", output_stride=32)
    outputs = keras.Model(model.input, _stage_ends(model))(reference["picture"][None])
    assert sorted(outputs) == [1, 2, 3, 4, 5, 6, 7]
    for stage, features in outputs.items():
        expected = reference[f"{lite}/stage{stage}"]
        _assert_close(_sample(features, expected), expected)

    head = read_state_dict(find_packaged_weights(PACKAGED_WEIGHTS[lite]))
    hidden = np.asarray(outputs[7])[0] @ head["_conv_head.weight"][:, :, 0, 0].T
    deviation = np.sqrt(head["_bn1.running_var"] + 1e-3)
    hidden = (hidden - head["_bn1.running_mean"]) / deviation * head["_bn1.weight"]
    hidden = np.clip(hidden + head["_bn1.bias"], 0, 6).mean((0, 1))
    logits = head["_fc.weight"] @ hidden + head["_fc.bias"]
    expected = reference[f"{lite}/logits"]
    _assert_close(logits[:: len(logits) // len(expected)], expected)


@pytest.mark.parametrize("output_stride", [16, 8])
def test_lite_dilated_features_equal_pytorch(lite, output_stride, reference):
    model = build_backbone(lite, weights="imagenet", output_stride=output_stride)
    features = model(reference["picture"][None])["high"]
    expected = reference[f"{lite}/stride{output_stride}"]
    _assert_close(_sample(features, expected), expected)


@pytest.mark.parametrize("name", BACKBONES)
def test_dilated_features_hold_the_strided_ones(name):
    """At sizes of 32 k + 1 the grids of all strides share their points, borders included."""
    image = _image(97, 129)
    strided = _random_backbone(name, 32)
    _randomize_norms(strided)
    expected = _features(strided, image)
    assert expected["high"].std() > 1e-3
    for output_stride in (16, 8):
        dilated = _random_backbone(name, output_stride)
        dilated.set_weights(strided.get_weights())
        features = _features(dilated, image)
        step = 32 // output_stride
        assert features["high"].shape[1:3] == (96 // output_stride + 1, 128 // output_stride + 1)
        _assert_close(features["high"][:, ::step, ::step], expected["high"])
        for key in ("fine", "low", "mid"):
            _assert_close(features[key], expected[key])


APPLICATIONS = {
    "mobilenet_v2": (
        "MobileNetV2",
        ("expanded_conv_project_BN", "block_2_add", "block_5_add", "block_16_project_BN"),
    ),
    "resnet50": (
        "ResNet50",
        ("conv1_relu", "conv2_block3_out", "conv3_block4_out", "conv5_block3_out"),
    ),
}


@pytest.mark.parametrize(
    ("name", "file_name"),
    [
        ("mobilenet_v2", "legacy.h5"),
        ("mobilenet_v2", "current.weights.h5"),
        ("resnet50", "legacy.h5"),
    ],
)
def test_a_file_of_keras_applications_gives_the_same_features(name, file_name, tmp_path):
    application, ends = APPLICATIONS[name]
    # An odd and an even side: padding differs.
    image = _image(49, 66)
    original = getattr(keras.applications, application)(
        include_top=False, weights=None, input_shape=image.shape[1:]
    )
    _randomize_norms(original)
    path = tmp_path / file_name
    if file_name.endswith(".weights.h5"):
        original.save_weights(path)
    else:
        original.save(path)
    prepare = getattr(keras.applications, name).preprocess_input
    outputs = [original.get_layer(end).output for end in ends]
    expected = keras.Model(original.input, outputs)(prepare(image.copy()))
    actual = build_backbone(name, weights=path, output_stride=32)(image)
    for key, features in zip(("fine", "low", "mid", "high"), expected, strict=True):
        _assert_close(np.asarray(actual[key]), np.asarray(features))


@pytest.mark.parametrize("name", BACKBONES)
@pytest.mark.parametrize("output_stride", [8, 16, 32])
def test_features_cover_the_image_at_their_strides(name, output_stride):
    model = _random_backbone(name, output_stride)
    channels = {"efficientnet_lite2": (16, 24, 48, 352), "resnet50": (64, 256, 512, 2048)}
    channels |= {"mobilenet_v2": (16, 24, 32, 320)}
    strides = (2, 4, 8, output_stride)
    shapes = model.compute_output_shape((2, 61, 90, 3))
    for key, stride, count in zip(
        ("fine", "low", "mid", "high"),
        strides,
        channels.get(name, (16, 24, 40, 320)),
        strict=True,
    ):
        assert shapes[key] == (2, -(-61 // stride), -(-90 // stride), count)


def test_the_image_may_be_uint8_and_fixed_in_size():
    keras.utils.set_random_seed(0)
    model = build_backbone("efficientnet_lite0", input_shape=(64, 96, 3))
    image = _image(64, 96).round()
    expected = _features(model, image)
    for other in (image.astype(np.uint8), keras.ops.convert_to_tensor(image.astype(np.uint8))):
        np.testing.assert_array_equal(_features(model, other)["high"], expected["high"])


@pytest.mark.parametrize(("name", "last"), [("efficientnet_lite0", 7), ("resnet50", 5)])
def test_layers_are_listed_up_to_a_stage(name, last):
    model = _random_backbone(name, 16)
    stem = [layer.name for layer in layers_up_to(model, 0)]
    assert stem[:2] == ["image", "normalization"]
    assert all(layer.startswith("stem_") for layer in stem[2:])
    up_to_three = layers_up_to(model, 3)
    assert up_to_three[-1].output is model.output["mid"]
    assert not any(re.match("stage[4-9]", layer.name) for layer in up_to_three)
    assert layers_up_to(model, last) == model.layers
    for stage in (-1, last + 1):
        with pytest.raises(UsageError, match=f"from 0 to {last}"):
            layers_up_to(model, stage)


@pytest.mark.parametrize("name", BACKBONES)
def test_layer_names_suit_a_saved_model(name):
    names = [operation.name for operation in _random_backbone(name, 16).operations]
    assert len(set(names)) == len(names)
    # The pattern of scope names in TensorFlow's graphs.
    assert all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.\\/>-]*", name) for name in names)


def test_wrong_arguments_are_refused():
    with pytest.raises(UsageError, match="efficientnet_lite0.*met: vgg"):
        build_backbone("vgg")
    for name in ("efficientnet_lite0", "resnet50"):
        with pytest.raises(UsageError, match="8, 16 or 32; met: 4"):
            build_backbone(name, output_stride=4)
