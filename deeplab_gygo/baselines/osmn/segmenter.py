"""OSMN as a segmenter: one pass per frame, conditioned on a visual and a spatial guide.

Yang et al., CVPR 2018. The visual guide is computed once per sequence; the spatial guide is a
Gaussian fitted to the predicted mask of the previous frame.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from keras import ops

from deeplab_gygo import backend
from deeplab_gygo.baselines.osmn.config import OsmnOnline
from deeplab_gygo.baselines.osmn.guides import crop_inputs, gaussian_guide
from deeplab_gygo.baselines.osmn.network import Osmn
from deeplab_gygo.baselines.shared.fine_tuning import Sample, make_tuner, training_samples
from deeplab_gygo.evaluation.measures import jaccard
from deeplab_gygo.inference.geometry import Geometry, sigmoid
from deeplab_gygo.inference.prediction import Adaptation, ProgressCallback
from deeplab_gygo.inference.segmenter_base import SegmenterBase
from deeplab_gygo.inference.tracked_object import Annotated, TrackedObject, low_jaccard_warning

ADAPTED_ROLES = {
    "all": ("trunk", "visual", "spatial", "decoder"),
    "modulators": ("visual", "spatial"),
    "decoder": ("decoder",),
}
"""Roles of `osmn.network` by `OsmnOnline.adapt`. The class-agnostic refinement is not adapted."""


class OsmnSegmenter(SegmenterBase):
    """OSMN in its two modes; `SegmenterBase` describes the protocol.

    The state of an object is the output of the visual modulator, a tensor float32 [1, S].

    Args:
        parent: Networks with the parent's weights.
        config: Online options.
        seed: Seed of augmentation and order; the same seed gives the same masks on a CPU.
    """

    def __init__(self, parent: Osmn, config: OsmnOnline, seed: int = 0):
        super().__init__(config.threshold)
        self.config, self._parent, self._seed = config, parent, seed
        self._visual = backend.compiled(parent.visual)
        self._segmentation = backend.compiled(parent.segmentation)
        self._tuner = None
        if config.mode == "fine-tune":
            by_role = parent.variables(config.frozen_stages)
            variables = [v for role in ADAPTED_ROLES[config.adapt] for v in by_role[role].values()]
            # A fixed visual modulator runs once per object and not once per step.
            network = parent.segmentation if config.adapt == "decoder" else parent.network
            self._tuner = make_tuner(network, [(config.learning_rate, variables)], config)
        self._geometry: Geometry | None = None
        self._active: TrackedObject | None = None

    def _start(self, image: np.ndarray) -> None:
        side = self.config.short_side(self._parent.config.trunk)
        self._geometry = Geometry.fit(image.shape[:2], side, self._parent.stride)

    def _add_object(
        self, seen: list[Annotated], label: int, progress: ProgressCallback | None
    ) -> tuple[TrackedObject, Adaptation]:
        image, mask = seen[0]
        inside = mask == 1
        tracked = TrackedObject(label, inside.astype(np.float32))
        if self._tuner is None:
            tracked.state = self._visual(crop_inputs(image, inside))
            return tracked, Adaptation()
        started = time.monotonic()
        rng = np.random.default_rng([self._seed, label])
        self._tuner.reset()
        stride = self._parent.stride
        samples = training_samples(image, mask, self.config, self._geometry, stride, rng)
        fixed = self._visual(crop_inputs(image, inside)) if self.config.adapt == "decoder" else None
        done = self._tuner.tune(
            lambda: self._draw(samples, image, inside, fixed, rng),
            started=started,
            progress=progress,
        )
        tracked.state = self._visual(crop_inputs(image, inside))
        tracked.weights, self._active = self._tuner.weights(), tracked
        logits = self._logits(self._encode([image]), tracked.state, inside)
        self.warnings += low_jaccard_warning(jaccard(logits > 0, inside), label)
        return tracked, Adaptation(done.steps, done.losses, time.monotonic() - started)

    def _resume_object(
        self, seen: list[Annotated], label: int, arrays: Mapping[str, np.ndarray]
    ) -> TrackedObject:
        image, mask = seen[0]
        tracked = TrackedObject(label, (mask == 1).astype(np.float32))
        tracked.set_weights(arrays)
        self._activate(tracked)
        tracked.state = self._visual(crop_inputs(image, mask == 1))
        return tracked

    def _activate(self, tracked: TrackedObject) -> None:
        """Puts the fine-tuned weights of an object into the networks."""
        if tracked.weights is not None and self._active is not tracked:
            self._tuner.set_weights(tracked.weights)
            self._active = tracked

    def _draw(
        self,
        samples: list[Sample],
        image: np.ndarray,
        mask: np.ndarray,
        scales: Any | None,
        rng: np.random.Generator,
    ) -> tuple[dict[str, Any], np.ndarray]:
        """Draws a sample with perturbed guides, all of the annotated frame."""
        sample = samples[int(rng.integers(len(samples)))]
        inputs = {
            "image": sample.image[None].astype(np.float32),
            "spatial": gaussian_guide(sample.labels == 1, rng)[None],
        }
        inputs |= crop_inputs(image, mask, rng) if scales is None else {"scales": scales}
        return inputs, sample.targets

    def _encode(self, images: list[np.ndarray]) -> Any:
        return ops.convert_to_tensor(self._geometry.image(images[0])[None], "float32")

    def _predict_object(self, features: Any, position: int, tracked: TrackedObject) -> np.ndarray:
        self._activate(tracked)
        previous = tracked.probability > self.threshold
        return sigmoid(self._logits(features, tracked.state, previous))

    def _logits(self, image: Any, scales: Any, previous: np.ndarray) -> np.ndarray:
        """Returns logits float32 [H, W] at the size of the frames.

        Args:
            image: float32 [1, H', W', 3] at the padded size.
            scales: float32 [1, S].
            previous: bool [H, W], the mask that the spatial guide is fitted to.
        """
        # The minimum spread of the Gaussian is in pixels of the network's input.
        spatial = gaussian_guide(self._geometry.labels(previous.astype(np.uint8)))[None]
        logits = self._segmentation({"image": image, "scales": scales, "spatial": spatial})
        return self._geometry.logits(backend.to_numpy(logits)[0, ..., 0])
