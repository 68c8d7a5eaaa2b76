"""The scratch folder: one copy, whole, of the right version, in a bounded folder."""

import gc
import multiprocessing
import os
import threading
import time

import pytest
from storage_servers import Faults

from deeplab_gygo.errors import InputError, StorageError, UsageError
from deeplab_gygo.io import scratch as module
from deeplab_gygo.io import storage
from deeplab_gygo.io.local_names import shown
from deeplab_gygo.io.scratch import Scratch, configure_scratch, held


@pytest.fixture
def scratch(tmp_path) -> Scratch:
    return Scratch(tmp_path / "scratch", max_bytes=3000, patience=0.2)


def copies(scratch: Scratch) -> set[str]:
    return {path.name for path in scratch.folder.glob("*/*")}


def test_a_local_path_is_yielded_as_it_is(scratch, tmp_path):
    with scratch.local(tmp_path / "clip.mp4") as path:
        assert path == tmp_path / "clip.mp4"
    with scratch.local("~/clip.mp4") as path:
        assert str(path) == os.path.expanduser("~/clip.mp4")
    assert not scratch.folder.exists()


def test_a_file_is_copied_once_and_keeps_its_name(bucket, s3_proxy, scratch):
    storage.write_url(f"{bucket}/clips/red shoe.mp4", b"frames" * 100)
    for _ in range(3):
        with scratch.local(f"{bucket}/clips/red shoe.mp4") as path:
            assert (path.name, path.read_bytes()) == ("red shoe.mp4", b"frames" * 100)
            assert shown(path) == f"{bucket}/clips/red shoe.mp4"
    assert s3_proxy.count("GET", "shoe.mp4") == 1


def test_a_changed_file_is_copied_anew(bucket, scratch):
    for content in (b"first", b"other"):
        storage.write_url(f"{bucket}/shoe.mp4", content)
        with scratch.local(f"{bucket}/shoe.mp4") as path:
            assert path.read_bytes() == content


def test_a_folder_of_frames_is_copied_without_what_is_deeper(bucket, s3_proxy, scratch):
    for name in ("00000.jpg", "00001.jpg", "deep/00002.jpg"):
        storage.write_url(f"{bucket}/shoe/{name}", name.encode())
    for _ in range(2):
        with scratch.local(f"{bucket}/shoe/") as folder:
            assert folder.name == "shoe"
            found = {path.name: path.read_bytes() for path in folder.iterdir()}
            assert found == {name: name.encode() for name in ("00000.jpg", "00001.jpg")}
            assert shown(folder / "00000.jpg") == f"{bucket}/shoe/00000.jpg"
    assert s3_proxy.count("GET", ".jpg") == 2
    storage.write_url(f"{bucket}/shoe/00001.jpg", b"changed")
    with scratch.local(f"{bucket}/shoe") as folder:
        assert (folder / "00001.jpg").read_bytes() == b"changed"


def test_an_object_that_stands_for_a_folder_is_no_file_of_it(bucket, scratch):
    storage.call(bucket, lambda fs, path: fs.call_s3("put_object", Bucket=path, Key="shoe/"))
    storage.write_url(f"{bucket}/shoe/00000.jpg", b"frame")
    assert storage.list_folder(f"{bucket}/shoe") == [f"{bucket}/shoe/00000.jpg"]
    assert list(storage.list_files(f"{bucket}/shoe")) == ["00000.jpg"]
    with scratch.local(f"{bucket}/shoe") as folder:
        assert [path.name for path in folder.iterdir()] == ["00000.jpg"]


def test_the_oldest_copies_make_room(scratch):
    for name in "abc":
        storage.write_url(f"memory://oldest/{name}.mp4", bytes(1000))
        with scratch.local(f"memory://oldest/{name}.mp4"):
            pass
    with scratch.local("memory://oldest/a.mp4"):  # now b is the oldest
        pass
    storage.write_url("memory://oldest/d.mp4", bytes(1500))
    with scratch.local("memory://oldest/d.mp4"):
        assert copies(scratch) == {"a.mp4", "d.mp4"}


def test_copies_in_use_stay(scratch):
    for name in "abc":
        storage.write_url(f"memory://used/{name}.mp4", bytes(1400))
    with scratch.local("memory://used/a.mp4") as first, scratch.local("memory://used/b.mp4"):
        with pytest.raises(StorageError, match="clips in use fit"):
            scratch.lease("memory://used/c.mp4")
        assert first.stat().st_size == 1400
        assert copies(scratch) == {"a.mp4", "b.mp4"}
    with scratch.local("memory://used/c.mp4"):
        assert copies(scratch) == {"b.mp4", "c.mp4"}


