"""The command line: options become settings, commands leave what they promise."""

import errno
import io
import json
import logging
import re
import sys
import threading

import numpy as np
import pytest
from PIL import Image

from deeplab_gygo import __version__
from deeplab_gygo.cli import main as cli
from deeplab_gygo.cli.demo import demo_clip
from deeplab_gygo.cli.segment import clip_from_options
from deeplab_gygo.errors import UsageError
from deeplab_gygo.inference.config import OnlineConfig
from deeplab_gygo.io.config_file import to_plain
from deeplab_gygo.io.locking import locked
from deeplab_gygo.io.masks import read_mask

REQUIRED = {
    "segment": ["clip", "--mask", "first.png", "--out", "out"],
    "batch": ["--dataset", "gygo", "--root", "data", "--out", "out"],
    "demo": ["--out", "out"],
    "export": ["--out", "out"],
}


@pytest.fixture
def settings_of(parent_header):
    """Function that gives the settings that the words of `segment` make."""

    def settings_of(*words, command="segment"):
        from deeplab_gygo.cli.options import run_settings

        words = [command, *REQUIRED[command], "--weights", str(parent_header), *words]
        _, options = cli._parse(words)
        return run_settings(options)

    return settings_of


def test_the_version_is_the_package_s(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"deeplab-gygo {__version__}\n"


@pytest.mark.parametrize("command", sorted(cli.COMMANDS))
def test_every_command_explains_itself_and_its_options(command, capsys):
    with pytest.raises(SystemExit) as left:
        cli.main([command, "--help"])
    assert left.value.code == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert cli.COMMANDS[command] in printed or command == "data"  # which names its actions
    for word in ("type:", "lambda", "<function", "<class", "Literal[", "typing."):
        assert word not in printed


@pytest.mark.parametrize("command", sorted(REQUIRED))
def test_without_options_the_settings_are_the_defaults(settings_of, command):
    settings = settings_of(command=command)
    assert settings.online == OnlineConfig()
    assert settings.outputs == ("masks", "overlay")
    assert (settings.seed, settings.precision, settings.overwrite) == (0, "auto", False)


def test_every_field_of_the_online_configuration_has_an_option(settings_of):
    changed = OnlineConfig(
        mode="one-shot", adapt="full", steps=7, seconds=1.5, size=100, num_views=3,
        learning_rate=3e-4, memory_frames=1, guide="previous", refine=False, tta_flip=True,
        zero_shot_tta_scale=0.6, zero_shot_anchor_frames=3, threshold=0.4,
    )  # fmt: skip
    words = []
    for name, value in to_plain(changed).items():
        assert value != to_plain(OnlineConfig())[name], f"{name} is not changed by this test"
        words += [f"--online.{name}", json.dumps(value).strip('"')]
    assert settings_of(*words).online == changed


def test_the_command_line_overrides_the_file_and_the_file_the_defaults(settings_of, tmp_path):
    path = tmp_path / "online.yaml"
    path.write_text("steps: 5\nlearning_rate: 1e-5\nviews: 7\n")  # one by its former name
    online = settings_of("--config", str(path), "--steps", "9").online
    assert (online.steps, online.learning_rate, online.num_views) == (9, 1e-5, 7)
    assert online.memory_frames == OnlineConfig().memory_frames


@pytest.mark.parametrize(
    "words",
    [
        ["--steps", "3", "--steps", "4"],
        ["--steps", "3", "--online.steps=4"],
        ["--seed=1", "--seed", "2"],
        ["--method", "deeplab", "--system", "osmn"],
    ],
    ids=" ".join,
)
def test_a_repeated_option_is_an_error(words):
    with pytest.raises(UsageError, match="given once"):
        cli._parse(["segment", *REQUIRED["segment"], *words])


def test_predict_is_segment(failing, capsys):
    for command in ("segment", "predict"):
        failing(ValueError("odd"), command="segment")
        assert cli.main([command, *REQUIRED["segment"]]) == 1
        assert "unexpected ValueError: odd" in capsys.readouterr().err


def test_the_former_name_of_method_is_taken():
    for words in (["--system", "copy"], ["--system=copy"], ["--method", "copy"]):
        assert cli._parse(["segment", *REQUIRED["segment"], *words])[1].method == "copy"


def test_a_training_takes_nested_options_over_its_file(tmp_path):
    from deeplab_gygo.cli.train import training_config

    path = tmp_path / "train.yaml"
    path.write_text(
        "model: {backbone: resnet50}\nsources:\n  - {kind: gygo, root: here}\nbatch: 4\n"
    )
    words = ["train", "--config", str(path), "--out", "x", "--model.aspp_channels", "32"]
    words += ["--crop", "[64, 96]", "--augment.scale", "[0.5, 1]", "--steps", "4"]
    _, options = cli._parse(words)
    config = training_config(options)
    assert (config.model.backbone, config.model.aspp_channels) == ("resnet50", 32)
    assert (config.crop, config.augment.scale) == ((64, 96), (0.5, 1.0))
    assert (config.steps, config.batch, config.sources[0].root) == (4, 4, "here")


@pytest.mark.parametrize(
    ("words", "met"),
    [
        (["segment", "--steps", "x"], "--online.steps is an integer; met: 'x'"),
        (["data", "verify"], "required: dataset, root"),
        (["data", "convert"], "data.action|convert"),
        (["nonsense"], "'nonsense'"),
        (["train", "--config", "c", "--out", "o", "--model.output_stride", "9"],
         "--model.output_stride is one of 8, 16; met: 9"),
    ],
)  # fmt: skip
def test_a_wrong_word_is_named_as_it_was_typed(words, met):
    with pytest.raises(UsageError, match=met):
        cli._parse(words)


@pytest.fixture
def failing(monkeypatch):
    """Function that makes a command raise, and returns words that run `evaluate`."""

    def failing(error, command="evaluate"):
        def run(options):
            raise error

        monkeypatch.setattr(f"deeplab_gygo.cli.{command}.run", run)
        return ["evaluate", "--results", "x"]

    return failing


def test_an_unexpected_error_is_one_line_and_a_hint(failing, capsys):
    assert cli.main(failing(ValueError("odd\nthing"))) == 1
    assert capsys.readouterr().err.splitlines() == [
        "deeplab-gygo: unexpected ValueError: odd thing",
        "Run it again with --debug for the details.",
    ]


def test_debug_shows_where_an_error_comes_from(failing, capsys):
    words = failing(ValueError("odd"))
    assert cli.main([*words, "--debug"]) == 1
    error = capsys.readouterr().err
    assert "Traceback" in error
    assert "test_main.py" in error


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (MemoryError(), 1, "fits into the memory; met: out of memory"),
        (RecursionError("maximum recursion depth exceeded"), 65, "nests no deeper"),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), 1, "its reader ended"),
        (UnicodeEncodeError("ascii", "a\udce9", 1, 2, "no"), 2, "encoding of the system"),
        (OSError(errno.ENOSPC, "No space left on device"), 1, "Free some space"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_errors_of_python_get_words(failing, capsys, error, status, words):
    assert cli.main(failing(error)) == status
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("deeplab-gygo: error: ") and words in line


def test_names_are_printed_whatever_is_in_them(monkeypatch, failing, capsys):
    """A name of another encoding, on a terminal of ASCII, and one with control characters."""

    def run(options):
        print("schön \udce9")
        return 0

    monkeypatch.setattr("deeplab_gygo.cli.evaluate.run", run)
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    assert cli.main(["evaluate", "--results", "x"]) == 0
    assert written.getvalue() == b"sch\\xf6n \\udce9\n"
    assert sys.stdout.errors == "strict"
    assert cli.main(failing(UsageError("a \x1b[2J \udce9"))) == 2
    assert capsys.readouterr().err == "deeplab-gygo: error: a \\x1b[2J \\udce9.\n"


def test_a_second_run_on_a_folder_is_refused_at_once(tmp_path, capsys, parent_header):
    words = ["segment", "nowhere.mp4", "--mask", "no.png", "--weights", str(parent_header)]
    holds, ends = threading.Event(), threading.Event()

    def hold():
        with locked((tmp_path / "out").resolve()):
            holds.set()
            ends.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    assert holds.wait(10)
    try:
        assert cli.main([*words, "--out", str(tmp_path / "out")]) == 2
    finally:
        ends.set()
        thread.join(10)
    assert "another run writes to it" in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["--keep-going"]])
