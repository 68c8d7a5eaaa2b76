"""Carrying a mask through a sequence: one object with `begin`, `step` and `run`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

import numpy as np

from deeplab_gygo import backend
from deeplab_gygo.config import OnlineConfig
from deeplab_gygo.data.masks import check_first_mask
from deeplab_gygo.data.sequence import Frame, Sequence
from deeplab_gygo.errors import UsageError
from deeplab_gygo.models.deeplab import DeepLabV3Plus
from deeplab_gygo.models.geometry import Geometry, sigmoid
from deeplab_gygo.online.adapter import Adaptation, OnlineAdapter, Report
from deeplab_gygo.online.aggregation import keep_connected, overlap, soft_aggregate
from deeplab_gygo.online.policies import policy_for
from deeplab_gygo.online.replay import rendered_views
from deeplab_gygo.online.views import View, first_frame_views

AREA_PACE = 0.2
"""Share of a new frame in the running area of an object."""

WORSE, POOR = 0.05, 0.6
"""Loss of J on the first frame, and J on it, from which a fine-tuning is warned about."""


@dataclass(frozen=True)
class Prediction:
    """The result for one frame.

    Attributes:
        index: Position of the frame in its sequence.
        name: Name of the frame.
        probability: float32 [H, W] in 0..1 for one object, [N, H, W] for several.
        mask: uint8 [H, W], object ids, 0 background.
        seconds: Time spent on the frame: network and post-processing, not decoding.
    """

    index: int
    name: str
    probability: np.ndarray
    mask: np.ndarray
    seconds: float


class Segmenter(Protocol):
    """Anything that carries masks through a sequence."""

    def begin(self, frame: Frame, mask: np.ndarray, report: Report | None = None) -> Adaptation:
        """Starts a sequence with an annotated frame; mask uint8 [H, W] of object ids."""
        ...

    def step(self, frame: Frame) -> Prediction:
        """Segments the next frame."""
        ...

    def run(self, sequence: Sequence, report: Report | None = None) -> Iterator[Prediction]:
        """Segments a sequence from its first annotated frame on, as a stream."""
        ...


@dataclass
class _Target:
    """One object: its id, the weights adapted to it, and where it was last."""

    label: int
    weights: list[np.ndarray] | None
    previous: np.ndarray
    usual_area: float = 0.0

    def update(self, probability: np.ndarray, threshold: float) -> None:
        """Remembers the object's last probability and its usual area."""
        self.previous = probability
        area = float(np.count_nonzero(probability > threshold))
        # Growth is believed slowly and shrinking more slowly: an object that is being hidden
        # must not make its own remainder the usual size.
        pace = AREA_PACE if area > self.usual_area else 0.2 * AREA_PACE
        self.usual_area += pace * (area - self.usual_area)

    def is_lost(self, threshold: float, part: float) -> bool:
        """Says whether too little of the object was seen to guide by."""
        return np.count_nonzero(self.previous > threshold) < part * self.usual_area