def test_room_is_waited_for(scratch):
    for name in "ab":
        storage.write_url(f"memory://waited/{name}.mp4", bytes(2000))
    lease = scratch.lease("memory://waited/a.mp4")
    scratch.patience = 20.0
    threading.Timer(0.1, lease.close).start()
    with scratch.local("memory://waited/b.mp4"):
        assert copies(scratch) == {"b.mp4"}


def test_a_clip_that_is_too_large_is_refused_and_nothing_is_lost(scratch):
    storage.write_url("memory://large/a.mp4", bytes(1000))
    storage.write_url("memory://large/b.mp4", bytes(3001))
    with scratch.local("memory://large/a.mp4"):
        pass
    with pytest.raises(StorageError, match="fits into the scratch folder.*--scratch-gb"):
        scratch.lease("memory://large/b.mp4")
    assert copies(scratch) == {"a.mp4"}


def test_a_full_disk_is_said_and_nothing_is_left(scratch, monkeypatch):
    storage.write_url("memory://full/a.mp4", bytes(1000))

    def full(*words, **options):
        raise OSError(28, "No space left on device", str(scratch.folder))

    with monkeypatch.context() as patch:
        patch.setattr(storage, "fetch", full)
        with pytest.raises(StorageError, match="(?i)no space left"):
            scratch.lease("memory://full/a.mp4")
    assert not [path for path in scratch.folder.iterdir() if path.name != ".room.lock"]
    with scratch.local("memory://full/a.mp4") as path:
        assert path.stat().st_size == 1000


def test_a_half_copy_is_not_taken_for_a_whole_one(bucket, scratch):
    storage.write_url(f"{bucket}/shoe.mp4", b"whole" * 10)
    with scratch.local(f"{bucket}/shoe.mp4") as path:
        entry = path.parent
    side = entry.with_name(f"{entry.name}.partial")  # as a process leaves it that is killed
    entry.rename(side)
    (side / "shoe.mp4").write_bytes(b"wh")
    with scratch.local(f"{bucket}/shoe.mp4") as path:
        assert path.read_bytes() == b"whole" * 10
    assert not side.exists()


def test_half_copies_of_killed_processes_make_room(scratch):
    storage.write_url("memory://killed/a.mp4", bytes(2000))
    scratch.folder.mkdir()
    (scratch.folder / "abc.lock").write_text("2500")
    (scratch.folder / "abc.partial").mkdir()
    with scratch.local("memory://killed/a.mp4"):
        assert copies(scratch) == {"a.mp4"}
        assert not (scratch.folder / "abc.partial").exists()
        assert not (scratch.folder / "abc.lock").exists()


@pytest.mark.parametrize("fault", ["cut", "half", "slow", 503])
def test_a_copy_is_whole_whatever_happens_on_the_way(bucket, s3_proxy, scratch, fault):
    content = os.urandom(2000)
    storage.write_url(f"{bucket}/shoe.mp4", content)
    s3_proxy.fault = Faults(fault, 2, "GET", "shoe.mp4")
    with scratch.local(f"{bucket}/shoe.mp4") as path:
        assert path.read_bytes() == content
    assert s3_proxy.fault.left <= 1


def test_after_a_failure_nothing_is_left(bucket, s3_proxy, scratch):
    storage.write_url(f"{bucket}/shoe.mp4", bytes(1000))
    s3_proxy.fault = Faults(503, 1000, "GET", "shoe.mp4")
    with pytest.raises(StorageError, match="tries"):
        scratch.lease(f"{bucket}/shoe.mp4")
    assert copies(scratch) == set()
    s3_proxy.fault = lambda method, path: None
    with scratch.local(f"{bucket}/shoe.mp4") as path:
        assert path.stat().st_size == 1000


def _copy(folder, url, start, results):
    start.wait()
    with Scratch(folder, max_bytes=3000).local(url) as path:
        results.put(path.read_bytes() == b"x" * 2000)


