"""Bad input to the real command: exit status, helpful message, no partial files."""

import json
import resource
import signal
import socket
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deeplab_gygo.cli.main import Terminated, _terminating
from deeplab_gygo.io.video import VideoWriter

UNEXPECTED, USAGE, SOME_FAILED, BAD_DATA, INTERRUPTED, TERMINATED = 1, 2, 3, 65, 130, 143
MODEL_PARTS = ("tensorflow", "keras")
FAST = ("--size", "64", "--steps", "2", "--online.num_views", "2", "-q")


@pytest.fixture
def clip(tmp_path, make_clip) -> Path:
    """Three frames in `frames`, masks in `frames-masks`."""
    return make_clip(tmp_path / "frames", 3)


@pytest.fixture
def segment(command, tmp_path, parent_header):
    """Function that segments into `out`; the weights are good as long as none are needed."""

    def segment(source, mask, *words, **options):
        defaults = {"--weights": parent_header, **dict(zip(FAST[:-1:2], FAST[1::2], strict=True))}
        given = [word for pair in defaults.items() if pair[0] not in words for word in pair]
        return command(
            "segment", source, "--mask", mask, "--out", tmp_path / "out", "-q", *given, *words,
            **options,
        )  # fmt: skip

    return segment


def _check(result, status, *parts):
    """Asserts status and one message with all parts, in their order, and nothing on stdout."""
    message = result.stderr.strip()
    assert result.returncode == status, message
    assert "Traceback" not in message
    assert result.stdout == ""
    place = 0
    for part in parts:
        place = message.find(str(part), place)
        assert place >= 0, f"{part!r} is not in its place in: {message}"


def _check_nothing_left(tmp_path):
    assert not (tmp_path / "out").exists()
    assert [path for path in tmp_path.rglob("*") if "partial" in path.name] == []


def _mask(path: Path, values) -> Path:
    Image.fromarray(np.asarray(values, np.uint8)).save(path)
    return path


# Masks


def test_a_mask_of_another_size(segment, clip, tmp_path):
    mask = _mask(tmp_path / "wide.png", np.eye(64, 200) * 255)
    _check(
        segment(clip, mask), BAD_DATA,
        "must have the size of the frame", "200x64", "96x64", mask, "Draw the mask",
    )  # fmt: skip
    _check_nothing_left(tmp_path)


def test_a_mask_for_the_unrotated_frame(segment, clip, tmp_path):
    mask = _mask(tmp_path / "turned.png", np.eye(96, 64) * 255)
    _check(segment(clip, mask), BAD_DATA, "unrotated", mask, "Rotate the mask")


@pytest.mark.parametrize(
    ("value", "rule", "remedy"),
    [(0, "must show the object", "Paint the object"), (255, "leave some background", "inverted")],
    ids=["empty", "full"],
)
def test_an_empty_or_full_mask(segment, clip, tmp_path, value, rule, remedy):
    mask = _mask(tmp_path / "first.png", np.full((64, 96), value))
    _check(segment(clip, mask), BAD_DATA, rule, mask, remedy)
    _check_nothing_left(tmp_path)


def test_a_photo_as_mask(segment, clip, tmp_path):
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 255, (8, 12, 3)).astype(np.uint8))
    small.resize((96, 64), Image.Resampling.BICUBIC).save(tmp_path / "photo.jpg")
    _check(segment(clip, tmp_path / "photo.jpg"), BAD_DATA, "photo", tmp_path / "photo.jpg")
    _check_nothing_left(tmp_path)


def test_a_missing_mask(segment, clip, tmp_path):
    _check(segment(clip, tmp_path / "none.png"), BAD_DATA, "no such file", "none.png")


# Frames and videos


