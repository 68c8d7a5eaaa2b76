"""Segments every clip of a folder with one loaded model: NAME.mp4 (or NAME/) with NAME.png.

python examples/batch_folder.py CLIPS [OUT]

The command `deeplab-gygo batch` does the same from a list, skips finished clips, and goes on after
a clip that fails.
"""

import sys
from pathlib import Path

import deeplab_gygo as dg
from deeplab_gygo.io.palette import write_mask

clips = Path(sys.argv[1])
out = Path(sys.argv[2] if len(sys.argv) > 2 else "masks")

model = dg.load()
for mask in sorted(clips.glob("*.png")):
    video = mask.with_suffix(".mp4")
    source = video if video.is_file() else mask.with_suffix("")
    confidence = []
    for prediction in model.segment(source, mask):
        write_mask(out / mask.stem / f"{prediction.name}.png", prediction.mask)
        confidence.append(prediction.confidence)
    print(f"{mask.stem}: {len(confidence)} masks, lowest confidence {min(confidence):.2f}")
