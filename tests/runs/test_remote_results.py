"""Results at a URL: finished only when all is there, read in bulk; runs whose paths are URLs."""

import json
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import fsspec
import numpy as np
import pytest
from PIL import Image
from storage_servers import ACCESS_KEY, SECRET_KEY, Faults

from deeplab_gygo.errors import StorageError, UsageError
from deeplab_gygo.io import storage
from deeplab_gygo.io.masks import read_mask
from deeplab_gygo.io.video_writer import VideoWriter
from deeplab_gygo.runs.api import segment
from deeplab_gygo.runs.clip import open_clip
from deeplab_gygo.runs.remote_results import RemoteResults, claimed_output
from deeplab_gygo.runs.staging import open_staged_clip


@pytest.fixture
def result(tmp_path):
    """Function that makes a folder of a result: its number of masks."""

    def make(masks: int) -> Path:
        folder = tmp_path / f"result-{masks}"
        (folder / "masks").mkdir(parents=True, exist_ok=True)
        for index in range(masks):
            (folder / "masks" / f"{index:05d}.png").write_bytes(bytes([index]))
        (folder / "run.json").write_text(json.dumps({"masks": masks}))
        return folder

    return make


def test_finished_clips_are_read_and_others_are_none(bucket, result):
    results = RemoteResults(f"{bucket}/out/")
    assert list(results.records()) == list(results.records(["bag"])) == []
    results.upload(result(2), "bag")
    results.upload(result(3), "shoes/red [1]")
    storage.write_url(f"{bucket}/out/half/masks/00000.png", b"")
    storage.write_url(f"{bucket}/out/damaged/run.json", b"{")
    storage.write_url(f"{bucket}/out/other/run.json", b"[]")
    wanted = {"bag": {"masks": 2}, "shoes/red [1]": {"masks": 3}}
    assert dict(results.records()) == wanted
    names = ["bag", "shoes/red [1]", "shoes/blue", "half", "damaged", "absent"]
    assert dict(results.records(names)) == wanted
    assert results.record("bag") == {"masks": 2}
    assert results.record("half") is results.record("absent") is None
    results.put_file(result(2) / "run.json", "summary.json")
    assert storage.read_url(f"{bucket}/out/summary.json", 100) == b'{"masks": 2}'


def test_clips_that_are_asked_for_are_found_without_a_list_of_their_files(bucket, result, s3_proxy):
    results = RemoteResults(f"{bucket}/out")
    results.upload(result(5), "bag")
    s3_proxy.requests.clear()
    assert dict(results.records(["bag", "shoe"])) == {"bag": {"masks": 5}}
    assert all("masks" not in path for _, path in s3_proxy.requests)
    assert sum("run.json" in path for _, path in s3_proxy.requests) <= 2  # none for the shoe


def test_the_record_is_removed_first_and_written_last(bucket, result, s3_proxy):
    results = RemoteResults(f"{bucket}/out")
    results.upload(result(5), "bag")
    s3_proxy.requests.clear()
    results.upload(result(3), "bag")
    changes = [(m, path.partition("?")[0]) for m, path in s3_proxy.requests if m != "GET"]
    changes = [(m, path) for m, path in changes if m != "HEAD" and "/out/" in path]
    assert changes[0][0] == "DELETE" and changes[0][1].endswith("bag/run.json")
    assert changes[-1][0] == "PUT" and changes[-1][1].endswith("bag/run.json")
    assert sorted(storage.list_files(f"{bucket}/out/bag")) == [
        "masks/00000.png", "masks/00001.png", "masks/00002.png", "run.json"
    ]  # fmt: skip


@pytest.mark.parametrize("end", ["00001.png", "run.json"])
@pytest.mark.parametrize("fault", [503, "cut", 403])
def test_no_half_folder_counts_as_finished(bucket, result, s3_proxy, end, fault):
    results = RemoteResults(f"{bucket}/out")
    results.upload(result(4), "bag")
    s3_proxy.fault = Faults(fault, 10**6, "PUT", end)
    with pytest.raises(StorageError):
        results.upload(result(3), "bag")
    s3_proxy.fault = lambda method, path: None
    assert list(results.records()) == []
    results.upload(result(3), "bag")
    assert dict(results.records()) == {"bag": {"masks": 3}}
    assert len(storage.list_files(f"{bucket}/out/bag")) == 4


@pytest.mark.parametrize("fault", [503, "cut", "half", "slow"])
def test_faults_on_the_way_lose_nothing(bucket, result, s3_proxy, fault):
    results = RemoteResults(f"{bucket}/out")
    s3_proxy.fault = Faults(fault, 3)
    results.upload(result(4), "bag")
    s3_proxy.fault = Faults(fault, 3)
    assert dict(results.records()) == {"bag": {"masks": 4}}
    assert len(storage.list_files(f"{bucket}/out/bag")) == 5


