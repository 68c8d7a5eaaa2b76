"""OSVOS as a segmenter: every frame independently, by a network tuned on the annotated one.

Caelles et al., CVPR 2017. The paper's optional boundary snapping is left out, as in the authors'
TensorFlow and PyTorch code.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial

import keras
import numpy as np

from deeplab_gygo import backend
from deeplab_gygo.baselines.osvos.config import OsvosOnline
from deeplab_gygo.baselines.osvos.network import FUSED, Osvos
from deeplab_gygo.baselines.shared.fine_tuning import make_tuner, training_samples
from deeplab_gygo.evaluation.measures import jaccard
from deeplab_gygo.inference.geometry import Geometry, sigmoid
from deeplab_gygo.inference.prediction import Adaptation, ProgressCallback
from deeplab_gygo.inference.segmenter_base import SegmenterBase
from deeplab_gygo.inference.tracked_object import Annotated, TrackedObject, low_jaccard_warning

FLIP_PROBABILITY = 0.5
"""Probability of a horizontal flip of a fine-tuning sample."""


class OsvosSegmenter(SegmenterBase):
    """OSVOS in its two modes; `SegmenterBase` describes the protocol.

    Args:
        parent: Network with the parent's weights.
        config: Online options.
        seed: Seed of augmentation and order; the same seed gives the same masks on a CPU.
    """

    def __init__(self, parent: Osvos, config: OsvosOnline, seed: int = 0):
        tunes = config.mode == "fine-tune"
        super().__init__(config.threshold, needs_mask=tunes)
        self.config, self._parent, self._seed = config, parent, seed
        # The side scores are used in offline training only.
        fused = keras.Model(parent.network.input, parent.network.output[FUSED], name="fused")
        self._network = backend.compiled(fused)
        self._tuner = None
        if tunes:
            groups = parent.parameter_groups(
                config.learning_rate,
                {"trunk": 1.0, "fuse": config.fuse_multiplier},
                config.bias_multiplier,
                config.frozen_stages,
            )
            sgd = partial(keras.optimizers.SGD, momentum=config.momentum)
            optimizer = keras.optimizers.Adam if config.optimizer == "adam" else sgd
            self._tuner = make_tuner(fused, groups, config, optimizer)
        self._geometry: Geometry | None = None
        self._active: TrackedObject | None = None

    def _start(self, image: np.ndarray) -> None:
        side = self.config.short_side(self._parent.config.trunk)
        self._geometry = Geometry.fit(image.shape[:2], side, self._parent.stride)

    def _add_object(
        self, seen: list[Annotated], label: int, progress: ProgressCallback | None
    ) -> tuple[TrackedObject, Adaptation]:
        image, mask = seen[0]
        if self._tuner is None:
            return TrackedObject(label, np.zeros(image.shape[:2], np.float32)), Adaptation()
        started = time.monotonic()
        rng = np.random.default_rng([self._seed, label])
        self._tuner.reset()
        stride = self._parent.stride
        samples = training_samples(image, mask, self.config, self._geometry, stride, rng)

        def draw() -> tuple[dict[str, np.ndarray], np.ndarray]:
            sample = samples[int(rng.integers(len(samples)))]
            if rng.random() < FLIP_PROBABILITY:
                sample = sample.flipped()
            return {"image": sample.image[None].astype(np.float32)}, sample.targets

        done = self._tuner.tune(draw, started=started, progress=progress)
        tracked = TrackedObject(label, (mask == 1).astype(np.float32))
        tracked.weights, self._active = self._tuner.weights(), tracked
        predicted = sigmoid(self._logits(self._geometry.image(image))) > self.threshold
        self.warnings += low_jaccard_warning(jaccard(predicted, mask == 1), label)
        return tracked, Adaptation(done.steps, done.losses, time.monotonic() - started)

    def _resume_object(
        self, seen: list[Annotated], label: int, arrays: Mapping[str, np.ndarray]
    ) -> TrackedObject:
        tracked = TrackedObject(label, (seen[0][1] == 1).astype(np.float32))
        tracked.set_weights(arrays)
        return tracked

    def _encode(self, images: list[np.ndarray]) -> np.ndarray:
        # Features are not shared: every object has weights of its own.
        return self._geometry.image(images[0])

    def _predict_object(
        self, features: np.ndarray, position: int, tracked: TrackedObject
    ) -> np.ndarray:
        if self._tuner is not None and self._active is not tracked:
            self._tuner.set_weights(tracked.weights)
            self._active = tracked
        return sigmoid(self._logits(features))

    def _logits(self, image: np.ndarray) -> np.ndarray:
        """Returns logits float32 [H, W] at the size of the frames, of a padded image."""
        logits = self._network({"image": image[None].astype(np.float32)})
        return self._geometry.logits(backend.to_numpy(logits)[0, ..., 0])
