"""Prediction of one object on one frame: conditioning, test-time augmentation, memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from deeplab_gygo import backend
from deeplab_gygo.inference.config import Guide, OnlineConfig
from deeplab_gygo.inference.frame_program import LEVELS, OUTPUT_MULTIPLE
from deeplab_gygo.inference.geometry import Geometry, sigmoid
from deeplab_gygo.inference.network import Features, ForwardPass, one_of
from deeplab_gygo.inference.object_state import ObjectState
from deeplab_gygo.models.config import DECODER_STRIDE


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
        geometry: As given.
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
        self._network, self._config, self._guide = network, config, guide
        self.geometry = geometry
        sizes = [geometry]
        if tta_scale:
            side = max(1, round(tta_scale * min(geometry.working)))
            sizes.append(Geometry.fit(geometry.frame, side, network.parent.stride))
        flips = (False, True) if config.flips else (False,)
        self.views = [TTAView(size, flip) for size in sizes for flip in flips]
        self._flips = tuple(flips for _ in sizes)
        self._resampling = {}
        if network.fused:
            stride = 1 if network.refines else DECODER_STRIDE
            self._resampling = {size: size.resampling(stride, OUTPUT_MULTIPLE) for size in sizes}

    def inputs(
        self, frames: list[np.ndarray], each: Callable[..., Iterable[Any]] = map
    ) -> list[np.ndarray]:
        """Prepares frames for the encoder, one batch per view.

        Args:
            frames: uint8 [H, W, 3] RGB each.
            each: `map`, or that of a pool of threads.

        Returns:
            uint8 [N, H', W', 3] per view.
        """
        batches = []
        for view in self.views:
            batch = np.stack(list(each(view.geometry.image, frames)))
            batches.append(np.ascontiguousarray(batch[:, :, ::-1]) if view.flip else batch)
        return batches

    def probability(
        self,
        features: list[Features],
        tracked: ObjectState,
        unguided: np.ndarray | None = None,
        position: int = 0,
    ) -> np.ndarray:
        """Predicts an object.

        Args:
            features: Features of a window of frames, per view.
            tracked: The object, as the previous frame left it.
            unguided: uint8 [H, W], an earlier probability of the frame in `LEVELS` levels, whose
                logits are averaged with the others; None: none.
            position: The frame in the window.

        Returns:
            float32 [H, W] in 0..1 at the size of the frames.
        """
        if self._network.fused:
            return self._fused(features, tracked, unguided, position)
        config = self._config
        lost = tracked.is_lost(config.threshold, config.LOST_AREA_FRACTION)
        planes: dict[Geometry, list[np.ndarray]] = {}
        count = 1
        for view, window in zip(self.views, features, strict=True):
            seen = one_of(window, position)
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
            earlier = probability_of(unguided)
            mean = (count * mean + np.log(earlier / (1 - earlier))) / (count + 1)
        return sigmoid(mean)

    def _fused(
        self,
        features: list[Features],
        tracked: ObjectState,
        unguided: np.ndarray | None,
        position: int,
    ) -> np.ndarray:
        """Predicts an object by one program; arguments and result as `probability`."""
        call, arguments = self._program(features, tracked, unguided, position)
        height, width = self.geometry.frame
        return np.ascontiguousarray(np.asarray(call(*arguments))[:height, :width])

    def prepare(
        self, features: list[Features], tracked: ObjectState, *, unguided: bool = False
    ) -> None:
        """Begins to compile the program of a frame ahead, on JAX.

        Args:
            features: Shapes of the features of a window, per view.
            tracked: An object with shapes in its memory.
            unguided: Whether an earlier probability is given.
        """
        earlier = np.zeros(self.geometry.frame, np.uint8) if unguided else None
        call, arguments = self._program(features, tracked, earlier, 0)
        backend.prepare(call, *arguments)

    def _program(
        self,
        features: list[Features],
        tracked: ObjectState,
        unguided: np.ndarray | None,
        position: int,
    ) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """Returns the program of a frame and its arguments."""
        config = self._config
        lost = tracked.is_lost(config.threshold, config.LOST_AREA_FRACTION)
        previous = None if lost or self._guide == "none" else tracked.probability
        model = tracked.target_model if self._guide == "target" else None
        # Without a target model `target` is `blend`.
        blend = self._guide == "blend" or (self._guide == "target" and model is None)
        sizes = []
        for geometry, (rows, columns) in self._resampling.items():
            views = [
                window
                for view, window in zip(self.views, features, strict=True)
                if view.geometry == geometry
            ]
            coded = geometry.guide(previous)
            sizes.append({"features": views, "previous": coded, "rows": rows, "columns": columns})
        if unguided is not None:
            missing = (len(s) - n for s, n in zip((rows, columns), unguided.shape, strict=True))
            unguided = np.pad(unguided, [(0, count) for count in missing])
        call = self._network.frame(self._flips, 2 if blend else 1)
        return call, (
            np.int32(position),
            # Without any guide the two variants of a blend are the same.
            np.float32(2 if blend and previous is not None else 1),
            sizes,
            None if model is None else model.values,
            None if tracked.memory is None else tracked.memory.slots(),
            unguided,
        )

    def remember(self, features: Features, tracked: ObjectState, position: int = 0) -> None:
        """Adds a frame to the memory of an object, at its interval and if it is confident.

        Args:
            features: Features of a window of frames in the first view.
            tracked: The object, updated to the frame.
            position: The frame in the window.
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
        coded = self.geometry.guide(mask)
        tracked.memory.add(self._network.remember(features, coded, position))

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


def levels_of(probability: np.ndarray) -> np.ndarray:
    """Returns float32 probabilities of any shape in `LEVELS` levels, uint8."""
    return np.minimum(probability * LEVELS, LEVELS - 1).astype(np.uint8)


def probability_of(levels: np.ndarray) -> np.ndarray:
    """Returns float32 probabilities, none of which is 0 or 1, within half a level of the first."""
    return (levels.astype(np.float32) + np.float32(0.5)) / np.float32(LEVELS)
