"""The examples in docstrings of the package run."""

from __future__ import annotations

import doctest
from importlib import import_module
from pathlib import Path

import pytest

import deeplab_gygo

PACKAGE = Path(deeplab_gygo.__file__).parent
MODULES = [
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    for path in sorted(PACKAGE.rglob("*.py"))
    if ">>>" in path.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings(name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    result = doctest.testmod(import_module(name))
    assert result.attempted and not result.failed


@pytest.mark.parametrize("name", sorted(set(deeplab_gygo.__all__) - {"__version__"}))
def test_public_names_are_documented_with_an_example(name):
    documented = getattr(deeplab_gygo, name).__doc__ or ""
    is_error = isinstance(getattr(deeplab_gygo, name), type) and issubclass(
        getattr(deeplab_gygo, name), Exception
    )
    assert ">>>" in documented or is_error or name == "Prediction"
