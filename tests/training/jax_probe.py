"""Training steps of a tiny encoder on JAX; run by test_data_parallel.py as a process.

Two virtual CPU devices replace two GPUs. The argument is a precision: float32 compares one device
with two, any other reports one. Prints a JSON object.
"""

import json
import sys
import warnings

import keras
import numpy as np
from keras import layers

from deeplab_gygo import backend
from deeplab_gygo.errors import UsageError
from deeplab_gygo.models import deeplab
from deeplab_gygo.models.config import ModelConfig
from deeplab_gygo.models.weight_file import assign, variables_by_name
from deeplab_gygo.training.config import TrainConfig
from deeplab_gygo.training.steps import MovingAverage, ParentStep, _shard, distribute

SIZE, BATCH = 32, 4
MODEL = ModelConfig(
    aspp_channels=8, low_level_channels=4, decoder_channels=8, key_channels=4,
    separable=False, guide=False, refine=False,
)  # fmt: skip
CONFIG = TrainConfig(model=MODEL, batch=BATCH, grad_clip_norm=1.0)


def tiny_encoder(config, weights):
    image = keras.Input((None, None, 3))
    low = layers.Conv2D(6, 3, 4, padding="same", name="low")(image / 255.0)
    high = layers.Conv2D(20, 3, 4, padding="same", name="high")(low)
    key = layers.Conv2D(config.key_channels, 1, name="memory_key")(high)
    return keras.Model(image, {"low": low, "high": high, "key": key}, name="encoder")


def batch():
    rng = np.random.default_rng(0)
    coded = (BATCH, SIZE // 4, SIZE // 4, 1)
    inputs = {
        "image": rng.integers(0, 256, (BATCH, SIZE, SIZE, 3)).astype(np.uint8),
        "guide": rng.choice([-1.0, 1.0], coded).astype(np.float32),
        "reference": rng.choice([-1.0, 1.0], coded).astype(np.float32),
        "truth": rng.choice([-1.0, 1.0], coded).astype(np.float32),
        "has_score": np.ones((BATCH, 1, 1, 1), np.float32),
        "rollout": np.ones((BATCH, 1, 1, 1), np.float32),
    }
    return inputs, rng.integers(0, 2, (BATCH, SIZE, SIZE, 1)).astype(np.uint8)


def values_of(parent):
    return {n: np.array(v.numpy()) for n, v in variables_by_name(parent).items()}


def train(start=None, steps=2):
    """Builds a parent, trains it from given weights, and reports."""
    keras.utils.set_random_seed(3)
    parent = deeplab.DeepLabV3Plus(CONFIG.model)
    if start is not None:
        assign(parent, start, "probe")
    first = values_of(parent)
    step = ParentStep(parent, CONFIG)
    trained = {n: v for n, v in variables_by_name(parent).items() if v.trainable}
    average = MovingAverage(trained, 0.9, on_device=True)
    kernel, other = list(trained.values())[:2]
    seen = np.asarray(other.value)  # shares the memory of the variable on a CPU
    kept, old = seen.copy(), kernel.value
    inputs, targets = batch()
    losses = [step(inputs, targets, 1.0) for _ in range(steps)]
    average.update(10)
    return {
        "first": first,
        "last": values_of(parent),
        "average": average.values(),
        "losses": [float(loss) for loss in losses],
        "loss_dtype": str(losses[0].dtype),
        "dtypes": sorted({str(v.dtype) for v in trained.values()}),
        "devices": len(kernel.value.sharding.device_set),
        "input_devices": len(getattr(_shard(inputs)["image"], "devices", set)()),
        "donated": old.is_deleted(),
        "numpy_view_unharmed": bool(np.array_equal(seen, kept)),
    }


def largest_difference(one, other):
    return max(float(np.abs(one[name] - other[name]).max()) for name in one)


def report_of(run):
    return {k: v for k, v in run.items() if k not in ("first", "last", "average")}


warnings.simplefilter("error", UserWarning)  # JAX warns of donated memory that it cannot use
deeplab._encoder = tiny_encoder
backend.set_precision(sys.argv[1])
alone = train()
report = {"alone": report_of(alone), "moved": largest_difference(alone["last"], alone["first"])}
if sys.argv[1] == "float32":
    report["count"] = distribute(BATCH)
    together = train(alone["first"])
    report["together"] = report_of(together)
    for name in ("last", "average"):
        report[name] = largest_difference(alone[name], together[name])
    try:
        distribute(6)
    except UsageError as error:
        report["refused"] = str(error)
print(json.dumps(report))
