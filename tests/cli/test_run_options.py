"""Presets and clips without a mask, from the words of the command line to settings and clips."""

from types import SimpleNamespace

import numpy as np
import pytest

from deeplab_gygo.cli import main as cli
from deeplab_gygo.cli.options import run_settings
from deeplab_gygo.cli.segment import clip_from_options
from deeplab_gygo.errors import UsageError
from deeplab_gygo.inference.config import PRESETS, UNLIMITED_STEPS, preset
from deeplab_gygo.runs.result_writers import ResultWriters
from deeplab_gygo.runs.sequence_record import SequenceRecord, identity_config
from deeplab_gygo.runs.stream import ClipStream

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


# === Presets ===


@pytest.mark.parametrize(
    ("command", "name"),
    [("segment", "fast"), ("batch", "best"), ("demo", "balanced"), ("export", "best")],
)
def test_every_command_that_segments_takes_presets(settings_of, command, name):
    settings = settings_of("--preset", name, command=command)
    assert settings.online == preset(name)
    assert settings.preset == name


def test_options_win_over_the_preset_wherever_they_stand(settings_of):
    words = ["--steps", "9", "--preset", "best", "--size", "100", "--online.rate", "0.5"]
    online = settings_of(*words).online
    assert (online.steps, online.size, online.rate) == (9, 100, 0.5)
    assert online.views == PRESETS["best"]["views"]


def test_an_option_that_says_a_default_wins_over_the_preset_too(settings_of):
    default = preset("balanced")
    online = settings_of("--preset", "best", "--steps", str(default.steps)).online
    assert online.steps == default.steps != PRESETS["best"]["steps"]


def test_a_file_wins_over_the_preset_and_options_over_both(settings_of, tmp_path):
    path = tmp_path / "online.yaml"
    path.write_text("steps: 5\nrate: 1e-5\n")
    online = settings_of("--preset", "best", "--config", str(path), "--online.rate", "0.5").online
    assert (online.steps, online.rate) == (5, 0.5)
    assert online.views == PRESETS["best"]["views"]


def test_a_time_lifts_the_steps_of_a_preset(settings_of):
    assert settings_of("--preset", "fast", "--seconds", "2").online.steps == UNLIMITED_STEPS
    assert settings_of("--preset", "fast", "--seconds", "2", "--steps", "7").online.steps == 7


def test_an_unknown_preset_is_a_usage_error_that_names_the_known_ones(capsys):
    assert cli.main(["segment", *REQUIRED["segment"], "--preset", "turbo"]) == 2
    message = capsys.readouterr().err
    assert "--preset" in message
    assert "turbo" in message
    assert all(name in message for name in PRESETS)


def test_results_follow_from_the_numbers_and_not_from_the_name(settings_of):
    """So a finished result is kept where only the name of the preset differs, and else not."""
    named = settings_of("--preset", "fast")
    words = [word for key, value in PRESETS["fast"].items() for word in (f"--online.{key}", value)]
    spelled = settings_of(*map(str, words))
    assert (named.preset, spelled.preset) == ("fast", "balanced")
    hashes = {"input": "1", "mask": "2", "weights": "3"}
    record = SequenceRecord(
        command=[], config=identity_config(named), seed=0, hashes=hashes, frames=0,
        adaptation_seconds=0.0, steps=0, preset=named.preset,
    )  # fmt: skip
    read = SequenceRecord.from_json(record.to_json())
    assert read.preset == "fast"
    assert read.config["online"]["steps"] == PRESETS["fast"]["steps"]
    assert read.matches(hashes, identity_config(spelled), 0)
    assert not read.matches(hashes, identity_config(settings_of("--preset", "best")), 0)


# === Clips without a mask ===


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
    assert (clip.start, clip.mask, clip.truth, clip.objects) == (0, None, None, 1)
    with ClipStream(clip, ahead=2) as stream:
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
    with ClipStream(clip, ahead=2) as stream:
        assert stream.annotations == {2: mask}
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
    with ResultWriters(outputs, tmp_path / "out", clip) as writers:
        for frame in clip.sequence:
            writers.write(
                frame, SimpleNamespace(name=frame.name, mask=mask, probability=mask * 1.0)
            )
    written = {path.relative_to(tmp_path / "out").parts[0] for path in tmp_path.glob("out/**/*.*")}
    assert written == {"masks", "overlay.mp4", "cutouts", "soft"}


def test_the_export_of_a_clip_without_a_mask_says_that_it_cannot_be_fine_tuned(
    tmp_path, make_clip, parent_header, capsys
):
    make_clip(tmp_path / "clip", 2)
    words = ["export", tmp_path / "clip", "--out", tmp_path / "o", "--weights", parent_header]
    assert cli.main([*map(str, words), "--mode", "zero-shot", "-q"]) == 2
    assert "fine-tune only" in capsys.readouterr().err


# === Help ===


@pytest.mark.parametrize("command", [*REQUIRED, "train", "evaluate"])
def test_help_shows_choices_and_never_a_type_of_the_program(command, capsys):
    with pytest.raises(SystemExit):
        cli.main([command, "--help"])
    printed = " ".join(capsys.readouterr().out.split())
    for word in ("lambda", "<function", "<class", "Literal[", "typing."):
        assert word not in printed
    shown = {
        "train": ["{8,16}", "{efficientnet_lite0,", "{true,false}"],
        "evaluate": ["{official,all,drop-first}"],
    }
    for choices in shown.get(
        command, ["{fast,balanced,best,original,light}", "{zero-shot,one-shot,fine-tune}"]
    ):
        assert choices in printed
