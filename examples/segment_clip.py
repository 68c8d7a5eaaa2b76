"""Segments a clip from the mask of its first frame and prints a line per frame.

python examples/segment_clip.py [CLIP MASK]      # without arguments: the demo clip
"""

import sys

import deeplab_gygo as dg
from deeplab_gygo.cli.demo import demo_clip

clip, mask = sys.argv[1:] or (demo_clip() / "frames", demo_clip() / "masks" / "00000.png")

model = dg.load()
for prediction in model.segment(clip, mask, preset="fast"):
    area = (prediction.mask > 0).mean()
    print(f"{prediction.name}  object {area:6.1%}  confidence {prediction.confidence:.2f}")
