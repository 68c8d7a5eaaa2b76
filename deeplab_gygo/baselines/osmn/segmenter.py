"""OSMN as a segmenter: one pass a frame, told by two guides which object is meant.

Yang et al., CVPR 2018. The visual guide is computed once a sequence; the spatial guide is a
Gaussian over the network's own mask of the frame before.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from deeplab_gygo import backend
from deeplab_gygo.baselines.osmn.config import OsmnOnline
from deeplab_gygo.baselines.osmn.guides import gaussian_guide, visual_crop
from deeplab_gygo.baselines.osmn.network import Osmn
from deeplab_gygo.baselines.shared.fine_tuner import FineTuner, Picture, note_of, pictures_of
from deeplab_gygo.baselines.shared.object_segmenter import Carried, ObjectSegmenter
from deeplab_gygo.inference.aggregation import keep_connected, overlap
from deeplab_gygo.inference.geometry import Geometry, sigmoid
from deeplab_gygo.inference.prediction import Adaptation, Report

TRAINED = {
    "all": ("trunk", "visual", "spatial", "decoder"),
    "modulators": ("visual", "spatial"),
    "decoder": ("decoder",),
}
"""Roles of `models.osmn` that a choice of `OsmnOnline.trained` trains. The refinement of the
decoder `deeplab` knows no object from another and stays as it is."""


@dataclass(frozen=True)
class _Modulated:
    """What is kept of an object.

    Attributes:
        scales: Of the visual modulator, a tensor float32 [1, S].
        weights: Of the fine-tuner; None for the parent's.
    """

    scales: Any
    weights: list[np.ndarray] | None = None


class OsmnSegmenter(ObjectSegmenter):
    """OSMN in its two modes; see `ObjectSegmenter` for the protocol.

    Args:
        parent: Networks with the parent's weights.
        config: Mode and all numbers.
        seed: Of augmentation and order; the same seed gives the same masks on a CPU.
    """

    def __init__(self, parent: Osmn, config: OsmnOnline, seed: int = 0):
        super().__init__(config.threshold)
        self.config, self._parent, self._seed = config, parent, seed
        self._visual = backend.compiled(parent.visual)
        self._segmentation = backend.compiled(parent.segmentation)
        self._tuner = _tuner(parent, config) if config.mode == "fine-tune" else None
        self._geometry: Geometry | None = None
        self._active: _Modulated | None = None

    # === The annotated frame ===

    def _start(self, image: np.ndarray) -> None:
        side = self.config.short_side(self._parent.config.trunk)
        self._geometry = Geometry.fit(image.shape[:2], side, self._parent.stride)

    def _meet(
        self, image: np.ndarray, mask: np.ndarray, label: int, report: Report | None
    ) -> tuple[_Modulated, Adaptation]:
        single = mask == 1
        if self._tuner is None:
            return _Modulated(self._scales(image, single)), Adaptation()
        started = time.monotonic()
        rng = np.random.default_rng([self._seed, label])
        self._tuner.reset()
        pictures = pictures_of(image, mask, self.config, self._geometry, self._parent.stride, rng)
        fixed = self._scales(image, single) if self.config.trained == "decoder" else None
        done = self._tuner.tune(
            lambda: self._sample(pictures, image, single, fixed, rng), started, report
        )
        state = _Modulated(self._scales(image, single), self._tuner.weights())
        self._active = state
        first = self._logits(self._look(image), state.scales, single)
        self.warnings += note_of(overlap(first > 0, single), label)
        return state, Adaptation(done.steps, done.losses, time.monotonic() - started)

    def _scales(self, image: np.ndarray, mask: np.ndarray) -> Any:
        """Modulates by the object as it is in the annotated frame: float32 [1, S]."""
        return self._visual(_crop_inputs(*visual_crop(image, mask)))

    def _sample(
        self,
        pictures: list[Picture],
        image: np.ndarray,
        mask: np.ndarray,
        scales: Any | None,
        rng: np.random.Generator,
    ) -> tuple[dict[str, Any], np.ndarray]:
        """Draws a picture, and guides as they are in training: a little off.

        The annotated frame is image, visual guide and spatial guide at once.
        """
        picture = pictures[int(rng.integers(len(pictures)))]
        inputs = {
            "image": picture.image[None].astype(np.float32),
            "spatial": gaussian_guide(picture.labels == 1, rng)[None],
        }
        if scales is None:
            inputs |= _crop_inputs(*visual_crop(image, mask, rng))
        else:
            inputs["scales"] = scales
        return inputs, picture.targets

    # === Later frames ===

    def _look(self, image: np.ndarray) -> Any:
        return ops.convert_to_tensor(self._geometry.image(image)[None], "float32")

    def _probability(self, seen: Any, carried: Carried) -> np.ndarray:
        state: _Modulated = carried.state
        if self._tuner is not None and self._active is not state:
            self._tuner.set_weights(state.weights)
            self._active = state
        before = carried.probability > self._threshold
        probability = sigmoid(self._logits(seen, state.scales, before))
        if self.config.filter_components:
            return keep_connected(probability, before, self._threshold)
        return probability

    def _logits(self, seen: Any, scales: Any, before: np.ndarray) -> np.ndarray:
        """Logits float32 [H, W] at the size of the frames.

        Args:
            seen: Of `_look`.
            scales: float32 [1, S].
            before: bool [H, W], the mask that the spatial guide is laid over.
        """
        # The Gaussian's least spread is in pixels of the picture that the network sees.
        working = self._geometry.labels(before.astype(np.uint8))
        spatial = gaussian_guide(working)[None]
        logits = self._segmentation({"image": seen, "scales": scales, "spatial": spatial})
        return self._geometry.logits(backend.to_numpy(logits)[0, ..., 0])


def _crop_inputs(crop: np.ndarray, crop_mask: np.ndarray) -> dict[str, np.ndarray]:
    """Inputs of the visual modulator: float32 [1, 224, 224, 3] and [1, 224, 224, 1]."""
    return {
        "crop": crop[None].astype(np.float32),
        "crop_mask": crop_mask[None, ..., None].astype(np.float32),
    }


def _tuner(parent: Osmn, config: OsmnOnline) -> FineTuner:
    by_role = parent.variables(config.frozen_stages)
    variables = [v for role in TRAINED[config.trained] for v in by_role[role].values()]
    # With the visual modulator left alone, its scales are computed once and not at every step.
    network = parent.segmentation if config.trained == "decoder" else parent.network
    return FineTuner(network, [(config.rate, variables)], config, keras.optimizers.Adam)
