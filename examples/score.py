"""Measures J and F of a folder of masks, or of folders of masks, against annotations.

python examples/score.py MASKS ANNOTATIONS
"""

import sys

import deeplab_gygo as dg

masks, annotations = sys.argv[1:]
scores = dg.evaluate(masks, annotations)
for sequence in scores.sequences:
    for row in sequence.objects():
        print(f"{sequence.name}: J {row.region.mean:.3f}  F {row.contour.mean:.3f}")
