"""What a run is given for each system, and what it leaves behind."""

import json

import keras
import numpy as np
import pytest

from deeplab_gygo.batch.clip import open_clip
from deeplab_gygo.batch.record import SequenceRecord, hashes_of, identity_config
from deeplab_gygo.batch.settings import NO_WEIGHTS, RunSettings
from deeplab_gygo.config import OnlineConfig
from deeplab_gygo.config_systems import (
    MODES,
    ONLINE_CONFIGS,
    FlowOnline,
    GrabCutOnline,
    OsmnModel,
    OsmnOnline,
    OsvosModel,
    OsvosOnline,
)
from deeplab_gygo.data.masks import read_mask
from deeplab_gygo.errors import UsageError, WeightsError
from deeplab_gygo.models.weights import save_parent

REFERENCES = ("copy", "flow", "grabcut")


@pytest.fixture(scope="module")
def osmn_file(tmp_path_factory, thin_trunks):
    """Weights of a thin OSMN on random values, for all that needs no scores."""
    from deeplab_gygo.models.osmn import Osmn

    keras.utils.set_random_seed(1)
    with thin_trunks():
        parent = Osmn(OsmnModel(side_channels=4))
    return save_parent(tmp_path_factory.mktemp("weights") / "osmn.npz", parent)


@pytest.fixture(scope="module")
def osvos_file(tmp_path_factory, thin_trunks):
    from deeplab_gygo.models.osvos import Osvos

    keras.utils.set_random_seed(1)
    with thin_trunks():
        parent = Osvos(OsvosModel(side_channels=4))
    return save_parent(tmp_path_factory.mktemp("weights") / "osvos.npz", parent)


# === Settings ===


@pytest.mark.parametrize("system", REFERENCES)
def test_references_have_no_weights_and_the_options_of_their_own(system):
    settings = RunSettings(system=system)
    assert settings.weights_path is None and settings.weights_hash == NO_WEIGHTS
    assert type(settings.online) is ONLINE_CONFIGS[system] and settings.window == 1
    with pytest.raises(UsageError, match=f"{system} has no weights"):
        RunSettings(system=system, weights="parent.npz")


def test_deeplab_is_the_system_unless_another_is_named(parent_header):
    settings = RunSettings(weights=parent_header)
    assert (settings.system, settings.online) == ("deeplab", OnlineConfig())
    assert settings.window == OnlineConfig().window
    # Results of before there were other systems count as finished.
    assert "system" not in identity_config(settings)
    assert identity_config(RunSettings(system="copy"))["system"] == "copy"


def test_options_of_another_system_are_refused(osmn_file):
    with pytest.raises(UsageError, match="osmn takes the options of OsmnOnline.*OnlineConfig"):
        RunSettings(system="osmn", online=OnlineConfig(), weights=osmn_file)
    with pytest.raises(UsageError, match="system is one of.*yolo"):
        RunSettings(system="yolo")


def test_weights_of_another_system_are_refused(osmn_file, osvos_file, parent_header):
    for system, weights, met in (
        ("osmn", osvos_file, "osvos"), ("osvos", parent_header, "deeplab"),
        ("deeplab", osmn_file, "osmn"),
    ):  # fmt: skip
        with pytest.raises(WeightsError, match=f"weights of {met}.*--system {met}"):
            RunSettings(system=system, weights=weights)


def test_a_system_without_shipped_weights_asks_for_them(monkeypatch, tmp_path):
    from deeplab_gygo.models import weights

    monkeypatch.setattr(weights.resources, "files", lambda package: tmp_path)
    with pytest.raises(WeightsError, match=r"osvos.*--weights.*osvos\.npz.*train"):
        RunSettings(system="osvos")


@pytest.mark.parametrize("system", [s for s, modes in MODES.items() if len(modes) < 3])
def test_modes_that_a_system_has_not_are_refused(system):
    online = ONLINE_CONFIGS[system]()
    for mode in {"zero-shot", "one-shot", "fine-tune"} - set(MODES[system]):
        online.mode = mode
        with pytest.raises(UsageError, match=f"{system} has the mode.*{mode}.*--mode"):
            RunSettings(system=system, online=online)


