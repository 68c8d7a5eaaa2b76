"""A batch whose results, and inputs, are at URLs: uploaded whole, skipped by their records."""

import json
from pathlib import Path

import numpy as np
import pytest
from batch_runner import begun, maker
from PIL import Image

from deeplab_gygo.datasets.registry import open_dataset
from deeplab_gygo.errors import StorageError, UsageError
from deeplab_gygo.io import scratch as scratch_module
from deeplab_gygo.io import storage
from deeplab_gygo.runs.batch import Batch
from deeplab_gygo.runs.plan import plan_dataset, plan_videos
from deeplab_gygo.runs.remote_results import RemoteResults
from deeplab_gygo.runs.settings import RunSettings, make_settings
from deeplab_gygo.runs.workers import WorkerOptions

pytest.importorskip("fsspec", reason="fsspec is not installed")

SEQUENCES = {"shoes/red": 4, "bag": 5, "cup": 3}


@pytest.fixture(scope="module")
def root(tmp_path_factory, make_dataset):
    return make_dataset(tmp_path_factory.mktemp("data"), SEQUENCES)


@pytest.fixture
def run(tmp_path, root, parent_header, monkeypatch):
    """Function that runs a batch; the journal is `tmp_path/journal`."""
    monkeypatch.setattr(scratch_module, "_default", None)
    scratch_module.configure_scratch(tmp_path / "scratch")

    def run(out, *, items=None, workers=None, seed=0, overwrite=False, **options):
        settings = RunSettings(
            weights=parent_header, progress=False, outputs=("masks",), seed=seed,
            overwrite=overwrite,
        )  # fmt: skip
        items = items or plan_dataset(open_dataset("gygo", root), "val")
        runner = maker(tmp_path / "journal", **options)
        workers = workers or WorkerOptions()
        result = Batch(items, settings, out, make_runner=runner, workers=workers).run()
        names = begun(tmp_path / "journal")
        (tmp_path / "journal").unlink(missing_ok=True)
        return result, names

    return run


@pytest.fixture
def bucket(tmp_path):
    """URL of an empty folder that other processes see too."""
    return (tmp_path / "bucket").as_uri()


def _files(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in Path(folder).rglob("*")
        if path.is_file()
    }


def _statuses(result):
    return [outcome.status for outcome in result.outcomes]


def test_results_at_a_url_are_those_of_a_folder(tmp_path, run, bucket):
    local, _ = run(tmp_path / "out")
    remote, names = run(bucket)
    assert names == list(SEQUENCES)
    one, two = _files(tmp_path / "out"), _files(tmp_path / "bucket")
    assert one.keys() == two.keys()
    assert all(two[name] == one[name] for name in one if name.endswith(".png"))
    assert [o.row()["J"] for o in remote.outcomes] == [1.0] * 3
    assert remote.failures_file is None
    assert not _files(tmp_path / "scratch" / "results")  # removed when they were uploaded


def test_what_is_finished_at_a_url_is_skipped_and_measured(tmp_path, run, bucket):
    run(bucket)
    result, names = run(bucket)
    assert names == [] and _statuses(result) == ["skipped"] * 3
    assert [o.row()["J"] for o in result.outcomes] == [1.0] * 3
    (tmp_path / "bucket" / "bag" / "run.json").unlink()
    result, names = run(bucket)
    assert names == ["bag"] and _statuses(result) == ["skipped", "done", "skipped"]


def test_results_of_other_settings_at_a_url_are_replaced_only_on_demand(tmp_path, run, bucket):
    run(bucket)
    result, names = run(bucket, seed=1)
    assert names == [] and _statuses(result) == ["failed"] * 3
    assert result.failures_file == f"{bucket}/failures.jsonl"
    lines = (tmp_path / "bucket" / "failures.jsonl").read_text().splitlines()
    assert "Give --overwrite" in json.loads(lines[0])["remedy"]
    result, names = run(bucket, seed=1, overwrite=True)
    assert names == list(SEQUENCES) and _statuses(result) == ["done"] * 3
    assert not (tmp_path / "bucket" / "failures.jsonl").exists()


