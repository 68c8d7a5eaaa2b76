"""Presets and clips without a mask, from the words of the command line to settings and clips."""

import dataclasses
import re
from contextlib import closing
from types import SimpleNamespace

import numpy as np
import pytest

from deeplab_gygo.cli import main as cli
from deeplab_gygo.cli.options import run_settings
from deeplab_gygo.cli.segment import clip_from_options
from deeplab_gygo.errors import UsageError
from deeplab_gygo.inference.config import UNLIMITED_STEPS, OnlineConfig, preset
from deeplab_gygo.runs.clip import ClipStream
from deeplab_gygo.runs.runner import result_writers

REQUIRED = {
    "segment": ["clip", "--mask", "first.png", "--out", "out"],
    "batch": ["--dataset", "gygo", "--root", "data", "--out", "out"],
    "demo": ["--out", "out"],
    "export": ["--out", "out"],
}


@pytest.fixture
def settings_of(parent_header):
    """Function that gives the settings that words make of a command."""

    def settings_of(*words, command="segment"):
        words = [command, *REQUIRED[command], "--weights", str(parent_header), *words]
        return run_settings(cli._parse(words)[1])

    return settings_of


# Presets


@pytest.mark.parametrize(
    ("command", "name"),
    [("segment", "fast"), ("batch", "best"), ("demo", "balanced"), ("export", "best")],
)
def test_every_command_that_segments_takes_presets(settings_of, command, name):
    settings = settings_of("--preset", name, command=command)
    assert settings.online == preset(name)
    assert settings.preset == name


def test_options_override_the_preset_wherever_they_stand(settings_of):
    words = ["--steps", "9", "--preset", "best", "--online.learning_rate", "0.5"]
    online = settings_of(*words).online
    assert (online.steps, online.learning_rate) == (9, 0.5)
    assert (online.size, online.tta_flip) == (0, True)


def test_an_option_that_equals_a_default_overrides_the_preset_too(settings_of):
    default = OnlineConfig().steps
    online = settings_of("--preset", "fast", "--steps", str(default)).online
    assert online.steps == default != OnlineConfig.PRESETS["fast"]["steps"]


def test_a_file_overrides_the_preset_and_options_override_both(settings_of, tmp_path):
    path = tmp_path / "online.yaml"
    path.write_text("steps: 5\nsize: 300\n")
    online = settings_of("--preset", "best", "--config", str(path), "--size", "200").online
    assert (online.steps, online.size, online.tta_flip) == (5, 200, True)


def test_the_mode_comes_from_an_option_and_from_a_file(settings_of, tmp_path):
    assert settings_of("--preset", "best").online.mode == "fine-tune"
    assert settings_of("--preset", "best", "--mode", "one-shot").online.mode == "one-shot"
    path = tmp_path / "online.yaml"
    path.write_text("mode: zero-shot\n")
    assert settings_of("--preset", "best", "--config", str(path)).online.mode == "zero-shot"
    online = settings_of(
        "--preset", "best", "--config", str(path), "--online.mode", "fine-tune"
    ).online
    assert (online.mode, online.tta_flip) == ("fine-tune", True)


def test_a_time_lifts_the_steps_of_a_preset(settings_of):
    assert settings_of("--preset", "fast", "--seconds", "2").online.steps == UNLIMITED_STEPS
    assert settings_of("--preset", "fast", "--seconds", "2", "--steps", "7").online.steps == 7


def test_an_unknown_preset_is_a_usage_error_that_names_the_known_ones(capsys):
    assert cli.main(["segment", *REQUIRED["segment"], "--preset", "turbo"]) == 2
    message = capsys.readouterr().err
    assert "--preset" in message
    assert "turbo" in message
    assert all(name in message for name in OnlineConfig.PRESETS)