def test_damaged_videos_are_opened_as_the_option_says(monkeypatch, settings_of, tmp_path, words):
    asked = []

    def open_input(path, *, name, keep_going, exclude):
        asked.append(keep_going)
        raise UsageError("opened")

    monkeypatch.setattr("deeplab_gygo.runs.clip.open_input", open_input)
    _, options = cli._parse(["segment", *REQUIRED["segment"], *words])
    with pytest.raises(UsageError, match="opened"):
        clip_from_options(options, settings_of())
    (tmp_path / "list.jsonl").write_text('{"video": "a.mp4", "mask": "a.png"}')
    _, options = cli._parse(
        ["batch", "--videos", str(tmp_path / "list.jsonl"), "--out", "x", *words]
    )
    assert options.keep_going == bool(words)
    assert asked == [bool(words)]


@pytest.mark.parametrize("command", ["segment", "export", "demo"])
@pytest.mark.parametrize("name", ["x" * 300, "circle", "zero\0"])
def test_a_folder_that_cannot_be_is_a_usage_error(tmp_path, capsys, parent_header, command, name):
    (tmp_path / "circle").symlink_to("circle")
    words = [command, "--out", str(tmp_path / name), "--weights", str(parent_header)]
    assert cli.main(words) == 2
    assert "Choose another name" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["circle"]


