"""DeepLabV3+ as a segmenter: zero-shot, one-shot, or fine-tuned on the annotated frame."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing
from functools import partial
from itertools import chain, islice
from typing import Any, NamedTuple

import numpy as np

from deeplab_gygo import backend
from deeplab_gygo.errors import UsageError
from deeplab_gygo.evaluation.measures import jaccard
from deeplab_gygo.inference.adapter import DecoderTuner
from deeplab_gygo.inference.components import keep_near
from deeplab_gygo.inference.config import OnlineConfig
from deeplab_gygo.inference.geometry import Geometry
from deeplab_gygo.inference.motion import OpticalFlow, moved
from deeplab_gygo.inference.network import EncoderFn, Features, ForwardPass
from deeplab_gygo.inference.object_state import MemoryBank, ObjectState
from deeplab_gygo.inference.prediction import Adaptation, Prediction, ProgressCallback
from deeplab_gygo.inference.propagation import Propagation
from deeplab_gygo.inference.segmenter_base import SegmenterBase, low_jaccard_warning
from deeplab_gygo.inference.views import View, augmented_views
from deeplab_gygo.inference.zero_shot import TwoPassSegmenter
from deeplab_gygo.inference.zoom import Window
from deeplab_gygo.io.masks import VOID
from deeplab_gygo.io.sequence import Frame, Sequence
from deeplab_gygo.models.deeplab import DeepLabV3Plus
from deeplab_gygo.models.memory import Memory
from deeplab_gygo.models.target_model import TargetModel

READING_SECONDS = 1.0
"""Time that an interrupted run waits for a window of frames that is being read."""

LOSS_OF_JACCARD = 0.05
"""Loss of J on the annotated frame above which a fine-tuning is warned about."""


class _Encoded(NamedTuple):
    """A window of frames.

    Attributes:
        views: Features per view; where every object has an encoder of its own, their images.
        sources: Of every frame, where its pixels were in the frame before; empty if not needed.
    """

    views: list[Any]
    sources: list[np.ndarray]


class DeepLabSegmenter(SegmenterBase):
    """DeepLabV3+ in its three modes; see `SegmenterBase` for the protocol.

    Args:
        parent: Network with the parent's weights.
        config: Online options.
        seed: Seed of augmentation and order; the same seed gives the same masks on a CPU.
        encode: Encoder in another runtime (`inference.engines`), which is not fine-tuned; None:
            the parent's own.

    Attributes:
        enlarges: Whether small objects are enlarged (`inference.zoom`).

    Raises:
        UsageError: The mode needs weights that were trained with a guide.
    """

    batch_size = OnlineConfig.ENCODE_BATCH

    def __init__(
        self,
        parent: DeepLabV3Plus,
        config: OnlineConfig,
        seed: int = 0,
        encode: EncoderFn | None = None,
    ):
        super().__init__(config.threshold, needs_mask=config.mode != "zero-shot")
        self.config, self._parent, self._seed = config, parent, seed
        self._guide = "none" if config.mode == "zero-shot" else config.guide
        if not parent.config.guide and self._guide != "none":
            if config.mode == "one-shot":
                raise UsageError(
                    "A guided mode needs weights that were trained with a guide",
                    met=f"mode {config.mode} with weights without one",
                    remedy="Use --mode zero-shot, or other weights",
                )
            self._guide = "none"
        tunes = config.mode == "fine-tune"
        self._full = tunes and config.adapt == "full"
        self._network = ForwardPass(
            parent,
            refine=config.refine,
            encode=encode,
            frozen=not self._full,
            window=config.ENCODE_BATCH,
        )
        self._tuner = DecoderTuner(parent, config, self._network, self._guide) if tunes else None
        self._active: ObjectState | None = None
        self._judged = False
        self._seen: list[tuple[ObjectState, Features]] = []
        self._annotated: Features | None = None
        self.enlarges = True
        self._window: Window | None = None
        self._flow: OpticalFlow | None = None

    @property
    def first_memory(self) -> Memory | None:
        """Memory of the annotated frame of a single object; None without one."""
        memory = self._objects[0].memory if len(self._objects) == 1 else None
        return None if memory is None else tuple(map(np.asarray, memory.first))

    @property
    def target_model(self) -> TargetModel | None:
        """Target model of a single object; None without one."""
        return self._objects[0].target_model if len(self._objects) == 1 else None

    def release(self) -> None:
        """Ends the sequence and restores the parent's weights."""
        self._size, self._objects, self._active = None, [], None
        self._window, self._flow, self._annotated = None, None, None
        if self._tuner is not None:
            self._tuner.reset()

    def _start(self, image: np.ndarray) -> None:
        short_side = self.config.short_side
        self._work_at(Geometry.fit(image.shape[:2], short_side, self._parent.stride))
        self.batch_size = type(self).batch_size
        self._window, self._flow, self._active, self._annotated = None, None, None, None
        # Side by side with each other, with decoding, and with the augmentation of views.
        if backend.name() == "jax":
            backend.in_background(partial(self._prepare, self._geometry, self._propagation))

    def prepare(self, frame: tuple[int, int]) -> None:
        """Compiles all programs for frames of a size, those for small objects too, and waits (JAX).

        Args:
            frame: Height and width of the frames, pixels.
        """
        if backend.name() != "jax":
            return
        self._work_at(Geometry.fit(frame, self.config.short_side, self._parent.stride))
        self._prepare(self._geometry, self._propagation, small=self._needs_mask)
        backend.wait_for_background()

    def _prepare(
        self, geometry: Geometry, propagation: Propagation, *, small: bool = False
    ) -> None:
        """Begins to compile all programs that a clip of this size needs."""
        config, network = self.config, self._network
        features = [network.prepare_encoder(view.geometry.padded) for view in propagation.views]
        if self._tuner is not None:
            self._tuner.prepare(features[0], geometry.padded)
        tracked = ObjectState(1, np.zeros(geometry.frame, np.float32))
        if self._guide == "target":
            tracked.target_model = TargetModel(np.zeros(features[0]["high"].shape[-1:]), 0.0)
        two_passes = not self._needs_mask and config.zero_shot_anchor_frames
        if two_passes:
            propagation.prepare(features, tracked)
            propagation = Propagation(network, config, geometry, config.guide)
        if self._parent.config.memory and (self._needs_mask or two_passes):
            first = network.prepare_memory(features[0], geometry.guide(None))
            capacity = config.zero_shot_anchor_frames if two_passes else config.memory_frames
            tracked.memory = MemoryBank(first, capacity)
        propagations = [propagation]
        if small:  # An enlarged part has the working size.
            view = geometry.working
            enlarged = Geometry.fit(view, min(view), self._parent.stride)
            propagations.append(Propagation(network, config, enlarged, self._guide))
        for each in propagations:
            each.prepare(features[: len(each.views)], tracked, unguided=bool(two_passes))

    def _work_at(self, geometry: Geometry) -> None:
        self._geometry = geometry
        scale = 0.0 if self._needs_mask else self.config.zero_shot_tta_scale
        self._propagation = Propagation(self._network, self.config, geometry, self._guide, scale)

    def _seen_as(
        self, image: np.ndarray, mask: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray | None]:
        if mask is None or not self._needs_mask:
            return image, mask
        window = Window(self._geometry.frame, self._geometry.working).around(
            (mask != 0) & (mask != VOID)
        )
        if self.enlarges and window.zoom > 1:
            # The objects see a clip that is filmed by a camera close to them.
            self._window, self.batch_size = window, 1
            self._work_at(Geometry.fit(window.view, min(window.view), self._parent.stride))
            image, mask = window.crop(image), window.crop_labels(mask)
        if self._guide != "none":
            # A frame is predicted from where the object is now, not from where it was.
            self._flow = OpticalFlow(image)
        return image, mask

    def _checked_image(self, frame: Frame) -> np.ndarray:
        image = super()._checked_image(frame)
        return image if self._window is None else self._window.crop(image)

    def _whole(self, probability: np.ndarray) -> np.ndarray:
        return probability if self._window is None else self._window.paste(probability)

    def _predict(self, frames: list[Frame], encoded: Any = None) -> list[Prediction]:
        predictions = super()._predict(frames, encoded)
        if self._window is not None:
            self._follow(self._window, frames[-1].image, predictions[-1].mask)
        return predictions

    def _follow(self, window: Window, image: np.ndarray, mask: np.ndarray) -> None:
        """Moves the window to where the objects were found last; to the whole frame if nowhere."""
        threshold, fraction = self._threshold, self.config.LOST_AREA_FRACTION
        lost = all(tracked.is_lost(threshold, fraction) for tracked in self._objects)
        moved_to = window.around(np.zeros_like(mask) if lost else mask)
        if moved_to == window:
            return
        for tracked in self._objects:
            tracked.probability = moved_to.crop(window.paste(tracked.probability))
            tracked.usual_area *= (moved_to.zoom / window.zoom) ** 2
        if self._flow is not None:
            self._flow = OpticalFlow(moved_to.crop(image))
        self._window = moved_to

    def _add_object(
        self,
        image: np.ndarray,
        mask: np.ndarray | None,
        label: int,
        progress: ProgressCallback | None,
    ) -> tuple[ObjectState, Adaptation]:
        if mask is None:
            return ObjectState(label, np.zeros(image.shape[:2], np.float32)), Adaptation()
        single = (mask == 1).astype(np.uint8)
        tracked = ObjectState(label, single.astype(np.float32))
        tracked.usual_area = float(np.count_nonzero(single))
        adaptation = Adaptation()
        if self._tuner is not None:
            adaptation = self._fine_tune(self._tuner, image, single, tracked, progress)
        elif self._guide == "target":
            adaptation = self._fit_target_model(image, single, tracked)
        if self._parent.config.memory:
            coded = self._geometry.guide(tracked.probability)
            first = self._network.remember(self._annotated_features(image), coded)
            tracked.memory = MemoryBank(first, self.config.memory_frames)
        self._active = tracked
        return tracked, adaptation

    def _annotated_features(self, image: np.ndarray) -> Features:
        """Returns features of a window that begins with the annotated frame; encoded once."""
        if self._annotated is None or self._full:
            self._annotated = self._network.encode(self._geometry.image(image)[None])
        return self._annotated

    def _views(self, image: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> list[View]:
        return augmented_views(
            image,
            mask,
            self._geometry,
            rng,
            count=self.config.num_views,
            lucid_fraction=self.config.LUCID_FRACTION,
            scale=self.config.VIEW_SCALE,
            guide_dropout=self.config.GUIDE_DROPOUT,
        )

    def _fine_tune(
        self,
        tuner: DecoderTuner,
        image: np.ndarray,
        mask: np.ndarray,
        tracked: ObjectState,
        progress: ProgressCallback | None,
    ) -> Adaptation:
        started = time.monotonic()
        rng = np.random.default_rng([self._seed, tracked.label])
        tuner.reset()
        views = self._views(image, mask, rng)
        if self.config.seconds and not self._judged:
            # The check of the result is compiled within the time limit, not after it.
            self._first_jaccard(image, mask, None)
        self._judged = True
        done = tuner.adapt(views, rng, started=started, progress=progress)
        self._annotated = tuner.first_features
        tracked.weights, tracked.target_model = tuner.weights(), tuner.target_model
        self._warn_of_low_jaccard(tuner, image, mask, tracked)
        return Adaptation(done.steps, done.losses, time.monotonic() - started)

    def _fit_target_model(
        self, image: np.ndarray, mask: np.ndarray, tracked: ObjectState
    ) -> Adaptation:
        """Fits the target model without changing any weight."""
        started = time.monotonic()
        views = self._views(image, mask, np.random.default_rng([self._seed, tracked.label]))
        features = self._network.encode_views(np.stack([view.image for view in views]))
        self._annotated = features[0]
        tracked.target_model = TargetModel.fit(
            self._network.high(features, len(views)), [view.coded_mask for view in views]
        )
        return Adaptation(seconds=time.monotonic() - started)

    def _first_jaccard(
        self, image: np.ndarray, mask: np.ndarray, model: TargetModel | None
    ) -> float:
        """Returns J on the annotated frame, with the guide and the memory of the next one."""
        features = self._annotated_features(image)
        coded, guide, readout = self._geometry.guide(mask), None, None
        if self._network.fused:
            # By the program that the frames need as well: no other one is compiled.
            tracked = ObjectState(1, mask.astype(np.float32), target_model=model)
            if self._parent.config.memory:
                first = self._network.remember(features, coded)
                tracked.memory = MemoryBank(first, self.config.memory_frames)
            seen = [features, *self._other_views(image)]
            return jaccard(self._propagation.probability(seen, tracked) > 0.5, mask)
        if self._guide != "none":
            guide = self._network.guide(features, model, coded)
        if self._parent.config.memory:
            readout = self._network.read(features, *self._network.remember(features, coded))
        logits = self._network.logits(features, [guide], readout)
        return jaccard(self._geometry.logits(logits) > 0, mask)

    def _other_views(self, image: np.ndarray) -> list[Features]:
        """Returns the features of the annotated frame in the views beside the first."""
        return [self._network.encode(batch) for batch in self._propagation.inputs([image])[1:]]

    def _warn_of_low_jaccard(
        self, tuner: DecoderTuner, image: np.ndarray, mask: np.ndarray, tracked: ObjectState
    ) -> None:
        """Warns if fine-tuning lowered J on the annotated frame, or left it low."""
        after = self._first_jaccard(image, mask, tracked.target_model)
        if after + LOSS_OF_JACCARD >= 1:
            return
        tuned = tuner.state()
        tuner.reset()
        before = self._first_jaccard(image, mask, tracked.target_model)
        tuner.set_state(tuned)
        if after < before - LOSS_OF_JACCARD:
            self.warnings.append(
                f"object {tracked.label}: fine-tuning made the first frame worse (J {before:.2f} to"
                f" {after:.2f}); --mode one-shot or a lower --online.learning_rate may serve better"
            )
        else:
            self.warnings += low_jaccard_warning(after, tracked.label)

    def _propagate(
        self,
        sequence: Sequence,
        start: int,
        first: Frame,
        mask: np.ndarray | None,
        frames: Iterator[Frame],
    ) -> Iterator[Prediction]:
        config = self.config
        one_pass = not config.zero_shot_anchor_frames or sequence.read_once
        if mask is not None or one_pass or not self._parent.config.memory:
            yield from super()._propagate(sequence, start, first, mask, frames)
            return
        two_pass = TwoPassSegmenter(self._network, config, self._geometry)
        with closing(sequence.preview(start)) as preview:
            for prediction in two_pass.run(chain([first], frames), preview, self._checked_image):
                self.adaptation = Adaptation(seconds=two_pass.seconds)
                yield prediction

    def _segmented(self, frames: Iterator[Frame], size: int) -> Iterator[Prediction]:
        if not self._network.fused or size == 1:
            yield from super()._segmented(frames, size)
            return

        def read() -> tuple[list[Frame], Any]:
            batch = list(islice(frames, size))
            return batch, self._encode([self._checked_image(frame) for frame in batch])

        # The next window is decoded and encoded while the frames of this one are segmented.
        ahead = backend.in_background(read)
        try:
            while True:
                batch, encoded = ahead.result()
                if not batch:
                    return
                ahead = backend.in_background(read)
                yield from self._predict(batch, encoded)
        finally:
            # The caller closes the frames, which must not be read meanwhile.
            wait([ahead], READING_SECONDS)

    def _encode(self, images: list[np.ndarray]) -> _Encoded | None:
        if not images:
            return None
        with ThreadPoolExecutor(len(images)) as pool:
            # Where the network has a device of its own, the processor's cores are free for this.
            each = pool.map if self._network.fused else map
            inputs = self._propagation.inputs(images, each)
            sources = [] if self._flow is None else self._flow.advance_all(images, each)
        if self._full and len(self._objects) > 1:
            return _Encoded(inputs, sources)  # Every object has an encoder of its own.
        if len(self._objects) == 1:
            self._activate(self._objects[0])
        return _Encoded([self._network.encode(batch) for batch in inputs], sources)

    def _predict_object(
        self, features: _Encoded, position: int, tracked: ObjectState
    ) -> np.ndarray:
        self._activate(tracked)
        if features.sources:
            tracked.probability = moved(tracked.probability, features.sources[position])
        seen = features.views
        if self._full and len(self._objects) > 1:
            seen = [self._network.encode(batch) for batch in seen]
        self._seen.append((tracked, seen[0]))
        probability = self._propagation.probability(seen, tracked, position=position)
        lost = tracked.is_lost(self._threshold, self.config.LOST_AREA_FRACTION)
        if lost or not self._needs_mask:
            return probability
        return keep_near(probability, tracked.probability > self._threshold, self._threshold)

    def _finish_frame(self, position: int) -> None:
        if self._needs_mask:
            for tracked, features in self._seen:
                self._propagation.remember(features, tracked, position)
        self._seen = []

    def _activate(self, tracked: ObjectState) -> None:
        """Puts the fine-tuned weights of an object into the network."""
        if tracked.weights is not None and self._active is not tracked:
            self._tuner.set_weights(tracked.weights)
            self._active = tracked
