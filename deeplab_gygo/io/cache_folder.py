"""The folder where this package keeps what it can make again."""

from __future__ import annotations

import os
from pathlib import Path

CACHE_VARIABLE = "DEEPLAB_GYGO_CACHE"
"""Environment variable that names the folder."""


def cache_folder() -> Path:
    """Returns the folder: `DEEPLAB_GYGO_CACHE`, or `deeplab_gygo` in the user's cache folder.

    It may not exist yet. Everything in it can be deleted while no command runs.
    """
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get(CACHE_VARIABLE) or Path(base) / "deeplab_gygo").expanduser()