@pytest.mark.parametrize("kind", ["memory", "file"])
def test_other_storage_holds_results_too(kind, tmp_path, result):
    url = f"memory:/{tmp_path}" if kind == "memory" else (tmp_path / "out").as_uri()
    results = RemoteResults(url)
    results.upload(result(2), "shoes/red")
    results.upload(result(1), "shoes/red")
    assert (
        dict(results.records())
        == dict(results.records(["shoes/red"]))
        == {"shoes/red": {"masks": 1}}
    )
    assert sorted(storage.list_files(url)) == ["shoes/red/masks/00000.png", "shoes/red/run.json"]


def test_an_earlier_result_is_replaced_only_where_that_is_asked_for(scratch_folder, result):
    RemoteResults("memory://claims").upload(result(2), "bag")
    with pytest.raises(UsageError, match="earlier result"):
        with claimed_output("memory://claims/bag", False):
            pass
    with claimed_output("memory://claims/bag", True) as folder:
        assert folder.name == "bag"
        folder.mkdir()
        (folder / "run.json").write_text('{"masks": 7}')
    assert RemoteResults("memory://claims").record("bag") == {"masks": 7}
    assert not folder.exists()


@pytest.mark.parametrize("out", ["https://host/out/bag", "s3://bucket", "s3://bucket/"])
def test_results_go_to_a_folder_in_a_bucket(out, scratch_folder):
    with pytest.raises(UsageError, match="folder of object storage"):
        with claimed_output(out, True):
            pass


@pytest.fixture
def clip(tmp_path, bucket):
    """A video, its frames and a mask, here and in the bucket."""
    frames = np.full((4, 64, 96, 3), 70, np.uint8)
    for index, frame in enumerate(frames):
        frame[20:44, 20 + 3 * index : 50 + 3 * index] = (230, 210, 40)
    with VideoWriter(tmp_path / "shoe.mp4", (64, 96), frame_rate=10) as writer:
        for frame in frames:
            writer.write(frame)
    (tmp_path / "frames").mkdir()
    for index, frame in enumerate(frames):
        Image.fromarray(frame).save(tmp_path / "frames" / f"{index:05d}.jpg")
    mask = np.zeros((64, 96), np.uint8)
    mask[20:44, 20:50] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    Image.fromarray(mask).save(tmp_path / "frames" / "object.png")
    system = fsspec.filesystem("s3", skip_instance_cache=True)
    for name in ("shoe.mp4", "mask.png"):
        system.put_file(str(tmp_path / name), f"{bucket}/in/{name}")
    for path in sorted((tmp_path / "frames").iterdir()):
        system.put_file(str(path), f"{bucket}/in/frames/{path.name}")
    return tmp_path


@pytest.mark.parametrize(
    "mask", ["in/mask.png", "0=in/mask.png", ["1=in/mask.png"], {2: "in/mask.png"}]
)
def test_a_clip_is_the_same_from_a_bucket(clip, bucket, scratch_folder, mask):
    def put(base):
        if isinstance(mask, dict):
            return {frame: f"{base}/{path}" for frame, path in mask.items()}
        words = [
            w.replace("in/", f"{base}/in/") for w in ([mask] if isinstance(mask, str) else mask)
        ]
        return words[0] if isinstance(mask, str) else words

    (clip / "in").mkdir()
    (clip / "mask.png").rename(clip / "in" / "mask.png")
    local = open_clip(clip / "shoe.mp4", put(clip))
    remote = open_staged_clip(f"{bucket}/in/shoe.mp4", put(bucket))
    assert remote.hashes() == local.hashes()
    assert remote.sequence.name == "shoe"
    assert list(remote.annotations) == list(local.annotations)


def test_a_mask_among_the_frames_is_no_frame(clip, bucket, scratch_folder):
    remote = open_staged_clip(f"{bucket}/in/frames", f"{bucket}/in/frames/object.png")
    local = open_clip(clip / "frames", clip / "frames" / "object.png")
    assert remote.sequence.frame_names == local.sequence.frame_names
    assert remote.hashes() == local.hashes()


def test_a_copy_stays_while_its_clip_is_open(clip, bucket, scratch_folder):
    scratch_folder.max_bytes, scratch_folder.patience = 4000, 0.2
    opened = open_staged_clip(f"{bucket}/in/shoe.mp4", f"{bucket}/in/mask.png")
    storage.write_url("memory://stays/other.mp4", bytes(3500))
    with pytest.raises(StorageError, match="clips in use"):
        scratch_folder.lease("memory://stays/other.mp4")
    assert len(list(opened.sequence)) == 4
    del opened
    scratch_folder.lease("memory://stays/other.mp4").close()


