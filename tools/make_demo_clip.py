"""Renders the clip that `deeplab-gygo demo` segments: 25 frames with exact masks.

The clip is stored in the package; this program reproduces it:

    python tools/make_demo_clip.py deeplab_gygo/cli/demo_clip
"""

from __future__ import annotations

import argparse
from pathlib import Path

from product_renderer.clip import write_product_clip

FRAMES, SIZE, SEED = 25, (854, 480), 0
QUALITY = 70  # JPEG; the clip is about 1 MB


def make(folder: str | Path) -> Path:
    """Renders the clip into `frames/` and `masks/` of a folder and returns the folder."""
    return write_product_clip(folder, frames=FRAMES, size=SIZE, seed=SEED, quality=QUALITY)


def main() -> None:
    """Runs the tool."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder to write")
    print(make(parser.parse_args().folder))


if __name__ == "__main__":
    main()
