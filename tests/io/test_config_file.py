"""Configuration files: plain values to dataclasses, in the words of their keys, and no code."""

import itertools
import json
import subprocess
import sys
import textwrap
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
import yaml

from deeplab_gygo.errors import DependencyError, UsageError, WeightsError
from deeplab_gygo.io.config_file import (
    check_choices,
    check_range,
    from_dict,
    load_yaml,
    parse_option,
    to_plain,
)

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


@dataclass
class Source:
    kind: Literal["video", "stills", 3]
    weight: float = 1.0
    names: list[str] = field(default_factory=list)

    RENAMED_KEYS: ClassVar[dict[str, str]] = {"share": "weight"}
    REMOVED_KEYS: ClassVar[dict[str, str]] = {"mode": "delete the line"}

    def __post_init__(self):
        check_range(self, "weight", 0, 10)


@dataclass
class Training:
    steps: int
    sources: list[Source] = field(default_factory=list)
    crop: tuple[int, int] = (64, 96)
    scales: tuple[float, ...] = (1.0,)
    flip: bool | None = None
    out: Path | None = None
    scores: dict[str, float] = field(default_factory=dict)
    main: Source = field(default_factory=lambda: Source("stills", weight=5.0))
    other: Any = None
    size: int | str = 0

    def __post_init__(self):
        if self.steps == 13:
            raise DependencyError("luck", "luck", "Step 13")
        if self.steps == 14:
            raise UsageError("No training has 14 steps")


WHOLE = {
    "steps": 3,
    "sources": [{"kind": "video", "weight": 2, "names": ["a", "b"]}, {"kind": 3}],
    "crop": [32, 48],
    "scales": [0.5, 1, "1e-1"],
    "flip": True,
    "out": "runs/x",
    "scores": {"J": 1, "F": 0.5},
    "main": {"kind": "video"},
    "other": {"a": [1, None, "x", 0.5, False]},
    "size": "large",
}


def test_values_become_what_the_hints_say():
    config = from_dict(Training, WHOLE, "memory")
    assert config == Training(
        steps=3,
        sources=[Source("video", 2.0, ["a", "b"]), Source(3)],
        crop=(32, 48),
        scales=(0.5, 1.0, 0.1),
        flip=True,
        out=Path("runs/x"),
        scores={"J": 1.0, "F": 0.5},
        main=Source("video", 5.0),  # the other keys are those of the default
        other={"a": [1, None, "x", 0.5, False]},
        size="large",
    )
    assert type(config.sources[0].weight) is type(config.scores["J"]) is float
    plain = to_plain(config)
    assert from_dict(Training, json.loads(json.dumps(plain)), "memory") == config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": "many"}, "steps is an integer; met: 'many' (t.yaml)."),
        ({"steps": True}, "steps is an integer; met: true (t.yaml)."),
        ({"steps": 2.0}, "steps is an integer; met: 2.0 (t.yaml)."),
        ({"steps": 1 << 63}, "steps is an integer; met: an integer of 64 bits (t.yaml)."),
        ({"steps": 1 << 99_999}, "steps is an integer; met: an integer of 100000 bits (t.yaml)."),
        ({"scores": {"J": False}}, "scores.J is a number; met: false (t.yaml)."),
        ({"scores": {"J": float("nan")}}, "scores.J is a number; met: nan (t.yaml)."),
        (
            {"scores": {"J": 10**400}},
            "scores.J is a number; met: an integer of 1329 bits (t.yaml).",
        ),
        ({"scores": {"J": "1e999"}}, "scores.J is a number; met: inf (t.yaml)."),
        ({"scores": {1: 0.5}}, "The keys of scores are texts; met: 1 (t.yaml)."),
        ({"scores": [1]}, "scores is a mapping of keys; met: [1] (t.yaml)."),
        ({"scales": [1, "big"]}, "scales[1] is a number; met: 'big' (t.yaml)."),
        ({"scales": 0.5}, "scales is a list; met: 0.5 (t.yaml)."),
        ({"crop": [1, 2, 3]}, "crop is a list of 2; met: 3 (t.yaml)."),
        ({"crop": "64x96"}, "crop is a list of 2; met: '64x96' (t.yaml)."),
        ({"flip": "yes"}, "flip is true or false; met: 'yes' (t.yaml)."),
        ({"out": 7}, "out is a text; met: 7 (t.yaml)."),
        ({"out": "\ud800"}, "out is a text; met: '\\ud800' (t.yaml)."),
        ({"size": None}, "size is a text; met: null (t.yaml)."),
        ({"main": None}, "main is a mapping of keys; met: null (t.yaml)."),
        ({"sources": [{}]}, "sources[0].kind is given; met: no such key (t.yaml). Add the key."),
        (
            {"sources": [{"kind": "film"}]},
            "sources[0].kind is one of video, stills, 3; met: 'film' (t.yaml).",
        ),
        (
            {"sources": [{"kind": "video"}, {"kind": "video", "weight": "heavy"}]},
            "sources[1].weight is a number; met: 'heavy' (t.yaml).",
        ),
        (
            {"sources": [{"kind": "video", "weight": 11}]},
            "weight is in 0..10; met: 11.0 (t.yaml: sources[0].weight).",
        ),
        (
            {"sources": [{"kind": "video", "wieght": 1}]},
            "A configuration has known keys only; met: sources[0].wieght (t.yaml). Write weight.",
        ),
        (
            {"sources": [{"kind": "video", "mode": 1}]},
            "sources[0].mode is no key of a configuration any more; met: mode: 1 (t.yaml). "
            "Delete the line.",
        ),
        (
            {"zzz": 1},
            "A configuration has known keys only; met: zzz (t.yaml). Use steps, sources, crop, "
            "scales, flip, out, scores, main, other, size.",
        ),
        ({"steps": 14}, "No training has 14 steps (t.yaml)."),
        (
            {"other": {"x": [yaml.safe_load("2020-01-01")]}},
            "other.x[0] is a text, a number, true or false, null, a list or a mapping; met: "
            "datetime.date(2020, 1, 1) (t.yaml).",
        ),
        ({"\x1b[31m": 1}, None),
    ],
    ids=itertools.count(),
)
def test_errors_are_in_the_words_of_the_key(changes, message):
    with pytest.raises(UsageError) as error:
        from_dict(Training, {"steps": 3, **changes}, "t.yaml")
    assert message in (None, str(error.value))
    assert str(error.value).isprintable()
    with pytest.raises(WeightsError):
        from_dict(Training, {"steps": 3, **changes}, "t.yaml", error=WeightsError)


