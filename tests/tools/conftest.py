"""Tools as modules: they are scripts, which import each other by their own names."""

import importlib
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[2] / "tools"


@pytest.fixture
def tool(monkeypatch):
    """Function that imports a script of `tools` by its name."""
    monkeypatch.syspath_prepend(str(TOOLS))
    return importlib.import_module
