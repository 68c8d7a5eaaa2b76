"""Exports the parent as a SavedModel and propagates a mask with TensorFlow alone.

python examples/export_and_run.py [OUT]
"""

import sys
from pathlib import Path

import cv2
import numpy as np
import tensorflow as tf

from deeplab_gygo.cli.demo import demo_clip
from deeplab_gygo.cli.main import main

out = Path(sys.argv[1] if len(sys.argv) > 1 else "saved_model")
status = main(["export", "--format", "saved_model", "--out", str(out)])
if status:
    sys.exit(status)

# From here on nothing of deeplab_gygo is needed; it may be another program or another machine.
guided = tf.saved_model.load(str(out)).signatures["guided"]
mask = cv2.imread(str(demo_clip() / "masks" / "00000.png"), cv2.IMREAD_GRAYSCALE)
previous = tf.constant((mask > 0)[None].astype(np.float32))
for file in sorted((demo_clip() / "frames").iterdir())[1:4]:
    frame = cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB)
    result = guided(frames=tf.constant(frame[None]), previous=previous)
    previous = result["probability"]
    print(
        f"{file.name}: object {float(tf.reduce_mean(tf.cast(result['mask'] > 0, 'float32'))):.1%}"
    )
