"""VGG-16: published sizes, normalization, weights of keras.applications."""

import h5py
import keras
import numpy as np
import pytest
from keras import layers

from deeplab_gygo.baselines.osmn.config import OsmnModel
from deeplab_gygo.baselines.osmn.network import Osmn
from deeplab_gygo.baselines.osvos.config import OsvosModel
from deeplab_gygo.baselines.osvos.network import Osvos
from deeplab_gygo.baselines.shared.trunk_weights import TrunkWeights, read_vgg_file
from deeplab_gygo.baselines.shared.trunks import SPECS
from deeplab_gygo.baselines.shared.vgg import BGR_MEAN, VGG16, apply_vgg
from deeplab_gygo.errors import InputError, WeightsError


@pytest.fixture(scope="module")
def convolutions() -> keras.Model:
    """The real network's shapes, without values."""
    with keras.StatelessScope(initialize_variables=False):
        image = keras.Input((64, 64, 3))
        return keras.Model(image, apply_vgg(image, VGG16))


def test_convolutions_have_the_published_number_of_parameters(convolutions):
    assert convolutions.count_params() == 14_714_688


def test_layers_have_the_published_shapes(convolutions):
    widths = {1: (3, 64), 2: (64, 128), 3: (128, 256), 4: (256, 512), 5: (512, 512)}
    for stage, depth in enumerate((2, 2, 3, 3, 3), start=1):
        before, width = widths[stage]
        for number in range(1, depth + 1):
            kernel = convolutions.get_layer(f"conv{stage}_{number}").kernel
            assert tuple(kernel.shape) == (3, 3, before if number == 1 else width, width)
    assert [tuple(features.shape[1:]) for features in convolutions.output] == [
        (64, 64, 64), (32, 32, 128), (16, 16, 256), (8, 8, 512), (4, 4, 512)
    ]  # fmt: skip


def test_the_image_is_converted_to_bgr_minus_its_mean(convolutions):
    normalize = convolutions.get_layer("normalization")
    image = np.full((1, 2, 2, 3), BGR_MEAN[::-1], np.float32)
    np.testing.assert_allclose(normalize(image), 0, atol=1e-4)
    image[..., 0] += 7  # red comes last
    np.testing.assert_allclose(np.array(normalize(image))[0, 0, 0], (0, 0, 7), atol=1e-4)


def test_hidden_pixels_have_the_mean_color(thin_trunks):
    with thin_trunks():
        image, visible = keras.Input((32, 32, 3)), keras.Input((32, 32, 1))
        stages = apply_vgg(image, SPECS["vgg16"], visible=visible)
    model = keras.Model([image, visible], stages)
    rng = np.random.default_rng(0)
    pixels = rng.uniform(0, 255, (1, 32, 32, 3)).astype(np.float32)
    mask = np.zeros((1, 32, 32, 1), np.float32)
    mask[:, 8:20, 4:16] = 1
    filled = np.where(mask > 0, pixels, np.float32(BGR_MEAN[::-1]))
    got = model([pixels, mask])
    expected = model([filled, np.ones_like(mask)])
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-3)
    assert np.abs(np.array(got[0]) - np.array(model([pixels, np.ones_like(mask)])[0])).max() > 1


def _application(stages, dense, *, include_top=True) -> keras.Model:
    """A thin model with layers, names and order of data of keras.applications' VGG16."""
    image = features = keras.Input((224, 224, 3))
    for stage, (depth, width) in enumerate(stages, start=1):
        for number in range(1, depth + 1):
            features = layers.Conv2D(
                width, 3, padding="same", activation="relu", bias_initializer="random_normal",
                name=f"block{stage}_conv{number}",
            )(features)  # fmt: skip
        features = layers.MaxPooling2D(2, name=f"block{stage}_pool")(features)
    if include_top:
        features = layers.Flatten(name="flatten")(features)
        for name in ("fc1", "fc2"):
            features = layers.Dense(
                dense, activation="relu", bias_initializer="random_normal", name=name
            )(features)
    return keras.Model(image, features)


@pytest.fixture(scope="module")
def application(thin_trunks) -> keras.Model:
    keras.utils.set_random_seed(3)
    with thin_trunks():
        return _application(SPECS["vgg16"].stages, SPECS["vgg16"].dense)


