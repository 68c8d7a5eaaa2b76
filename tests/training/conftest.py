"""Fixtures of the training tests."""

import pytest


@pytest.fixture
def on_small_backbone(small_backbone, monkeypatch):
    """Replaces the backbones by a thin one."""
    monkeypatch.setattr(
        "deeplab_gygo.models.deeplab.build_backbone", small_backbone.build_small_backbone
    )
