"""Run by test_backend.py in a process of its own: one backend, small networks, fixed numbers.

Prints a JSON object; both backends must print the same numbers.
"""

import json
from functools import partial

import keras
import numpy as np
from keras import layers

from deeplab_gygo import backend
from deeplab_gygo.models.config import ModelConfig
from deeplab_gygo.models.head import build_head
from deeplab_gygo.models.losses import segmentation_loss
from deeplab_gygo.models.memory import DepthToSpace, build_reader, readout_channels, remember
from deeplab_gygo.models.refinement import build_refiner
from deeplab_gygo.models.weight_file import reset_dropout
from deeplab_gygo.training.network import build_training_network, clip_loss

rng = np.random.default_rng(0)


def fill(variables) -> None:
    """Sets variables to numbers that do not depend on the backend."""
    for variable in variables:
        if "seed_generator" not in variable.path and "variance" not in variable.path:
            variable.assign(rng.normal(0, 0.2, variable.shape).astype(np.float32))


def thin_head() -> keras.Model:
    """Builds a head whose weights do not depend on the backend either."""
    config = ModelConfig(aspp_channels=8, low_level_channels=4, decoder_channels=8)
    head = backend.without_values(partial(build_head, config, 6, 10))
    reset_dropout([head])
    ones = [v for v in head.variables if "variance" in v.path]
    backend.set_values(ones, [np.ones(v.shape, np.float32) for v in ones])
    fill(head.variables)
    return head


def head_report() -> dict:
    """A head alone: forward passes, steps of fine-tuning, resizing at run time."""
    head = thin_head()
    inputs = {
        "low": rng.normal(size=(2, 16, 20, 6)).astype(np.float32),
        "high": rng.normal(size=(2, 4, 5, 10)).astype(np.float32),
        "guide": rng.uniform(-1, 1, (2, 16, 20, 2)).astype(np.float32),
        "readout": rng.uniform(-1, 1, (2, 4, 5, readout_channels(4))).astype(np.float32),
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


def sweep_report() -> dict:
    """Steps one by one, and the same steps as one program."""
    head = thin_head()
    inputs = {
        "low": rng.normal(size=(3, 16, 20, 6)).astype(np.float32),
        "high": rng.normal(size=(3, 4, 5, 10)).astype(np.float32),
        "guide": rng.uniform(-1, 1, (3, 16, 20, 2)).astype(np.float32),
        "readout": rng.uniform(-1, 1, (3, 4, 5, readout_channels(4))).astype(np.float32),
    }
    targets = rng.integers(0, 2, (3, 64, 80, 1)).astype(np.uint8)
    kernels = [v for v in head.trainable_variables if v.name == "kernel"]
    others = [v for v in head.trainable_variables if v.name != "kernel"]
    groups = [(keras.optimizers.Adam(), kernels), (keras.optimizers.Adam(), others)]
    step = backend.GradientStep(head, segmentation_loss(), groups, training=False)
    state = step.variables + [v for optimizer, _ in groups for v in optimizer.variables]
    start = [np.array(backend.to_numpy(v.value)) for v in state]
    picks = [(0, 2), (1, 2), (2, 0)]
    rates = [(1e-2, 1e-3), (5e-3, 1e-3), (2e-3, 5e-4)]
    single = []
    for pick, rate in zip(picks, rates, strict=True):
        for (optimizer, _), value in zip(groups, rate, strict=True):
            optimizer.learning_rate = value
        batch = {name: array[list(pick)] for name, array in inputs.items()}
        single.append(step(batch, targets[list(pick)]))
    after = [np.array(backend.to_numpy(v.value)) for v in state]
    for variable, value in zip(state, start, strict=True):
        variable.assign(value)
    stacks = [(inputs, targets), (inputs, targets)]
    swept = backend.to_numpy(step.sweep(stacks, picks, rates)).tolist()
    gaps = [np.abs(backend.to_numpy(v.value) - a).max() for v, a in zip(state, after, strict=True)]
    return {"single": single, "swept": swept, "gap": float(max(gaps))}


class ThinParent:
    """As much of a parent as a memory and a refinement need around them."""

    config = ModelConfig(guide=False, key_channels=5, refine_channels=8, refine_guides=3)

    def __init__(self):
        image = keras.Input((None, None, 3))
        fine = layers.Conv2D(4, 3, 2, padding="same")(image / 255.0)
        low = layers.Conv2D(6, 3, 2, padding="same")(fine)
        high = layers.Conv2D(8, 3, 4, padding="same")(low)
        features = {"fine": fine, "low": low, "high": high, "key": layers.Conv2D(5, 1)(high)}
        self.encoder = keras.Model(image, features)
        readout = keras.Input((None, None, readout_channels(self.config.block_size)))
        low = keras.Input((None, None, 6))
        coarse = layers.Conv2D(1, 3, padding="same")(
            layers.Concatenate()([DepthToSpace(self.config.block_size)(readout), low])
        )
        self.head = keras.Model({"low": low, "readout": readout}, coarse)
        self.refiner = build_refiner(self.config, 6, 4)

    def head_features(self, features):
        return {"low": features["low"]}

    def refine(self, features, logits):
        return self.refiner({"logits": logits, "low": features["low"], "fine": features["fine"]})


def clip_report() -> dict:
    """A clip of two frames: memory read-out, refined logits, training steps."""
    parent = ThinParent()
    network = build_training_network(parent)
    fill(network.trainable_variables)
    images = rng.integers(0, 256, (2, 32, 48, 3)).astype(np.uint8)
    coded = rng.choice([-1.0, 1.0], (2, 8, 12, 1)).astype(np.float32)
    switch = np.ones((2, 1, 1, 1), np.float32)
    inputs = {
        "image": images, "guide": -coded, "reference": coded, "truth": coded,
        "has_score": switch, "rollout": switch,
    }  # fmt: skip
    refined = backend.to_numpy(backend.compiled(network)(inputs))["refined"]
    keys = backend.to_numpy(backend.compiled(parent.encoder)(images))["key"]
    memory = remember(keys[1:], coded[1], parent.config.block_size)
    read = backend.compiled(build_reader(5, parent.config.block_size))
    readout = read({"query": keys[:1], "keys": memory[0], "values": memory[1]})
    groups = [(keras.optimizers.Adam(1e-2), network.trainable_variables)]
    step = backend.GradientStep(network, clip_loss(segmentation_loss(), 0.5), groups, clip=1.0)
    targets = (coded > 0).repeat(4, axis=1).repeat(4, axis=2).astype(np.uint8)
    return {
        "readout": backend.to_numpy(readout)[0].tolist(),
        "refined": refined[:, ::3, ::5, 0].tolist(),
        "clip_losses": [step(inputs, targets) for _ in range(5)],
    }


parts = {**head_report(), **clip_report()}
print(json.dumps({"backend": backend.name(), **parts, "sweep": sweep_report()}))
