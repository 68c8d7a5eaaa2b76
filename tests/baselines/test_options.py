"""Command-line options of every method: `--method`, its presets and its online options."""

import json
import re

import numpy as np
import pytest

from deeplab_gygo.baselines.classical import GrabCutOnline
from deeplab_gygo.baselines.osmn.config import OsmnModel, OsmnOnline
from deeplab_gygo.baselines.osvos.config import OsvosModel
from deeplab_gygo.cli import main as cli
from deeplab_gygo.cli.options import run_settings
from deeplab_gygo.errors import UsageError
from deeplab_gygo.inference.config import UNLIMITED_STEPS, default_preset, preset
from deeplab_gygo.io.config_file import to_plain
from deeplab_gygo.methods import METHODS, find_method

SEGMENT = ["segment", "clip", "--mask", "first.png", "--out", "out"]


@pytest.fixture(scope="module")
def headers(tmp_path_factory):
    """Weight files of OSMN and OSVOS without arrays, by method and trunk."""
    folder, files = tmp_path_factory.mktemp("weights"), {}
    for trunk in ("vgg16", "efficientnet_lite0"):
        for method, model in (("osmn", OsmnModel(trunk)), ("osvos", OsvosModel(trunk))):
            head = {"format": "deeplab_gygo.parent.1", "model": to_plain(model)}
            head["card"] = {"method": method, "trunk": f"{trunk}, random"}
            path = folder / f"{method}-{trunk}.npz"
            np.savez(path, __card__=np.frombuffer(json.dumps(head).encode(), np.uint8))
            files[method, trunk] = str(path)
    return files


@pytest.fixture
def settings_of(headers, parent_header):
    """Function that returns the settings of a method from words of the command line."""

    def settings_of(method, *words, trunk="efficientnet_lite0"):
        words = [*SEGMENT, "--method", method, *words]
        if method in ("osmn", "osvos"):
            words += ["--weights", headers[method, trunk]]
        elif method == "deeplab":
            words += ["--weights", str(parent_header)]
        return run_settings(cli._parse(words)[1])

    return settings_of


@pytest.mark.parametrize("method", METHODS)
def test_every_method_starts_from_its_default_preset(settings_of, method):
    settings = settings_of(method)
    assert settings.method == method
    name = default_preset(method, "efficientnet_lite0")
    assert settings.online == preset(name, method)
    assert type(settings.online) is find_method(method).resolve("options")
    assert settings.preset == name


@pytest.mark.parametrize("method", ["osmn", "osvos"])
def test_the_trunk_of_the_weights_chooses_the_preset(settings_of, method):
    original = settings_of(method, trunk="vgg16")
    options = find_method(method).resolve("options")
    assert (original.online, original.preset) == (options(), "original")
    light = settings_of(method)
    assert light.preset == "light" and light.online != original.online
    asked = settings_of(method, "--preset", "light", trunk="vgg16")
    assert asked.online == light.online


def test_options_of_every_method_can_be_set(settings_of):
    osmn = settings_of("osmn", "--mode", "fine-tune", "--steps", "7", "--adapt", "decoder")
    assert (osmn.online.mode, osmn.online.steps, osmn.online.adapt) == ("fine-tune", 7, "decoder")
    osvos = settings_of("osvos", "--online.momentum", "0.5", "--online.scales", "[0.5, 1]")
    assert osvos.online.momentum == 0.5 and tuple(osvos.online.scales) == (0.5, 1.0)
    flow = settings_of("flow", "--online.flow_preset", "ultrafast")
    assert flow.online.flow_preset == "ultrafast"
    grabcut = settings_of("grabcut", "--online.search_radius", "7")
    assert grabcut.online == GrabCutOnline(search_radius=7.0)


def test_a_configuration_file_is_read(settings_of, tmp_path):
    path = tmp_path / "online.yaml"
    path.write_text("steps: 5\nmomentum: 0.8\n")
    online = settings_of("osvos", "--config", str(path), "--steps", "6").online
    assert (online.steps, online.momentum) == (6, 0.8)
    with pytest.raises(UsageError, match=r"known keys.*momentum.*online\.yaml"):
        settings_of("osmn", "--config", str(path))


def test_a_time_limit_lifts_the_limit_of_steps(settings_of):
    assert settings_of("osmn", "--seconds", "2").online.steps == UNLIMITED_STEPS
    assert settings_of("osvos", "--seconds", "2", "--steps", "7").online.steps == 7


@pytest.mark.parametrize(
    ("method", "words", "met"),
    [
        ("copy", ["--steps", "3"], "steps"),
        ("osmn", ["--online.momentum", "0.5"], "--online.momentum"),
        ("osvos", ["--adapt", "full"], "adapt"),
        ("osmn", ["--adapt", "full"], "adapt"),
        ("deeplab", ["--online.momentum", "0.5"], "--online.momentum"),
        ("flow", ["--preset", "fast"], "--preset"),
        ("flow", ["--online.preset", "fast"], "Write --online.flow_preset"),
        ("osmn", ["--preset", "best"], "original, light; met: best"),
        ("deeplab", ["--preset", "light"], "fast, balanced, best; met: light"),
        ("osmn", ["--mode", "zero-shot"], "mode.*zero-shot"),
        ("osvos", ["--mode", "one-shot"], "mode.*one-shot"),
        ("copy", ["--mode", "fine-tune"], "mode.*fine-tune"),
        ("grabcut", ["--online.iterations", "0"], "iterations"),
    ],
)
def test_options_of_other_methods_are_refused(headers, parent_header, capsys, method, words, met):
    weights = {"deeplab": parent_header, "osmn": headers["osmn", "vgg16"]}.get(method)
    weights = headers["osvos", "vgg16"] if method == "osvos" else weights
    words = [*SEGMENT, "--method", method, *words]
    words += ["--weights", str(weights)] if weights else []
    assert cli.main(words) == 2

    assert re.search(met, capsys.readouterr().err)


def test_an_unknown_method_is_refused_with_the_known_ones(capsys):
    assert cli.main([*SEGMENT, "--method", "yolo"]) == 2
    message = capsys.readouterr().err
    assert "yolo" in message and all(method in message for method in METHODS)


def test_the_help_of_a_method_shows_its_options(capsys):
    with pytest.raises(SystemExit):
        cli.main(["segment", "--method", "osmn", "--help"])
    printed = " ".join(capsys.readouterr().out.split())
    assert "{deeplab,osmn,osvos,copy,flow,grabcut}" in printed
    for name in ("learning_rate", "adapt", "num_views"):
        assert f"--online.{name}" in printed
    assert f"Learning rate, constant [{OsmnOnline().learning_rate}]" in printed


def test_only_models_of_deeplab_are_exported(headers, capsys, tmp_path):
    words = ["export", "--out", str(tmp_path / "o"), "--method", "osvos", "-q"]
    words += ["--weights", headers["osvos", "vgg16"]]
    assert cli.main(words) == 2
    assert "osvos" in capsys.readouterr().err
