"""`train` of another method: its file, and the options that override it."""

import json
import math
from types import SimpleNamespace

import pytest

from deeplab_gygo.baselines.osmn.config import OsmnTraining
from deeplab_gygo.baselines.osvos.config import OsvosTraining
from deeplab_gygo.cli import main as cli
from deeplab_gygo.cli.train import training_config
from deeplab_gygo.errors import UsageError
from deeplab_gygo.training.config import TrainConfig


@pytest.fixture
def config_of(tmp_path):
    """Function that gives the configuration that a file and the words of `train` make."""

    def config_of(text, *words):
        path = tmp_path / "experiment.yaml"
        path.write_text(text)
        _, options = cli._parse(["train", "--config", str(path), "--out", "runs/x", *words])
        return training_config(options)

    return config_of


def test_the_file_names_the_system(config_of):
    assert type(config_of("steps: 3\n")) is TrainConfig
    assert type(config_of("method: osmn\n")) is OsmnTraining
    assert type(config_of("method: osvos\n")) is OsvosTraining


def test_options_that_a_system_has_override_its_file(config_of):
    config = config_of(
        "method: osmn\nsteps: 3\naugment: {rotate: 4}\n", "--steps", "9", "--seconds", "1.5",
        "--augment.flip", "0.25", "--precision", "float32",
    )  # fmt: skip
    assert (config.steps, config.seconds, config.precision) == (9, 1.5, "float32")
    assert (config.augment.flip, config.augment.rotate, config.augment.hue) == (0.25, 4.0, 0.0)


@pytest.mark.parametrize(
    "words", [("--guide_dropout", "0.5"), ("--model.backbone", "resnet50"), ("--dice", "x")]
)
def test_options_that_a_system_has_not_are_refused(config_of, words):
    with pytest.raises(UsageError, match=words[0].removeprefix("--")):
        config_of("method: osvos\n", *words)


def test_the_trunk_can_be_chosen_beside_the_file(config_of):
    text = "method: osvos\ntrunk_weights: imagenet\n"
    assert config_of(text).trunk_weights == "imagenet"
    assert config_of(text, "--backbone-weights", "vgg.h5").trunk_weights == "vgg.h5"


def test_a_training_without_material_is_refused(tmp_path):
    path = tmp_path / "experiment.yaml"
    path.write_text("method: osmn\n")
    _, options = cli._parse(["train", "--config", str(path), "--out", str(tmp_path / "run")])
    from deeplab_gygo.cli import train

    with pytest.raises(UsageError, match="has sources"):
        train.run(options)


def test_a_training_is_checked_before_keras_is_imported(tmp_path, monkeypatch, capsys):
    from deeplab_gygo.cli import train

    monkeypatch.setattr(train, "import_keras", lambda: pytest.fail("Keras is imported"))
    path, out = tmp_path / "experiment.yaml", tmp_path / "out"
    for text, status, said in (
        ("validation: [{kind: gygo, root: absent}]", 65, "absent"),
        ("validation: [{kind: gygo, stride: 0}]", 2, "stride"),
        ("crop: [100, 100]", 2, "crop"),
        ("crop: [0, 0]", 2, "crop"),
        ("augment: {scale: [0, 0]}", 2, "scale"),
        ("seed: -1", 2, "seed"),
        ("init_from: absent.npz", 65, "absent.npz"),
    ):
        path.write_text(f"sources: [{{kind: stills}}]\ndata_root: {tmp_path}\n{text}\n")
        assert cli.main(["train", "--config", str(path), "--out", str(out)]) == status
        message = capsys.readouterr().err
        assert said in message and "unexpected" not in message
    path.write_text("sources: [{kind: stills}]\n")
    for name in ("experiment.yaml", "n" * 300):
        assert cli.main(["train", "--config", str(path), "--out", str(tmp_path / name)]) == 2
        assert "into a folder" in capsys.readouterr().err


def test_progress_is_shown_as_that_of_other_commands(tmp_path, monkeypatch, capsys):
    from deeplab_gygo.cli import train

    def run(progress):
        progress(3, 4, math.nan)
        progress(4, 4, 0.5)

    meter = SimpleNamespace(examples_per_second=1.0, input_wait=0.0)
    trainer = SimpleNamespace(run=run, step=2, seconds=1.0, meter=meter, best=-1.0)
    monkeypatch.setattr(train, "import_keras", lambda: None)
    monkeypatch.setattr(train, "check_training", lambda *given: None)
    monkeypatch.setattr(train, "_trainer", lambda *given: trainer)
    path = tmp_path / "experiment.yaml"
    path.write_text("steps: 4\n")
    words = ["train", "--config", str(path), "--out", str(tmp_path / "out")]
    assert cli.main([*words, "--json-progress"]) == 0
    first, last = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert (first["event"], first["step"], first["steps"]) == ("train", 3, 4)
    assert "loss" not in first and last["loss"] == 0.5
    assert cli.main([*words, "-q"]) == 0 and not capsys.readouterr().err
