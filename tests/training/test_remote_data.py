"""Training data at URLs: copied once, before the training, and the same examples as from a disk."""

from functools import partial

import cv2
import numpy as np
import pytest
from storage_servers import put

from deeplab_gygo.cli.main import main
from deeplab_gygo.errors import InputError, StorageError, UsageError
from deeplab_gygo.io import storage
from deeplab_gygo.synthesis.config import SourceConfig
from deeplab_gygo.synthesis.sources import DATA_VARIABLE, build_source
from deeplab_gygo.training.checks import check_training
from deeplab_gygo.training.config import TrainConfig, ValidationConfig
from deeplab_gygo.training.examples import ClipMaker, batches, start_pool

pytest.importorskip("fsspec", reason="fsspec is not installed")

VIDEO = SourceConfig(kind="gygo", root="clips", exclude=["left out"])
STILLS = SourceConfig(kind="stills", root="stills")
COMPOSE = SourceConfig(
    kind="compose", root="cutouts", stills=["stills"], backgrounds=["photos"], weight=2.0
)


@pytest.fixture
def data(tmp_path, make_dataset):
    """A dataset, stills, cut-outs and backgrounds, some in folders below."""
    root = tmp_path / "data"
    make_dataset(root / "clips", {"walk": 3, "deep/held": 4, "left out": 2})
    rng = np.random.default_rng(0)
    for name in ("stills/images", "stills/masks", "cutouts/box", "photos/of rooms"):
        (root / name).mkdir(parents=True)
    for index in range(2):
        image = rng.integers(0, 90, (80, 96, 3)).astype(np.uint8)
        mask = np.zeros((80, 96), np.uint8)
        cv2.circle(mask, (48, 30 + 8 * index), 20, 255, -1)
        image[mask > 0] += 90
        cv2.imwrite(str(root / f"stills/images/{index}.png"), image)
        cv2.imwrite(str(root / f"stills/masks/{index}.png"), mask)
        cv2.imwrite(str(root / f"photos/of rooms/{index}.png"), image)
        cv2.imwrite(str(root / f"cutouts/box/box__{index}.png"), np.dstack([image, mask]))
    return root


def _config(root, **changes) -> TrainConfig:
    part = ValidationConfig(kind="gygo", root="clips", split="val", sequences=["walk"])
    values = dict(
        sources=[VIDEO, STILLS, COMPOSE], validation=[part], data_root=str(root),
        crop=(32, 48), batch=4, cache_gb=0.001,
    )  # fmt: skip
    return TrainConfig(**{**values, **changes})


def _clips(source, count=6):
    clips = []
    for seed in range(count):
        clip = source.sample(np.random.default_rng(seed))
        clips += [
            a for frame in clip.frames for a in (frame.image, frame.mask, frame.neighbor_mask)
        ]
    return clips


def _assert_equal(some, others):
    assert len(some) == len(others)
    for one, other in zip(some, others, strict=True):
        assert (one is None) == (other is None)
        assert one is None or np.array_equal(one, other)


@pytest.mark.parametrize("part", [VIDEO, STILLS, COMPOSE], ids=lambda part: part.kind)
def test_clips_from_a_bucket_are_those_of_a_disk(data, bucket, scratch_folder, s3_proxy, part):
    url = put(data, f"{bucket}/data")
    s3_proxy.requests.clear()
    local, remote = (build_source([part], root, 0.0) for root in (data, url))
    copied = s3_proxy.count("GET", ".jpg") + s3_proxy.count("GET", ".png")
    assert copied == {"gygo": 14, "stills": 4, "compose": 8}[part.kind]
    _assert_equal(_clips(local), _clips(remote))
    build_source([part], url, 0.0)
    # Nothing is read again: neither in training nor by another source.
    assert copied == s3_proxy.count("GET", ".jpg") + s3_proxy.count("GET", ".png")


def test_relative_roots_start_at_the_url_of_the_environment(
    data, tmp_path, scratch_folder, monkeypatch
):
    url = put(data, f"memory:/{tmp_path}/data")
    monkeypatch.setenv(DATA_VARIABLE, url)
    _assert_equal(
        _clips(build_source([STILLS], "", 0.1)), _clips(build_source([STILLS], data, 0.1))
    )
    absolute = SourceConfig(kind="stills", root=str(data / "stills"))
    assert build_source([absolute], "", 0.1)
    elsewhere = SourceConfig(kind="stills", root=f"{url}/stills")
    assert build_source([elsewhere], "/nowhere", 0.1)


def test_sources_on_the_web_are_read(data, tmp_path, served, scratch_folder):
    url = served(data)
    check_training(_config(url), tmp_path / "run")
    parts = _config(url).sources
    _assert_equal(_clips(build_source(parts, data, 0.1)), _clips(build_source(parts, url, 0.1)))


def _num_bytes(data):
    """Bytes of all that the configuration reads."""
    left_out = "left out"
    lists = "ImageSets"
    files = [p for p in data.rglob("*") if p.is_file() and not {left_out, lists} & {*p.parts}]
    return sum(path.stat().st_size for path in files)


