"""Carrying a mask through a sequence: one object with `begin`, `step` and `run`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from itertools import chain, islice

import numpy as np

from deeplab_gygo.errors import InputError, UsageError
from deeplab_gygo.inference.adapter import OnlineAdapter
from deeplab_gygo.inference.aggregation import overlap, soft_aggregate
from deeplab_gygo.inference.config import OnlineConfig
from deeplab_gygo.inference.geometry import Geometry
from deeplab_gygo.inference.memory_bank import FrameMemory
from deeplab_gygo.inference.network import Encode, Features, OnlineNetwork, one_of
from deeplab_gygo.inference.object_state import Target
from deeplab_gygo.inference.policies import policy_for
from deeplab_gygo.inference.prediction import Adaptation, Prediction, Report
from deeplab_gygo.inference.propagation import Propagation
from deeplab_gygo.inference.views import View, first_frame_views
from deeplab_gygo.inference.zero_shot import SalientObject
from deeplab_gygo.io.masks import check_first_mask
from deeplab_gygo.io.sequence import Frame, Sequence
from deeplab_gygo.models.deeplab import DeepLabV3Plus
from deeplab_gygo.models.memory import Memory
from deeplab_gygo.models.target_model import TargetModel
from deeplab_gygo.online.distractor_track import DistractorTrack
from deeplab_gygo.online.pseudo_labels import pseudo_labels
from deeplab_gygo.online.replay import rendered_views

WORSE, POOR = 0.05, 0.6
"""Loss of J on the first frame, and J on it, from which a fine-tuning is warned about."""


class DeepLabSegmenter:
    """DeepLabV3+ as a segmenter in its three modes.

    Holds the state of one sequence at a time; `begin` starts another. Memory does not grow with
    the length of a sequence.

    Args:
        parent: Network with the parent's weights.
        config: Mode and all numbers.
        seed: Of augmentation and order; the same seed gives the same masks on a CPU.
        encode: What encodes in place of the parent's own encoder (`export.engines`), whose weights
            must then not be adapted; None for that.
    """

    def __init__(
        self,
        parent: DeepLabV3Plus,
        config: OnlineConfig,
        seed: int = 0,
        encode: Encode | None = None,
    ):
        self.config, self._parent, self._seed = config, parent, seed
        self._policy = policy_for(config)
        if config.mode == "fine-tune" and not parent.config.guide:
            # Fine-tuning stands without a guide; one-shot without one would be something else.
            self._policy = policy_for(replace(config, guide="none"))
        if self._policy.guide != "none" and not parent.config.guide:
            raise UsageError(
                "A guided mode needs weights that were trained with a guide",
                met=f"mode {config.mode} with weights without one",
                remedy="Use --mode zero-shot, or other weights",
            )
        learns = self._policy.adapts and config.adapt == "full"
        self._network = OnlineNetwork(
            parent, refine=config.refine, encode=encode, frozen=not learns
        )
        self._adapter = (
            OnlineAdapter(parent, config, self._network) if self._policy.adapts else None
        )
        self._geometry: Geometry | None = None
        self._propagation: Propagation | None = None
        self._targets: list[Target] = []
        self._active: Target | None = None
        self._judged = False
        self.warnings: list[str] = []
        self.adaptation = Adaptation()

    # === Beginning ===

    def begin(
        self, frame: Frame, mask: np.ndarray | None, report: Report | None = None
    ) -> Adaptation:
        """Starts a sequence: adapts to every object of the annotated frame.

        Args:
            frame: Annotated frame.
            mask: uint8 [H, W] of object ids, 0 background. A zero-shot segmenter does without:
                None.
            report: Called after every step of fine-tuning.

        Returns:
            Steps, losses and seconds, over all objects.

        Raises:
            InputError: The mask has another size than the frame, or is empty or full.
            UsageError: There is no mask where one is needed.
        """
        image = frame.image
        size = image.shape[:2]
        if self._policy.sees_mask:
            self._check_mask(mask, size, frame.name)
        self._geometry = Geometry.fit(size, self.config.short_side, self._parent.stride)
        self._propagation = Propagation(self._network, self.config, self._policy, self._geometry)
        self._targets, self._active, self.warnings = [], None, []
        self.adaptation = Adaptation()
        if not self._policy.sees_mask:
            self._targets = [Target(1, None, np.zeros(size, np.float32))]
            return self.adaptation
        done = []
        for label in [int(i) for i in np.unique(mask) if i]:
            single = (mask == label).astype(np.uint8)
            target = Target(label, None, single.astype(np.float32), self._new_memory())
            target.usual_area = float(np.count_nonzero(single))
            target.distractors = DistractorTrack(self.config.common_fate)
            self._propagation.begin(target, self._geometry.image(image))
            if self._adapter is not None:
                done.append(self._adapt(image, single, target, report))
            elif self._policy.guide == "target":
                done.append(self._solve(image, single, target))
            self._targets.append(target)
            self._remember_first(image, target)
        self._active = self._targets[-1]
        self.adaptation = Adaptation(
            sum(a.steps for a in done),
            [loss for a in done for loss in a.losses],
            sum(a.seconds for a in done),
        )
        return self.adaptation

    def _check_mask(self, mask: np.ndarray | None, size: tuple[int, int], name: str) -> None:
        if mask is None:
            raise UsageError(
                f"Mode {self.config.mode} starts from a mask",
                met="none",
                where=name,
                remedy="Give the mask of the first frame, or use --mode zero-shot",
            )
        check_first_mask(mask, size, name)

    def _new_memory(self) -> FrameMemory | None:
        if not self._parent.config.memory:
            return None
        return FrameMemory(self.config.memory, self._parent.cell)

    def _remember_first(self, image: np.ndarray, target: Target) -> None:
        if target.memory is not None:
            features = self._network.encode(self._geometry.image(image)[None])
            target.memory.begin(features["key"], self._geometry.guide(target.previous))

    def _adapt(
        self, image: np.ndarray, mask: np.ndarray, target: Target, report: Report | None
    ) -> Adaptation:
        started = time.monotonic()
        rng = np.random.default_rng([self._seed, target.label])
        self._adapter.reset()
        views = first_frame_views(image, mask, self._geometry, self.config, rng)
        if self.config.seconds and not self._judged:
            # What judges the result is compiled within the time, not after it.
            self._first_overlap(image, mask)
        self._judged = True
        adaptation = self._adapter.adapt(
            views, rng, replay=self._replay_views(), report=report, started=started
        )
        self._judge(image, mask, target.label)
        target.weights = self._adapter.state() if self.config.online_steps else None
        target.weights = target.weights or self._adapter.weights()
        target.model = self._adapter.model
        if self.config.online_steps:
            target.samples = self._adapter.samples
            target.views = views if self.config.adapt == "full" else []
        return Adaptation(adaptation.steps, adaptation.losses, time.monotonic() - started)

    def _solve(self, image: np.ndarray, mask: np.ndarray, target: Target) -> Adaptation:
        """Solves for what tells an object from its background; no weight is changed."""
        started = time.monotonic()
        rng = np.random.default_rng([self._seed, target.label])
        views = first_frame_views(image, mask, self._geometry, self.config, rng)
        features = [self._network.encode(view.image[None])["high"] for view in views]
        target.model = TargetModel.fit(features, [view.coded for view in views])
        return Adaptation(seconds=time.monotonic() - started)

    def _first_overlap(self, image: np.ndarray, mask: np.ndarray) -> float:
        features = self._network.encode(self._geometry.image(image)[None])
        logits = self._network.logits(features, [None], None)
        return overlap(self._geometry.logits(logits) > 0, mask)

    def _judge(self, image: np.ndarray, mask: np.ndarray, label: int) -> None:
        """Says so when fine-tuning did not reach the object even on the frame it was shown."""
        after = self._first_overlap(image, mask)
        before = after
        if after + WORSE < 1:
            tuned = self._adapter.state()
            self._adapter.reset()
            before = self._first_overlap(image, mask)
            self._adapter.set_state(tuned)
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

    @property
    def first_memory(self) -> Memory | None:
        """Returns the memory of the annotated frame, where there is one object that uses it."""
        memory = self._targets[0].memory if len(self._targets) == 1 else None
        return memory.first if memory is not None and self._policy.recall else None

    @property
    def target_model(self) -> TargetModel | None:
        """Returns what tells the object from its background, where there is one object."""
        return self._targets[0].model if len(self._targets) == 1 else None

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
            sequence: Frames and at least one annotation; propagation starts at the first. A
                zero-shot segmenter does without and starts at the first frame.
            report: Called after every step of fine-tuning.

        Yields:
            One prediction a frame, from the annotated frame on.
        """
        sees = self._policy.sees_mask
        start = sequence.first_annotated if sees or sequence.annotations else 0
        frames = iter(sequence)
        first = next(islice(frames, start, None))
        mask = sequence.annotation(start) if sees else None
        self.begin(first, mask, report)
        if not sees and self.config.agree and self._parent.config.memory:
            yield from self._run_agreed(sequence, first, frames, start)
            return
        yield self._given(first, mask)
        while window := list(islice(frames, self._window)):
            yield from self._predict(window)

    def _run_agreed(
        self, sequence: Sequence, first: Frame, rest: Iterator[Frame], start: int
    ) -> Iterator[Prediction]:
        """Segments what the clip's own surest frames agree on."""
        salient = SalientObject(self._network, self.config, self._geometry)
        with closing(sequence.preview(start)) as preview:
            for prediction in salient.run(chain([first], rest), preview, self._image):
                self.adaptation = Adaptation(seconds=salient.seconds)
                yield prediction

    @property
    def _window(self) -> int:
        """Frames encoded at once: one where the encoder changes between frames."""
        changes = self.config.adapt == "full" and self.config.online_steps
        return 1 if changes else self.config.window

    def _given(self, frame: Frame, mask: np.ndarray | None) -> Prediction:
        if mask is None:
            return self._predict([frame])[0]
        planes = np.stack([t.previous for t in self._targets])
        return Prediction(
            frame.index, frame.name, planes[0] if len(planes) == 1 else planes, mask, 0.0
        )

    def _predict(self, frames: list[Frame]) -> list[Prediction]:
        if self._geometry is None:
            raise UsageError("A sequence begins before its frames are segmented", met="no begin()")
        images = self._propagation.images([self._image(frame) for frame in frames])
        started = time.monotonic()
        shared = None
        if not (self.config.adapt == "full" and len(self._targets) > 1):
            self._activate(self._targets[0]) if len(self._targets) == 1 else None
            shared = [self._network.encode(batch) for batch in images]
        encoding = (time.monotonic() - started) / len(frames)
        predictions = []
        for position, frame in enumerate(frames):
            clock = time.monotonic()
            planes, seen = [], []
            for target in self._targets:
                self._activate(target)
                variants = shared or [self._network.encode(batch) for batch in images]
                seen.append([one_of(features, position) for features in variants])
                planes.append(
                    self._propagation.probability(seen[-1], target, image=images[0][position])
                )
            probability, mask = self._merge(planes)
            for target, variants in zip(self._targets, seen, strict=True):
                self._learn(target, variants[0], images[0][position])
            seconds = encoding + time.monotonic() - clock
            confidence = min(target.confidence for target in self._targets)
            predictions.append(
                Prediction(frame.index, frame.name, probability, mask, seconds, confidence)
            )
        return predictions

    def _image(self, frame: Frame) -> np.ndarray:
        image, size = frame.image, self._geometry.frame
        if image.shape[:2] != size:
            raise InputError(
                f"All frames of a sequence have the size of the first, {size[0]}x{size[1]} pixels",
                met=f"{image.shape[0]}x{image.shape[1]}",
                where=frame.name,
            )
        return image

    def _learn(self, target: Target, features: Features, image: np.ndarray) -> None:
        """Remembers a frame and adapts to it, as far as the policy wants it."""
        if not self._policy.sees_mask:
            return
        self._propagation.remember(features, target)
        if self._adapter is None or not self._policy.adapts_now(target.age, target.confidence):
            return
        labels = pseudo_labels(target.previous, target.before, self._strange(target))
        if labels is None:
            return
        self._activate(target)
        recall = self._propagation.recall(features, target)
        sample = self._adapter.sample(
            image, self._geometry.labels(labels), None, features=features, recall=recall
        )
        rng = np.random.default_rng([self._seed, target.label, target.age])
        self._adapter.adapt_to(sample, target.samples, rng, target.views)
        target.weights = self._adapter.state()
        if self.config.adapt == "full":
            target.model = self._adapter.model

    def _strange(self, target: Target) -> np.ndarray | None:
        """Where the distractors of an object are, bool [H, W]; None where there are none."""
        mask = target.distractors.mask
        return None if mask is None else self._geometry.large(mask)

    def _activate(self, target: Target) -> None:
        if target.weights is not None and self._active is not target:
            self._adapter.set_state(target.weights)
            self._active = target

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
