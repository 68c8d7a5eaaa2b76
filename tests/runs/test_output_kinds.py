"""The kinds of results and their options: checks, defaults, and what a record keeps of them."""

import subprocess
import sys

import pytest
from jsonargparse import ArgumentParser
from PIL import Image

from deeplab_gygo.cli.output_options import add_output_options, output_kinds, output_options
from deeplab_gygo.errors import DependencyError, UsageError
from deeplab_gygo.io.annotations.writers import ANNOTATION_KINDS
from deeplab_gygo.runs import output_kinds as kinds
from deeplab_gygo.runs.output_kinds import (
    ANNOTATIONS,
    OUTPUTS,
    PICTURES,
    VIDEOS,
    OutputOptions,
)
from deeplab_gygo.runs.result_files import PICTURE_FILES, SINGLE_FILES, spin_frames


def parsed(*words):
    parser = ArgumentParser()
    add_output_options(parser)
    return parser, parser.parse_args(list(words))


def test_every_kind_has_a_place_and_a_line_of_help():
    assert {*VIDEOS, "report"} == set(SINGLE_FILES)
    assert set(PICTURES) == set(PICTURE_FILES)
    assert set(ANNOTATIONS) <= set(ANNOTATION_KINDS)
    text = parsed()[0].format_help()
    assert all(name in text for name in OUTPUTS)


def test_options_of_the_command_line():
    _, found = parsed()
    assert output_options(found) == OutputOptions()
    assert output_kinds(found) == ("masks", "overlay")
    words = ["--outputs", "webm, spin", "--background", "#102030", "--smooth", "--spin", "12"]
    _, found = parsed(*words)
    assert output_kinds(found) == ("webm", "spin")
    assert output_options(found) == OutputOptions(background="#102030", smooth=True, spin=12)


def test_backgrounds(tmp_path):
    assert OutputOptions(background="white").color == (255, 255, 255)
    assert OutputOptions(background="#0A10ff").color == (10, 16, 255)
    Image.new("RGB", (2, 2)).save(tmp_path / "b.png")
    found = OutputOptions(background=str(tmp_path / "b.png"))
    assert found.color is None and found.picture == tmp_path / "b.png"
    for wrong in ("purple", "#12345", str(tmp_path)):
        with pytest.raises(UsageError, match="--background"):
            OutputOptions(background=wrong)


@pytest.mark.parametrize("spin", [0, 1001, 2.5])
def test_numbers_of_a_spin(spin):
    with pytest.raises(UsageError, match="--spin"):
        OutputOptions(spin=spin)


def test_the_estimation_of_colors_names_its_extra(monkeypatch):
    monkeypatch.setattr(kinds, "find_spec", lambda name: None)
    with pytest.raises(DependencyError, match=r"deeplab-gygo\[matte\]"):
        OutputOptions(foreground=True)


def test_a_record_keeps_the_options_that_results_follow_from(tmp_path):
    options = OutputOptions(smooth=True, spin=7, background="#000102")
    assert options.identity(("masks", "overlay", "soft", "coco")) == {}
    assert options.identity(("spin",)) == {"smooth": True, "spin": 7}
    assert options.identity(("background",)) == {"smooth": True, "background": [0, 1, 2]}
    path = tmp_path / "b.png"
    identities = []
    for color in ("red", "blue"):
        Image.new("RGB", (2, 2), color).save(path)
        identities.append(OutputOptions(background=str(path)).identity(("background",)))
    assert identities[0] != identities[1]


def test_a_spin_is_even():
    for frames, wanted in ((100, 36), (24, 24), (7, 4), (5, 9), (1, 1)):
        found = spin_frames(frames, wanted)
        steps = {b - a for a, b in zip(found, [*found[1:], frames], strict=True)}
        assert found[0] == 0 and len(found) == min(frames, wanted)
        assert max(steps) - min(steps) <= 1


def test_the_kinds_are_known_without_decoders_of_video():
    code = "import sys, deeplab_gygo.cli.output_options; print({'av', 'keras'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr
