"""Run by test_compilation.py in a process of its own, on JAX: two clips of one size.

Prints how many programs each of them had compiled, and what came out, as a JSON object.
"""

import json
import sys
from pathlib import Path

import jax
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from small_backbone import build_small_parent

from deeplab_gygo import backend
from deeplab_gygo.inference.config import OnlineConfig
from deeplab_gygo.inference.segmenter import DeepLabSegmenter
from deeplab_gygo.io.sequence import Frame

SIZE = (48, 64)
compiled = []
jax.monitoring.register_event_duration_secs_listener(
    lambda event, *_, **__: compiled.append(event) if "backend_compile" in event else None
)


def frames(count: int, seed: int) -> list[Frame]:
    rng = np.random.default_rng(seed)
    images = [rng.integers(0, 256, (*SIZE, 3)).astype(np.uint8) for _ in range(count)]
    return [Frame(i, f"{i:05d}", decode=lambda image=im: image) for i, im in enumerate(images)]


def segment(segmenter, clip: list[Frame]) -> dict:
    """Segments a clip in windows, as `run` does."""
    before = len(compiled)
    mask = np.zeros(SIZE, np.uint8)
    mask[8:32, 16:48] = 1
    done = segmenter.begin(clip[0], mask)
    rest, masks = clip[1:], []
    while rest:
        masks += segmenter._predict(rest[:4])
        rest = rest[4:]
    return {
        "programs": len(compiled) - before,
        "steps": done.steps,
        "masks": len(masks),
        "finite": bool(all(np.isfinite(p.probability).all() for p in masks)),
    }


parent = build_small_parent(0)
OnlineConfig.MEMORY_INTERVAL = 2
segmenter = DeepLabSegmenter(parent, OnlineConfig(steps=4, num_views=3, memory_frames=2))
segmenter._tuner._single_graph = True
clips = [frames(count, seed) for seed, count in enumerate((13, 11, 12))]
print(json.dumps({"backend": backend.name(), "clips": [segment(segmenter, c) for c in clips]}))
