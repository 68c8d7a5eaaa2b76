"""What is checked before a training reads data and builds a network."""

import json
import shutil

import numpy as np
import pytest

from deeplab_gygo.errors import DeepLabGygoError, InputError, UsageError
from deeplab_gygo.models.config import ModelConfig
from deeplab_gygo.synthesis.config import SourceConfig
from deeplab_gygo.training.checks import check_training
from deeplab_gygo.training.config import TrainConfig, ValidationConfig


@pytest.fixture
def root(tmp_path, make_dataset):
    return make_dataset(tmp_path / "data" / "clips", {"one": 2, "two": 2}).parent


def _config(root, *, sequences=(), split="val", **changes) -> TrainConfig:
    part = ValidationConfig(kind="gygo", root="clips", split=split, sequences=list(sequences))
    values = {"sources": [SourceConfig(kind="stills")], "validation": [part]}
    return TrainConfig(data_root=str(root), **{**values, **changes})


def _refused(config, folder, said, kind: type[DeepLabGygoError] = UsageError):
    with pytest.raises(DeepLabGygoError, match=said) as caught:
        check_training(config, folder)
    assert isinstance(caught.value, kind) and caught.value.remedy


def test_what_is_right_passes_and_makes_the_folder(root, tmp_path):
    check_training(_config(root), tmp_path / "deep" / "run")
    check_training(_config(root, sequences=["two"]), tmp_path / "deep" / "run")
    assert (tmp_path / "deep" / "run").is_dir()


def test_a_missing_validation_set_is_refused(root, tmp_path):
    shutil.rmtree(root / "clips")
    with pytest.raises(InputError, match="clips"):
        check_training(_config(root), tmp_path / "run")


def test_sequences_and_splits_that_do_not_exist_are_refused(root, tmp_path):
    _refused(_config(root, sequences=["one", "three"]), tmp_path, "three", InputError)
    _refused(_config(root, split="other"), tmp_path, "other", InputError)
    (root / "clips" / "ImageSets" / "val.txt").write_text("\n")
    with pytest.raises(InputError, match="val"):
        check_training(_config(root), tmp_path)


def test_sequences_without_annotations_are_refused(root, tmp_path):
    shutil.rmtree(root / "clips" / "Annotations" / "480p" / "two")
    _refused(_config(root), tmp_path, r"annotations.*none of two.*validation\.0", InputError)
    check_training(_config(root, sequences=["one"]), tmp_path)


@pytest.mark.parametrize("weights", [(), (0.0,), (0.0, 0.0)])
def test_sources_without_a_weight_are_refused(root, tmp_path, weights):
    sources = [SourceConfig(kind="stills", weight=weight) for weight in weights]
    _refused(_config(root, sources=sources), tmp_path, "A training has sources")


def test_an_output_folder_that_is_a_file_is_refused(root, tmp_path):
    (tmp_path / "file").write_text("years of work")
    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        _refused(_config(root), path, "into a folder; met: a file")
    assert (tmp_path / "file").read_text() == "years of work"


@pytest.mark.parametrize("name", ["n" * 300, "loop/run", "a\0b", "\udcff\ud800"])
def test_an_output_folder_that_no_system_takes_is_refused(root, tmp_path, name):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    _refused(_config(root), tmp_path / name, "into a folder")


def _weights(folder, model, **card):
    text = json.dumps({"format": "deeplab_gygo.parent.1", "model": model, "card": card})
    np.savez(folder / "start.npz", __card__=np.frombuffer(text.encode(), np.uint8))
    return str(folder / "start.npz")


def test_weights_to_start_from_are_looked_at(root, tmp_path):
    run = tmp_path / "run"
    with pytest.raises(InputError, match=r"absent\.npz"):
        check_training(_config(root, init_from=str(tmp_path / "absent.npz")), run)
    (tmp_path / "text.npz").write_text("no weights")
    with pytest.raises(InputError, match=r"text\.npz"):
        check_training(_config(root, init_from=str(tmp_path / "text.npz")), run)
    thin = _weights(tmp_path, {"aspp_channels": 8})
    _refused(_config(root, init_from=thin), run, "architecture.*aspp_channels 8.*allow_missing")
    check_training(_config(root, init_from=thin, model=ModelConfig(aspp_channels=8)), run)
    check_training(_config(root, init_from=thin, allow_missing=True), run)
    other = _weights(tmp_path, {}, method="osvos")
    _refused(_config(root, init_from=other, allow_missing=True), run, "method.*met: osvos")
