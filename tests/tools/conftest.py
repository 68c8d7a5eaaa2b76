"""Tools are scripts, which import each other by name."""

import importlib
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))


@pytest.fixture
def tool():
    """Function that imports a script of `tools` by its name."""
    return importlib.import_module
