"""BatchNorm folded into convolutions: the same outputs, by fewer operations."""

import keras
import numpy as np
import pytest
from keras import layers

from deeplab_gygo import backend
from deeplab_gygo.models.backbones import build_backbone
from deeplab_gygo.models.folding import folded


def _fill(model: keras.Model) -> None:
    """Gives every weight, the statistics among them, a number that is not its first."""
    rng = np.random.default_rng(0)
    for variable in model.variables:
        spread = rng.uniform(0.5, 1.5, variable.shape)
        if "variance" in variable.path or "gamma" in variable.path:
            variable.assign(spread)
        else:
            variable.assign(np.array(variable.numpy()) + rng.normal(0, 0.1, variable.shape))


@pytest.mark.parametrize("name", ["efficientnet_lite0", "mobilenet_v2", "resnet50"])
def test_a_backbone_gives_the_same_features(name):
    model = build_backbone(name, output_stride=16)
    _fill(model)
    images = np.random.default_rng(1).uniform(0, 255, (2, 64, 96, 3)).astype(np.float32)
    expected = backend.to_numpy(backend.compiled(model)(images))
    call, weights = folded(model)
    norms = [layer for layer in model.layers if isinstance(layer, layers.BatchNormalization)]
    assert len(weights) == len(norms) > 40
    found = backend.to_numpy(backend.compiled_function(call)(weights, images))
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_allclose(found[key], value, atol=2e-3 * np.abs(value).max(), err_msg=key)


def test_weights_are_those_of_the_moment():
    model = build_backbone("mobilenet_v2", output_stride=16)
    images = np.random.default_rng(1).uniform(0, 255, (1, 32, 32, 3)).astype(np.float32)
    call, weights = folded(model)
    before = backend.to_numpy(call(weights, images))["high"]
    _fill(model)
    np.testing.assert_array_equal(backend.to_numpy(call(weights, images))["high"], before)


def _model(**options) -> keras.Model:
    """A network with everything that must not be folded, or not so far."""
    image = keras.Input((None, None, 3), name="image")
    extra = keras.Input((None, None, 4), name="extra")
    first = layers.Conv2D(4, 3, padding="same", use_bias=True, name="first")(image)
    norm = layers.BatchNormalization(name="norm")(first)
    leaky = layers.ReLU(negative_slope=0.1, name="leaky")(norm)  # no plain ReLU
    second = layers.Conv2D(4, 1, name="second")(leaky)
    shared = layers.BatchNormalization(name="shared_norm")(second)
    added = layers.Add(name="add")([shared, second, extra])  # `second` has two users
    dropped = layers.Dropout(0.5, name="drop")(added)
    third = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="third")(dropped)
    last = layers.BatchNormalization(center=False, name="last_norm")(third)  # without a beta
    outputs = {"last": last, "first": norm} if options.get("several") else last
    return keras.Model({"image": image, "extra": extra}, outputs)


@pytest.mark.parametrize("several", [True, False])
def test_what_cannot_be_folded_stays_as_it_is(several):
    model = _model(several=several)
    _fill(model)
    rng = np.random.default_rng(1)
    inputs = {
        "image": rng.normal(size=(1, 9, 7, 3)).astype(np.float32),
        "extra": rng.normal(size=(1, 9, 7, 4)).astype(np.float32),
    }
    call, weights = folded(model)
    assert len(weights) == 1  # `first` with `norm`
    expected = backend.to_numpy(model(inputs, training=False))
    found = backend.to_numpy(call(weights, inputs))
    keras.tree.map_structure(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), found, expected
    )
