"""A training of a few numbers, whose every array is a function of the steps alone."""

import csv
import json

import keras
import numpy as np

from deeplab_gygo.models.config import ModelConfig
from deeplab_gygo.synthesis.config import SourceConfig
from deeplab_gygo.training.config import TrainConfig
from deeplab_gygo.training.trainer import Trainer

FILES = {"checkpoint.npz", "config.json", "last.npz", "log.csv", "parent.npz"}


class TinyNetwork:
    """Two layers, one of which has a random state."""

    def __init__(self):
        keras.utils.set_random_seed(3)
        image = keras.Input((2,), name="image")
        features = keras.layers.Dense(3, name="dense")(image)
        self.config = ModelConfig()
        self.parts = [keras.Model(image, keras.layers.Dropout(0.5)(features), name="head")]


class TinyStep:
    """A step with momentum, on NumPy arrays."""

    def __init__(self, network):
        self.variables = network.parts[0].trainable_variables
        self.seeds = [v for v in network.parts[0].variables if "seed" in v.path]
        self.momentum = [np.zeros(v.shape, np.float32) for v in self.variables]

    def __call__(self, inputs, targets, factor):
        for index, variable in enumerate(self.variables):
            self.momentum[index] = 0.9 * self.momentum[index] + inputs["x"] * factor
            variable.assign(variable.numpy() - 0.1 * self.momentum[index])
        for seed in self.seeds:
            seed.assign(seed.numpy() + 1)
        return np.float32(np.abs(self.variables[0].numpy()).sum())

    def prepare(self, inputs, targets):
        return {}

    def state(self):
        return {str(index): np.array(array) for index, array in enumerate(self.momentum)}

    def set_state(self, state):
        self.momentum = [np.array(state[str(index)]) for index in range(len(self.momentum))]


class TinyValidation:
    """Scores that rise and fall with the weights."""

    def __init__(self, network):
        self.variables = network.parts[0].trainable_variables

    def run(self):
        scores = {}
        for name, variable in zip(("first", "second"), self.variables, strict=True):
            scores[f"set/{name}"] = float(np.sin(9 * variable.numpy().sum()) ** 2)
        return scores


class TinyTrainer(Trainer):
    """Trains it."""

    def __init__(self, config, folder, validation=TinyValidation):
        network = TinyNetwork()
        folder.mkdir(exist_ok=True)
        super().__init__(
            config, folder, parent=network, step=TinyStep(network),
            validation=validation(network), learning_rate=1.0
        )  # fmt: skip

    def batches(self):
        for step in range(self.step, self.config.steps):
            yield {"x": np.float32(1 + np.sin(step))}, np.zeros(2, np.float32)


def tiny_config(**changes) -> TrainConfig:
    values = dict(
        sources=[SourceConfig(kind="stills")], steps=8, warmup=2, ema_momentum=0.9,
        validate_every=3, checkpoint_every=2, log_every=2,
    )  # fmt: skip
    return TrainConfig(**{**values, **changes})


def content(folder) -> dict:
    """Everything that the files of a training state; arrays as bytes."""
    found = {"names": {path.name for path in folder.iterdir()}}
    for name in ("checkpoint.npz", "last.npz", "parent.npz"):
        with np.load(folder / name) as arrays:
            found[name] = {key: (arrays[key].dtype, arrays[key].tobytes()) for key in arrays.files}
    with open(folder / "log.csv", newline="") as stream:
        found["log.csv"] = list(csv.reader(stream))
    found["config.json"] = json.loads((folder / "config.json").read_text())
    return found
