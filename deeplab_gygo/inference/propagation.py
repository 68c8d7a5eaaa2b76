"""Prediction of one object on one frame: conditioning, test-time augmentation, memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from deeplab_gygo.inference.config import Guide, OnlineConfig
from deeplab_gygo.inference.geometry import Geometry, sigmoid
from deeplab_gygo.inference.network import Features, ForwardPass
from deeplab_gygo.inference.object_state import ObjectState
from deeplab_gygo.models.memory import remember


@dataclass(frozen=True)
class TTAView:
    """One test-time augmentation of every frame; the logits of all views are averaged.

    Attributes:
        geometry: Sizes on the way through the network.
        flip: Whether the frame is mirrored.
    """

    geometry: Geometry
    flip: bool = False

    def flipped(self, plane: np.ndarray) -> np.ndarray:
        """Mirrors a plane [h, w, ...] into the view or back; unchanged without a flip."""
        return np.ascontiguousarray(plane[:, ::-1]) if self.flip else plane


class Propagation:
    """Predicts objects frame by frame.

    Args:
        network: Forward pass of the parent.
        config: Online options.
        geometry: Sizes of the frames of the sequence.
        guide: Conditioning of the decoder, see `OnlineConfig.guide`.
        tta_scale: Relative size of a second view of every frame; 0: none.

    Attributes:
        views: Test-time augmentations; the first one is `geometry` without a flip.
    """

    def __init__(
        self,
        network: ForwardPass,
        config: OnlineConfig,
        geometry: Geometry,
        guide: Guide,
        tta_scale: float = 0.0,
    ):
        self._network, self._config, self._geometry, self._guide = network, config, geometry, guide
        sizes = [geometry]
        if tta_scale:
            side = max(1, round(tta_scale * min(geometry.working)))
            sizes.append(Geometry.fit(geometry.frame, side, network.parent.stride))
        flips = (False, True) if config.flips else (False,)
        self.views = [TTAView(size, flip) for size in sizes for flip in flips]

    def inputs(self, frames: list[np.ndarray]) -> list[np.ndarray]:
        """Prepares frames for the encoder, one batch per view.

        Args:
            frames: uint8 [H, W, 3] RGB each.

        Returns:
            uint8 [N, H', W', 3] per view.
        """
        batches = []
        for view in self.views:
            batch = np.stack([view.geometry.image(frame) for frame in frames])
            batches.append(np.ascontiguousarray(batch[:, :, ::-1]) if view.flip else batch)
        return batches

    def probability(
        self,
        features: list[Features],
        tracked: ObjectState,
        unguided: np.ndarray | None = None,
    ) -> np.ndarray:
        """Predicts an object.

        Args:
            features: Features of one frame, per view.
            tracked: The object, as the previous frame left it.
            unguided: float32 [H, W] logits of an earlier prediction of the frame, averaged with
                the others; None: none.

        Returns:
            float32 [H, W] in 0..1 at the size of the frames.
        """
        config = self._config
        lost = tracked.is_lost(config.threshold, config.LOST_AREA_FRACTION)
        planes: dict[Geometry, list[np.ndarray]] = {}
        count = 1
        for view, seen in zip(self.views, features, strict=True):
            guides = self._guides(view, seen, tracked, lost=lost)
            readout = None
            if tracked.memory is not None:
                readout = self._network.read(seen, *tracked.memory.contents())
            plane = self._network.logits(seen, guides, readout)
            planes.setdefault(view.geometry, []).append(view.flipped(plane))
            count = len(guides)
        # Logits are averaged, not probabilities: they keep the certainty of each view.
        logits = [geometry.logits(np.mean(same, axis=0)) for geometry, same in planes.items()]
        mean = logits[0] if len(logits) == 1 else np.mean(logits, axis=0)
        if unguided is not None:
            mean = (count * mean + unguided) / (count + 1)
        return sigmoid(mean)

    def remember(self, features: Features, tracked: ObjectState) -> None:
        """Adds a frame to the memory of an object, at its interval and if it is confident.

        Args:
            features: Features of the frame in the first view.
            tracked: The object, updated to the frame.
        """
        config = self._config
        if tracked.memory is None or not config.memory_frames:
            return
        if tracked.age % config.MEMORY_INTERVAL:
            return
        if tracked.confidence < config.MIN_MEMORY_CONFIDENCE:
            return
        if tracked.is_lost(config.threshold, config.LOST_AREA_FRACTION):
            return
        mask = (tracked.probability > config.threshold).astype(np.float32)
        coded = self._geometry.guide(mask)
        tracked.memory.add(remember(features["key"], coded, self._network.block))

    def _guides(
        self, view: TTAView, features: Features, tracked: ObjectState, *, lost: bool
    ) -> list[Any]:
        """Returns one decoder guide per conditioning variant (`blend` has two).

        Each is float32 [H'/4, W'/4, 2] in the view's orientation, or None for unknown.
        """
        if self._guide == "none":
            return [None]
        previous = None
        if not lost:
            previous = view.flipped(view.geometry.guide(tracked.probability))
        model = tracked.target_model if self._guide == "target" else None
        guide = self._network.guide(features, model, previous)
        # Without a target model `target` is `blend`.
        single = guide is None or model is not None or self._guide == "previous"
        return [guide] if single else [guide, None]
