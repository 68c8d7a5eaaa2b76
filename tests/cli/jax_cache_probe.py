"""Run by test_warm_up.py in a process of its own, on JAX: a clip with the programs of the cache.

Prints how many programs were asked for and how many of them were in the cache, as a JSON object.
"""

import collections
import json
import sys

import jax
import numpy as np

events: collections.Counter = collections.Counter()
jax.monitoring.register_event_listener(lambda event, **_: events.update([event.split("/")[-1]]))

from deeplab_gygo.runs.api import segment  # noqa: E402 - the cache is counted from the import on

frames = list(np.random.default_rng(0).integers(0, 256, (6, 48, 64, 3)).astype(np.uint8))
mask = np.zeros((48, 64), np.uint8)
mask[4:44, 4:52] = 1
segment(frames, mask, out=sys.argv[1], preset="fast", mode="one-shot", outputs=["masks"])
names = {"asked": "compile_requests_use_cache", "found": "cache_hits"}
print(json.dumps({key: events[name] for key, name in names.items()}))