def test_processes_share_one_copy(bucket, s3_proxy, scratch):
    storage.write_url(f"{bucket}/shoe.mp4", b"x" * 2000)
    s3_proxy.fault = Faults("slow", 1, "GET", "shoe.mp4")
    context = multiprocessing.get_context("spawn")
    start, results = context.Barrier(2), context.Queue()
    workers = [
        context.Process(target=_copy, args=(scratch.folder, f"{bucket}/shoe.mp4", start, results))
        for _ in range(2)
    ]
    for worker in workers:
        worker.start()
    assert [results.get(timeout=60) for _ in workers] == [True, True]
    for worker in workers:
        worker.join(60)
    assert s3_proxy.count("GET", "shoe.mp4") == 1


def test_threads_that_fight_for_room_all_get_whole_copies(scratch):
    scratch.patience = 60.0
    for number in range(8):
        storage.write_url(f"memory://threads/{number}.mp4", bytes([number]) * 900)
    wrong, largest = [], []

    def work(seed):
        for step in range(12):
            number = (seed * 5 + step * 3) % 8
            with scratch.local(f"memory://threads/{number}.mp4") as path:
                wrong.extend([number] * (path.read_bytes() != bytes([number]) * 900))
                found = [each.stat().st_size for each in scratch.folder.glob("*/*.mp4")]
                largest.append(sum(found))

    def counted(seed):
        try:
            work(seed)
        except FileNotFoundError:  # a copy that was removed while it was counted here
            pass

    threads = [threading.Thread(target=counted, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not wrong
    assert max(largest) <= scratch.max_bytes


def test_a_lease_is_given_up_once(scratch):
    storage.write_url("memory://lease/a.mp4", b"a")
    lease = scratch.lease("memory://lease/a.mp4")
    lease.close()
    lease.close()
    gc.collect()


def test_what_is_absent_is_named(scratch, bucket):
    with pytest.raises(InputError, match="what exists"):
        scratch.lease(f"{bucket}/absent.mp4")


def test_a_held_copy_stays_and_gives_way_only_at_the_end(scratch, monkeypatch):
    monkeypatch.setattr(module, "_default", scratch)
    module._leased.cache_clear()
    for name in ("weights.npz", "clip.mp4"):
        storage.write_url(f"memory://held/{name}", b"x" * 2000)
    path = held("memory://held/weights.npz")
    gc.collect()
    with pytest.raises(StorageError, match="in use"), scratch.local("memory://held/clip.mp4"):
        pass
    assert path.read_bytes() == b"x" * 2000
    module._leased.cache_clear()
    with scratch.local("memory://held/clip.mp4") as other:
        assert other.read_bytes() == b"x" * 2000
    assert not path.exists()


def test_a_lease_is_held_as_long_as_somebody_refers_to_it(scratch):
    storage.write_url("memory://held/shoe.mp4", b"x" * 2000)
    storage.write_url("memory://held/bag.mp4", b"x" * 2000)
    lease = scratch.lease("memory://held/shoe.mp4")
    with pytest.raises(StorageError, match="in use"), scratch.local("memory://held/bag.mp4"):
        pass
    del lease
    with scratch.local("memory://held/bag.mp4") as path:
        assert path.exists()


def test_the_environment_sets_the_default(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "_default", None)
    monkeypatch.setenv(module.FOLDER_VARIABLE, str(tmp_path / "fast"))
    monkeypatch.setenv(module.SIZE_VARIABLE, "0.5")
    assert module.scratch().folder == tmp_path / "fast"
    assert module.scratch().max_bytes == 500_000_000
    assert configure_scratch(tmp_path / "other", 7).max_bytes == 7
    assert module.scratch().folder == tmp_path / "other"


@pytest.mark.parametrize("size", ["0", "-1", "nan", "inf", "much"])
def test_a_size_that_is_none_is_refused(monkeypatch, size):
    monkeypatch.setattr(module, "_default", None)
    monkeypatch.setenv(module.SIZE_VARIABLE, size)
    with pytest.raises(UsageError, match="number of GB above 0"):
        module.scratch()


@pytest.mark.slow
def test_fifty_faults_of_all_kinds_lose_nothing(bucket, s3_proxy, scratch):
    contents = {f"{bucket}/{number}.mp4": os.urandom(900) for number in range(25)}
    for url, content in contents.items():
        storage.write_url(url, content)
    kinds = ["cut", "half", 503, "slow", 500]
    counter = iter(range(10**6))

    def fault(method, path):
        number = next(counter)
        return kinds[number // 3 % 5] if number % 3 == 0 else None

    s3_proxy.fault = fault
    started = time.monotonic()
    for url, content in contents.items():
        with scratch.local(url) as path:
            assert path.read_bytes() == content
    assert time.monotonic() - started < 120
