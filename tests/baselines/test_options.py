"""`--method`: from the words of the command line to the settings of a method."""

import json

import numpy as np
import pytest

from deeplab_gygo.baselines.classical import GrabCutOnline
from deeplab_gygo.baselines.osmn.config import OsmnModel, OsmnOnline
from deeplab_gygo.baselines.osvos.config import OsvosModel, OsvosOnline
from deeplab_gygo.cli import main as cli
from deeplab_gygo.cli.options import run_settings
from deeplab_gygo.errors import UsageError
from deeplab_gygo.inference.config import METHOD_PRESETS, UNLIMITED_STEPS, default_preset, preset
from deeplab_gygo.io.config_file import to_plain
from deeplab_gygo.methods import METHODS, find_method

SEGMENT = ["segment", "clip", "--mask", "first.png", "--out", "out"]


@pytest.fixture(scope="module")
def headers(tmp_path_factory):
    """Files of OSMN and OSVOS as far as their headers go, by method and trunk."""
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
    """Function that gives the settings that words make of a method on a trunk."""

    def settings_of(method, *words, trunk="efficientnet_lite0"):
        words = [*SEGMENT, "--method", method, *words]
        if method in ("osmn", "osvos"):
            words += ["--weights", headers[method, trunk]]
        elif method == "deeplab":
            words += ["--weights", str(parent_header)]
        return run_settings(cli._parse(words)[1])

    return settings_of


@pytest.mark.parametrize("method", METHODS)
def test_every_system_starts_from_its_own_numbers(settings_of, method):
    settings = settings_of(method)
    assert settings.method == method
    name = default_preset(method, "efficientnet_lite0")
    assert settings.online == preset(name, method)
    assert type(settings.online) is find_method(method).resolve("options")
    assert settings.preset == name


@pytest.mark.parametrize("method", ["osmn", "osvos"])
def test_the_trunk_of_the_weights_chooses_the_numbers(settings_of, method):
    original = settings_of(method, trunk="vgg16")
    assert (original.online, original.preset) == (
        find_method(method).resolve("options")(),
        "original",
    )
    light = settings_of(method)
    assert light.preset == "light" and light.online != original.online
    asked = settings_of(method, "--preset", "light", trunk="vgg16")
    assert asked.online == light.online


def test_options_of_every_system_can_be_set(settings_of):
    osmn = settings_of("osmn", "--mode", "fine-tune", "--steps", "7", "--online.trained", "decoder")
    assert (osmn.online.mode, osmn.online.steps, osmn.online.trained) == ("fine-tune", 7, "decoder")
    osvos = settings_of("osvos", "--online.momentum", "0.5", "--online.scales", "[0.5, 1]")
    assert (osvos.online.momentum, osvos.online.scales) == (0.5, (0.5, 1.0))
    assert settings_of("flow", "--online.preset", "ultrafast").online.preset == "ultrafast"
    assert settings_of("grabcut", "--online.reach", "7").online == GrabCutOnline(reach=7.0)


def test_a_file_of_a_system_is_read(settings_of, tmp_path):
    path = tmp_path / "online.yaml"
    path.write_text("steps: 5\nmomentum: 0.8\n")
    online = settings_of("osvos", "--config", str(path), "--steps", "6").online
    assert (online.steps, online.momentum) == (6, 0.8)
    with pytest.raises(UsageError, match="OsmnOnline.*momentum"):
        settings_of("osmn", "--config", str(path))


def test_a_time_lifts_the_steps(settings_of):
    assert settings_of("osmn", "--seconds", "2").online.steps == UNLIMITED_STEPS
    assert settings_of("osvos", "--seconds", "2", "--steps", "7").online.steps == 7


@pytest.mark.parametrize(
    ("method", "words", "met"),
    [
        ("copy", ["--steps", "3"], "--online.steps"),
        ("osmn", ["--online.momentum", "0.5"], "--online.momentum"),
        ("osvos", ["--adapt", "full"], "--online.adapt"),
        ("deeplab", ["--online.trained", "all"], "--online.trained"),
        ("flow", ["--preset", "fast"], "--preset"),
        ("osmn", ["--preset", "best"], "original, light; met: best"),
        ("deeplab", ["--preset", "light"], "fast, balanced, best; met: light"),
        ("osmn", ["--mode", "zero-shot"], "one-shot, fine-tune; met: zero-shot"),
        ("osvos", ["--mode", "one-shot"], "zero-shot, fine-tune; met: one-shot"),
        ("copy", ["--mode", "fine-tune"], "one-shot; met: fine-tune"),
    ],
)
def test_what_a_system_has_not_is_refused_by_name(settings_of, method, words, met):
    with pytest.raises(UsageError, match=met):
        settings_of(method, *words)


def test_the_command_says_which_systems_there_are(capsys):
    assert cli.main([*SEGMENT, "--method", "yolo"]) == 2
    message = capsys.readouterr().err
    assert "yolo" in message and all(method in message for method in METHODS)


def test_help_shows_the_defaults_of_every_system(capsys):
    with pytest.raises(SystemExit):
        cli.main(["segment", "--help"])
    printed = " ".join(capsys.readouterr().out.split())
    assert "{deeplab,osmn,osvos,copy,flow,grabcut}" in printed
    assert f"[0.002; osmn: {OsmnOnline().rate}; osvos: {OsvosOnline().rate}]" in printed
    assert "Pixels around the last mask" in printed


def test_models_for_serving_are_of_deeplab(headers, capsys, tmp_path):
    words = ["export", "--out", str(tmp_path / "o"), "--method", "osvos", "-q"]
    words += ["--weights", headers["osvos", "vgg16"]]
    assert cli.main(words) == 2
    assert "serving" in capsys.readouterr().err


@pytest.mark.parametrize("method", ["osmn", "osvos"])
def test_presets_name_what_differs_from_the_defaults(method):
    defaults = to_plain(find_method(method).resolve("options")())
    for name, values in METHOD_PRESETS[method].items():
        plain = to_plain(preset(name, method))
        assert {key: plain[key] for key in plain if plain[key] != defaults[key]} == values
