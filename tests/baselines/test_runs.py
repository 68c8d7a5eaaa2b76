"""Settings, runs and records of the baselines."""

import json

import keras
import numpy as np
import pytest

from deeplab_gygo.baselines.classical import FlowOnline
from deeplab_gygo.baselines.osmn.config import OsmnModel, OsmnOnline
from deeplab_gygo.baselines.osvos.config import OsvosModel, OsvosOnline
from deeplab_gygo.errors import UsageError, WeightsError
from deeplab_gygo.inference.config import OnlineConfig
from deeplab_gygo.inference.frame_store import FrameStore
from deeplab_gygo.io.masks import read_mask
from deeplab_gygo.methods import METHODS, find_method
from deeplab_gygo.models.weight_file import save_parent
from deeplab_gygo.runs.clip import open_clip
from deeplab_gygo.runs.run_record import RunRecord
from deeplab_gygo.runs.settings import NO_WEIGHTS, RunSettings, make_settings

CLASSICAL = ("copy", "flow", "grabcut")


@pytest.fixture(scope="module")
def osmn_file(tmp_path_factory, thin_trunks):
    """Random weights of a thin OSMN."""
    from deeplab_gygo.baselines.osmn.network import Osmn

    keras.utils.set_random_seed(1)
    with thin_trunks():
        parent = Osmn(OsmnModel(side_channels=4))
    return save_parent(tmp_path_factory.mktemp("weights") / "osmn.npz", parent)


@pytest.fixture(scope="module")
def osvos_file(tmp_path_factory, thin_trunks):
    """Random weights of a thin OSVOS."""
    from deeplab_gygo.baselines.osvos.network import Osvos

    keras.utils.set_random_seed(1)
    with thin_trunks():
        parent = Osvos(OsvosModel(side_channels=4))
    return save_parent(tmp_path_factory.mktemp("weights") / "osvos.npz", parent)


@pytest.mark.parametrize("method", CLASSICAL)
def test_classical_methods_have_no_weights(method):
    settings = make_settings(method=method)
    assert settings.weights_path is None and settings.weights_hash == NO_WEIGHTS
    assert type(settings.online) is find_method(method).resolve("options")
    with pytest.raises(UsageError, match=f"{method} has no weights"):
        make_settings(method=method, weights="parent.npz")


def test_options_of_another_method_are_refused(osmn_file):
    with pytest.raises(UsageError, match="osmn takes the options of OsmnOnline.*OnlineConfig"):
        RunSettings(method="osmn", online=OnlineConfig(), weights=osmn_file)


def test_weights_of_another_method_are_refused(osmn_file, osvos_file, parent_header):
    for method, weights, met in (
        ("osmn", osvos_file, "osvos"), ("osvos", parent_header, "deeplab"),
        ("deeplab", osmn_file, "osmn"),
    ):  # fmt: skip
        with pytest.raises(WeightsError, match=f"weights of {met}.*--method {met}"):
            make_settings(method=method, weights=weights)


def test_a_method_without_installed_weights_asks_for_them(monkeypatch, tmp_path):
    from deeplab_gygo.models import weight_file

    monkeypatch.setattr(weight_file, "_FOLDERS", (tmp_path,))
    with pytest.raises(WeightsError, match=r"osvos.*--weights.*osvos\.npz.*train"):
        make_settings(method="osvos")


@pytest.mark.parametrize("method", [s for s, m in METHODS.items() if len(m.modes) < 3])
def test_modes_of_other_methods_are_refused(method):
    for mode in {"zero-shot", "one-shot", "fine-tune"} - set(find_method(method).modes):
        with pytest.raises(UsageError, match=f"mode.*{mode}"):
            make_settings(method=method, online={"mode": mode})


def _clip(tmp_path, make_clip):
    make_clip(tmp_path / "clip", 4)
    return open_clip(tmp_path / "clip", tmp_path / "clip-masks" / "00000.png")


def _run(settings, clip, out):
    from deeplab_gygo.runs.runner import SequenceRunner

    record = SequenceRunner(settings).run(clip, out)
    masks = [read_mask(path) for path in sorted((out / "masks").iterdir())]
    return record, np.stack(masks)


