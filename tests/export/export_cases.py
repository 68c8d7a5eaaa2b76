"""Networks and pictures on which exports are tested, and what the package makes of them."""

from __future__ import annotations

import cv2
import keras
import numpy as np

from deeplab_gygo import backend
from deeplab_gygo.inference.geometry import Geometry
from deeplab_gygo.models.config import ModelConfig
from deeplab_gygo.models.deeplab import DeepLabV3Plus
from deeplab_gygo.models.memory import MemoryRead, readout_channels, remember
from deeplab_gygo.models.target_model import TargetModel

SIZE = 64


def loud_parent(build=None, **changes) -> DeepLabV3Plus:
    """Random weights whose logits spread over the sigmoid, so that differences can be seen.

    Memory and refinement, which say nothing before they are trained, are given a say. `build`
    makes a network on a thin backbone.
    """
    keras.utils.set_random_seed(3)
    config = ModelConfig(aspp_channels=16, low_level_channels=8, decoder_channels=16, **changes)
    parent = DeepLabV3Plus(config) if build is None else build(seed=3, **changes)
    _listen(parent.head, ("recall_join", "recall_sharp_join"))
    logits = python_logits(parent, scene(96, 128))
    layer = parent.head.get_layer("logit")
    layer.kernel.assign(layer.kernel.numpy() * 2.0 / logits.std())
    layer.bias.assign(layer.bias.numpy() - 2.0 * logits.mean() / logits.std())
    if parent.refiner is not None:
        _listen(parent.refiner, ("refine_change",))
    return parent


def _listen(part: keras.Model, names: tuple[str, ...]) -> None:
    """Gives layers that start at zero random kernels, as far as there are such layers."""
    rng = np.random.default_rng(3)
    for layer in part.layers:
        if layer.name in names:
            layer.kernel.assign(rng.normal(0, 0.3, layer.kernel.shape).astype(np.float32))


def scene(height: int, width: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (9, 9, 3)).astype(np.uint8)
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).astype(int)
    return np.clip(smooth + rng.integers(-20, 21, smooth.shape), 0, 255).astype(np.uint8)


def soft_mask(height: int, width: int) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    distance = np.hypot(rows / height - 0.5, columns / width - 0.4)
    return (1.0 / (1.0 + np.exp((distance - 0.25) * 20))).astype(np.float32)


def python_logits(
    parent, image, previous=None, size=SIZE, memory=None, target_model=None
) -> np.ndarray:
    """The eager network between the package's own geometry; shares no code with the export."""
    geometry = Geometry.fit(image.shape[:2], size, parent.stride)
    inputs = {"image": geometry.image(image)[None].astype(np.float32)}
    if parent.config.guide:
        inputs["guide"] = np.pad(geometry.guide(previous)[None], [(0, 0)] * 3 + [(0, 1)])
    if parent.config.memory:
        places = [side // parent.config.output_stride for side in geometry.padded]
        inputs["readout"] = np.zeros(
            (1, *places, readout_channels(parent.config.block_size)), np.float32
        )
    if memory is not None:
        key = parent.encoder(inputs["image"], training=False)["key"]
        inputs["readout"] = backend.to_numpy(MemoryRead()([key, *memory]))
    if target_model is not None:
        high = parent.encoder(inputs["image"], training=False)["high"].numpy()[0]
        score = np.clip(high @ target_model.weight + target_model.bias, -1, 1)
        width, height = (side * parent.config.block_size for side in score.shape[::-1])
        inputs["guide"][0, ..., 1] = cv2.resize(score, (width, height))
    coarse = backend.to_numpy(parent.network(inputs, training=False))[0, ..., 0]
    return geometry.logits(coarse)


def memory_of(parent, height: int = 70, width: int = 90):
    """The memory of one annotated frame."""
    geometry = Geometry.fit((height, width), SIZE, parent.stride)
    first = geometry.image(scene(height, width, seed=5))[None].astype(np.float32)
    key = parent.encoder(first, training=False)["key"]
    return remember(key, geometry.guide(soft_mask(height, width) > 0.5), parent.config.block_size)


def target_model_of(parent, height: int = 70, width: int = 90) -> TargetModel:
    """Target model of the object on one annotated frame."""
    geometry = Geometry.fit((height, width), SIZE, parent.stride)
    first = geometry.image(scene(height, width, seed=5))[None].astype(np.float32)
    features = parent.encoder(first, training=False)["high"]
    return TargetModel.fit([features], [geometry.guide(soft_mask(height, width) > 0.5)])
