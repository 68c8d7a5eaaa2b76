"""OSVOS as a segmenter: every frame by itself, by a network that learned the annotated one.

Caelles et al., CVPR 2017. Nothing is carried from frame to frame. Boundary snapping, the paper's
optional last stage, is left out, as in the authors' TensorFlow and PyTorch code.
"""

from __future__ import annotations

import time

import keras
import numpy as np

from deeplab_gygo import backend
from deeplab_gygo.baselines.osvos.config import OsvosOnline
from deeplab_gygo.baselines.osvos.network import FUSED, Osvos
from deeplab_gygo.baselines.shared.fine_tuner import FineTuner, mirrored, note_of, pictures_of
from deeplab_gygo.baselines.shared.object_segmenter import Carried, ObjectSegmenter
from deeplab_gygo.inference.aggregation import overlap
from deeplab_gygo.inference.geometry import Geometry, sigmoid
from deeplab_gygo.inference.prediction import Adaptation, Report


class OsvosSegmenter(ObjectSegmenter):
    """OSVOS in its two modes; see `ObjectSegmenter` for the protocol.

    Args:
        parent: Network with the parent's weights.
        config: Mode and all numbers.
        seed: Of augmentation and order; the same seed gives the same masks on a CPU.
    """

    def __init__(self, parent: Osvos, config: OsvosOnline, seed: int = 0):
        adapts = config.mode == "fine-tune"
        super().__init__(config.threshold, sees_mask=adapts)
        self.config, self._parent, self._seed = config, parent, seed
        # The sides' own scores serve the training of a parent only.
        fused = keras.Model(parent.network.input, parent.network.output[FUSED], name="fused")
        self._network = backend.compiled(fused)
        self._tuner = _tuner(parent, fused, config) if adapts else None
        self._geometry: Geometry | None = None
        self._active: list[np.ndarray] | None = None

    # === The annotated frame ===

    def _start(self, image: np.ndarray) -> None:
        side = self.config.short_side(self._parent.config.trunk)
        self._geometry = Geometry.fit(image.shape[:2], side, self._parent.stride)

    def _meet(
        self, image: np.ndarray, mask: np.ndarray | None, label: int, report: Report | None
    ) -> tuple[list[np.ndarray] | None, Adaptation]:
        if self._tuner is None:
            return None, Adaptation()
        started = time.monotonic()
        rng = np.random.default_rng([self._seed, label])
        self._tuner.reset()
        pictures = pictures_of(image, mask, self.config, self._geometry, self._parent.stride, rng)

        def sample() -> tuple[dict[str, np.ndarray], np.ndarray]:
            picture = pictures[int(rng.integers(len(pictures)))]
            if rng.random() < self.config.flip:
                picture = mirrored(picture)
            return {"image": picture.image[None].astype(np.float32)}, picture.targets

        done = self._tuner.tune(sample, started, report)
        self._active = self._tuner.weights()
        first = sigmoid(self._logits(self._look(image))) > self._threshold
        self.warnings += note_of(overlap(first, mask == 1), label)
        seconds = time.monotonic() - started
        return self._active, Adaptation(done.steps, done.losses, seconds)

    # === All frames ===

    def _look(self, image: np.ndarray) -> np.ndarray:
        # No more can be shared: the weights, and so the features, are every object's own.
        return self._geometry.image(image)

    def _probability(self, seen: np.ndarray, carried: Carried) -> np.ndarray:
        if self._tuner is not None and self._active is not carried.state:
            self._tuner.set_weights(carried.state)
            self._active = carried.state
        return sigmoid(self._logits(seen))

    def _logits(self, image: np.ndarray) -> np.ndarray:
        """Logits float32 [H, W] at the size of the frames, of an image at the padded size."""
        logits = self._network({"image": image[None].astype(np.float32)})
        return self._geometry.logits(backend.to_numpy(logits)[0, ..., 0])


def _tuner(parent: Osvos, fused: keras.Model, config: OsvosOnline) -> FineTuner:
    # Fine-tuning has its loss on the fused output alone, so that the sides' scores learn nothing.
    factors = {"trunk": 1.0, "fuse": config.fuse_multiplier}
    groups = parent.variables(config.frozen_stages)
    rated: dict[float, list[keras.Variable]] = {}
    for group, factor in factors.items():
        for name, variable in groups[group].items():
            is_bias = name.rsplit("/", 1)[1] == "bias"
            rate = config.rate * factor * (config.bias_multiplier if is_bias else 1.0)
            rated.setdefault(rate, []).append(variable)

    def optimizer(rate: float) -> keras.optimizers.Optimizer:
        if config.optimizer == "adam":
            return keras.optimizers.Adam(rate)
        return keras.optimizers.SGD(rate, momentum=config.momentum)

    return FineTuner(fused, list(rated.items()), config, optimizer)
