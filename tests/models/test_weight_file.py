"""Weight files: round trips, refusal of other files, and the files of the repository."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from deeplab_gygo import backend
from deeplab_gygo.baselines.osmn.config import OsmnModel
from deeplab_gygo.baselines.osvos.config import OsvosModel
from deeplab_gygo.errors import WeightsError
from deeplab_gygo.inference.network import ForwardPass
from deeplab_gygo.models import weight_file
from deeplab_gygo.models.config import ModelConfig
from deeplab_gygo.models.deeplab import DeepLabV3Plus
from deeplab_gygo.models.stroke_decoder import NAME, Decoder, load_stroke_network
from deeplab_gygo.models.weight_file import (
    assign,
    file_hash,
    load_parent,
    read_parent_file,
    save_parent,
    shipped_parent,
    variables_by_name,
)

SMALL = dict(aspp_channels=16, low_level_channels=8, decoder_channels=16)


@pytest.fixture(scope="module")
def parent() -> DeepLabV3Plus:
    return DeepLabV3Plus(ModelConfig(**SMALL))


def _inputs() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "image": rng.integers(0, 256, (1, 64, 64, 3)).astype(np.uint8),
        "guide": rng.uniform(-1, 1, (1, 16, 16, 2)).astype(np.float32),
        "readout": rng.uniform(-1, 1, (1, 4, 4, 18)).astype(np.float32),
    }


def test_full_precision_round_trip_is_exact(parent, tmp_path):
    path = save_parent(tmp_path / "p.npz", parent, {"data": "none"}, storage="float32")
    loaded, card = load_parent(path, inference_only=False)
    assert card == {"data": "none", "method": "deeplab"} and loaded.config == parent.config
    for name, variable in variables_by_name(loaded).items():
        np.testing.assert_array_equal(variable.numpy(), variables_by_name(parent)[name].numpy())


def test_half_precision_halves_the_file_and_keeps_the_output(parent, tmp_path):
    whole = save_parent(tmp_path / "whole.npz", parent, storage="float32")
    half = save_parent(tmp_path / "half.npz", parent)
    assert half.stat().st_size < 0.6 * whole.stat().st_size
    expected = parent.network(_inputs(), training=False)
    got = load_parent(half, inference_only=False)[0].network(_inputs(), training=False)
    np.testing.assert_allclose(got, expected, atol=2e-2)


def test_no_partial_file_stays(parent, tmp_path):
    save_parent(tmp_path / "p.npz", parent)
    assert [p.name for p in tmp_path.iterdir()] == ["p.npz"]


def test_every_part_is_stored(parent, tmp_path):
    _, arrays, _ = read_parent_file(save_parent(tmp_path / "p.npz", parent))
    assert {name.split("/")[0] for name in arrays} == {"encoder", "head", "refiner"}
    assert "encoder/memory_key/kernel" in arrays


def test_weights_of_another_architecture_are_refused(parent, tmp_path):
    other = DeepLabV3Plus(ModelConfig(**{**SMALL, "decoder_channels": 24}))
    _, arrays, _ = read_parent_file(save_parent(tmp_path / "p.npz", other))
    with pytest.raises(WeightsError, match="another shape") as error:
        assign(parent, arrays, tmp_path / "p.npz")
    assert "p.npz" in str(error.value)


def test_missing_and_unknown_variables_are_named(parent, tmp_path):
    _, arrays, _ = read_parent_file(save_parent(tmp_path / "p.npz", parent))
    arrays["head/extra/kernel"] = arrays.pop("head/logit/kernel")
    with pytest.raises(WeightsError, match=r"head/logit/kernel.*head/extra/kernel"):
        assign(parent, arrays, "memory")


@pytest.fixture
def plain(small_parent, tmp_path):
    """A parent without memory and refinement, and its arrays."""
    parent = small_parent(seed=1, memory=False, refine=False)
    path = save_parent(tmp_path / "plain.npz", parent, storage="float32")
    return parent, read_parent_file(path)[1]


def test_a_parent_with_new_parts_gives_the_same_logits(plain, small_parent):
    before, arrays = plain
    after = small_parent(seed=2)
    assign(after, arrays, "plain.npz", allow_missing=True)
    inputs = _inputs()
    known = {name: inputs[name] for name in ("image", "guide")}
    logits = np.array(before.network(known, training=False))
    features = after.encoder(inputs["image"], training=False)
    head_inputs = after.head_inputs(features, inputs["guide"], inputs["readout"])
    np.testing.assert_allclose(after.head(head_inputs, training=False), logits, atol=1e-5)
    enlarged = cv2.resize(logits[0, ..., 0], (64, 64), interpolation=cv2.INTER_LINEAR)
    finest = np.array(after.network(inputs, training=False))
    np.testing.assert_allclose(finest[0, ..., 0], enlarged, atol=1e-5)


def test_only_missing_arrays_are_allowed_and_only_on_request(plain, small_parent):
    _, arrays = plain
    after = small_parent(seed=2)
    with pytest.raises(WeightsError, match="missing.*memory_key"):
        assign(after, arrays, "plain.npz")
    with pytest.raises(WeightsError, match="unknown.*head/extra/kernel"):
        assign(after, {**arrays, "head/extra/kernel": np.zeros(3)}, "plain.npz", allow_missing=True)
    with pytest.raises(WeightsError, match="another shape.*head/logit/bias"):
        assign(after, {**arrays, "head/logit/bias": np.zeros(3)}, "plain.npz", allow_missing=True)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"<html>not found</html>"])
def test_damaged_files_are_refused(content, tmp_path):
    path = tmp_path / "parent.npz"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="parent.npz"):
        read_parent_file(path)


def test_an_archive_of_something_else_is_refused(tmp_path):
    np.savez(tmp_path / "other.npz", values=np.zeros(3))
    with pytest.raises(WeightsError, match="other.npz"):
        read_parent_file(tmp_path / "other.npz")


def test_absent_file_is_said(tmp_path):
    with pytest.raises(WeightsError, match="absent.npz"):
        load_parent(tmp_path / "absent.npz")


@pytest.mark.parametrize("method", ["deeplab", "osmn", "osvos"])
def test_weights_of_the_repository_have_their_hashes_and_are_small(method):
    path = shipped_parent(method)
    folder = "deeplab_gygo" if method == "deeplab" else "experiments"
    assert path.parent == Path(__file__).parents[2] / folder / "weights"
    lines = (path.parent / "parents.sha256").read_text().splitlines()
    assert {name: digest for digest, name in map(str.split, lines)}[path.name] == file_hash(path)
    assert path.stat().st_size < 12e6
    _, arrays, card = read_parent_file(path)
    assert card["training"]["sources"] and len(arrays) > 100
    assert not card["training"]["data_root"]


def test_the_decoder_of_strokes_has_its_hash_and_fits_the_shipped_parent():
    path = shipped_parent().with_name(NAME)
    assert f"{file_hash(path)}  {NAME}" in (path.parent / "parents.sha256").read_text()
    assert path.stat().st_size < 1.2e6
    network, parent = load_stroke_network(), load_parent()[0]
    _, arrays, card = read_parent_file(path)
    assert card["training"]["trainable"] == "strokes" and not card["training"]["data_root"]
    assert {name.split("/")[0] for name in arrays} == {part.name for part in network.decoder}
    image = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), np.uint8)
    features = [ForwardPass(n, frozen=True, fused=False).encode(image) for n in (network, parent)]
    for name in features[0]:
        np.testing.assert_array_equal(*(backend.to_numpy(f[name]) for f in features))


def test_a_decoder_of_strokes_of_another_encoder_is_refused(tmp_path, small_parent):
    parent = small_parent(guide=True, memory=True)
    decoder = Decoder(parent.config, parent.decoder)
    path = save_parent(tmp_path / "other.npz", decoder, {"encoder_sha256": "0"})
    with pytest.raises(WeightsError, match="belongs to the encoder that it was trained on"):
        load_stroke_network(path)


def test_weights_that_are_not_installed_are_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(weight_file, "_FOLDERS", (tmp_path,))
    with pytest.raises(WeightsError, match=r"osmn\.npz.*--weights: experiments/weights/osmn\.npz"):
        shipped_parent("osmn")
    with pytest.raises(WeightsError, match="Reinstall"):
        shipped_parent()


def _networks() -> dict[str, object]:
    from deeplab_gygo.baselines.osmn.network import Osmn
    from deeplab_gygo.baselines.osvos.network import Osvos

    light = {"trunk": "efficientnet_lite0", "spatial_relu": False, "decoder": "deeplab"}
    return {
        "osvos": lambda: Osvos(OsvosModel()),
        "osmn": lambda: Osmn(OsmnModel(**light, deeplab=ModelConfig(**SMALL))),
    }


@pytest.mark.parametrize("method", ["osvos", "osmn"])
def test_files_of_other_methods_build_their_networks(method, thin_trunks, tmp_path):
    with thin_trunks():
        one = _networks()[method]()
        one.trunk_source = "a test"
        path = save_parent(tmp_path / "p.npz", one, {"data": "none"}, storage="float32")
        other, card = load_parent(path)
    assert type(other) is type(one) and other.config == one.config
    assert card == {"data": "none", "method": method, "trunk": f"{one.config.trunk}, a test"}
    assert other.trunk_source == "a test"
    expected = variables_by_name(one)
    everything = sum(len(part.variables) for part in one.parts)
    dropout = sum("seed_generator" in v.path for part in one.parts for v in part.variables)
    assert len(expected) == everything - dropout  # no name twice
    for name, variable in variables_by_name(other).items():
        np.testing.assert_array_equal(variable.numpy(), expected[name].numpy())


def test_weights_of_one_method_do_not_fit_another(parent, thin_trunks, tmp_path):
    with thin_trunks():
        path = save_parent(tmp_path / "p.npz", _networks()["osvos"]())
    with pytest.raises(WeightsError, match="deeplab on efficientnet_lite0.*missing.*unknown"):
        assign(parent, read_parent_file(path)[1], path)


def test_an_unknown_method_is_refused(tmp_path):
    head = {"format": "deeplab_gygo.parent.1", "model": {}, "card": {"method": "stm"}}
    path = tmp_path / "other.npz"
    np.savez(path, __card__=np.frombuffer(json.dumps(head).encode(), np.uint8))
    with pytest.raises(WeightsError, match=r"deeplab, osmn, osvos; met: stm.*other\.npz"):
        read_parent_file(path)


def test_weights_of_a_guide_of_one_plane_are_read(tmp_path):
    """Version 0.2 took the mean of previous mask and score."""
    parent = DeepLabV3Plus(ModelConfig(**SMALL))
    for name in ("guide_shape1", "recall_sharp_conv"):
        kernel = np.array(parent.head.get_layer(name).kernel)
        kernel[:, :, -2:] = kernel[:, :, -2:].mean(axis=2, keepdims=True)
        parent.head.get_layer(name).kernel.assign(kernel)
    path = save_parent(tmp_path / "new.npz", parent, storage="float32")
    with np.load(path) as archive:
        arrays = dict(archive)
    for name in ("head/guide_shape1/kernel", "head/recall_sharp_conv/kernel"):
        whole = arrays[name][:, :, -2:].sum(axis=2, keepdims=True)
        arrays[name] = np.concatenate([arrays[name][:, :, :-2], whole], axis=2)
    np.savez(tmp_path / "old.npz", **arrays)
    expected = variables_by_name(parent)
    for name, variable in variables_by_name(
        load_parent(tmp_path / "old.npz", inference_only=False)[0]
    ).items():
        np.testing.assert_allclose(variable.numpy(), expected[name].numpy(), atol=1e-6)