def test_a_truncated_video(segment, clip, tmp_path):
    path = tmp_path / "cut.mp4"
    rng = np.random.default_rng(0)
    with VideoWriter(path, (64, 96), frame_rate=Fraction(5)) as writer:
        for _ in range(12):
            writer.write(rng.integers(0, 255, (64, 96, 3)).astype(np.uint8))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])
    result = segment(path, tmp_path / "frames-masks" / "00000.png")
    _check(result, BAD_DATA, "The video must be complete", "12 frames expected", path, "again")
    _check_nothing_left(tmp_path)


def test_a_text_as_video(segment, clip, tmp_path):
    (tmp_path / "clip.mp4").write_text("no video")
    result = segment(tmp_path / "clip.mp4", tmp_path / "frames-masks" / "00000.png")
    _check(result, BAD_DATA, "must be a video", tmp_path / "clip.mp4", "intact video file")


def test_a_frame_folder_with_a_gap(segment, clip, tmp_path):
    (clip / "00001.jpg").rename(clip / "00004.jpg")
    (clip / "00002.jpg").rename(clip / "00003.jpg")
    result = segment(clip, tmp_path / "frames-masks" / "00000.png")
    _check(result, BAD_DATA, "without a gap", "00001 to 00002", clip, "Add the missing frames")
    _check_nothing_left(tmp_path)


def test_an_unreadable_frame(segment, clip, tmp_path):
    (clip / "00001.jpg").write_bytes(b"")
    result = segment(clip, tmp_path / "frames-masks" / "00000.png")
    _check(result, BAD_DATA, "readable", "empty", clip / "00001.jpg", "intact one")
    _check_nothing_left(tmp_path)


def test_no_input_at_all(segment, clip, tmp_path):
    mask = tmp_path / "frames-masks" / "00000.png"
    _check(segment(tmp_path / "nowhere", mask), BAD_DATA, "no such file", tmp_path / "nowhere")


# Weights


def test_a_damaged_weights_file(segment, clip, tmp_path, tiny_parent):
    damaged = tmp_path / "damaged.npz"
    damaged.write_bytes(tiny_parent.read_bytes()[:100_000])
    result = segment(clip, tmp_path / "frames-masks" / "00000.png", "--weights", damaged)
    _check(result, BAD_DATA, "written by this package", damaged, "deeplab-gygo train")


def test_weights_of_another_architecture(segment, clip, tmp_path, tiny_parent):
    other = tmp_path / "other.npz"
    with np.load(tiny_parent) as arrays:
        head = json.loads(arrays["__card__"].tobytes())
        head["model"]["aspp_channels"] = 24
        text = np.frombuffer(json.dumps(head).encode(), np.uint8)
        np.savez(other, **{**arrays, "__card__": text})
    result = segment(clip, tmp_path / "frames-masks" / "00000.png", "--weights", other)
    _check(result, BAD_DATA, "fit the architecture", "of another shape", other, "same architecture")
    _check_nothing_left(tmp_path)


# Lists


def test_a_missing_list(command, tmp_path, make_dataset, parent_header):
    root = make_dataset(tmp_path / "data", {"bag": 3})
    words = ("--dataset", "gygo", "--root", root, "--split", "test")
    for verb in (("batch", "--weights", parent_header), ("evaluate", "--results", tmp_path)):
        result = command(*verb, *words, "--out", tmp_path / "out")
        _check(
            result, BAD_DATA, "'test' needs a list", "train, val", root / "ImageSets", "Name one"
        )
    _check_nothing_left(tmp_path)


def test_a_list_that_names_an_absent_sequence(command, tmp_path, make_dataset, parent_header):
    root = make_dataset(tmp_path / "data", {"bag": 3})
    (root / "ImageSets" / "val.txt").write_text("ghost\n")
    words = ("--dataset", "gygo", "--root", root, "--out", tmp_path / "out")
    result = command("evaluate", *words, "--results", tmp_path)
    _check(result, BAD_DATA, "must be on disk", "ghost", root / "ImageSets" / "val.txt", "Fetch")
    # A batch does the others, so that there it is a failure of one sequence.
    result = command("batch", *words, "--weights", parent_header)
    assert result.returncode == SOME_FAILED
    assert "val.txt" in result.stderr
    assert "remove 'ghost' from the list" in result.stderr
    assert "1 of 1 failed: ghost" in result.stderr
    assert result.stdout.splitlines()[2].split()[:2] == ["ghost", "failed"]
    assert json.loads((tmp_path / "out" / "failures.jsonl").read_text())["sequence"] == "ghost"


