"""Objects of DeepLabV3+ from their annotated frames: fine-tuning, target model, memory."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from deeplab_gygo.evaluation.measures import jaccard
from deeplab_gygo.inference.adapter import DecoderTuner
from deeplab_gygo.inference.close_up import CloseUp
from deeplab_gygo.inference.config import OnlineConfig
from deeplab_gygo.inference.geometry import Geometry
from deeplab_gygo.inference.network import Features, ForwardPass
from deeplab_gygo.inference.object_state import MemoryBank, ObjectState
from deeplab_gygo.inference.prediction import Adaptation, ProgressCallback
from deeplab_gygo.inference.propagation import Propagation
from deeplab_gygo.inference.tracked_object import Annotated, low_jaccard_warning
from deeplab_gygo.inference.views import View, augmented_views
from deeplab_gygo.models.deeplab import DeepLabV3Plus
from deeplab_gygo.models.target_model import TargetModel

LOSS_OF_JACCARD = 0.05
"""Loss of J on the annotated frame above which a fine-tuning is warned about."""


class ObjectInitializer:
    """Initializes objects, one after the other, from the frames in which they are annotated.

    Args:
        parent: Network with the parent's weights.
        config: Online options.
        network: Forward pass of the parent.
        tuner: Fine-tunes the network; None in other modes.
        guide: Conditioning of the decoder, see `OnlineConfig.guide`.
        seed: Seed of augmentation and order.
    """

    def __init__(
        self,
        parent: DeepLabV3Plus,
        config: OnlineConfig,
        network: ForwardPass,
        tuner: DecoderTuner | None,
        guide: str,
        seed: int,
    ):
        self._parent, self._config, self._network = parent, config, network
        self._tuner, self._guide, self._seed = tuner, guide, seed
        self._full = tuner is not None and config.adapt == "full"
        self._judged = False
        self._encoded: tuple[np.ndarray, Features] | None = None

    def release(self) -> None:
        """Ends a sequence."""
        self._encoded = None

    def initialize(
        self,
        seen: list[Annotated],
        label: int,
        propagation: Propagation,
        close_up: CloseUp | None,
        progress: ProgressCallback | None,
        weights: list[Any] | None = None,
    ) -> tuple[ObjectState, Adaptation, list[str]]:
        """Initializes an object.

        Args:
            seen: Images uint8 [H, W, 3] RGB and masks uint8 [H, W], 1 inside the object.
            label: Its id.
            propagation: That of the sequence.
            close_up: That of the sequence; None for none.
            progress: Called after every fine-tuning step.
            weights: Of a fine-tuning on other masks of it, to go on from; None: the parent's.

        Returns:
            The object, a summary of its fine-tuning, and notes for the user.
        """
        count = min(len(seen), self._config.num_views)
        chosen = [seen[round(i)] for i in np.linspace(0, len(seen) - 1, count)]
        seen = [(image, (mask == 1).astype(np.uint8)) for image, mask in chosen]
        self._propagation, self._close_up = propagation, close_up
        tracked = ObjectState(label, seen[0][1].astype(np.float32))
        adaptation, warnings = Adaptation(), []
        if self._tuner is not None:
            adaptation, warnings = self._fine_tune(self._tuner, seen, tracked, progress, weights)
        elif self._guide == "target":
            adaptation = self._fit_target_model(seen, tracked)
        if self._parent.config.memory:
            tracked.memory = self._memory(seen, propagation.geometry, self._features)
            if close_up is not None:
                tracked.close_memory = self._memory(
                    close_up.seen(seen), close_up.geometry, self._close_features
                )
        return tracked, adaptation, warnings

    def _memory(
        self, seen: list[Annotated], geometry: Geometry, encode: Callable[[np.ndarray], Features]
    ) -> MemoryBank:
        memories = [
            self._network.remember(encode(image), geometry.guide(mask.astype(np.float32)))
            for image, mask in seen
        ]
        return MemoryBank(memories, self._config.memory_frames)

    def _close_features(self, image: np.ndarray) -> Features:
        """Returns features of a window that begins with a close-up."""
        return self._network.encode(self._close_up.geometry.image(image)[None])

    def _features(self, image: np.ndarray) -> Features:
        """Returns features of a window that begins with an annotated frame."""
        known = self._encoded
        if known is None or known[0] is not image or self._full:
            known = image, self._network.encode(self._propagation.geometry.image(image)[None])
            self._encoded = known
        return known[1]

    def _views(self, seen: list[Annotated], rng: np.random.Generator) -> list[View]:
        """Returns augmented views, of every annotated frame and its close-up about as many."""
        shown = [(*annotated, self._propagation.geometry) for annotated in seen]
        if self._close_up is not None:
            shown += [(*part, self._close_up.geometry) for part in self._close_up.seen(seen)]
        counts = [len(part) for part in np.array_split(range(self._config.num_views), len(shown))]
        views: list[View] = []
        for (image, mask, geometry), count in zip(shown, counts, strict=True):
            if not count:
                continue
            views += augmented_views(
                image,
                mask,
                geometry,
                rng,
                count=count,
                lucid_fraction=self._config.LUCID_FRACTION,
                scale=self._config.VIEW_SCALE,
                guide_dropout=self._config.GUIDE_DROPOUT,
            )
        return views

    def _fine_tune(
        self,
        tuner: DecoderTuner,
        seen: list[Annotated],
        tracked: ObjectState,
        progress: ProgressCallback | None,
        weights: list[Any] | None,
    ) -> tuple[Adaptation, list[str]]:
        started = time.monotonic()
        image, mask = seen[0]
        rng = np.random.default_rng([self._seed, tracked.label])
        tuner.reset()
        views = self._views(seen, rng)
        if weights is not None:
            tuner.go_on_from(weights)
        if self._config.seconds and not self._judged:
            # The check of the result is compiled within the time limit, not after it.
            self._first_jaccard(image, mask, None)
        self._judged = True
        steps = None if weights is None else self._config.CORRECTION_STEPS
        done = tuner.adapt(views, rng, started=started, progress=progress, steps=steps)
        self._encoded = image, tuner.first_features
        tracked.weights, tracked.target_model = tuner.weights(), tuner.target_model
        warnings = self._warnings_of_low_jaccard(tuner, image, mask, tracked)
        return Adaptation(done.steps, done.losses, time.monotonic() - started), warnings

    def _fit_target_model(self, seen: list[Annotated], tracked: ObjectState) -> Adaptation:
        """Fits the target model without changing any weight."""
        started = time.monotonic()
        views = self._views(seen, np.random.default_rng([self._seed, tracked.label]))
        features = self._network.encode_views(np.stack([view.image for view in views]))
        self._encoded = seen[0][0], features[0]
        tracked.target_model = TargetModel.fit(
            self._network.high(features, len(views)), [view.coded_mask for view in views]
        )
        return Adaptation(seconds=time.monotonic() - started)

    def _first_jaccard(
        self, image: np.ndarray, mask: np.ndarray, model: TargetModel | None
    ) -> float:
        """Returns J on the annotated frame, with the guide and the memory of the next one."""
        features = self._features(image)
        coded, guide, readout = self._propagation.geometry.guide(mask), None, None
        if self._network.fused:
            # By the program that the frames need as well: no other one is compiled.
            tracked = ObjectState(1, mask.astype(np.float32), target_model=model)
            if self._parent.config.memory:
                first = self._network.remember(features, coded)
                tracked.memory = MemoryBank([first], self._config.memory_frames)
            seen = [features, *self._other_views(image)]
            return jaccard(self._propagation.probability(seen, tracked) > 0.5, mask)
        if self._guide != "none":
            guide = self._network.guide(features, model, coded)
        if self._parent.config.memory:
            readout = self._network.read(features, *self._network.remember(features, coded))
        logits = self._network.logits(features, [guide], readout)
        return jaccard(self._propagation.geometry.logits(logits) > 0, mask)

    def _other_views(self, image: np.ndarray) -> list[Features]:
        """Returns the features of the annotated frame in the views beside the first."""
        return [self._network.encode(batch) for batch in self._propagation.inputs([image])[1:]]

    def _warnings_of_low_jaccard(
        self, tuner: DecoderTuner, image: np.ndarray, mask: np.ndarray, tracked: ObjectState
    ) -> list[str]:
        """Returns a note if fine-tuning lowered J on the annotated frame, or left it low."""
        after = self._first_jaccard(image, mask, tracked.target_model)
        if after + LOSS_OF_JACCARD >= 1:
            return []
        tuned = tuner.state()
        tuner.reset()
        before = self._first_jaccard(image, mask, tracked.target_model)
        tuner.set_state(tuned)
        if after >= before - LOSS_OF_JACCARD:
            return low_jaccard_warning(after, tracked.label)
        return [
            f"object {tracked.label}: fine-tuning made the first frame worse (J {before:.2f} to"
            f" {after:.2f}); --mode one-shot or a lower --online.learning_rate may serve better"
        ]
