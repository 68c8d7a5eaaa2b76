"""Fixtures that several test modules share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
REPOSITORY = Path(__file__).resolve().parents[1]


def _material(variable: str, folder: str) -> Path:
    place = Path(os.environ.get(variable, REPOSITORY.parent / "shared" / folder))
    if not place.is_dir():
        pytest.skip(f"material for measuring is not at hand: set {variable} to its folder")
    return place


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with DAVIS-2016 and the other measuring material; skips where it is absent."""
    return _material("DEEPLAB_GYGO_DATA", "data")


@pytest.fixture(scope="session")
def golden() -> Path:
    """Folder with values of the official evaluation; skips where it is absent."""
    return _material("DEEPLAB_GYGO_GOLDEN", "golden")
