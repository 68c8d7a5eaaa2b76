"""A machine of a Ray cluster ends while its workers write to a bucket: nothing is lost, or half."""

import json
import os
import random
import signal
import threading
import time
from collections import Counter
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

import pytest
from batch_runner import begun, maker, process_ids, wait_until

from deeplab_gygo.datasets.registry import open_dataset
from deeplab_gygo.io import storage
from deeplab_gygo.runs.batch import Batch
from deeplab_gygo.runs.plan import plan_dataset
from deeplab_gygo.runs.settings import RunSettings
from deeplab_gygo.runs.workers import WorkerOptions

ray = pytest.importorskip("ray", reason="Ray is not installed")

STORE = {"object_store_memory": 80_000_000}


@pytest.fixture
def clips(tmp_path, make_dataset):
    """Function that writes a dataset of so many small clips, and returns its items."""

    def clips(count):
        frames = {f"clip{index:02d}": 3 + index % 5 for index in range(count)}
        return plan_dataset(open_dataset("gygo", make_dataset(tmp_path / "data", frames)), "val")

    return clips


@pytest.fixture
def nodes(s3_proxy):  # whose addresses and keys the nodes inherit
    """A Ray cluster of two nodes: its address, and a function that kills one with its workers."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 1, "include_dashboard": False, **STORE},
    )
    try:
        node = cluster.add_node(num_cpus=1, **STORE)
        (raylet,) = node.all_processes["raylet"]

        def kill(workers):
            for process in workers:  # as without power: they would go on for a second
                if _parent(process) == raylet.process.pid:
                    os.kill(process, signal.SIGKILL)
            yield
            cluster.remove_node(node, allow_graceful=False)

        yield cluster.address, kill
    finally:
        ray.shutdown()
        cluster.shutdown()


def _parent(process):
    """Returns the process id of the parent of a process."""
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


def _state(names):
    """Returns the clips with a record, those without, and whether the former have all masks."""
    files = Counter(PurePosixPath(name).parts[0] for name in names if name.endswith(".png"))
    records = [PurePosixPath(name).parent.name for name in names if name.endswith("/run.json")]
    whole = all(files[name] == 3 + int(name.removeprefix("clip")) % 5 for name in records)
    return records, files.keys() - set(records), whole


def _kill_in_a_batch(items, out, nodes, journal, parent, seed):
    """Runs a batch into a bucket and kills one of two nodes at a random moment.

    Returns:
        The result, and what was in the bucket right after the kill; see `_state`.
    """
    rng, (address, kill_node), seen = random.Random(seed), nodes, []
    last, pause = rng.randrange(len(items)), rng.random() * 0.3

    def kill():
        wait_until(lambda: journal.exists() and len(process_ids(journal)) == 2)
        journal.with_suffix(".go").touch()  # both nodes have a clip
        wait_until(lambda: len(begun(journal)) > last)
        time.sleep(pause)
        for _ in kill_node(process_ids(journal)):
            seen.extend(_state(storage.list_files(out)))

    killer = threading.Thread(target=kill)
    killer.start()
    settings = RunSettings(weights=parent, progress=False, outputs=("masks",))
    workers = WorkerOptions(2, cpus=1, cluster=address, retries=2)
    runner = maker(journal, seconds=0.02, holds=True)
    result = Batch(items, settings, out, make_runner=runner, workers=workers).run()
    killer.join()
    return result, seen


def _check(result, seen, items, out, requests, truth):
    assert [outcome.name for outcome in result.outcomes] == [item.name for item in items]
    assert result.count("failed") == 0 and result.failures_file is None
    finished, _, whole = seen
    assert whole, "a folder with a record lacked masks"
    put = Counter(
        PurePosixPath(urlsplit(path).path).parent.name
        for method, path in requests
        if method == "PUT" and urlsplit(path).path.endswith("/run.json")
    )
    assert put.keys() == {item.name for item in items}
    assert all(put[name] == 1 for name in finished)  # none is done twice
    assert put.total() <= len(items) + 1  # but that of the worker that was killed
    files = storage.list_files(out)
    folders = {PurePosixPath(name).parts[0] for name in files if "/" in name}
    assert folders == {item.name for item in items}
    masks = {name: storage.read_url(f"{out}/{name}", 10**6) for name in files if ".png" in name}
    assert masks == truth
    assert set(files) - set(masks) == {"summary.json", *(f"{name}/run.json" for name in folders)}


def _of_one_process(items, folder, journal, parent):
    """Masks that one process writes into a folder."""
    settings = RunSettings(weights=parent, progress=False, outputs=("masks",))
    Batch(items, settings, folder, make_runner=maker(journal)).run()
    journal.unlink()
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.png")}


def _run(count, seed, clips, nodes, tmp_path, bucket, parent, proxy):
    items, journal = clips(count), tmp_path / "journal"
    truth = _of_one_process(items, tmp_path / "one", journal, parent)
    proxy.requests.clear()
    # Kills meet uploads too: a folder waits for its record.
    proxy.fault = lambda method, path: time.sleep(0.3 * (method == "PUT" and "run.json" in path))
    out = f"{bucket}/out"
    result, seen = _kill_in_a_batch(items, out, nodes, journal, parent, seed)
    finished, half = len(seen[0]), len(seen[1])
    figures = {"clips": count, "begun": len(begun(journal)), "finished": finished, "half": half}
    print("at the kill:", json.dumps({"seed": seed, **figures}))
    _check(result, seen, items, out, proxy.requests, truth)
    return len(begun(journal))


def test_a_machine_that_ends_loses_nothing_in_a_bucket(
    clips, nodes, tmp_path, bucket, parent_header, s3_proxy, scratch_folder
):
    assert _run(6, 2, clips, nodes, tmp_path, bucket, parent_header, s3_proxy) > 6


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_ten_machines_that_end_lose_nothing_in_a_bucket(
    clips, nodes, tmp_path, bucket, parent_header, s3_proxy, scratch_folder, seed
):
    """One of two nodes is killed, with its actor, at a random moment of 24 clips."""
    _run(24, seed, clips, nodes, tmp_path, bucket, parent_header, s3_proxy)