def test_notes_go_to_standard_error_and_logging_is_put_back(monkeypatch, capsys):
    logger = logging.getLogger("deeplab_gygo.io.masks")
    before = logging.getLogger("deeplab_gygo").handlers

    def run(options):
        logger.info("a note")
        logger.warning("a warning")
        return 0

    monkeypatch.setattr("deeplab_gygo.cli.evaluate.run", run)
    assert cli.main(["evaluate", "--results", "x"]) == 0
    assert capsys.readouterr() == ("", "a note\nwarning: a warning\n")
    assert cli.main(["evaluate", "--results", "x", "-q"]) == 0
    assert capsys.readouterr().err == "warning: a warning\n"
    assert logging.getLogger("deeplab_gygo").handlers == before
    assert logging.getLogger("deeplab_gygo").propagate


def test_it_runs_in_other_threads_too(capsys):
    statuses = []
    words = ["evaluate", "--results", "nowhere", "--truth", "nowhere"]
    thread = threading.Thread(target=lambda: statuses.append(cli.main(words)))
    thread.start()
    thread.join()
    assert statuses == [65]


def test_evaluate_prints_and_writes_the_scores_of_two_folders(tmp_path, make_clip, capsys):
    make_clip(tmp_path / "clip", 6)
    words = ["evaluate", "--truth", tmp_path / "clip-masks", "--results", tmp_path / "clip-masks"]
    assert cli.main([*map(str, words), "--out", str(tmp_path / "scores"), "-q"]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"^mean of 1 sequences +4 +1\.000", printed, re.MULTILINE)
    assert "4 of 6 counted" in printed
    assert (tmp_path / "scores" / "global_results-all.csv").is_file()


def test_evaluate_measures_a_data_set_by_its_split(tmp_path, make_dataset, capsys):
    root = make_dataset(tmp_path / "data", {"shoes/red": 5, "bag": 6})
    words = ["evaluate", "--dataset", "gygo", "--root", root, "--split", "val"]
    words += ["--results", root / "Annotations" / "480p", "--out", tmp_path / "scores", "-q"]
    assert cli.main([str(word) for word in words]) == 0
    assert "mean of 2 sequences" in capsys.readouterr().out
    text = (tmp_path / "scores" / "per-sequence_results-val.csv").read_text()
    assert text.splitlines()[1:] == ["shoes/red_1,1.000,1.000", "bag_1,1.000,1.000"]


def test_data_verify_fails_with_65_where_data_is_unusable(tmp_path, make_dataset, capsys):
    root = make_dataset(tmp_path / "data", {"bag": 3})
    (root / "ImageSets" / "Train.txt").write_text("bag/\n")
    (root / "ImageSets" / "val.txt").unlink()
    words = ["data", "verify", "--dataset", "gygo", "--root", str(root), "-q"]
    assert cli.main(words) == 0
    assert "3 frames, 3 masks, all decoded" in capsys.readouterr().out
    (root / "Annotations" / "480p" / "bag" / "00001.png").unlink()
    assert cli.main([*words, "--json"]) == 65
    report = json.loads(capsys.readouterr().out)
    assert not report["ok"]
    assert report["masks"] == 2


