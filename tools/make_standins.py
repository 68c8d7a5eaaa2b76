"""Makes stand-in clips by which online options are chosen, in the layout of DAVIS-2016.

    python tools/make_standins.py table --out OUT --count 16
    python tools/make_standins.py like --out OUT --count 14 --data DATA

`table` renders several similar products on one table; `like` composes like objects that occlude one
another; `passing` an object that another one passes; `weak` objects that are in part hard to tell
from the background, `small` objects of 9 to 22 pixels. The split has the name of the kind. Settings
are chosen on seeds that nothing was trained on; table scenes of another seed are material for
training too (experiments/parent_gpu.yaml).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
from standins.dataset import write_dataset
from standins.like import like_clip
from standins.passing import passing_clip
from standins.sources import composed_clips
from standins.table import table_clips
from standins.weak import small_clip, weak_clip

KINDS = ("table", "like", "passing", "weak", "small")
_MIN_FRAMES = 9  # Fewer leave no room for a target that leaves and returns.


def main() -> None:
    """Runs the tool."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--count", type=int, default=16, help="number of clips [16]")
    parser.add_argument("--frames", type=int, default=12, help="frames of a clip [12]")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, help="folder with ecssd/ and backgrounds/")
    options = parser.parse_args()
    if options.frames < _MIN_FRAMES or options.count < 1:
        parser.error(f"at least one clip of {_MIN_FRAMES} frames")
    if options.kind != "table" and options.data is None:
        parser.error(f"{options.kind} needs --data")
    cv2.setNumThreads(1)
    if options.kind == "table":
        clips = table_clips(options.count, options.frames, options.seed)
    else:
        make = {
            "like": like_clip,
            "passing": passing_clip,
            "weak": weak_clip,
            "small": small_clip,
        }[options.kind]
        clips = composed_clips(make, options.data, options.count, options.frames, options.seed)
    write_dataset(options.out, options.kind, clips)


if __name__ == "__main__":
    main()