def test_results_follow_from_the_options_and_not_from_the_name_of_the_preset(settings_of):
    named = settings_of("--preset", "fast")
    words = [(f"--online.{k}", str(v)) for k, v in OnlineConfig.PRESETS["fast"].items()]
    spelled = settings_of(*(word for pair in words for word in pair))
    assert (named.preset, spelled.preset) == ("fast", "balanced")
    assert named.identity == spelled.identity != settings_of("--preset", "best").identity


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        (["--online.views", "3"], "Write --online.num_views"),
        (["--online.replay=3"], "gain nothing"),
        (["--online.lucid", "0.5"], "constant of OnlineConfig"),
        (["--online.momentum", "0.5"], "an option of --method osvos"),
        (["--method", "copy", "--online.steps", "0.5"], "an option of --method deeplab, osmn"),
        (["--online.nonsense", "1"], "segment --method deeplab --help"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_an_option_that_the_method_lacks_says_what_to_write(words, remedy, capsys):
    assert cli.main(["segment", *REQUIRED["segment"], *words]) == 2
    message = capsys.readouterr().err
    assert "has the options --online.mode" in message
    assert remedy in message


# Clips without a mask


@pytest.fixture
def clip_of(parent_header):
    """Function that gives the clip that words name."""

    def clip_of(*words):
        words = ["segment", *map(str, words), "--out", "o", "--weights", str(parent_header)]
        options = cli._parse(words)[1]
        return clip_from_options(options, run_settings(options))

    return clip_of


def test_zero_shot_needs_no_mask_and_starts_at_the_first_frame(tmp_path, make_clip, clip_of):
    make_clip(tmp_path / "clip", 3)
    clip = clip_of(tmp_path / "clip", "--mode", "zero-shot")
    assert (clip.start, clip.mask, clip.truth, clip.object_ids) == (0, None, None, [1])
    with closing(ClipStream(clip, ahead=2)) as stream:
        assert not stream.annotations
        assert [frame.name for frame in stream] == ["00000", "00001", "00002"]


@pytest.mark.parametrize("mode", ["one-shot", "fine-tune"])
def test_the_other_modes_ask_for_a_mask_and_say_what_does_without(
    tmp_path, make_clip, clip_of, mode
):
    make_clip(tmp_path / "clip", 2)
    with pytest.raises(UsageError, match="no --mask.*zero-shot"):
        clip_of(tmp_path / "clip", "--mode", mode)


def test_a_mask_that_is_given_to_zero_shot_says_where_to_start(tmp_path, make_clip, clip_of):
    make_clip(tmp_path / "clip", 4)
    mask = tmp_path / "clip-masks" / "00002.png"
    words = [tmp_path / "clip", "--mode", "zero-shot", "--frame", "2"]
    clip = clip_of(*words, "--mask", mask)
    assert clip.start == 2
    assert clip.mask.any()
    with closing(ClipStream(clip, ahead=2)) as stream:
        assert (stream.first_annotated, stream.annotation(2).any()) == (2, True)
    with pytest.raises(UsageError, match="--frame.*no mask"):
        clip_of(*words)


def test_a_sequence_of_a_data_set_without_masks_can_be_segmented(tmp_path, make_dataset, clip_of):
    root = make_dataset(tmp_path / "data", {"bag": 3, "cup": 3})
    for path in (root / "Annotations" / "480p" / "cup").iterdir():
        path.unlink()
    (root / "Annotations" / "480p" / "cup").rmdir()
    words = ["--dataset", "gygo", "--root", root, "--mode", "zero-shot", "--sequence"]
    assert clip_of(*words, "cup").mask is None
    # With masks it is still measured against them.
    assert clip_of(*words, "bag").truth is not None


def test_hashes_of_a_clip_without_a_mask_follow_from_its_frames(tmp_path, make_clip, clip_of):
    for seed, name in enumerate(["one", "two"]):
        make_clip(tmp_path / name, 2, seed)
    one, two = (clip_of(tmp_path / name, "--mode", "zero-shot") for name in ("one", "two"))
    assert one.hashes() == one.hashes()
    assert one.hashes()["mask"] == two.hashes()["mask"]
    assert one.hashes()["input"] != two.hashes()["input"]
    masked = clip_of(tmp_path / "one", "--mask", tmp_path / "one-masks" / "00000.png")
    assert masked.hashes()["input"] == one.hashes()["input"]
    assert masked.hashes()["mask"] != one.hashes()["mask"]


def test_every_kind_of_result_is_written_of_a_clip_without_a_mask(tmp_path, make_clip, clip_of):
    make_clip(tmp_path / "clip", 2)
    clip = clip_of(tmp_path / "clip", "--mode", "zero-shot")
    mask = np.zeros(clip.sequence.size, np.uint8)
    mask[10:30, 20:50] = 1
    (tmp_path / "out").mkdir()
    outputs = ("masks", "overlay", "cutout", "soft")
    with result_writers(outputs, tmp_path / "out", clip) as write:
        for frame in clip.sequence:
            write(frame, SimpleNamespace(name=frame.name, mask=mask, probability=mask * 1.0))
    written = {path.relative_to(tmp_path / "out").parts[0] for path in tmp_path.glob("out/**/*.*")}
    assert written == {"masks", "overlay.mp4", "cutouts", "soft"}


def test_the_export_of_a_clip_without_a_mask_says_that_it_cannot_be_fine_tuned(
    tmp_path, make_clip, parent_header, capsys
):
    make_clip(tmp_path / "clip", 2)
    words = ["export", tmp_path / "clip", "--out", tmp_path / "o", "--weights", parent_header]
    assert cli.main([*map(str, words), "--mode", "zero-shot", "-q"]) == 2
    assert "fine-tune only" in capsys.readouterr().err


# Help


def _help(capsys, *words):
    with pytest.raises(SystemExit) as left:
        cli.main(list(words))
    assert left.value.code == 0
    return capsys.readouterr().out


def test_the_help_of_segment_is_short_and_of_the_chosen_method_alone(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    printed = _help(capsys, "segment", "--help")
    assert len(printed.splitlines()) <= 105
    online = set(re.findall(r"--online\.(\w+)", printed))
    assert online == {field.name for field in dataclasses.fields(OnlineConfig)}
    assert "{fast,balanced,best}" in printed
    assert "--resolution" not in printed
    printed = _help(capsys, "segment", "--method", "grabcut", "--help")
    assert "--online.iterations" in printed
    assert "--online.steps" not in printed


def test_the_full_help_shows_the_other_methods_and_rare_options(capsys):
    printed = _help(capsys, "segment", "--help-all")
    for text in ("--resolution", "online options of --method osvos", "--online.momentum"):
        assert text in printed


def test_help_shows_the_choices_of_a_training_and_an_evaluation(capsys):
    printed = _help(capsys, "train", "--help")
    assert all(text in printed for text in ("{8,16}", "{efficientnet_lite0,", "{true,false}"))
    assert "{official,all,drop-first}" in _help(capsys, "evaluate", "--help")