@pytest.fixture
def remote_items(tmp_path, make_clip):
    """Two clips whose frames and masks are at URLs."""
    rows = ["id,video,mask"]
    for name in ("one", "two"):
        folder = make_clip(tmp_path / "inputs" / name, 3)
        mask = tmp_path / "inputs" / f"{name}-masks" / "00000.png"
        rows.append(f"{name},{folder.as_uri()},{mask.as_uri()}")
    (tmp_path / "list.csv").write_text("\n".join(rows) + "\n")
    return plan_videos(tmp_path / "list.csv")


def test_remote_inputs_are_not_copied_to_be_skipped(tmp_path, run, bucket, remote_items):
    result, names = run(bucket, items=remote_items)
    assert names == ["one", "two"] and _statuses(result) == ["done"] * 2
    for path in (tmp_path / "inputs" / "one").iterdir():
        path.unlink()  # so that a copy would fail
    result, names = run(bucket, items=remote_items)
    assert names == [] and _statuses(result) == ["skipped"] * 2
    assert result.outcomes[0].row()["frames"] == 3
    result, _ = run(bucket, items=remote_items, seed=1)
    assert _statuses(result) == ["failed"] * 2
    assert "--overwrite" in result.outcomes[1].error["remedy"]


def test_records_of_the_runner_itself_are_recognized(run, bucket, remote_items):
    settings = make_settings(method="copy", outputs=("masks",), progress=False)
    for status in ("done", "skipped"):
        result = Batch(remote_items, settings, bucket).run()
        assert _statuses(result) == [status] * 2, result.outcomes[0].error


def test_a_result_that_cannot_be_uploaded_is_listed_and_uploaded_later(
    tmp_path, run, bucket, monkeypatch
):
    put = RemoteResults.put_file

    def fails(self, file, name):
        if name == "bag/masks/00003.png":
            raise StorageError("Object storage answers", met="503, after 5 tries", where=name)
        put(self, file, name)

    with monkeypatch.context() as patch:
        patch.setattr(RemoteResults, "put_file", fails)
        result, _ = run(bucket)
    assert _statuses(result) == ["done", "failed", "done"]
    assert "503, after 5 tries" in result.outcomes[1].error["message"]
    assert not [name for name in _files(tmp_path / "bucket") if name.startswith("bag/")]
    result, names = run(bucket)
    assert names == [] and _statuses(result) == ["skipped", "done", "skipped"]
    assert len(list((tmp_path / "bucket" / "bag" / "masks").iterdir())) == 5


def test_an_interrupted_upload_leaves_nothing(tmp_path, run, bucket, monkeypatch):
    put = RemoteResults.put_file

    def interrupted(self, file, name):
        put(self, file, name)
        if name == "bag/masks/00003.png":
            raise KeyboardInterrupt

    monkeypatch.setattr(RemoteResults, "put_file", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(bucket)
    folders = {name.partition("/")[0] for name in _files(tmp_path / "bucket") if "/" in name}
    assert folders == {"shoes"}


def test_what_killed_workers_had_uploaded_is_removed(tmp_path, run, bucket):
    half = tmp_path / "bucket" / "bag" / "masks" / "00000.png"
    half.parent.mkdir(parents=True)
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(half)
    processes = WorkerOptions(2, cpus=1, cluster="processes")
    result, names = run(bucket, workers=processes, kills={"bag": -1, "cup": 1})
    assert _statuses(result) == ["done", "failed", "done"]
    assert names.count("bag") == names.count("cup") == 2
    assert not half.exists()
    result, names = run(bucket, workers=processes)
    assert names == ["bag"] and _statuses(result) == ["skipped", "done", "skipped"]


def test_a_report_at_a_url_is_refused_before_any_work(tmp_path, parent_header):
    pytest.importorskip("jinja2")
    settings = RunSettings(weights=parent_header, outputs=("masks", "report"))
    with pytest.raises(UsageError, match="deeplab-gygo report"):
        Batch([], settings, "memory://bucket/out").run()
    assert not storage.list_files("memory://bucket/out")
