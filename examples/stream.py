"""Segments frames as they arrive, as from a camera, and writes them without their background.

python examples/stream.py [FRAMES MASK [OUT]]      # without arguments: the demo clip

`one-shot` needs one to two seconds before the first result; with `fine-tune` the camera waits for
the fine-tuning.
"""

import sys
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

import deeplab_gygo as dg
from deeplab_gygo.cli.demo import demo_clip

frames, mask, *rest = sys.argv[1:] or [demo_clip() / "frames", demo_clip() / "masks" / "00000.png"]
out = Path(rest[0] if rest else "cutouts")
out.mkdir(parents=True, exist_ok=True)
pending: deque[np.ndarray] = deque()  # Frames whose prediction is still to come.


def camera() -> Iterator[np.ndarray]:
    """Yields frames, uint8 [H, W, 3] RGB; here from files, one at a time."""
    for file in sorted(Path(frames).iterdir()):
        pending.append(cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB))
        yield pending[-1]


for prediction in dg.load().segment(camera(), mask, mode="one-shot"):
    alpha = (255 * prediction.probability).astype(np.uint8)
    cutout = np.dstack([pending.popleft(), alpha])
    cv2.imwrite(str(out / f"{prediction.name}.png"), cv2.cvtColor(cutout, cv2.COLOR_RGBA2BGRA))
    print(f"{prediction.name}: {1000 * prediction.seconds:.0f} ms")