def test_a_classical_method_writes_masks_and_a_record(tmp_path, make_clip):
    clip = _clip(tmp_path, make_clip)
    online = FlowOnline(flow_preset="fast")
    settings = RunSettings(method="flow", online=online, progress=False, outputs=("masks",))
    record, masks = _run(settings, clip, tmp_path / "out")
    assert masks.shape == (4, *clip.sequence.size) and (masks[0] == clip.mask).all()
    truth = np.stack([read_mask(p) for p in sorted((tmp_path / "clip-masks").iterdir())])
    assert ((masks[-1] > 0) != (truth[-1] > 0)).mean() < 0.02
    assert (record.method, record.trunk, record.weights) == ("flow", "", "")
    assert (record.frames, record.steps) == (3, 0)
    assert record.config["online"]["flow_preset"] == "fast"
    assert json.loads((tmp_path / "out" / "run.json").read_text())["method"] == "flow"
    # A finished result is recognized, but not as one of other settings.
    read = RunRecord.read(tmp_path / "out")
    assert read.matches(clip, settings)
    assert not read.matches(clip, make_settings(method="copy"))


@pytest.mark.parametrize("mode", find_method("osmn").modes)
def test_osmn_writes_masks_and_records_its_trunk(tmp_path, make_clip, osmn_file, thin_trunks, mode):
    online = OsmnOnline(mode=mode, steps=2, scales=(1.0,), loss="balanced-mean")
    settings = RunSettings(method="osmn", online=online, weights=osmn_file, progress=False)
    with thin_trunks():
        record, masks = _run(settings, _clip(tmp_path, make_clip), tmp_path / "out")
    assert masks.shape[0] == 4
    assert (record.method, record.frames) == ("osmn", 3)
    assert record.trunk == "vgg16, random"
    assert record.steps == len(record.losses) == (2 if mode == "fine-tune" else 0)


def test_osvos_in_zero_shot_segments_the_first_frame_too(
    tmp_path, make_clip, osvos_file, thin_trunks
):
    online = OsvosOnline(mode="zero-shot")
    settings = RunSettings(method="osvos", online=online, weights=osvos_file, progress=False)
    with thin_trunks():
        record, masks = _run(settings, _clip(tmp_path, make_clip), tmp_path / "out")
    assert (record.frames, masks.shape[0], record.steps) == (4, 4, 0)


@pytest.mark.parametrize("stop", [pytest.param(1, marks=pytest.mark.slow), 3])
@pytest.mark.parametrize(
    ("method", "mode"),
    [(method, mode) for method in (*CLASSICAL, "osmn", "osvos") for mode in METHODS[method].modes],
)
def test_an_interrupted_run_goes_on_with_the_same_masks(
    tmp_path, make_clip, request, thin_trunks, monkeypatch, method, mode, stop
):
    from deeplab_gygo.runs.runner import SequenceRunner

    weights, online = None, {"mode": mode}
    if method not in CLASSICAL:
        weights = request.getfixturevalue(f"{method}_file")
        online |= {"steps": 2, "scales": (1.0,)}
    options = find_method(method).resolve("options")(**online)
    settings = RunSettings(
        method=method, online=options, weights=weights, progress=False, outputs=("masks", "soft")
    )
    make_clip(tmp_path / "clip", 5)
    ids = read_mask(tmp_path / "clip-masks" / "00000.png")
    ids[:, 34:] *= 3  # two objects
    needs_mask = mode != "zero-shot"
    clip = open_clip(tmp_path / "clip", ids if needs_mask else None, needs_mask=needs_mask)
    put, begin, segmented = FrameStore.put, FrameStore.begin, []

    def counting(store, prediction, state):
        if len(segmented) == stop:
            raise KeyboardInterrupt
        put(store, prediction, state)
        segmented.append(prediction.index)

    with thin_trunks():
        expected = SequenceRunner(settings).run(clip, tmp_path / "whole")
        with monkeypatch.context() as patched:
            patched.setattr(FrameStore, "put", counting)
            with pytest.raises(KeyboardInterrupt):
                SequenceRunner(settings).run(clip, tmp_path / "out")
        assert segmented == list(range(stop))
        segmented.clear()
        stop, begun = 9, []
        monkeypatch.setattr(FrameStore, "put", counting)
        monkeypatch.setattr(FrameStore, "begin", lambda *a: (begun.append(1), begin(*a)))
        record = SequenceRunner(settings).run(clip, tmp_path / "out")
    assert record.files == expected.files
    assert (record.losses, record.warnings) == (expected.losses, expected.warnings)
    assert segmented == list(range(5 - len(segmented), 5)) and not begun