def test_segment_leaves_masks_overlay_and_record(command, tmp_path, make_clip, tiny_parent):
    """Two objects, annotated in the second frame, every kind of output."""
    make_clip(tmp_path / "clip", 5)
    mask = np.zeros((64, 96), np.uint8)
    mask[18:46, 21:35], mask[18:46, 35:49] = 1, 2
    Image.fromarray(mask).save(tmp_path / "two.png")
    out = tmp_path / "results" / "out"
    result = command(
        "segment", tmp_path / "clip", "--mask", tmp_path / "two.png", "--frame", "00001",
        "--out", out, "--weights", tiny_parent, "--size", 64, "--steps", 2, "--online.num_views", 2,
        "--outputs", "masks,overlay,cutout,soft", "--preset", "fast",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    names = [f"{index:05d}.png" for index in range(5)]
    assert sorted(path.name for path in (out / "masks").iterdir()) == names
    assert sorted(path.name for path in (out / "cutouts").iterdir()) == names
    assert sorted(path.name for path in (out / "soft" / "2").iterdir()) == names
    with Image.open(out / "masks" / "00001.png") as written:
        assert written.mode == "P"
        assert (np.asarray(written) == mask).all()
    with Image.open(out / "masks" / "00004.png") as written:
        assert written.size == (96, 64)
        assert set(np.unique(np.asarray(written))) <= {0, 1, 2}
    assert (out / "overlay.mp4").stat().st_size > 500
    summary = json.loads(result.stdout)
    record = json.loads((out / "run.json").read_text())
    assert summary["masks"] == 5
    assert summary["objects"] == 2
    assert summary["preset"] == record["preset"] == "fast"
    assert record["config"]["online"]["num_views"] == 2
    assert summary["adaptation_steps"] == record["steps"] == 4  # of each object
    assert len(record["network_seconds"]) == record["frames"] == 4
    assert summary["amortized_fps"] == pytest.approx(record["amortized_fps"], abs=1e-3)
    # Notes go to standard error, and TensorFlow has no say there.
    assert "5 frames from 00000 on" in result.stderr
    assert all(word not in result.stderr for word in ("cuda", "oneDNN", "WARNING", "I0000"))


def test_demo_leaves_results_scores_and_a_contact_sheet(command, tmp_path, make_clip, tiny_parent):
    make_clip(tmp_path / "clip" / "frames", 4, masks=tmp_path / "clip" / "masks")
    out = tmp_path / "demo"
    words = ["demo", "--clip", tmp_path / "clip", "--out", out, "--size", 48,
             "--weights", tiny_parent, "--steps", 2, "--online.num_views", 2, "-q"]  # fmt: skip
    result = command(*words)
    assert result.returncode == 0, result.stderr
    for name in ("J ", "F ", "FPS ", "masks ", "overlay ", "contact sheet "):
        assert re.search(f"^{name}", result.stdout, re.MULTILINE), name
    places = re.findall(rf"{out}\S+", result.stdout)
    assert len(places) == 4
    for place in places:
        assert (tmp_path / place).exists()
    scores = json.loads((out / "demo.json").read_text())
    assert 0 <= scores["J"] <= 1
    assert scores["frames"] == 4
    # A second run must be asked to replace it.
    assert command(*words).returncode == 2
    assert command(*words, "--overwrite").returncode == 0


def test_the_example_clip_has_a_mask_for_every_frame():
    frames, masks = (sorted((demo_clip() / name).iterdir()) for name in ("frames", "masks"))
    assert [path.stem for path in frames] == [path.stem for path in masks]
    assert len(frames) == 25
    size = sum(path.stat().st_size for path in [*frames, *masks])
    assert size < 1.2e6  # it is a part of the wheel
    assert all(read_mask(path).any() for path in masks)


@pytest.mark.slow
def test_export_writes_a_fine_tuned_model(command, tmp_path, make_clip, tiny_parent):
    make_clip(tmp_path / "clip", 2)
    result = command(
        "export", tmp_path / "clip", "--mask", tmp_path / "clip-masks" / "00000.png",
        "--out", tmp_path / "model", "--weights", tiny_parent, "--size", 64, "--steps", 2, "-q",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "model" / "saved_model.pb").is_file()
    report = json.loads(result.stdout)
    assert report["difference"] <= report["tolerance"]
    card = (tmp_path / "model" / "assets.extra" / "model_card.json").read_text()
    assert '"steps": 2' in card