# Options


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--mode", "two-shot"], ["--mode", "two-shot", "zero-shot", "segment --help"]),
        (["--steps", "many"], ["--online.steps", "integer", "many"]),
        (["--stepz", "3"], ["--stepz"]),
        (["--seed", "1", "--seed", "2"], ["given once", "--seed"]),
        (["--outputs", "masks,film"], ["masks, cutout", "film", "--outputs"]),
        (["--online.threshold", "1.5"], ["threshold is in 0..1", "1.5"]),
        (["--online.views", "3"], ["--online.views", "Write --online.num_views"]),
        (["--online.passage", "0"], ["--online.passage", "constant of OnlineConfig"]),
        (["--seed", "-1"], ["seed", "-1", "--seed"]),
        (["--frame", "00009"], ["00000 to 00002", "00009", "frames"]),
        (["--root", "somewhere"], ["--dataset, --root, --sequence", "--dataset"]),
    ],
    ids=lambda value: value[0] if value[0].startswith("--") else "",
)
def test_an_unusable_option(segment, clip, tmp_path, words, parts):
    _check(segment(clip, tmp_path / "frames-masks" / "00000.png", *words), USAGE, *parts)
    _check_nothing_left(tmp_path)


def test_an_unknown_key_in_a_config_file(segment, clip, tmp_path):
    config = tmp_path / "online.yaml"
    config.write_text("steps: 3\nlerning_rate: 1e-3\n")
    result = segment(clip, tmp_path / "frames-masks" / "00000.png", "--config", config)
    _check(result, USAGE, "known keys", "lerning_rate", config, "Write learning_rate")


def test_a_folder_with_other_files_is_not_replaced(segment, clip, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("years of work")
    mask = tmp_path / "frames-masks" / "00000.png"
    _check(segment(clip, mask, "--overwrite"), USAGE, "not replaced", tmp_path / "out", "another")
    assert (tmp_path / "out" / "thesis.tex").read_text() == "years of work"


def test_bad_input_is_answered_before_the_network_is_loaded(segment, clip, tmp_path):
    mask = _mask(tmp_path / "first.png", np.zeros((64, 96)))
    code = (
        "import sys; from deeplab_gygo.cli.main import main; status = main(); "
        f"print(status, [name for name in {MODEL_PARTS} if name in sys.modules])"
    )
    words = ["segment", clip, "--mask", mask, "--out", tmp_path / "out", "--mode", "one-shot"]
    result = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True
    )
    assert result.stdout.strip() == f"{BAD_DATA} []"


# Disk


def _small_files_only():
    resource.setrlimit(resource.RLIMIT_FSIZE, (256, 256))


def test_a_full_disk_while_segmenting(segment, clip, tmp_path, tiny_parent):
    """A limit on the size of files is met as a full disk is: in the middle of writing one."""
    mask = tmp_path / "frames-masks" / "00000.png"
    words = ("--mode", "zero-shot", "--weights", tiny_parent)
    result = segment(clip, mask, *words, preexec_fn=_small_files_only)
    _check(result, UNEXPECTED, "must be writable", "File too large", "out", "Free space")
    _check_nothing_left(tmp_path)


def test_a_full_disk_while_reporting(command, clip, tmp_path):
    masks = tmp_path / "frames-masks"
    words = ("evaluate", "--truth", masks, "--results", masks, "--out", tmp_path / "out")
    result = command(*words, preexec_fn=_small_files_only)
    _check(result, UNEXPECTED, "writable", "File too large", tmp_path / "out", "Free space")
    assert not [path for path in (tmp_path / "out").iterdir() if path.suffix == ".part"]