def _write(model: keras.Model, path, *, top: bool = True):
    """Writes the layout of keras.applications' files: a group for a layer, arrays in a group."""
    with h5py.File(path, "w") as file:
        for layer in model.layers:
            if layer.name.startswith("fc") and not top:
                continue
            group = file.create_group(layer.name)
            for kind, values in zip("Wb", layer.get_weights(), strict=False):
                group.create_dataset(f"{layer.name}/{layer.name}_{kind}_1:0", data=values)
    return path


@pytest.fixture(scope="module")
def osmn(application, thin_trunks, tmp_path_factory) -> Osmn:
    path = _write(application, tmp_path_factory.mktemp("vgg") / "vgg16.h5")
    with thin_trunks():
        return Osmn(OsmnModel(), path)


def test_convolutions_equal_the_dense_layers_they_replace(application, osmn):
    rng = np.random.default_rng(1)
    image = rng.uniform(0, 255, (2, 224, 224, 3)).astype(np.float32)
    fc7 = osmn.visual.get_layer("fc7_flatten").output
    modulator = keras.Model(osmn.visual.input, fc7)
    got = modulator({"crop": image, "crop_mask": np.ones((2, 224, 224, 1), np.float32)})
    expected = np.array(application(image[..., ::-1] - np.float32(BGR_MEAN)))
    assert expected.std() > 0.1
    np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-3)


def test_both_trunks_have_the_weights_and_their_source(application, osmn):
    for part in osmn.parts:
        for theirs, ours in (("block1_conv1", "conv1_1"), ("block5_conv3", "conv5_3")):
            expected = application.get_layer(theirs).get_weights()
            for one, other in zip(part.get_layer(ours).get_weights(), expected, strict=True):
                np.testing.assert_array_equal(one, other)
    assert osmn.trunk_source.startswith("vgg16.h5 (SHA-256 ")


def test_a_file_without_top_serves_osvos_and_not_the_visual_modulator(
    application, thin_trunks, tmp_path
):
    path = _write(application, tmp_path / "vgg16_notop.h5", top=False)
    with thin_trunks():
        Osvos(OsvosModel(), path)
        with pytest.raises(WeightsError, match=r"fc6/kernel.*none.*vgg16_notop\.h5.*dense layers"):
            Osmn(OsmnModel(), path)


def test_weights_of_another_width_are_refused(application, thin_trunks, tmp_path):
    other = _application(((2, 6), (2, 8), (3, 8), (3, 12), (3, 16)), 24, include_top=False)
    path = _write(other, tmp_path / "wide.h5")
    with thin_trunks(), pytest.raises(WeightsError, match=r"conv1_1/kernel.*\(3, 3, 3, 4\).*6"):
        Osvos(OsvosModel(), path)


@pytest.mark.parametrize("content", [None, b"", b"<html>not found</html>"])
def test_files_that_are_none_are_refused(content, tmp_path):
    path = tmp_path / "vgg16.h5"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"VGG-16.*vgg16\.h5"):
        read_vgg_file(path, classifier=True)
    with pytest.raises(WeightsError, match=r"vgg16\.h5"):
        TrunkWeights("vgg16", path)


def test_a_failed_download_names_a_remedy(monkeypatch):
    def fail(**_):
        raise Exception("URL fetch failure on https://example.org/vgg16.h5")

    monkeypatch.setattr(keras.applications, "VGG16", fail)
    with pytest.raises(InputError, match=r"VGG16.*example\.org/vgg16\.h5.*give its path"):
        Osvos(OsvosModel(), "imagenet")


def test_downloaded_weights_are_assigned(application, thin_trunks, monkeypatch):
    asked = {}
    monkeypatch.setattr(
        keras.applications, "VGG16", lambda **options: asked.update(options) or application
    )
    with thin_trunks():
        osvos = Osvos(OsvosModel(), "imagenet")
    assert asked["weights"] == "imagenet" and not asked["include_top"]
    kernel = application.get_layer("block3_conv2").kernel
    np.testing.assert_array_equal(osvos.network.get_layer("conv3_2").kernel, kernel)
    assert osvos.trunk_source == "ImageNet"