def test_a_missing_package_is_no_fault_of_the_file():
    with pytest.raises(DependencyError, match="Step 13"):
        from_dict(Training, {"steps": 13}, "t.yaml", error=WeightsError)


def test_values_without_a_file_are_checked_too():
    deep: list[Any] = []
    for _ in range(10_000):
        deep = [deep]
    with pytest.raises(UsageError, match="nested 64 deep at most"):
        from_dict(Training, {"steps": 3, "other": deep}, "memory")
    assert from_dict(Source, {"kind": "video", "share": 2}, "memory").weight == 2.0


@pytest.mark.parametrize(
    ("hint", "text", "value"),
    [
        (int, "7", 7), (float, "1e-5", "1e-5"), (bool, "true", True), (bool | None, "null", None),
        (str, "7", "7"), (str, "{a: 1}", "{a: 1}"), (Literal[8, 16], "16", 16),
        (tuple[int, int], "[1, 2]", [1, 2]), (list[Source], "[{kind: video}]", [{"kind": "video"}]),
    ],
)  # fmt: skip
def test_options_are_written_as_in_yaml(hint, text, value):
    assert parse_option(hint, "--x")(text) == value


@pytest.mark.parametrize(
    ("hint", "text"),
    [(int, "[1"), (int, "7.5"), (bool, "1"), (tuple[int, int], "{class_path: this.X}"),
     (list[Source], "[{class_path: this.X}]"), (int, "!!python/name:os.system")],
)  # fmt: skip
def test_an_option_of_another_type_is_refused_by_its_name(hint, text):
    with pytest.raises(UsageError, match="--x|class_path"):
        parse_option(hint, "--x")(text)


@pytest.mark.parametrize(
    "text",
    [
        "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
        + "".join(f"a{n + 1}: &a{n + 1} [{', '.join([f'*a{n}'] * 9)}]\n" for n in range(7)),
        "[" * 100_000,
        "a: &a [*a]",
        "other: !!python/object/apply:os.getcwd []",
        "other: 2020-13-99",
        "\x00",
    ],
    ids=("aliases", "nesting", "circle", "tag", "date", "zero"),
)  # fmt: skip
def test_yaml_that_is_no_configuration_is_refused(text, tmp_path):
    path = tmp_path / "t.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match="YAML"):
        load_yaml(Training, path)


