"""Run by test_backend.py in a process of its own: one backend, one small head, fixed numbers.

Prints a JSON object; both backends must print the same numbers.
"""

import json

import keras
import numpy as np

from deeplab_gygo import backend
from deeplab_gygo.config import ModelConfig
from deeplab_gygo.models.deeplab import build_head
from deeplab_gygo.training.losses import segmentation_loss

rng = np.random.default_rng(0)
head = build_head(ModelConfig(aspp_channels=8, low_level_channels=4, decoder_channels=8), 6, 10)
for variable in head.variables:
    if "seed_generator" not in variable.path and "variance" not in variable.path:
        variable.assign(rng.normal(0, 0.2, variable.shape).astype(np.float32))

inputs = {
    "low": rng.normal(size=(2, 16, 20, 6)).astype(np.float32),
    "high": rng.normal(size=(2, 4, 5, 10)).astype(np.float32),
    "guide": rng.uniform(-1, 1, (2, 16, 20, 1)).astype(np.float32),
}
targets = rng.integers(0, 2, (2, 64, 80, 1)).astype(np.uint8)
call = backend.compiled(head)
before = backend.to_numpy(call(inputs))
weights = [v for v in head.trainable_variables if "norm" not in v.path]
optimizer = keras.optimizers.Adam(1e-2)
step = backend.GradientStep(
    head, segmentation_loss(), [(optimizer, weights)], clip=1.0, training=False
)
losses = [step(inputs, targets) for _ in range(5)]
after = backend.to_numpy(call(inputs))  # the same compiled call sees the new weights
resized = backend.to_numpy(backend.resize(keras.ops.convert_to_tensor(before), 37, 41))
report = {
    "backend": backend.name(),
    "before": before[0, ::5, ::5, 0].tolist(),
    "after": after[0, ::5, ::5, 0].tolist(),
    "losses": losses,
    "resized": resized[0, ::9, ::9, 0].tolist(),
}
print(json.dumps(report))