def test_a_scratch_folder_that_is_too_small_is_refused_before_anything_is_copied(
    data, tmp_path, bucket, scratch_folder, s3_proxy
):
    url = put(data, f"{bucket}/data")
    scratch_folder.patience = 0.0
    scratch_folder.max_bytes = _num_bytes(data) - 1
    s3_proxy.requests.clear()
    with pytest.raises(StorageError, match=r"data of a training fits.*--scratch-gb") as caught:
        check_training(_config(url), tmp_path / "run")
    assert url in str(caught.value)
    assert not s3_proxy.count("GET", ".jpg") and not s3_proxy.count("GET", ".png")
    scratch_folder.max_bytes += 1
    check_training(_config(url), tmp_path / "run")
    source = build_source(_config(url).sources, url, 0.001)
    assert _clips(source, 1)
    del source


def test_copies_stay_as_long_as_a_source_is_used(data, tmp_path, scratch_folder):
    url = put(data, f"memory:/{tmp_path}/data")
    source = build_source([VIDEO], url, 0.0)
    size = scratch_folder.max_bytes = 10**6
    scratch_folder.patience = 0.0
    storage.write_url(f"memory:/{tmp_path}/full.bin", bytes(size))
    with pytest.raises(StorageError, match="in use"):
        scratch_folder.lease(f"memory:/{tmp_path}/full.bin")
    assert _clips(source)


def test_processes_share_the_copies(data, tmp_path, bucket, scratch_folder, s3_proxy):
    config = _config(put(data, f"{bucket}/data"), sources=[VIDEO, STILLS])
    source = build_source(config.sources, config.data_root, 0.1)
    found = {}
    s3_proxy.requests.clear()
    for processes in (0, 1):
        config.worker_processes = processes
        work = start_pool(config, source, config.data_root, partial(ClipMaker, config=config))
        found[processes] = list(batches(work, first_step=2, last_step=4, batch=4))
    for (inputs, targets), (others, other_targets) in zip(found[0], found[1], strict=True):
        _assert_equal([*inputs.values(), targets], [*others.values(), other_targets])
    assert not s3_proxy.count("GET", ".jpg") and not s3_proxy.count("GET", ".png")


def test_what_is_absent_is_named(data, tmp_path, scratch_folder):
    url = put(data, f"memory:/{tmp_path}/data")
    for part in (
        SourceConfig(kind="stills", root="absent"),
        SourceConfig(kind="gygo", root="absent"),
        SourceConfig(kind="compose", root="cutouts", backgrounds=["absent"]),
    ):
        with pytest.raises(InputError, match=r"what exists.*absent"):
            check_training(_config(url, sources=[part]), tmp_path / "run")


def test_weights_to_start_from_may_be_at_a_url(data, tmp_path, parent_header, scratch_folder):
    url = f"memory:/{tmp_path}/start.npz"
    storage.upload(parent_header, url)
    check_training(_config(data, init_from=url), tmp_path / "run")
    with pytest.raises(InputError, match=r"what exists.*absent\.npz"):
        check_training(_config(data, init_from=f"memory:/{tmp_path}/absent.npz"), tmp_path / "run")


def test_checkpoints_are_written_into_a_local_folder(
    data, tmp_path, scratch_folder, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.yaml").write_text("sources: [{kind: stills, root: stills}]\n")
    words = ["train", "--config", "train.yaml", "--out", "memory://runs/one"]
    assert main(words) == UsageError.exit_status
    said = capsys.readouterr().err
    assert "local folder" in said and "memory://runs/one" in said
    assert {path.name for path in tmp_path.iterdir()} == {"data", "train.yaml"}


def test_the_scratch_folder_of_the_command_is_used(data, tmp_path, scratch_folder, capsys):
    url = put(data, f"memory:/{tmp_path}/data")
    (tmp_path / "train.yaml").write_text(f"sources: [{{kind: stills, root: {url}/stills}}]\n")
    words = ["train", "--config", tmp_path / "train.yaml", "--out", tmp_path / "run"]
    words += ["--scratch", tmp_path / "small", "--scratch-gb", "1e-6"]
    assert main([str(word) for word in words]) == StorageError.exit_status
    assert "of 1e-06 GB" in capsys.readouterr().err


@pytest.mark.slow
def test_a_training_from_a_bucket_is_that_from_a_disk(
    data, tmp_path, bucket, scratch_folder, on_small_backbone
):
    from deeplab_gygo.models.config import ModelConfig
    from deeplab_gygo.models.weight_file import read_parent_file
    from deeplab_gygo.training.parent_trainer import ParentTrainer

    model = ModelConfig(aspp_channels=8, low_level_channels=4, decoder_channels=8)
    found = {}
    for name, root in {"disk": data, "bucket": put(data, f"{bucket}/data")}.items():
        config = _config(root, model=model, crop=(32, 32), batch=2, steps=2, precision="float32")
        trainer = ParentTrainer(config, tmp_path / name, backbone_weights=None)
        trainer.run()
        found[name] = read_parent_file(tmp_path / name / "parent.npz")
    _, arrays, card = found["disk"]
    for name, array in found["bucket"][1].items():
        np.testing.assert_array_equal(array, arrays[name], err_msg=name)
    assert found["bucket"][2]["validation"] == card["validation"] != {}
