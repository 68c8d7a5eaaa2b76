"""`benchmark` measures missing cells, renders without Keras, and reports errors."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from deeplab_gygo.benchmark.plan import BenchmarkConfig
from deeplab_gygo.cli import benchmark
from deeplab_gygo.cli import main as cli
from deeplab_gygo.io.config_file import load_yaml
from deeplab_gygo.io.masks import write_mask
from deeplab_gygo.runs.output_directory import output_directory

RENDERS_WITHOUT_KERAS = """
import sys
from deeplab_gygo.cli.main import main
status = main({words!r})
loaded = {{"keras", "tensorflow", "jax", "torch"}} & set(sys.modules)
print("loaded:", sorted(loaded))
sys.exit(status)
"""


class Copier:
    """Answers with the annotations."""

    def __init__(self, settings):
        self.settings = settings

    def run(self, clip, out, *, keep_bars=True):
        from deeplab_gygo.runs.run_record import RunRecord

        if clip.sequence.name == "broken":
            raise RuntimeError("a frame like no other")
        count = len(clip.sequence)
        with output_directory(out) as folder:
            for frame in clip.sequence:
                write_mask(folder / "masks" / f"{frame.name}.png", clip.truth(frame.index))
            record = RunRecord(
                command=["deeplab-gygo"], config=self.settings.identity, seed=0,
                hashes={**clip.hashes(), "weights": self.settings.weights_hash},
                frames=count - 1, adaptation_seconds=0.0,
                steps=0, frame_seconds=[0.1] * (count - 1), name=clip.sequence.name, masks=count,
                total_seconds=0.1 * count, method=self.settings.method,
            )  # fmt: skip
            record.write(folder)
        return record


@pytest.fixture
def words(tmp_path, make_dataset, monkeypatch):
    """Words of a command on a small benchmark, whose methods answer with the annotations."""
    make_dataset(tmp_path / "data" / "clips", {"bag": 5, "cup": 6})
    config = {
        "datasets": [{"name": "clips", "label": "Clips", "kind": "gygo", "root": "clips"}],
        "rows": [
            {"name": "copy", "label": "Copied", "method": "copy"},
            {"name": "flow", "label": "Flow", "method": "flow"},
            {"name": "osmn", "label": "OSMN", "method": "osmn", "weights": "absent.npz"},
        ],
    }
    (tmp_path / "benchmark.yaml").write_text(yaml.safe_dump(config))
    monkeypatch.setattr(benchmark, "start_runner", lambda settings, debug: Copier(settings))
    monkeypatch.delenv(benchmark.DATA_VARIABLE, raising=False)
    folders = {"--config": "benchmark.yaml", "--data-root": "data", "--out": "out"}
    options = [word for name, path in folders.items() for word in (name, str(tmp_path / path))]
    return ["benchmark", *options, "-q"]


def test_it_measures_then_renders_without_keras(words, tmp_path, capsys, command_environment):
    assert cli.main([*words, "--only", "copy"]) == 0
    shown = capsys.readouterr().out
    assert "copy   1.000" in shown
    assert "osmn: not run: weights missing: absent.npz" in shown
    assert "flow: not run" in shown
    for name in ("benchmark.html", "benchmark.csv", "benchmark_sequences.csv", "benchmark.md",
                 "benchmark.tex", "figures/j_over_time-clips.pdf"):  # fmt: skip
        assert (tmp_path / "out" / name).stat().st_size > 0
    code = RENDERS_WITHOUT_KERAS.format(words=[*words, "--render"])
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=command_environment
    )
    assert done.returncode == 0, done.stderr
    assert "loaded: []" in done.stdout


def test_a_failed_sequence_is_a_failed_command_with_its_page(words, tmp_path, make_dataset, capsys):
    make_dataset(tmp_path / "data" / "clips", {"bag": 5, "broken": 4})
    assert cli.main([*words, "--only", "copy"]) == 3
    captured = capsys.readouterr()
    assert "copy on clips: 1 of 2 sequences failed" in captured.err
    assert "a frame like no other" in captured.out
    assert (tmp_path / "out" / "benchmark.html").is_file()


@pytest.mark.parametrize(
    ("change", "met"),
    [
        (lambda words: [*words, "--only", "best"], "best"),
        (lambda words: [*words, "--only", "copy", "--render"], "--render"),
        (lambda words: [*words[:3], *words[5:]], "--data-root"),
        (lambda words: [*words[:4], "/nowhere", *words[5:]], "/nowhere"),
        (lambda words: [*words[:2], "/nowhere.yaml", *words[3:]], "/nowhere.yaml"),
    ],
)
def test_a_wrong_command_line_is_refused(words, capsys, change, met):
    assert cli.main(change(words)) == 2
    assert met in capsys.readouterr().err


def test_the_shipped_benchmark_can_be_read():
    config = load_yaml(
        BenchmarkConfig, Path(__file__).parents[2] / "experiments" / "benchmark.yaml"
    )
    assert {row.method for row in config.rows} == {
        "copy", "flow", "grabcut", "deeplab", "osmn", "osvos"
    }  # fmt: skip
    for row in config.rows:
        assert not row.made_by or (Path(__file__).parents[2] / row.made_by).is_file()