class DeepLabSegmenter:
    """DeepLabV3+ as a segmenter in its three modes.

    Holds the state of one sequence at a time; `begin` starts another. Memory does not grow with
    the length of a sequence.

    Args:
        parent: Network with the parent's weights.
        config: Mode and all numbers.
        seed: Of augmentation and order; the same seed gives the same masks on a CPU.
    """

    def __init__(self, parent: DeepLabV3Plus, config: OnlineConfig, seed: int = 0):
        self.config, self._parent, self._seed = config, parent, seed
        self._policy = policy_for(config)
        if self._policy.guide != "none" and not parent.config.guide:
            raise UsageError(
                "A guided mode needs weights that were trained with a guide",
                met=f"mode {config.mode} with weights without one",
                remedy="Use --mode zero-shot, or other weights",
            )
        self._encode = backend.compiled(parent.encoder)
        self._decode = backend.compiled(parent.head)
        self._adapter = None
        if self._policy.adapts:
            self._adapter = OnlineAdapter(parent, config, self._encode)
        self._geometry: Geometry | None = None
        self._targets: list[_Target] = []
        self._active: _Target | None = None
        self.warnings: list[str] = []
        self.adaptation = Adaptation()

    # === Beginning ===

    def begin(self, frame: Frame, mask: np.ndarray, report: Report | None = None) -> Adaptation:
        """Starts a sequence: adapts to every object of the annotated frame.

        Args:
            frame: Annotated frame.
            mask: uint8 [H, W] of object ids, 0 background.
            report: Called after every step of fine-tuning.

        Returns:
            Steps, losses and seconds, over all objects.

        Raises:
            InputError: The mask has another size than the frame, or is empty or full.
        """
        image = frame.image
        check_first_mask(mask, image.shape[:2], frame.name)
        self._geometry = Geometry.fit(image.shape[:2], self.config.short_side, self._parent.stride)
        self._targets, self._active, self.warnings = [], None, []
        if not self._policy.sees_mask:
            self._targets = [_Target(1, None, np.zeros(mask.shape, np.float32))]
            self.adaptation = Adaptation()
            return self.adaptation
        done = []
        for label in [int(i) for i in np.unique(mask) if i]:
            single = (mask == label).astype(np.uint8)
            weights = None
            if self._adapter is not None:
                done.append(self._adapt(image, single, label, report))
                weights = self._adapter.weights()
            area = float(np.count_nonzero(single))
            self._targets.append(_Target(label, weights, single.astype(np.float32), area))
        self._active = self._targets[-1]
        self.adaptation = Adaptation(
            sum(a.steps for a in done),
            [loss for a in done for loss in a.losses],
            sum(a.seconds for a in done),
        )
        return self.adaptation

    def _adapt(
        self, image: np.ndarray, mask: np.ndarray, label: int, report: Report | None
    ) -> Adaptation:
        started = time.monotonic()
        rng = np.random.default_rng([self._seed, label])
        self._adapter.reset()
        features = self._encode(self._geometry.image(image)[None])
        before = overlap(self._geometry.logits(self._logits(features, None)) > 0, mask)
        views = first_frame_views(image, mask, self._geometry, self.config, rng)
        adaptation = self._adapter.adapt(
            views, rng, replay=self._replay_views(), report=report, started=started
        )
        if self.config.adapt == "full":
            features = self._encode(self._geometry.image(image)[None])
        after = overlap(self._geometry.logits(self._logits(features, None)) > 0, mask)
        self._judge(before, after, label)
        return Adaptation(adaptation.steps, adaptation.losses, time.monotonic() - started)

    def _judge(self, before: float, after: float, label: int) -> None:
        """Says so when fine-tuning did not reach the object even on the frame it was shown."""
        if after < before - WORSE:
            note = (
                f"object {label}: fine-tuning made the first frame worse (J {before:.2f} to "
                f"{after:.2f}); --mode zero-shot or a lower --online.rate may serve better"
            )
        elif after < POOR:
            note = (
                f"object {label}: fine-tuning reached J {after:.2f} only on the first frame; "
                "check the mask, or give more --steps"
            )
        else:
            return
        self.warnings.append(note)

    def _replay_views(self) -> list[View]:
        if not self.config.replay:
            return []
        guided = self._parent.config.guide
        return rendered_views(self.config.replay, self._geometry.padded, guided)

    # === Propagation ===

    def step(self, frame: Frame) -> Prediction:
        """Segments the next frame.

        Args:
            frame: A frame of the size of the annotated one.

        Returns:
            Probability and mask.

        Raises:
            UsageError: No sequence was begun.
            InputError: The frame has another size.
        """
        return self._predict([frame])[0]

    def run(self, sequence: Sequence, report: Report | None = None) -> Iterator[Prediction]:
        """Segments a sequence, annotated frame included (whose mask is returned as it is).

        Args:
            sequence: Frames and at least one annotation; propagation starts at the first.
            report: Called after every step of fine-tuning.

        Yields:
            One prediction a frame, from the annotated frame on.
        """
        start = sequence.first_annotated
        frames = iter(sequence)
        first = next(islice(frames, start, None))
        mask = sequence.annotation(start)
        self.begin(first, mask, report)
        yield self._given(first, mask)
        while window := list(islice(frames, self.config.window)):
            yield from self._predict(window)

    def _given(self, frame: Frame, mask: np.ndarray) -> Prediction:
        planes = np.stack([t.previous for t in self._targets])
        if not self._policy.sees_mask:
            return self._predict([frame])[0]
        return Prediction(
            frame.index, frame.name, planes[0] if len(planes) == 1 else planes, mask, 0.0
        )

    def _predict(self, frames: list[Frame]) -> list[Prediction]:
        if self._geometry is None:
            raise UsageError("A sequence begins before its frames are segmented", met="no begin()")
        images = np.stack([self._geometry.image(frame.image) for frame in frames])
        started = time.monotonic()
        shared = None
        if not (self.config.adapt == "full" and len(self._targets) > 1):
            self._activate(self._targets[0]) if len(self._targets) == 1 else None
            shared = self._encode(images)
        encoding = (time.monotonic() - started) / len(frames)
        predictions = []
        for position, frame in enumerate(frames):
            clock = time.monotonic()
            planes = []
            for target in self._targets:
                self._activate(target)
                features = shared if shared is not None else self._encode(images)
                one = {key: value[position : position + 1] for key, value in features.items()}
                planes.append(self._probability(one, target))
            probability, mask = self._merge(planes)
            seconds = encoding + time.monotonic() - clock
            predictions.append(Prediction(frame.index, frame.name, probability, mask, seconds))
        return predictions

    def _activate(self, target: _Target) -> None:
        if target.weights is not None and self._active is not target:
            self._adapter.set_weights(target.weights)
            self._active = target

    def _probability(self, features: dict[str, Any], target: _Target) -> np.ndarray:
        threshold, policy = self.config.threshold, self._policy
        lost = target.is_lost(threshold, self.config.lost)
        guides: list[np.ndarray | None] = [None]
        if policy.guide != "none" and not lost:
            guides = [target.previous, None] if policy.guide == "blend" else [target.previous]
        coarse = np.mean([self._logits(features, guide) for guide in guides], axis=0)
        probability = sigmoid(self._geometry.logits(coarse))
        if policy.sees_mask and self.config.filter_components and not lost:
            probability = keep_connected(probability, target.previous > threshold, threshold)
        return probability

    def _logits(self, features: dict[str, Any], guide: np.ndarray | None) -> np.ndarray:
        inputs = dict(features)
        if self._parent.config.guide:
            inputs["guide"] = self._geometry.guide(guide)[None]
        return backend.to_numpy(self._decode(inputs))[0, ..., 0]

    def _merge(self, planes: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        if len(planes) == 1:
            self._targets[0].update(planes[0], self.config.threshold)
            mask = (planes[0] > self.config.threshold).astype(np.uint8) * self._targets[0].label
            return planes[0], mask
        merged = soft_aggregate(np.stack(planes))
        labels = np.array([0] + [t.label for t in self._targets], np.uint8)
        for target, plane in zip(self._targets, merged[1:], strict=True):
            target.update(plane, self.config.threshold)
        return merged[1:], labels[np.argmax(merged, axis=0)]
