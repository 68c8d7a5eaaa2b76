"""DeepLabV3+ as a segmenter: zero-shot, one-shot, or fine-tuned on the annotated frame."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from deeplab_gygo import backend
from deeplab_gygo.errors import UsageError
from deeplab_gygo.inference.adapter import DecoderTuner
from deeplab_gygo.inference.close_up import CloseUp
from deeplab_gygo.inference.components import keep_near
from deeplab_gygo.inference.config import OnlineConfig
from deeplab_gygo.inference.feature_cache import FeatureCache
from deeplab_gygo.inference.frame_store import FrameStore
from deeplab_gygo.inference.geometry import Geometry
from deeplab_gygo.inference.initializer import ObjectInitializer
from deeplab_gygo.inference.network import EncoderFn, Features, ForwardPass
from deeplab_gygo.inference.object_state import MemoryBank, ObjectState
from deeplab_gygo.inference.prediction import (
    Adaptation,
    Prediction,
    ProgressCallback,
    State,
    of_object,
)
from deeplab_gygo.inference.propagation import Propagation
from deeplab_gygo.inference.segmenter_base import SegmenterBase
from deeplab_gygo.inference.tracked_object import Annotated
from deeplab_gygo.inference.zero_shot import TwoPassSegmenter
from deeplab_gygo.inference.zoom import Window
from deeplab_gygo.io.masks import VOID
from deeplab_gygo.io.sequence import Frame, Sequence
from deeplab_gygo.models.deeplab import DeepLabV3Plus
from deeplab_gygo.models.memory import Memory
from deeplab_gygo.models.optical_flow import OpticalFlow, moved
from deeplab_gygo.models.target_model import TargetModel

READING_SECONDS = 1.0
"""Time that an interrupted run waits for a window of frames that is being read."""


class _Encoded(NamedTuple):
    """A window of frames.

    Attributes:
        images: The frames, uint8 [H, W, 3].
        views: Features per view; where every object has an encoder of its own, their images.
        sources: Of every frame, where its pixels were in the frame before; empty if not needed.
    """

    images: list[np.ndarray]
    views: list[Any]
    sources: list[np.ndarray]


def _inside(mask: np.ndarray) -> np.ndarray:
    """Returns where a mask, uint8 [H, W], shows an object: bool [H, W]."""
    return (mask != 0) & (mask != VOID)


class DeepLabSegmenter(SegmenterBase):
    """DeepLabV3+ in its three modes; see `SegmenterBase` for the protocol.

    Args:
        parent: Network with the parent's weights.
        config: Online options.
        seed: Seed of augmentation and order; the same seed gives the same masks on a CPU.
        encode: Encoder in another runtime (`inference.engines`), which is not fine-tuned; None:
            the parent's own.

    Attributes:
        enlarges: Whether small objects are enlarged (`inference.zoom`), and others in a close-up.
        features: Keeps the features of frames, where an encoder that does not change runs on the
            processor; None: they are computed each time.

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
        self.config, self._parent = config, parent
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
        self._initializer = ObjectInitializer(
            parent, config, self._network, self._tuner, self._guide, seed
        )
        self._annotated_count = 1
        self._seen: list[tuple[ObjectState, Features]] = []
        self.enlarges = True
        self.features: FeatureCache | None = None
        self._window: Window | None = None
        self._close_up: CloseUp | None = None
        self._flow: OpticalFlow | None = None

    @property
    def first_memory(self) -> Memory | None:
        """Memory of the annotated frame of a single object; None without one."""
        memory = self._objects[0].memory if len(self._objects) == 1 else None
        return None if memory is None else tuple(map(np.asarray, memory.annotated[0]))

    @property
    def target_model(self) -> TargetModel | None:
        """Target model of a single object; None without one."""
        return self._objects[0].target_model if len(self._objects) == 1 else None

    def release(self) -> None:
        """Ends the sequence and restores the parent's weights."""
        self._size, self._known, self._objects, self._active = None, [], [], None
        self._window, self._close_up, self._flow, self._former = None, None, None, {}
        self._initializer.release()
        if self._tuner is not None:
            self._tuner.reset()

    def _start(self, image: np.ndarray) -> None:
        short_side = self.config.short_side
        self._work_at(Geometry.fit(image.shape[:2], short_side, self._parent.stride))
        self.batch_size = type(self).batch_size
        self._window, self._flow, self._active = None, None, None
        self._initializer.release()
        # Side by side with each other, with decoding, and with the augmentation of views.
        if backend.name() == "jax":
            parts = self._geometry, self._propagation, self._close_up
            backend.in_background(partial(self._prepare, *parts))

    def prepare(self, frame: tuple[int, int]) -> None:
        """Compiles all programs for frames of a size, those for small objects too, and waits (JAX).

        Args:
            frame: Height and width of the frames, pixels.
        """
        if backend.name() != "jax":
            return
        self._work_at(Geometry.fit(frame, self.config.short_side, self._parent.stride))
        self._prepare(self._geometry, self._propagation, self._close_up)
        backend.wait_for_background()

    def _prepare(
        self, geometry: Geometry, propagation: Propagation, close_up: CloseUp | None
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
            tracked.memory = MemoryBank([first] * self._annotated_count, capacity)
        views = features[: len(propagation.views)]
        propagation.prepare(views, tracked, unguided=bool(two_passes))
        if close_up is not None:  # Small objects are seen at this size too.
            close_up.prepare(
                features, tracked if self._needs_mask else replace(tracked, memory=None)
            )

    def _work_at(self, geometry: Geometry) -> None:
        self._geometry = geometry
        scale = 0.0 if self._needs_mask else self.config.zero_shot_tta_scale
        self._propagation = Propagation(self._network, self.config, geometry, self._guide, scale)
        self._close_up = None
        if self.enlarges:
            guide = self._guide
            if not self._needs_mask and self._parent.config.guide:
                guide = "previous"  # What was found in the frame.
            self._close_up = CloseUp(self._network, self.config, geometry, guide)

    def begin_all(
        self,
        annotated: Mapping[int, Annotated],
        name: str,
        progress: ProgressCallback | None = None,
    ) -> Adaptation:
        self._annotated_count = min(len(annotated), self.config.num_views)
        return super().begin_all(annotated, name, progress)

    def state(self) -> State:
        state = super().state()
        if self._window is not None:
            state["window"] = np.array([self._window.left, self._window.top, self._window.zoom])
        return state

    def restore(self, state: State, image: np.ndarray) -> None:
        if self._window is not None:
            left, top, zoom = (float(value) for value in state["window"])
            self._window = replace(self._window, left=left, top=top, zoom=zoom)
            image = self._window.crop(image)
        super().restore(state, image)
        if self._flow is not None:
            self._flow = OpticalFlow(image)

    def _seen_as(self, annotated: list[Annotated]) -> list[Annotated]:
        whole = Window(self._geometry.frame, self._geometry.working)
        windows = [whole.around(_inside(mask)) for _, mask in annotated]
        if self.enlarges and any(window.zoom > 1 for window in windows):
            # The objects see a clip that is filmed by a camera close to them.
            self._window, self.batch_size = windows[0], 1
            self._work_at(Geometry.fit(whole.view, min(whole.view), self._parent.stride))
            annotated = [
                (window.crop(image), window.crop_labels(mask))
                for window, (image, mask) in zip(windows, annotated, strict=True)
            ]
        if self._close_up is not None:
            for image, mask in annotated:
                self._close_up.annotate(image, _inside(mask))
        return annotated

    def _move_to(self, image: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if self._window is not None:
            shown = _inside(mask)
            for tracked in self._objects:  # Those that the mask does not show are seen as well.
                shown |= self._window.paste(tracked.probability) > self.threshold
            self._set_window(self._window.around(shown))
            image, mask = self._window.crop(image), self._window.crop_labels(mask)
        if self._guide != "none":
            # A frame is predicted from where the object is now, not from where it was.
            self._flow = OpticalFlow(image)
        return image, mask

    def _place(self, tracked: ObjectState, mask: np.ndarray) -> None:
        super()._place(tracked, mask)
        tracked.usual_area, tracked.age = float(np.count_nonzero(mask)), 0
        if tracked.memory is not None:
            tracked.memory.later.clear()

    def _checked_image(self, frame: Frame) -> np.ndarray:
        image = super()._checked_image(frame)
        return image if self._window is None else self._window.crop(image)

    def _whole(self, probability: np.ndarray) -> np.ndarray:
        return probability if self._window is None else self._window.paste(probability)

    def predict(
        self, frames: list[Frame], encoded: Any = None, *, skip: int = 0
    ) -> Iterator[Prediction]:
        for prediction in super().predict(frames, encoded, skip=skip):
            if self._window is not None:
                self._follow(frames[-1].image, prediction.mask)
            yield prediction

    def _follow(self, image: np.ndarray, mask: np.ndarray) -> None:
        """Moves the window to where the objects were found last; to the whole frame if nowhere."""
        threshold, fraction = self.threshold, self.config.LOST_AREA_FRACTION
        lost = all(tracked.is_lost(threshold, fraction) for tracked in self._objects)
        window = self._window.around(np.zeros_like(mask) if lost else mask)
        if self._set_window(window) and self._flow is not None:
            self._flow = OpticalFlow(window.crop(image))

    def _set_window(self, window: Window) -> bool:
        """Moves the objects to another window; returns whether it differs."""
        before, self._window = self._window, window
        if window == before:
            return False
        for tracked in self._objects:
            tracked.probability = window.crop(before.paste(tracked.probability))
            tracked.usual_area *= (window.zoom / before.zoom) ** 2
        return True

    def _add_object(
        self, seen: list[Annotated], label: int, progress: ProgressCallback | None
    ) -> tuple[ObjectState, Adaptation]:
        image, mask = seen[0]
        if mask is None:
            return ObjectState(label, np.zeros(image.shape[:2], np.float32)), Adaptation()
        former = ObjectState(label, np.zeros(image.shape[:2], np.float32))
        former.set_weights(of_object(label, self._former))
        tracked, adaptation, warnings = self._initializer.initialize(
            seen, label, self._propagation, self._close_up, progress, former.weights
        )
        self._active = tracked
        self.warnings += warnings
        return tracked, adaptation

    def _resume_object(
        self, seen: list[Annotated], label: int, arrays: Mapping[str, np.ndarray]
    ) -> ObjectState:
        tracked = ObjectState(label, np.zeros(seen[0][1].shape, np.float32))
        tracked.set_initial_arrays(arrays, self.config.memory_frames)
        return tracked

    def _without_mask(
        self,
        sequence: Sequence,
        start: int,
        frames: Iterator[Frame],
        store: FrameStore | None,
    ) -> Iterator[Prediction]:
        config = self.config
        one_pass = not config.zero_shot_anchor_frames or sequence.read_once
        if one_pass or not self._parent.config.memory:
            yield from super()._without_mask(sequence, start, frames, store)
            return
        two_pass = TwoPassSegmenter(self._network, config, self._geometry, self._close_up)
        with closing(sequence.preview(start)) as preview:
            for prediction in two_pass.run(frames, preview, self._checked_image, store):
                self.adaptation = Adaptation(seconds=two_pass.seconds)
                yield prediction

    def segmented(self, frames: Iterator[Frame], size: int) -> Iterator[Prediction]:
        if not self._network.fused or size == 1:
            yield from super().segmented(frames, size)
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
                yield from self.predict(batch, encoded)
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
            return _Encoded(images, inputs, sources)  # Every object has an encoder of its own.
        if len(self._objects) == 1:
            self._activate(self._objects[0])
        encode = self._network.encode
        if self.features is not None and not self._network.fused and not self._full:
            encode = partial(self.features.encode, encode=encode)
        return _Encoded(images, [encode(batch) for batch in inputs], sources)

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
        lost = tracked.is_lost(self.threshold, self.config.LOST_AREA_FRACTION)
        if lost or not self._needs_mask:
            return probability
        return keep_near(probability, tracked.probability > self.threshold, self.threshold)

    def _refined(
        self, features: _Encoded, position: int, planes: list[np.ndarray]
    ) -> list[np.ndarray]:
        if self._close_up is None:
            return planes
        image = features.images[position]
        return self._close_up.refine(image, planes, self._objects, self._activate)

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
