"""Actors of Ray that are ended in order clean up first."""

import tempfile

import pytest
from batch_runner import begun, events, maker, wait_until
from storage_servers import put

from deeplab_gygo.datasets.registry import open_dataset
from deeplab_gygo.runs.batch_worker import BatchWorker
from deeplab_gygo.runs.plan import plan_dataset
from deeplab_gygo.runs.settings import RunSettings
from deeplab_gygo.runs.workers import WorkerOptions

ray = pytest.importorskip("ray", reason="Ray is not installed")


def test_an_actor_that_works_and_one_that_does_not_clean_up(
    tmp_path, make_dataset, parent_header, scratch_folder, monkeypatch
):
    """One holds a clip of a dataset at a URL; the other one has finished its clip."""
    from deeplab_gygo.runs import ray_workers
    from deeplab_gygo.runs.ray_workers import RayActors

    monkeypatch.setattr(ray_workers, "_STOP_SECONDS", 60.0)  # however busy the machine is
    monkeypatch.setenv("RAY_TMPDIR", tempfile.gettempdir())  # its sockets need a short path
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    root, url = make_dataset(tmp_path / "data", {"bag": 3, "cup": 1}), (tmp_path / "base").as_uri()
    put(root, url)
    settings = RunSettings(weights=parent_header, progress=False, outputs=("masks",))
    items, journal = plan_dataset(open_dataset("gygo", url), "val"), tmp_path / "journal"
    worker = BatchWorker(items, settings, tmp_path / "out", maker(journal, holds=True))
    executor = RayActors(WorkerOptions(2, cpus=1), worker)
    try:
        actors = [executor.start(), executor.start()]
        started = []
        while len(started) < 2:
            started += executor.events(60)
        for index, actor in enumerate(actors):
            executor.submit(actor, index, False)
        (event,) = executor.events(60)
        assert event[0] is actors[1] and event[1].outcome.status == "done"
        wait_until(lambda: begun(journal).count("bag") == 1)
        assert len(list((tmp_path / "temporary").glob("deeplab-gygo-*"))) == 2
    finally:
        executor.close()
    assert ("stopped", "bag") in events(journal)
    assert not list((tmp_path / "temporary").glob("deeplab-gygo-*"))
    assert not ray.is_initialized()
