"""Run by test_compilation.py in a process of its own, on JAX: clips of like sizes, from the start.

Prints how many programs were compiled before the first clip, for its first mask and for every clip,
and what came out, as a JSON object.
"""

import json
import sys

import jax
import numpy as np

compiled = []
jax.monitoring.register_event_duration_secs_listener(
    lambda event, *_, **__: compiled.append(event) if "backend_compile" in event else None
)

import deeplab_gygo  # noqa: E402 - programs are counted from the import on
from deeplab_gygo import backend  # noqa: E402
from deeplab_gygo.inference.config import OnlineConfig  # noqa: E402


def frames(count: int, size: tuple[int, int]) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, *size, 3)).astype(np.uint8)


def segment(model, clip: np.ndarray, options: dict) -> dict:
    before, first, masks = len(compiled), None, []
    mask = None
    if options["mode"] != "zero-shot":
        mask = np.zeros(clip.shape[1:3], np.uint8)
        mask[8:40, 8:48] = 1
    for prediction in model.segment(clip, mask, **options):
        masks.append(prediction)
        # The first mask of a clip that has one is given.
        if first is None and len(masks) == 1 + (mask is not None):
            first = len(compiled)
    return {
        "first_mask": first,
        "programs": len(compiled) - before,
        "masks": len(masks),
        "finite": bool(all(np.isfinite(p.probability).all() for p in masks)),
        "probability": masks[-1].probability.astype(float).mean(),
    }


options = json.loads(sys.argv[1])
OnlineConfig.MEMORY_INTERVAL = 2
model = deeplab_gygo.load(precision="float32")
report = {"backend": backend.name(), "loading": len(compiled)}
# One pixel less than the first clip: of like size. Windows of other lengths at the end.
clips = [frames(8, (48, 64)), frames(6, (47, 63))]
report["clips"] = [segment(model, clip, options) for clip in clips]
model._segmenter._network.fused = False
report["apart"] = segment(model, clips[1], options)["probability"]
print(json.dumps(report))
