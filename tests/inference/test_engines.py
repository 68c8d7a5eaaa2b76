"""The encoder in OpenVINO and onnxruntime: the same features, kept for the next process."""

import hashlib
import json
import logging
import sys

import numpy as np
import pytest

from deeplab_gygo import backend
from deeplab_gygo.errors import DependencyError, StorageError, UsageError
from deeplab_gygo.inference import engines
from deeplab_gygo.inference.config import OnlineConfig
from deeplab_gygo.inference.engines import encoder_in
from deeplab_gygo.inference.network import ForwardPass
from deeplab_gygo.inference.segmenter import DeepLabSegmenter
from deeplab_gygo.io.atomic import CACHE_VARIABLE
from deeplab_gygo.io.sequence import Frame
from deeplab_gygo.models.weight_file import load_parent
from deeplab_gygo.runs.settings import RunSettings, make_settings

OTHERS = ("openvino", "onnxruntime")


@pytest.fixture(scope="module")
def tiny_parent(thin_parent):
    """Weights of few stages: an engine compiles every one."""
    return thin_parent


@pytest.fixture(scope="module")
def parent(tiny_parent):
    return load_parent(tiny_parent, inference_only=False)[0]


@pytest.fixture(scope="module")
def shared_cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def cache(shared_cache, monkeypatch):
    monkeypatch.setenv(CACHE_VARIABLE, str(shared_cache))
    return shared_cache


def _frames(*shape):
    return np.random.default_rng(0).integers(0, 256, (*shape, 3)).astype(np.uint8)


def test_keras_needs_nothing(parent):
    assert encoder_in(parent, "keras", "bfloat16") is None


@pytest.mark.parametrize("engine", OTHERS)
def test_features_are_those_of_keras(engine, parent):
    encode, network = encoder_in(parent, engine, "float32"), ForwardPass(parent)
    for frames in (_frames(3, 64, 96), _frames(1, 96, 64)):
        expected = backend.to_numpy(network.encode(frames))
        found = backend.to_numpy(encode(frames))
        assert set(found) == set(expected)
        for name, values in expected.items():
            scale = np.abs(values).max()
            np.testing.assert_allclose(found[name], values, atol=1e-4 * scale)


@pytest.mark.parametrize("engine", OTHERS)
def test_an_encoder_is_converted_once_for_its_weights(engine, tiny_parent, parent, monkeypatch):
    encoder_in(parent, engine, "auto")

    def refuse(parent):
        raise AssertionError("converted again")

    monkeypatch.setattr(engines, "_traced", refuse)
    encoder_in(load_parent(tiny_parent)[0], engine, "auto")
    other, _ = load_parent(tiny_parent, inference_only=False)
    variable = other.encoder.trainable_variables[0]
    variable.assign(variable.numpy() + 0.1)
    with pytest.raises(AssertionError, match="converted again"):
        encoder_in(other, engine, "auto")


def test_a_clip_is_segmented_alike(parent):
    mask = np.zeros((64, 96), np.uint8)
    mask[20:44, 30:60] = 1
    config = OnlineConfig(steps=4, num_views=2, size=64)
    images = _frames(3, 64, 96)
    frames = [
        Frame(i, f"{i:05d}", decode=lambda image=image: image) for i, image in enumerate(images)
    ]
    planes = []
    for engine in ("keras", "openvino"):
        segmenter = DeepLabSegmenter(parent, config, 3, encoder_in(parent, engine, "float32"))
        segmenter.begin(frames[0], mask)
        planes.append([segmenter.step(frame).probability for frame in frames[1:]])
    np.testing.assert_allclose(planes[0], planes[1], atol=2e-3)


def test_openvino_says_what_it_computes_in(parent):
    pytest.importorskip("openvino")
    encode = encoder_in(parent, "openvino", "float32")
    assert encode.precision == "auto"
    encode(np.zeros((1, 64, 64, 3), np.uint8))
    assert encode.precision == "float32"


@pytest.mark.parametrize(("engine", "package"), [("openvino", "openvino"), ("onnxruntime", "onnx")])
def test_a_missing_package_is_named(engine, package, parent, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(DependencyError, match=rf"--engine {engine}.*{package}"):
        encoder_in(parent, engine, "auto")


def test_a_cache_that_cannot_be_written_is_named(parent, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "file"))
    with pytest.raises(StorageError, match="DEEPLAB_GYGO_CACHE"):
        encoder_in(parent, "openvino", "auto")


def test_what_an_engine_cannot_do_is_refused(parent, parent_header):
    with pytest.raises(UsageError, match="onnxruntime computes in float32"):
        encoder_in(parent, "onnxruntime", "bfloat16")
    with pytest.raises(UsageError, match="--adapt full"):
        RunSettings(OnlineConfig(adapt="full"), weights=parent_header, engine="openvino")
    with pytest.raises(UsageError, match="method deeplab"):
        make_settings(method="copy", engine="openvino")


def test_results_of_another_engine_are_other_results(parent_header):
    plain = RunSettings(OnlineConfig(), weights=parent_header)
    moved = RunSettings(OnlineConfig(), weights=parent_header, engine="openvino")
    assert plain.identity["engine"] == "keras"
    assert moved.identity["engine"] == "openvino"


@pytest.mark.parametrize(("engine", "damage"), [("onnxruntime", "cut"), ("openvino", "missing")])
def test_a_damaged_encoder_in_the_cache_is_made_anew(engine, damage, parent, cache, caplog):
    expected = backend.to_numpy(encoder_in(parent, engine, "float32")(_frames(1, 64, 96)))
    for network in (cache / "encoders").glob(f"{engine}-*/encoder.[ob]*"):
        content = network.read_bytes()
        network.unlink()
        if damage == "cut":
            network.write_bytes(content[:-100])
    with caplog.at_level(logging.INFO, "deeplab_gygo"):
        found = backend.to_numpy(encoder_in(parent, engine, "float32")(_frames(1, 64, 96)))
    assert "damaged, and made anew" in caplog.text
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values)
    assert not [path for path in (cache / "encoders").iterdir() if "damaged" in path.name]


def test_an_entry_of_the_cache_is_taken_only_if_it_is_whole(tmp_path):
    digest = hashlib.sha256(b"network").hexdigest()
    entry = tmp_path / "encoder"
    assert not engines._is_whole(entry)
    entry.mkdir()
    (entry / "encoder.onnx").write_bytes(b"network")
    assert not engines._is_whole(entry)
    for record, whole in (
        (json.dumps({"encoder.onnx": digest}), True),
        (json.dumps({"encoder.onnx": digest[::-1]}), False),
        (json.dumps({"encoder.onnx": digest, "encoder.bin": digest}), False),
        ("{}", False),
        ("[1]", False),
        ('{"encoder.onnx', False),
    ):
        (entry / "files.json").write_text(record)
        assert engines._is_whole(entry) == whole
    engines._discard(entry)
    assert list(tmp_path.iterdir()) == []