@pytest.mark.parametrize(
    ("system", "online", "name"),
    [
        ("osmn", OsmnOnline(steps=-1), "steps"),
        ("osmn", OsmnOnline(size=8), "size"),
        ("osmn", OsmnOnline(scales=()), "scales"),
        ("osmn", OsmnOnline(view_scale=(2.0, 1.0)), "view_scale"),
        ("osvos", OsvosOnline(threshold=1.5), "threshold"),
        ("osvos", OsvosOnline(momentum=-0.1), "momentum"),
        ("osvos", OsvosOnline(fuse_multiplier=-1.0), "fuse_multiplier"),
        ("grabcut", GrabCutOnline(iterations=0), "iterations"),
        ("grabcut", GrabCutOnline(reach=-1.0), "reach"),
    ],
)
def test_numbers_out_of_range_are_refused(system, online, name):
    with pytest.raises(UsageError, match=f"--online.{name}"):
        RunSettings(system=system, online=online)


# === Runs ===


def _clip(tmp_path, make_clip):
    make_clip(tmp_path / "clip", 4)
    return open_clip(tmp_path / "clip", tmp_path / "clip-masks" / "00000.png")


def _run(settings, clip, out):
    from deeplab_gygo.batch.job import SequenceRunner

    record = SequenceRunner(settings).run(clip, out)
    masks = [read_mask(path) for path in sorted((out / "masks").iterdir())]
    return record, np.stack(masks)


def test_a_reference_leaves_masks_and_a_record(tmp_path, make_clip):
    clip = _clip(tmp_path, make_clip)
    settings = RunSettings(
        system="flow", online=FlowOnline("one-shot", "fast"), progress=False, outputs=("masks",)
    )
    record, masks = _run(settings, clip, tmp_path / "out")
    assert masks.shape == (4, *clip.sequence.size) and (masks[0] == clip.mask).all()
    truth = np.stack([read_mask(p) for p in sorted((tmp_path / "clip-masks").iterdir())])
    assert ((masks[-1] > 0) != (truth[-1] > 0)).mean() < 0.02
    assert (record.system, record.trunk, record.weights) == ("flow", "", "")
    assert (record.frames, record.steps, record.config["online"]["preset"]) == (3, 0, "fast")
    assert json.loads((tmp_path / "out" / "run.json").read_text())["system"] == "flow"
    # A finished result is known again, and not as that of other settings.
    read, hashes = SequenceRecord.read(tmp_path / "out"), hashes_of(clip, settings)
    assert read.matches(hashes, identity_config(settings), 0)
    assert not read.matches(hashes, identity_config(RunSettings(system="copy")), 0)


@pytest.mark.parametrize("mode", MODES["osmn"])
def test_osmn_leaves_masks_and_says_on_which_trunk(
    tmp_path, make_clip, osmn_file, thin_trunks, mode
):
    online = OsmnOnline(mode=mode, steps=2, scales=(1.0,), loss="balanced-mean")
    settings = RunSettings(system="osmn", online=online, weights=osmn_file, progress=False)
    with thin_trunks():
        record, masks = _run(settings, _clip(tmp_path, make_clip), tmp_path / "out")
    assert masks.shape[0] == 4
    assert (record.system, record.frames) == ("osmn", 3)
    assert record.trunk == "vgg16, random"
    assert record.steps == len(record.losses) == (2 if mode == "fine-tune" else 0)


def test_osvos_in_zero_shot_makes_the_first_mask_too(tmp_path, make_clip, osvos_file, thin_trunks):
    settings = RunSettings(
        system="osvos", online=OsvosOnline("zero-shot"), weights=osvos_file, progress=False
    )
    with thin_trunks():
        record, masks = _run(settings, _clip(tmp_path, make_clip), tmp_path / "out")
    assert (record.frames, masks.shape[0], record.steps) == (4, 4, 0)
