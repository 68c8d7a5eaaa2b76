"""Several processes do what one does: the same masks, every clip once, whatever happens to them."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest
from batch_runner import (
    FULL_DISK,
    begun,
    is_running,
    maker,
    process_ids,
    start_command,
    wait_until,
)

from deeplab_gygo.datasets.registry import open_dataset
from deeplab_gygo.errors import DeepLabGygoError, DependencyError, StorageError, UsageError
from deeplab_gygo.io.locking import locked
from deeplab_gygo.runs import batch as batch_module
from deeplab_gygo.runs import hand_out, process_workers, workers
from deeplab_gygo.runs.batch import Batch
from deeplab_gygo.runs.hand_out import HandOut
from deeplab_gygo.runs.plan import plan_dataset
from deeplab_gygo.runs.settings import RunSettings
from deeplab_gygo.runs.workers import WorkerDied, WorkerOptions

SEQUENCES = {"shoes/red": 4, "bag": 6, "cup": 3, "hat": 5}
BY_LENGTH = ["bag", "hat", "shoes/red", "cup"]


@pytest.fixture(scope="module")
def root(tmp_path_factory, make_dataset):
    return make_dataset(tmp_path_factory.mktemp("data"), SEQUENCES)


@pytest.fixture
def run(tmp_path, root, parent_header):
    """Function that runs a batch with processes; the journal is `tmp_path/journal`."""

    def run(out="out", *, number=2, cluster="processes", retries=1, patience=60.0, **options):
        settings = RunSettings(weights=parent_header, progress=False, outputs=("masks",))
        return Batch(
            plan_dataset(open_dataset("gygo", root), "val"),
            settings,
            tmp_path / out,
            make_runner=maker(tmp_path / "journal", **options),
            patience=patience,
            workers=WorkerOptions(number, cpus=1, cluster=cluster, retries=retries),
        ).run()

    return run


def _masks(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.png")
    }


def _names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_two_processes_make_the_masks_of_one(tmp_path, run):
    one = run("one", number=1, cluster=None)
    assert process_ids(tmp_path / "journal") == {os.getpid()}
    assert begun(tmp_path / "journal") == list(SEQUENCES)  # one worker keeps the order of the list
    (tmp_path / "journal").unlink()
    two = run("two")
    ids = process_ids(tmp_path / "journal")
    assert 1 <= len(ids) <= 2 and os.getpid() not in ids
    assert sorted(begun(tmp_path / "journal")) == sorted(SEQUENCES)
    assert _masks(tmp_path / "two") == _masks(tmp_path / "one")
    assert len(_masks(tmp_path / "two")) == sum(SEQUENCES.values())
    assert _names(tmp_path / "two") == _names(tmp_path / "one")
    summary = json.loads((tmp_path / "two" / "summary.json").read_text())
    assert [row["sequence"] for row in summary["sequences"]] == list(SEQUENCES)
    timeless = ("sequence", "status", "frames", "J", "F", "error", "warnings")
    for one_row, row in zip(one.outcomes, two.outcomes, strict=True):
        assert [one_row.row()[key] for key in timeless] == [row.row()[key] for key in timeless]
    assert not any(map(is_running, ids))


def test_the_longest_are_begun_first(tmp_path, run):
    run(number=1)
    assert begun(tmp_path / "journal") == BY_LENGTH


def test_sizes_of_a_slow_file_system_are_left_unknown(monkeypatch, root):
    monkeypatch.setattr(hand_out, "_SIZING_SECONDS", -1.0)
    items = plan_dataset(open_dataset("gygo", root), "val")
    assert hand_out.longest_first(items) == [0, 1, 2, 3]


def test_what_is_finished_is_skipped_by_the_workers(tmp_path, run, caplog):
    caplog.set_level("INFO")
    run()
    (tmp_path / "journal").unlink()
    (tmp_path / "out" / "bag" / "masks" / "00002.png").unlink()
    caplog.clear()
    result = run()
    assert begun(tmp_path / "journal") == ["bag"]
    assert [outcome.status for outcome in result.outcomes] == ["skipped", "done", *["skipped"] * 2]
    assert [outcome.row()["J"] for outcome in result.outcomes] == [1.0] * 4
    assert "hat: already finished: 5 frames" in caplog.text
    assert "bag: segmented again: files are damaged: masks/00002.png" in caplog.text


def test_a_clip_whose_worker_is_killed_is_begun_again(tmp_path, run, caplog):
    result = run(kills={"bag": 1, "cup": 1})
    assert [outcome.status for outcome in result.outcomes] == ["done"] * 4
    assert sorted(begun(tmp_path / "journal")) == sorted([*SEQUENCES, "bag", "cup"])
    assert _names(tmp_path / "out") == ["bag", "cup", "hat", "shoes", "summary.json"]
    assert "bag: begun again: its worker ended: its process was killed by SIGKILL" in caplog.text


@pytest.mark.parametrize("retries", [0, 2])
def test_a_clip_that_ends_all_its_workers_is_listed_and_the_rest_is_done(tmp_path, run, retries):
    result = run(kills={"bag": -1}, retries=retries)
    assert [o.status for o in result.outcomes] == ["done", "failed", "done", "done"]
    assert begun(tmp_path / "journal").count("bag") == retries + 1
    (line,) = (tmp_path / "out" / "failures.jsonl").read_text().splitlines()
    failure = json.loads(line)
    assert failure["sequence"] == "bag" and failure["exit_status"] == 1
    assert f"{retries + 1} ended; the last: its process was killed" in failure["met"]
    assert not (tmp_path / "out" / "bag").exists()
    # What ended them gone, the same command does what is missing.
    result = run()
    assert [o.status for o in result.outcomes] == ["skipped", "done", "skipped", "skipped"]
    assert result.failures_file is None


def test_an_error_of_a_clip_is_no_end_of_its_worker(tmp_path, run):
    result = run(errors={"bag": "tensor of the wrong kind"})
    assert [o.status for o in result.outcomes] == ["done", "failed", "done", "done"]
    assert begun(tmp_path / "journal").count("bag") == 1
    assert "RuntimeError: tensor of the wrong kind" in result.outcomes[1].error["message"]


def test_a_full_disk_of_a_worker_ends_the_batch(tmp_path, run):
    with pytest.raises(StorageError, match="No space left"):
        run(number=1, errors={"hat": FULL_DISK})
    assert begun(tmp_path / "journal") == ["bag", "hat"]
    assert (tmp_path / "out" / "bag" / "run.json").is_file()
    assert not any(map(is_running, process_ids(tmp_path / "journal")))


def test_workers_look_again_at_what_another_run_works_on(tmp_path, run, monkeypatch, caplog):
    caplog.set_level("INFO")
    monkeypatch.setattr(hand_out, "POLL_SECONDS", 0.01)
    holds, ends = threading.Event(), threading.Event()

    def hold():
        with locked((tmp_path / "out" / "bag").resolve()):
            holds.set()
            ends.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    assert holds.wait(10)
    try:
        result = run(patience=0.05)
    finally:
        ends.set()
        thread.join(10)
    assert [o.status for o in result.outcomes] == ["done", "failed", "done", "done"]
    assert "another run writes to it" in result.outcomes[1].error["message"]
    assert "bag: another run works on it; looked at again at the end" in caplog.text


@pytest.mark.parametrize(("name", "status"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_ends_a_batch_and_its_workers(tmp_path, root, command_environment, name, status):
    process = start_command(tmp_path, root, command_environment, "--cluster", "processes")
    started, number = time.monotonic(), getattr(signal, name)
    # As the terminal does: to all processes of the group.
    os.killpg(process.pid, number) if name == "SIGINT" else process.send_signal(number)
    _, shown = process.communicate(timeout=60)
    assert time.monotonic() - started < 10
    assert process.returncode == status, shown
    assert "Traceback" not in shown
    wait_until(lambda: not any(map(is_running, process_ids(tmp_path / "journal"))), 5)
    assert _names(tmp_path / "out") == ["bag.partial", "hat.partial"]


def test_workers_end_with_the_process_that_started_them(tmp_path, root, command_environment):
    process = start_command(tmp_path, root, command_environment, "--cluster", "processes")
    process.kill()
    process.communicate()
    wait_until(lambda: not any(map(is_running, process_ids(tmp_path / "journal"))), 10)
    assert not (tmp_path / "out" / "bag").exists()


# What is handed out to whom


class ScriptedExecutor:
    """An executor whose events are given: of every start, and of every sequence."""

    def __init__(self, starts, size=2):
        self.size, self._starts, self._events, self._count = size, iter(starts), [], 0

    def start(self):
        self._count += 1
        self._events.append((self._count, next(self._starts)))
        return self._count

    def submit(self, worker, index, report_in_use):
        raise AssertionError("no worker has started")

    def events(self, timeout):
        events, self._events = self._events, []
        return events

    def close(self): ...


def _outcomes(executor, root, size=4):
    items = plan_dataset(open_dataset("gygo", root), "val")
    return list(HandOut(executor, items, range(size), retries=1, patience=1).outcomes())


def test_workers_of_another_version_are_refused(root):
    with pytest.raises(UsageError, match=r"met: 0\.0\.1"):
        _outcomes(ScriptedExecutor(["0.0.1"] * 2), root)


def test_workers_that_never_start_end_the_batch(root):
    executor = ScriptedExecutor([WorkerDied("killed")] * 20)
    with pytest.raises(DeepLabGygoError, match="6 ended before they had; the last: killed"):
        _outcomes(executor, root)


def test_no_more_workers_are_started_than_there_are_sequences(root):
    executor = ScriptedExecutor(["0.0.1"] * 20, size=8)
    with pytest.raises(UsageError):
        _outcomes(executor, root, size=3)
    assert executor._count == 3


def test_results_that_only_the_worker_sees_end_a_batch_on_a_cluster(tmp_path, monkeypatch):
    monkeypatch.setattr(batch_module, "_SEEN_SECONDS", 0.05)
    monkeypatch.setattr(batch_module, "_POLL_SECONDS", 0.01)
    with pytest.raises(UsageError, match="shared file system"):
        batch_module._check_shared(tmp_path, "bag")


# Options


@pytest.mark.parametrize(
    "options",
    [
        {"number": 0}, {"cpus": 0}, {"gpus": -1.0}, {"gpus": 1.5}, {"gpus": float("nan")},
        {"retries": -1}, {"cluster": "slurm"},
    ],
    ids=str,
)  # fmt: skip
def test_options_out_of_range_are_refused(options):
    with pytest.raises(UsageError):
        WorkerOptions(**options)


@pytest.mark.parametrize("cluster", ["ray", "auto", "ray://host:10001"])
def test_a_missing_ray_is_named_with_its_command(monkeypatch, cluster):
    monkeypatch.setattr(workers, "find_spec", lambda name: None)
    with pytest.raises(DependencyError, match=r"pip install 'deeplab-gygo\[cluster\]'"):
        WorkerOptions(2, cluster=cluster)


@pytest.mark.parametrize(
    ("spec", "kind"), [(None, "Processes"), (ModuleSpec("ray", None), "RayActors")]
)
def test_several_workers_are_of_ray_where_it_is_installed(monkeypatch, spec, kind):
    chosen = []
    monkeypatch.setattr(workers, "find_spec", lambda name: spec)
    monkeypatch.setattr(process_workers, "Processes", lambda *given: _Closing(chosen, "Processes"))
    if spec is not None:
        ray_workers = pytest.importorskip("deeplab_gygo.runs.ray_workers")
        monkeypatch.setattr(ray_workers, "RayActors", lambda *given: _Closing(chosen, "RayActors"))
    with workers.opened_executor(WorkerOptions(2), None):
        pass
    assert chosen == [kind]


class _Closing:
    def __init__(self, chosen, name):
        chosen.append(name)

    def close(self): ...


def test_workers_share_cores_and_gpus(monkeypatch):
    monkeypatch.setattr(workers, "_cores", lambda: 8)
    assert WorkerOptions(3).local_cpus() == 2
    assert WorkerOptions(3, cpus=5).local_cpus() == 5
    assert WorkerOptions(16).local_cpus() == 1
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6,7")

    def devices(number, gpus):
        options = WorkerOptions(number, gpus=gpus)
        return [
            each.get("CUDA_VISIBLE_DEVICES") for each in process_workers._devices(options, number)
        ]

    assert devices(2, 0.0) == [None, None]
    assert devices(3, 1.0) == ["4", "5", "6"]
    assert devices(2, 2.0) == ["4,5", "6,7"]
    assert devices(3, 0.5) == ["4", "4", "5"]
    assert WorkerOptions(2, gpus=0.5).sharing()["XLA_PYTHON_CLIENT_MEM_FRACTION"] == "0.450"
    with pytest.raises(UsageError, match="3 workers with 2 each, of 4"):
        devices(3, 2.0)


# The network itself


@pytest.mark.slow
def test_the_network_makes_the_same_masks_when_a_worker_is_killed(
    tmp_path, make_dataset, tiny_parent, command, command_environment
):
    root = make_dataset(tmp_path / "data", {"bag": 10, "cup": 8, "hat": 8})
    words = [
        "batch", "--dataset", "gygo", "--root", root, "--weights", tiny_parent, "--steps", "2",
        "--size", "64", "--outputs", "masks", "--cpus-per-worker", "1",
    ]  # fmt: skip
    done = command(*words, "--out", tmp_path / "one")
    assert done.returncode == 0, done.stderr
    out = tmp_path / "two"
    several = ["--out", out, "--workers", "2", "--cluster", "processes"]
    process = subprocess.Popen(
        [sys.executable, "-m", "deeplab_gygo", *map(str, [*words, *several])],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=command_environment,
    )  # fmt: skip
    wait_until(lambda: len(list(out.glob("*.partial/masks/*.png"))) >= 2, 600)
    workers = _workers_of(process.pid)
    assert len(workers) == 2
    os.kill(workers[0], signal.SIGKILL)
    _, shown = process.communicate(timeout=600)
    assert process.returncode == 0, shown
    assert "begun again: its worker ended: its process was killed by SIGKILL" in shown
    assert len(_masks(out)) == 26 and _masks(out) == _masks(tmp_path / "one")
    assert _names(out) == _names(tmp_path / "one")


def _workers_of(process_id):
    """Returns the ids of the workers that a process has started."""
    children = Path(f"/proc/{process_id}/task/{process_id}/children").read_text().split()
    return [
        int(child)
        for child in children
        if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()
    ]