def test_a_configuration_is_a_short_regular_file(tmp_path):
    (tmp_path / "t.yaml").write_text(f"steps: 3\nother: {'x' * (1 << 20)}\n")
    with pytest.raises(UsageError, match="at most 1048576 bytes"):
        load_yaml(Training, tmp_path / "t.yaml")
    with pytest.raises(UsageError, match="met: is a directory"):
        load_yaml(Training, tmp_path)


@pytest.mark.parametrize("number", [True, 10**400, float("inf"), "3", None, 1.5])
def test_a_field_of_whole_numbers_has_no_other_values(number):
    @dataclass
    class Steps:
        steps: Any = 1

    Steps.__annotations__["steps"] = int
    with pytest.raises(UsageError, match="steps is 0 or more"):
        check_range(Steps(number), "steps", 0)


def test_choices_of_any_type_are_checked():
    with pytest.raises(UsageError, match=r"kind is one of video, stills, 3; met: a list of 1"):
        check_choices(Source(["video"]))


def _as_written(written: Any, loaded: Any) -> bool:
    if isinstance(written, dict):
        return all(_as_written(item, loaded[key]) for key, item in written.items())
    if isinstance(written, list):
        pairs = zip(written, loaded, strict=True)
        return all(_as_written(item, other) for item, other in pairs)
    return written == loaded or float(written) == loaded


@pytest.mark.parametrize("path", sorted(EXPERIMENTS.glob("*.yaml")), ids=lambda path: path.stem)
def test_experiments_are_read_as_they_are_written(path):
    from deeplab_gygo.benchmark.plan import BenchmarkConfig
    from deeplab_gygo.training.config import load_training

    written = yaml.safe_load(path.read_text())
    if isinstance(written, list):
        pytest.skip("rows of tools/ablation_rows.py")
    config = load_yaml(BenchmarkConfig, path) if "rows" in written else load_training(path)
    assert _as_written(written, to_plain(config))
    assert from_dict(type(config), json.loads(json.dumps(to_plain(config))), path) == config


COMMANDS = {
    "segment": ["segment", "clip", "--mask", "mask.png", "--out", "out"],
    "batch": ["batch", "--videos", "list.jsonl", "--out", "out"],
    "train": ["train", "--out", "out"],
    "benchmark": ["benchmark", "--out", "out"],
}


@pytest.mark.parametrize(
    ("command", "text", "words"),
    [
        ("segment", "class_path: planted.X\n", []),
        ("segment", "steps: {class_path: planted.X}\n", []),
        ("segment", "steps: 3\n", ["--online.tta_flip", '{"class_path": "planted.X"}']),
        (
            "segment",
            "steps: 3\n",
            ["--online.size", '{"class_path": "planted.X", "init_args": {}}'],
        ),
        ("batch", "guide: {class_path: planted.X, init_args: {a: 1}}\n", []),
        ("train", "model: {class_path: planted.X}\n", []),
        ("train", "sources: [{class_path: planted.X}]\n", []),
        ("train", "augment: {class_path: planted.X}\n", []),
        ("train", "steps: 3\n", ["--sources", '[{"class_path": "planted.X"}]']),
        ("train", "steps: 3\n", ["--model.guide", '{"class_path": "planted.X"}']),
        ("benchmark", "rows: [{class_path: planted.X}]\n", []),
        ("benchmark", "class_path: planted.X\n", []),
        ("benchmark", "rows: {class_path: planted.X}\n", []),
    ],
)
def test_no_configuration_imports_anything(command, text, words, tmp_path):
    """A module beside the file would write another file when it is imported."""
    (tmp_path / "planted.py").write_text("open('ran', 'w')\n")
    (tmp_path / "t.yaml").write_text(text)
    code = textwrap.dedent(
        """
        import sys
        from deeplab_gygo.cli.main import main
        imported = []
        sys.addaudithook(lambda event, data: event == "import" and imported.append(data[0]))
        status = main(sys.argv[1:])
        print(status, "planted" in imported)
        """
    )
    words = [sys.executable, "-c", code, *COMMANDS[command], "--config", "t.yaml", *words]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "2 False\n" and not (tmp_path / "ran").exists()
    assert "error: " in done.stderr and "unexpected" not in done.stderr
    assert done.stderr.count("\n") == 1 and "Namespace" not in done.stderr
