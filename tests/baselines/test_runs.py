"""What a run is given for each method, and what it leaves behind."""

import json

import keras
import numpy as np
import pytest

from deeplab_gygo.baselines.classical import FlowOnline, GrabCutOnline
from deeplab_gygo.baselines.osmn.config import OsmnModel, OsmnOnline
from deeplab_gygo.baselines.osvos.config import OsvosModel, OsvosOnline
from deeplab_gygo.errors import UsageError, WeightsError
from deeplab_gygo.inference.config import OnlineConfig
from deeplab_gygo.io.masks import read_mask
from deeplab_gygo.methods import METHODS, find_method
from deeplab_gygo.models.weight_file import save_parent
from deeplab_gygo.runs.clip import open_clip
from deeplab_gygo.runs.run_record import RunRecord, hashes_of
from deeplab_gygo.runs.settings import NO_WEIGHTS, RunSettings, make_settings

REFERENCES = ("copy", "flow", "grabcut")


@pytest.fixture(scope="module")
def osmn_file(tmp_path_factory, thin_trunks):
    """Weights of a thin OSMN on random values, for all that needs no scores."""
    from deeplab_gygo.baselines.osmn.network import Osmn

    keras.utils.set_random_seed(1)
    with thin_trunks():
        parent = Osmn(OsmnModel(side_channels=4))
    return save_parent(tmp_path_factory.mktemp("weights") / "osmn.npz", parent)


@pytest.fixture(scope="module")
def osvos_file(tmp_path_factory, thin_trunks):
    from deeplab_gygo.baselines.osvos.network import Osvos

    keras.utils.set_random_seed(1)
    with thin_trunks():
        parent = Osvos(OsvosModel(side_channels=4))
    return save_parent(tmp_path_factory.mktemp("weights") / "osvos.npz", parent)


# === Settings ===


@pytest.mark.parametrize("method", REFERENCES)
def test_references_have_no_weights_and_the_options_of_their_own(method):
    settings = make_settings(method=method)
    assert settings.weights_path is None and settings.weights_hash == NO_WEIGHTS
    assert type(settings.online) is find_method(method).resolve("options")
    with pytest.raises(UsageError, match=f"{method} has no weights"):
        make_settings(method=method, weights="parent.npz")


def test_deeplab_is_the_system_unless_another_is_named(parent_header):
    settings = RunSettings(weights=parent_header)
    assert (settings.method, settings.online) == ("deeplab", OnlineConfig())
    assert settings.identity["method"] == "deeplab"
    assert make_settings(method="copy").identity["method"] == "copy"


def test_options_of_another_system_are_refused(osmn_file):
    with pytest.raises(UsageError, match="osmn takes the options of OsmnOnline.*OnlineConfig"):
        RunSettings(method="osmn", online=OnlineConfig(), weights=osmn_file)
    with pytest.raises(UsageError, match="method is one of.*yolo"):
        make_settings(method="yolo")


def test_weights_of_another_system_are_refused(osmn_file, osvos_file, parent_header):
    for method, weights, met in (
        ("osmn", osvos_file, "osvos"), ("osvos", parent_header, "deeplab"),
        ("deeplab", osmn_file, "osmn"),
    ):  # fmt: skip
        with pytest.raises(WeightsError, match=f"weights of {met}.*--method {met}"):
            make_settings(method=method, weights=weights)


def test_a_system_without_shipped_weights_asks_for_them(monkeypatch, tmp_path):
    from deeplab_gygo.models import weight_file as weights

    monkeypatch.setattr(weights, "_FOLDERS", (tmp_path,))
    with pytest.raises(WeightsError, match=r"osvos.*--weights.*osvos\.npz.*train"):
        make_settings(method="osvos")


@pytest.mark.parametrize("method", [s for s, m in METHODS.items() if len(m.modes) < 3])
def test_modes_that_a_system_has_not_are_refused(method):
    online = find_method(method).resolve("options")()
    for mode in {"zero-shot", "one-shot", "fine-tune"} - set(find_method(method).modes):
        online.mode = mode
        with pytest.raises(UsageError, match=f"{method} has the mode.*{mode}.*--mode"):
            RunSettings(method=method, online=online)


@pytest.mark.parametrize(
    ("method", "online", "name"),
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
def test_numbers_out_of_range_are_refused(method, online, name):
    with pytest.raises(UsageError, match=f"--online.{name}"):
        RunSettings(method=method, online=online)


# === Runs ===


def _clip(tmp_path, make_clip):
    make_clip(tmp_path / "clip", 4)
    return open_clip(tmp_path / "clip", tmp_path / "clip-masks" / "00000.png")


def _run(settings, clip, out):
    from deeplab_gygo.runs.runner import SequenceRunner

    record = SequenceRunner(settings).run(clip, out)
    masks = [read_mask(path) for path in sorted((out / "masks").iterdir())]
    return record, np.stack(masks)


def test_a_reference_leaves_masks_and_a_record(tmp_path, make_clip):
    clip = _clip(tmp_path, make_clip)
    settings = RunSettings(
        method="flow", online=FlowOnline("one-shot", "fast"), progress=False, outputs=("masks",)
    )
    record, masks = _run(settings, clip, tmp_path / "out")
    assert masks.shape == (4, *clip.sequence.size) and (masks[0] == clip.mask).all()
    truth = np.stack([read_mask(p) for p in sorted((tmp_path / "clip-masks").iterdir())])
    assert ((masks[-1] > 0) != (truth[-1] > 0)).mean() < 0.02
    assert (record.method, record.trunk, record.weights) == ("flow", "", "")
    assert (record.frames, record.steps, record.config["online"]["preset"]) == (3, 0, "fast")
    assert json.loads((tmp_path / "out" / "run.json").read_text())["method"] == "flow"
    # A finished result is known again, and not as that of other settings.
    read, hashes = RunRecord.read(tmp_path / "out"), hashes_of(clip, settings)
    assert read.matches(clip, settings)
    assert not read.matches(clip, make_settings(method="copy"))


@pytest.mark.parametrize("mode", find_method("osmn").modes)
def test_osmn_leaves_masks_and_says_on_which_trunk(
    tmp_path, make_clip, osmn_file, thin_trunks, mode
):
    online = OsmnOnline(mode=mode, steps=2, scales=(1.0,), loss="balanced-mean")
    settings = RunSettings(method="osmn", online=online, weights=osmn_file, progress=False)
    with thin_trunks():
        record, masks = _run(settings, _clip(tmp_path, make_clip), tmp_path / "out")
    assert masks.shape[0] == 4
    assert (record.method, record.frames) == ("osmn", 3)
    assert record.trunk == "vgg16, random"
    assert record.steps == len(record.losses) == (2 if mode == "fine-tune" else 0)


def test_osvos_in_zero_shot_makes_the_first_mask_too(tmp_path, make_clip, osvos_file, thin_trunks):
    settings = RunSettings(
        method="osvos", online=OsvosOnline("zero-shot"), weights=osvos_file, progress=False
    )
    with thin_trunks():
        record, masks = _run(settings, _clip(tmp_path, make_clip), tmp_path / "out")
    assert (record.frames, masks.shape[0], record.steps) == (4, 4, 0)
