"""A quick start of the command line: what Keras loads only to plot and to convert is left out.

Keras and TensorFlow import Matplotlib, pandas, SciPy and JAX wherever these are installed, for
functions that these commands do not use, and do without where they are not. That is a third of the
time that they take to load; the garbage collector, which finds nothing there, is another part.
Only a process of the command line may do this: in a process of somebody else Keras keeps all its
functions.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

OPTIONAL = ("matplotlib", "pandas", "scipy", "jax")
"""Packages that Keras on TensorFlow can do without."""


def import_keras() -> None:
    """Imports Keras and its backend without what they do not need."""
    if "keras" in sys.modules or _chosen_backend() != "tensorflow":
        return
    gc.disable()
    try:
        with _hidden(OPTIONAL):
            import_module("keras")
    finally:
        gc.freeze()  # modules stay: later collections need not look at them
        gc.enable()


def _chosen_backend() -> str:
    """Says which backend Keras is going to take: the environment's, or its own settings'."""
    if named := os.environ.get("KERAS_BACKEND"):
        return named
    home = os.environ.get("KERAS_HOME") or Path("~/.keras").expanduser()
    try:
        settings = json.loads((Path(home) / "keras.json").read_text(encoding="utf-8"))
        return settings.get("backend", "tensorflow")
    except (OSError, ValueError, AttributeError):
        return "tensorflow"


@contextmanager
def _hidden(names: tuple[str, ...]) -> Iterator[None]:
    """Makes packages look as if they were not installed; those that are loaded stay."""
    hidden = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))
    try:
        yield
    finally:
        for name in hidden:
            if sys.modules.get(name, ...) is None:
                del sys.modules[name]
