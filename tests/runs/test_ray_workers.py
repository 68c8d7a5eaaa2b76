"""Actors of Ray do what one process does, whatever happens to them and to their machines."""

import random
import signal
import threading
import time

import pytest
from batch_runner import begun, events, is_running, maker, process_ids, start_command, wait_until

from deeplab_gygo.datasets.registry import open_dataset
from deeplab_gygo.errors import UsageError
from deeplab_gygo.runs.batch import Batch
from deeplab_gygo.runs.plan import plan_dataset
from deeplab_gygo.runs.settings import RunSettings
from deeplab_gygo.runs.workers import WorkerOptions

ray = pytest.importorskip("ray", reason="Ray is not installed")

SEQUENCES = {"shoes/red": 4, "bag": 6, "cup": 3, "hat": 5}


@pytest.fixture(scope="module")
def root(tmp_path_factory, make_dataset):
    return make_dataset(tmp_path_factory.mktemp("data"), SEQUENCES)


@pytest.fixture
def run(tmp_path, root, parent_header):
    """Function that runs a batch; the journal is `tmp_path/journal`."""

    def run(out, workers, root=root, **options):
        settings = RunSettings(weights=parent_header, progress=False, outputs=("masks",))
        items = plan_dataset(open_dataset("gygo", root), "val")
        runner = maker(tmp_path / "journal", **options)
        return Batch(items, settings, tmp_path / out, make_runner=runner, workers=workers).run()

    return run


def _masks(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.png")
    }


def test_actors_make_the_masks_of_one_process_and_lose_none(tmp_path, run, caplog):
    """One clip ends its first actor, another one all of its actors."""
    caplog.set_level("INFO")
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    run("one", WorkerOptions())
    (tmp_path / "journal").unlink()
    result = run("two", WorkerOptions(2, cpus=1), kills={"hat": 1, "bag": -1})
    assert [o.status for o in result.outcomes] == ["done", "failed", "done", "done"]
    assert [begun(tmp_path / "journal").count(name) for name in SEQUENCES] == [1, 2, 1, 2]
    assert "2 ended; the last: The actor died" in result.outcomes[1].error["met"]
    one = _masks(tmp_path / "one")
    expected = {name: mask for name, mask in one.items() if not name.startswith("bag/")}
    finished = {
        name: mask for name, mask in _masks(tmp_path / "two").items() if ".partial" not in name
    }
    assert finished == expected
    assert "cup: 3 frames" in caplog.text
    assert not ray.is_initialized()
    assert handlers == [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert not any(map(is_running, process_ids(tmp_path / "journal")))


@pytest.mark.parametrize("cluster", ["auto", "127.0.0.1:1", "ray://127.0.0.1:1"])
def test_a_cluster_that_does_not_answer_is_named_at_once(tmp_path, monkeypatch, cluster):
    """The file of `ray start` may be that of a machine that is off."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text("127.0.0.1:1\n")
    begin = time.monotonic()
    with pytest.raises(UsageError, match="ray start"):
        batch = Batch([], RunSettings(), tmp_path / "out", workers=WorkerOptions(cluster=cluster))
        batch.run()
    assert time.monotonic() - begin < 10
    assert not ray.is_initialized()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "status"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_ends_a_batch_and_its_actors(tmp_path, root, command_environment, name, status):
    process = start_command(tmp_path, root, command_environment, "--cluster", "ray")
    begin = time.monotonic()
    process.send_signal(getattr(signal, name))
    _, shown = process.communicate(timeout=60)
    assert time.monotonic() - begin < 10
    assert process.returncode == status, shown
    assert "Traceback" not in shown
    wait_until(lambda: not any(map(is_running, process_ids(tmp_path / "journal"))), 10)
    assert not list((tmp_path / "out").glob("*/run.json"))


CLIPS = {f"clip{index:02d}": 3 + index % 5 for index in range(24)}


@pytest.fixture(scope="module")
def many_clips(tmp_path_factory, make_dataset):
    return make_dataset(tmp_path_factory.mktemp("many"), CLIPS)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_the_end_of_a_machine_loses_nothing(tmp_path, run, many_clips, seed):
    """One of two nodes is killed, with its actors, at a random moment of the batch."""
    from ray.cluster_utils import Cluster

    run("one", WorkerOptions(), root=many_clips)
    (tmp_path / "journal").unlink()
    rng = random.Random(seed)
    last, store = rng.randrange(24), {"object_store_memory": 80_000_000}
    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 1, "include_dashboard": False, **store},
    )
    try:
        node = cluster.add_node(num_cpus=1, **store)
        journal = tmp_path / "journal"

        def kill():
            wait_until(lambda: len(begun(journal)) > last)
            time.sleep(rng.random() * 0.1)
            cluster.remove_node(node, allow_graceful=False)

        killer = threading.Thread(target=kill)
        killer.start()
        workers = WorkerOptions(2, cpus=1, cluster=cluster.address, retries=2)
        result = run("two", workers, root=many_clips, seconds=0.02)
        killer.join()
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert [outcome.name for outcome in result.outcomes] == list(CLIPS)
    assert result.count("failed") == 0 and result.failures_file is None
    ended = [name for event, name in events(journal) if event == "end"]
    assert len(ended) == len(set(ended))  # none was done twice
    assert _masks(tmp_path / "two") == _masks(tmp_path / "one")
    folders = sorted(path.name for path in (tmp_path / "two").iterdir() if path.is_dir())
    assert folders == sorted(CLIPS)
