"""Parent files: what is written is read, and nothing else is accepted."""

import numpy as np
import pytest

from deeplab_gygo.config import ModelConfig
from deeplab_gygo.errors import WeightsError
from deeplab_gygo.models.deeplab import DeepLabV3Plus
from deeplab_gygo.models.weights import (
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


def test_full_precision_round_trip_is_exact(parent, tmp_path):
    path = save_parent(tmp_path / "p.npz", parent, {"data": "none"}, half=False)
    loaded, card = load_parent(path)
    assert card == {"data": "none"} and loaded.config == parent.config
    for name, variable in variables_by_name(loaded).items():
        np.testing.assert_array_equal(variable.numpy(), variables_by_name(parent)[name].numpy())


def test_half_precision_halves_the_file_and_keeps_the_output(parent, tmp_path):
    whole = save_parent(tmp_path / "whole.npz", parent, half=False)
    half = save_parent(tmp_path / "half.npz", parent)
    assert half.stat().st_size < 0.6 * whole.stat().st_size
    image = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3)).astype(np.uint8)
    inputs = {"image": image, "guide": np.zeros((1, 16, 16, 1), np.float32)}
    expected = parent.network(inputs, training=False)
    got = load_parent(half)[0].network(inputs, training=False)
    np.testing.assert_allclose(got, expected, atol=2e-2)


def test_no_partial_file_stays(parent, tmp_path):
    save_parent(tmp_path / "p.npz", parent)
    assert [p.name for p in tmp_path.iterdir()] == ["p.npz"]


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


def test_the_shipped_parent_is_the_one_its_hash_names_and_small():
    path = shipped_parent()
    assert file_hash(path) == path.with_suffix(".sha256").read_text().split()[0]
    assert path.stat().st_size < 12e6
    config, arrays, card = read_parent_file(path)
    assert config.guide and card["training"]["sources"] and len(arrays) > 100
