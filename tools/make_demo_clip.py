"""Renders the clip that `deeplab-gygo demo` segments: 25 frames with exact masks.

The clip is stored in the package; this program reproduces it:

    PYTHONPATH=tools python tools/make_demo_clip.py deeplab_gygo/cli/demo_clip
"""

from __future__ import annotations

import sys
from pathlib import Path

from product_renderer.clip import write_product_clip

FRAMES, SIZE, SEED = 25, (854, 480), 0
QUALITY = 70  # JPEG; the clip is about 1 MB


def make(folder: str | Path) -> Path:
    """Renders the clip into `frames/` and `masks/` of a folder and returns the folder."""
    return write_product_clip(folder, frames=FRAMES, size=SIZE, seed=SEED, quality=QUALITY)


if __name__ == "__main__":
    print(make(sys.argv[1]))
