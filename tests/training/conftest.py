"""Fixtures of the training tests."""

import importlib
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tiny():
    """The module `tiny_training`: a training of a few numbers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parent))
        return importlib.import_module("tiny_training")


@pytest.fixture
def on_small_backbone(small_backbone, monkeypatch):
    """Replaces the backbones by a thin one."""
    monkeypatch.setattr(
        "deeplab_gygo.models.deeplab.build_backbone", small_backbone.build_small_backbone
    )
