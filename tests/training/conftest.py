"""A thin backbone under every network that a test of training builds by itself."""

import pytest


@pytest.fixture
def on_small_backbone(small_backbone, monkeypatch):
    """Puts the thin backbone in the place of the real ones."""
    monkeypatch.setattr(
        "deeplab_gygo.models.deeplab.build_backbone", small_backbone.build_small_backbone
    )