def test_everything_may_be_in_a_bucket(clip, bucket, scratch_folder, tiny_parent, s3_proxy, caplog):
    storage.upload(tiny_parent, f"{bucket}/weights/tiny.npz")
    options = {"mode": "one-shot", "size": 64, "outputs": ["masks"], "preset": "fast", "seed": 3}
    local = segment(
        clip / "shoe.mp4", clip / "mask.png", out=clip / "out", weights=tiny_parent, **options
    )
    remote = {
        "source": f"{bucket}/in/shoe.mp4", "mask": f"{bucket}/in/mask.png",
        "out": f"{bucket}/out/shoe", "weights": f"{bucket}/weights/tiny.npz",
    }  # fmt: skip
    s3_proxy.fault = Faults(503, 10**6, "PUT", "run.json")
    with pytest.raises(StorageError, match="tries"):
        segment(**remote, **options)
    assert RemoteResults(f"{bucket}/out").record("shoe") is None
    s3_proxy.fault = lambda method, path: None
    seconds = segment(**remote, **options).total_seconds
    record = RemoteResults(f"{bucket}/out").record("shoe")
    assert record["total_seconds"] == seconds
    assert (record["name"], record["hashes"]) == ("shoe", local.hashes)
    assert record["files"] == {name: list(entry) for name, entry in local.files.items()}
    for name in local.files:
        content = storage.read_url(f"{bucket}/out/shoe/{name}", 10**6)
        assert content == (clip / "out" / name).read_bytes()
    with pytest.raises(UsageError, match="earlier result"):
        segment(**remote, **options)
    assert not list((scratch_folder.folder / "results").iterdir())
    text = json.dumps(record) + caplog.text
    assert ACCESS_KEY not in text and SECRET_KEY not in text


def test_the_command_takes_urls_and_shows_no_signature(clip, command, tiny_parent, tmp_path):
    folder = clip / "frames"
    out = (tmp_path / "out").as_uri()
    (folder / "object.png").unlink()
    result = command(
        "segment", folder.as_uri() + "/", "--mask", f"0={(clip / 'mask.png').as_uri()}",
        "--out", f"{out}/clip", "--mode", "one-shot", "--size", 64, "--weights",
        tiny_parent.as_uri(), "--outputs", "masks", "--scratch", tmp_path / "fast",
        "--scratch-gb", 0.1,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["out"] == f"{out}/clip"
    assert read_mask(tmp_path / "out" / "clip" / "masks" / "00000.png").any()
    assert list((tmp_path / "fast").glob("*/frames"))


@pytest.fixture
def web(clip):
    """Address of a server of the web with the files of the clip."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(clip))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_no_record_and_no_output_has_credentials(clip, web, command, tiny_parent, tmp_path):
    login, query = "http://me:pass-word@", "?X-Amz-Signature=abcdef0123"
    (clip / "tiny.npz").write_bytes(tiny_parent.read_bytes())
    out = tmp_path / "out"
    result = command(
        "segment", f"{login}{web}/shoe.mp4{query}", "--mask", f"0={login}{web}/mask.png{query}",
        "--weights", f"{login}{web}/tiny.npz{query}", "--out", out, "--mode", "one-shot",
        "--size", 64, "--outputs", "masks", "--scratch", tmp_path / "fast", "--debug",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    record = json.loads((out / "run.json").read_text())
    assert record["name"] == "shoe"
    assert record["source"] == f"http://{web}/shoe.mp4?..."
    assert record["mask_source"] == f"http://{web}/mask.png?..."
    assert record["weights"] == f"http://{web}/tiny.npz?..."
    names = [path.as_posix() for path in tmp_path.rglob("*")]
    for text in (json.dumps(record), result.stdout, result.stderr, *names):
        assert "pass-word" not in text and "abcdef0123" not in text
    failed = command(
        "segment", f"{login}{web}/absent.mp4{query}", "--mask", clip / "mask.png", "--out",
        tmp_path / "none", "--debug",
    )  # fmt: skip
    assert failed.returncode == 65, failed.stderr
    assert f"http://{web}/absent.mp4" in failed.stderr
    assert "pass-word" not in failed.stderr and "abcdef0123" not in failed.stderr


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_uploads_that_are_cut_at_random_moments_leave_whole_results(
    bucket, s3_proxy, result, seed, monkeypatch
):
    monkeypatch.setattr(storage, "TRIES", 2)  # so that some uploads fail
    rng = np.random.default_rng(seed)
    faulty, kinds = set(rng.choice(400, 160, replace=False)), ["cut", "half", 503, 500]
    numbers = iter(range(10**9))

    def fault(method, path):
        number = next(numbers)
        return kinds[number % 4] if number in faulty else None

    results, made, failed = RemoteResults(f"{bucket}/out"), result(3), 0
    for name in [f"clip-{index}" for index in range(8)] * 2:  # the second time they are replaced
        while True:
            s3_proxy.fault = fault
            try:
                results.upload(made, name)
                break
            except StorageError:
                failed += 1
            finally:
                s3_proxy.fault = lambda method, path: None
            files = storage.list_files(f"{bucket}/out/{name}")
            assert "run.json" not in files or len(files) == 4
    assert failed
    assert len(dict(results.records())) == 8
    assert len(storage.list_files(f"{bucket}/out")) == 8 * 4
