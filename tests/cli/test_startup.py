"""The quick start of the command line."""

import json
import subprocess
import sys

import pytest

from deeplab_gygo.cli import startup

_CHECK = """
import sys
from deeplab_gygo.startup import import_keras
import_keras()
assert "keras" in sys.modules and "matplotlib" not in sys.modules
import matplotlib.pyplot
assert matplotlib.pyplot.figure is not None
"""


@pytest.mark.slow
def test_matplotlib_is_left_out_and_can_be_imported_later():
    done = subprocess.run([sys.executable, "-c", _CHECK], capture_output=True, text=True)
    assert not done.returncode, done.stderr


def test_packages_are_hidden_only_for_a_while(monkeypatch):
    monkeypatch.setitem(sys.modules, "wave", sys.modules.get("wave", sys))
    loaded = sys.modules["wave"]
    with startup._hidden(("wave", "colorsys_not_there")):
        assert sys.modules["wave"] is loaded
        with pytest.raises(ImportError):
            import colorsys_not_there  # noqa: F401
    assert "colorsys_not_there" not in sys.modules


def test_the_backend_is_the_environments_or_that_of_the_settings(monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    assert startup._chosen_backend() == "tensorflow"
    (tmp_path / "keras.json").write_text(json.dumps({"backend": "jax"}))
    assert startup._chosen_backend() == "jax"
    (tmp_path / "keras.json").write_text("{")
    assert startup._chosen_backend() == "tensorflow"
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    assert startup._chosen_backend() == "jax"


_QUICK = """
import tensorflow as tf
from deeplab_gygo import backend
backend.compile_quickly()
options = tf.config.optimizer.get_experimental_options()
assert options["disable_meta_optimizer"], options
"""


@pytest.mark.slow
def test_graphs_are_not_optimized_on_a_cpu():
    done = subprocess.run([sys.executable, "-c", _QUICK], capture_output=True, text=True)
    assert not done.returncode, done.stderr