def test_a_full_disk_behind_standard_output(clip, tmp_path):
    words = ["evaluate", "--truth", tmp_path / "frames-masks"]
    words += ["--results", tmp_path / "frames-masks"]
    with open("/dev/full", "w") as full:
        result = subprocess.run(
            [sys.executable, "-m", "deeplab_gygo", *map(str, words)],
            stdout=full, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
    assert result.returncode == UNEXPECTED
    assert "No space left on device (standard output)" in result.stderr
    assert "Traceback" not in result.stderr


# Interruption


def _can_be_interrupted() -> None:
    """Undoes what a shell does to a job in the background, which this process may be part of."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, INTERRUPTED), (signal.SIGTERM, TERMINATED)]
)
def test_an_interrupted_download(tmp_path, number, status):
    """The server accepts and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        process = subprocess.Popen(
            [sys.executable, "-m", "deeplab_gygo", "data", "download", "gygo",
             "--root", str(tmp_path / "out"), "--url", f"http://127.0.0.1:{port}/gygo.tar.gz"],
            stderr=subprocess.PIPE, text=True, preexec_fn=_can_be_interrupted,
        )  # fmt: skip
        connection, _ = server.accept()
        process.send_signal(number)
        _, message = process.communicate(timeout=300)
        connection.close()
    assert process.returncode == status, message
    assert "Traceback" not in message
    assert len(message.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("number", "raised"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)]
)
def test_a_signal_that_a_finalizer_swallows_comes_again(number, raised):
    class Thing:
        def __del__(self):
            signal.raise_signal(number)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(raised), _terminating():
            thing = Thing()
            del thing  # Python can only ignore what is raised here
            deadline = time.monotonic() + 20
            while time.monotonic() < deadline:
                time.sleep(0.01)
    finally:
        signal.signal(signal.SIGINT, before)


def test_an_interrupted_batch_keeps_what_is_finished(
    command, tmp_path, make_dataset, tiny_parent, command_environment
):
    """Ctrl-C in the third sequence; the first two are damaged and finished."""
    root = make_dataset(tmp_path / "data", {"broken": 4, "short": 3, "long": 2000})
    frame = root / "JPEGImages" / "480p" / "broken" / "00002.jpg"
    frame.write_bytes(frame.read_bytes()[:-200])
    out = tmp_path / "out"
    words = ["batch", "--dataset", "gygo", "--root", root, "--out", out, "--weights", tiny_parent,
             *FAST, "--outputs", "masks,overlay"]  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "deeplab_gygo", *map(str, words)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=command_environment,
        preexec_fn=_can_be_interrupted,
    )  # fmt: skip
    deadline = time.monotonic() + 600
    while not list(out.glob("long.partial/masks/00003.png")):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, message = process.communicate(timeout=600)
    assert process.returncode == INTERRUPTED, message
    assert "Traceback" not in message
    assert "frames are kept in" in message and "long.partial" in message
    names = sorted(path.name for path in out.iterdir())
    assert names == [
        ".broken.state", ".long.state", "broken.partial", "failures.jsonl", "long.partial", "short"
    ]  # fmt: skip
    assert len(list((out / "short" / "masks").iterdir())) == 3
    failure = json.loads((out / "failures.jsonl").read_text())
    assert failure["sequence"] == "broken"
    assert failure["where"] == str(frame)
    # What is finished is not done again, and what is absent is listed.
    (tmp_path / "two.txt").write_text("short\nghost\n")
    result = command(*words, "--split", tmp_path / "two.txt")
    assert result.returncode == SOME_FAILED
    summary = json.loads((out / "summary.json").read_text())
    assert [row["status"] for row in summary["sequences"]] == ["skipped", "failed"]
    assert json.loads((out / "failures.jsonl").read_text())["sequence"] == "ghost"
