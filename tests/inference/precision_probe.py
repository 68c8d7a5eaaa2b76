"""Run by test_precision.py in a process of its own: three rendered clips in one precision.

The arguments are the precision and a folder with the clips. Prints J of every clip as JSON.
"""

import json
import sys
from pathlib import Path

import numpy as np

from deeplab_gygo.evaluation.measures import jaccard
from deeplab_gygo.inference.config import preset
from deeplab_gygo.io.masks import read_mask
from deeplab_gygo.runs.clip import open_clip
from deeplab_gygo.runs.runner import SequenceRunner
from deeplab_gygo.runs.settings import RunSettings

precision, folder = sys.argv[1], Path(sys.argv[2])
online = preset("fast")
settings = RunSettings(online, precision=precision, outputs=("masks",), progress=False)
runner = SequenceRunner(settings)
scores = {}
for clip in sorted(folder.glob("clip*")):
    truth = sorted((clip / "masks").glob("*.png"))
    out = folder / f"{precision}-{clip.sequence.name}"
    runner.run(open_clip(clip / "frames", truth[0]), out, keep_bars=False)
    values = [
        jaccard(read_mask(out / "masks" / path.name) > 0, read_mask(path) > 0) for path in truth[1:]
    ]
    scores[clip.sequence.name] = float(np.mean(values))
print(json.dumps({"precision": runner.precision, "J": scores}))
