"""Run by test_backend.py in a process of its own: one backend, small networks, fixed numbers.

Prints a JSON object; both backends must print the same numbers.
"""

import json

import keras
import numpy as np
from small_backbone import build_small_parent

from deeplab_gygo import backend
from deeplab_gygo.config import ModelConfig, TrainConfig
from deeplab_gygo.models.deeplab import build_head
from deeplab_gygo.models.memory import recall_channels, remember
from deeplab_gygo.models.weights import variables_by_name
from deeplab_gygo.online.network import OnlineNetwork
from deeplab_gygo.training.losses import segmentation_loss
from deeplab_gygo.training.optimization import ParentStep

rng = np.random.default_rng(0)


def fill(variables) -> None:
    """Sets variables to numbers that do not depend on the backend."""
    for variable in variables:
        if "seed_generator" not in variable.path and "variance" not in variable.path:
            variable.assign(rng.normal(0, 0.2, variable.shape).astype(np.float32))


def head_report() -> dict:
    """A head alone: forward passes, steps of fine-tuning, resizing at run time."""
    head = build_head(ModelConfig(aspp_channels=8, low_level_channels=4, decoder_channels=8), 6, 10)
    fill(head.variables)
    inputs = {
        "low": rng.normal(size=(2, 16, 20, 6)).astype(np.float32),
        "high": rng.normal(size=(2, 4, 5, 10)).astype(np.float32),
        "guide": rng.uniform(-1, 1, (2, 16, 20, 1)).astype(np.float32),
        "recall": rng.uniform(-1, 1, (2, 4, 5, recall_channels(4))).astype(np.float32),
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
    return {
        "before": before[0, ::5, ::5, 0].tolist(),
        "after": after[0, ::5, ::5, 0].tolist(),
        "losses": losses,
        "resized": resized[0, ::9, ::9, 0].tolist(),
    }


def parent_report() -> dict:
    """A whole network: what a memory says, refined logits, steps of training on clips."""
    parent = build_small_parent(key_channels=8, refine_channels=8, separable=False)
    named = variables_by_name(parent)
    fill(named[name] for name in sorted(named))
    network = OnlineNetwork(parent)
    images = rng.integers(0, 256, (2, 32, 48, 3)).astype(np.uint8)
    coded = rng.choice([-1.0, 1.0], (2, 8, 12, 1)).astype(np.float32)
    features = network.encode(images[:1])
    memory = remember(network.encode(images[1:])["key"], coded[1], parent.cell)
    recall = network.read(features, *memory)
    logits = network.logits(features, coded[0], recall)
    step = ParentStep(parent, TrainConfig(head_rate=1e-3, freeze_batch_norm=True))
    inputs = {"image": images, "guide": 0 * coded, "reference": coded}
    targets = (coded > 0).repeat(4, axis=1).repeat(4, axis=2).astype(np.uint8)
    losses = [float(step(inputs, targets, 1.0)) for _ in range(3)]
    return {
        "recall": backend.to_numpy(recall)[0].tolist(),
        "refined": logits[::3, ::5].tolist(),
        "clip_losses": losses,
    }


print(json.dumps({"backend": backend.name(), **head_report(), **parent_report()}))
