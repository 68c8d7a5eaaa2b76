"""Finding ImageNet weights, and refusing those that are not the ones we know."""

from __future__ import annotations

from dataclasses import replace
from importlib import metadata

import keras
import numpy as np
import pytest

from deeplab_gygo.errors import DependencyError, InputError, UsageError, WeightsError
from deeplab_gygo.models import imagenet
from deeplab_gygo.models.backbones import build_backbone
from deeplab_gygo.models.imagenet import PACKAGED_WEIGHTS, find_packaged_weights, load_imagenet

LITE0 = PACKAGED_WEIGHTS["efficientnet_lite0"]


@pytest.fixture
def lite0_file():
    try:
        metadata.distribution(LITE0.distribution)
    except metadata.PackageNotFoundError:
        pytest.skip("the package with the weights is not installed")
    return find_packaged_weights(LITE0)


def test_another_hash_is_refused_before_the_file_is_read(lite0_file, monkeypatch):
    monkeypatch.setitem(PACKAGED_WEIGHTS, "efficientnet_lite0", replace(LITE0, sha256="0" * 64))
    monkeypatch.setattr(imagenet, "read_state_dict", lambda path: pytest.fail("it was read"))
    with pytest.raises(WeightsError, match=f"0{{64}}; met: {LITE0.sha256}.*force-reinstall"):
        build_backbone("efficientnet_lite0", weights="imagenet")


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    absent = replace(LITE0, distribution="deeplab-gygo-has-no-such-package")
    monkeypatch.setitem(PACKAGED_WEIGHTS, "efficientnet_lite0", absent)
    with pytest.raises(DependencyError, match=r"no-such-package.*deeplab-gygo\[backbones\]"):
        build_backbone("efficientnet_lite0", weights="imagenet")


def test_a_package_without_its_file_is_refused(lite0_file):
    with pytest.raises(WeightsError, match=r"must hold its weights; met: no file other\.pth"):
        find_packaged_weights(replace(LITE0, file_name="other.pth"))


def test_weights_of_a_given_file_are_those_of_the_package(lite0_file):
    packaged = build_backbone("efficientnet_lite0", weights="imagenet", output_stride=8)
    given = build_backbone("efficientnet_lite0", weights=lite0_file)
    for one, other in zip(packaged.get_weights(), given.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_weights_of_another_network_are_refused_and_change_nothing(lite0_file):
    model = build_backbone("efficientnet_lite1")
    before = model.get_weights()
    with pytest.raises(WeightsError, match=r"_blocks\.3\..*efficientnet-lite0"):
        load_imagenet("efficientnet_lite1", model, path=lite0_file)
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_weights_of_a_deeper_network_are_refused(lite0_file, monkeypatch):
    tensors = imagenet.read_state_dict(lite0_file)
    tensors["_blocks.16._project_conv.weight"] = tensors["_blocks.15._project_conv.weight"]
    monkeypatch.setattr(imagenet, "read_state_dict", lambda path: tensors)
    with pytest.raises(WeightsError, match="16 blocks; met: more"):
        build_backbone("efficientnet_lite0", weights=lite0_file)


@pytest.mark.parametrize("content", [None, b"", b"no weights in here"])
def test_a_damaged_file_of_keras_applications_is_refused(content, tmp_path):
    path = tmp_path / "mobilenet_v2_no_top.h5"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"MobileNetV2.*mobilenet_v2_no_top\.h5"):
        build_backbone("mobilenet_v2", weights=path)


def test_a_file_of_another_application_is_refused(tmp_path):
    path = tmp_path / "small.weights.h5"
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]).save_weights(path)
    with pytest.raises(WeightsError, match="MobileNetV2"):
        build_backbone("mobilenet_v2", weights=path)


def test_without_network_the_error_names_a_remedy(monkeypatch):
    def offline(*, weights, **_):
        assert weights == "imagenet"
        raise Exception("URL fetch failure on https://example.org/no_top.h5")

    monkeypatch.setattr(keras.applications, "MobileNetV2", offline)
    with pytest.raises(InputError, match=r"example\.org/no_top\.h5.*give its path as weights"):
        build_backbone("mobilenet_v2", weights="imagenet")


def test_what_an_interrupted_download_left_is_named(monkeypatch, tmp_path):
    (tmp_path / "models").mkdir()
    cut = tmp_path / "models" / "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5"
    cut.write_bytes(b"\x89HDF\r\n\x1a\n cut")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))

    def damaged(**_):
        raise OSError("truncated file")

    monkeypatch.setattr(keras.applications, "MobileNetV2", damaged)
    with pytest.raises(InputError, match=rf"truncated file.*Delete {cut}, which is not whole"):
        load_imagenet("mobilenet_v2", build_backbone("mobilenet_v2"))
    assert cut.exists()


def test_a_backbone_without_known_weights_is_refused():
    with pytest.raises(UsageError, match="efficientnet_lite0.*resnet50; met: vgg16"):
        load_imagenet("vgg16", build_backbone("efficientnet_lite0"))
