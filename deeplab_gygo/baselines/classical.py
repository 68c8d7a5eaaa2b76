"""Baselines without weights: the first mask copied, warped by optical flow, or found by GrabCut.

They have no estimate of their uncertainty: their confidence only reflects how soft a mask is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import cv2
import numpy as np

from deeplab_gygo.inference.prediction import Adaptation, ProgressCallback, State
from deeplab_gygo.inference.segmenter_base import SegmenterBase
from deeplab_gygo.inference.tracked_object import Annotated, TrackedObject
from deeplab_gygo.io.config_file import check_choices, check_range
from deeplab_gygo.models.optical_flow import OpticalFlow, moved

_FLOW_PRESETS = {
    "ultrafast": cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST,
    "fast": cv2.DISOPTICAL_FLOW_PRESET_FAST,
    "medium": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM,
}

GMM_SIZE = 65
"""Numbers of OpenCV's Gaussian mixture: 5 components of weight, RGB mean and covariance."""

MIN_AREA_FRACTION = 0.1
"""Fraction of the annotated area below which a GrabCut result does not move the search region."""


@dataclass(frozen=True)
class ClassicalOnline:
    """Options of a classical baseline; the copied mask has no others.

    Attributes:
        mode: `one-shot`: propagation from the annotated frame without training.

    Raises:
        UsageError: A value is out of range.
    """

    mode: Literal["one-shot"] = "one-shot"

    def __post_init__(self) -> None:
        check_choices(self)


@dataclass(frozen=True)
class FlowOnline(ClassicalOnline):
    """The previous mask, warped by dense inverse search optical flow (Kroeger et al., ECCV 2016).

    Attributes:
        flow_preset: Preset of OpenCV's implementation.
    """

    flow_preset: Literal["ultrafast", "fast", "medium"] = "medium"

    RENAMED_KEYS: ClassVar[dict[str, str]] = {"preset": "flow_preset"}


@dataclass(frozen=True)
class GrabCutOnline(ClassicalOnline):
    """GrabCut (Rother et al., SIGGRAPH 2004) with the color models of the annotated frame.

    Attributes:
        iterations: Iterations of fitting the color models to the annotated frame; they are frozen
            afterwards.
        search_radius: Distance from the previous mask within which the object is searched, pixels.
    """

    iterations: int = 5
    search_radius: float = 20.0

    RENAMED_KEYS: ClassVar[dict[str, str]] = {"reach": "search_radius"}

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "iterations", 1, 1000)
        check_range(self, "search_radius", 0, 10_000)


class CopySegmenter(SegmenterBase):
    """Copies the mask of the annotated frame to all others.

    Args:
        config: Options.
    """

    def __init__(self, config: ClassicalOnline | None = None):
        super().__init__()
        self.config = config or ClassicalOnline()

    def _start(self, image: np.ndarray) -> None:
        pass

    def _add_object(
        self, seen: list[Annotated], label: int, progress: ProgressCallback | None
    ) -> tuple[TrackedObject, Adaptation]:
        return TrackedObject(label, (seen[0][1] == 1).astype(np.float32)), Adaptation()

    def _encode(self, images: list[np.ndarray]) -> Any:
        return None

    def _predict_object(self, features: Any, position: int, tracked: TrackedObject) -> np.ndarray:
        return tracked.probability


class FlowSegmenter(CopySegmenter):
    """Warps the mask of the previous frame by the backward optical flow, bilinearly.

    Args:
        config: Preset of the flow.
    """

    def __init__(self, config: FlowOnline | None = None):
        super().__init__(config or FlowOnline())
        self._flow: OpticalFlow | None = None

    def _move_to(self, image: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self._flow = OpticalFlow(image, 0, _FLOW_PRESETS[self.config.flow_preset])
        return image, mask

    def restore(self, state: State, image: np.ndarray) -> None:
        super().restore(state, image)
        self._flow = OpticalFlow(image, 0, _FLOW_PRESETS[self.config.flow_preset])

    def _encode(self, images: list[np.ndarray]) -> np.ndarray:
        return self._flow.advance(images[0])

    def _predict_object(
        self, features: np.ndarray, position: int, tracked: TrackedObject
    ) -> np.ndarray:
        return moved(tracked.probability, features)


class _GrabCutObject(TrackedObject):
    """GrabCut state of one object.

    Attributes:
        background: float64 [1, 65], the color mixture of its surroundings.
        foreground: float64 [1, 65], its own color mixture.
        mask: bool [H, W], its last mask of sufficient area, around which it is searched.
        area: Its number of pixels in the annotated frame.
    """

    def __init__(self, label: int, mask: np.ndarray):
        super().__init__(label, mask.astype(np.float32))
        self.mask, self.area = mask, np.count_nonzero(mask)
        self.background, self.foreground = np.zeros((2, 1, GMM_SIZE))

    def arrays(self) -> State:
        return {**super().arrays(), "mask": self.mask}

    def set_arrays(self, arrays: Mapping[str, np.ndarray]) -> None:
        super().set_arrays(arrays)
        self.mask = arrays["mask"]


class GrabCutSegmenter(CopySegmenter):
    """GrabCut with frozen color models, restricted to the surroundings of the previous mask.

    The Gaussian mixtures of object and background are fitted to the annotated frame. In every later
    frame the pixels within `search_radius` of the previous mask are unknown, all others background.
    After an occlusion the object is searched where it was last seen.

    Args:
        config: Iterations and search radius.
    """

    def __init__(self, config: GrabCutOnline | None = None):
        super().__init__(config or GrabCutOnline())

    def _add_object(
        self, seen: list[Annotated], label: int, progress: ProgressCallback | None
    ) -> tuple[TrackedObject, Adaptation]:
        image, mask = seen[0]
        tracked = _GrabCutObject(label, mask == 1)
        trimap = np.where(tracked.mask, cv2.GC_FGD, cv2.GC_BGD).astype(np.uint8)
        # The mixtures are initialized by k-means, which draws from OpenCV's generator.
        cv2.setRNGSeed(0)
        cv2.grabCut(
            cv2.cvtColor(image, cv2.COLOR_RGB2BGR), trimap, None, tracked.background,
            tracked.foreground, self.config.iterations, cv2.GC_INIT_WITH_MASK,
        )  # fmt: skip
        return tracked, Adaptation()

    def _place(self, tracked: _GrabCutObject, mask: np.ndarray) -> None:
        super()._place(tracked, mask)
        tracked.mask = mask

    def _encode(self, images: list[np.ndarray]) -> np.ndarray:
        return cv2.cvtColor(images[0], cv2.COLOR_RGB2BGR)

    def _predict_object(
        self, features: np.ndarray, position: int, tracked: _GrabCutObject
    ) -> np.ndarray:
        radius = self.config.search_radius
        left, top, width, height = cv2.boundingRect(tracked.mask.astype(np.uint8))
        margin = int(np.ceil(radius)) + 2
        window = (
            slice(max(0, top - margin), top + height + margin),
            slice(max(0, left - margin), left + width + margin),
        )
        mask = np.ascontiguousarray(tracked.mask[window], np.uint8)
        distance = cv2.distanceTransform(1 - mask, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        trimap = np.full(mask.shape, cv2.GC_BGD, np.uint8)
        trimap[distance <= radius] = cv2.GC_PR_BGD
        trimap[mask > 0] = cv2.GC_PR_FGD
        cv2.grabCut(
            np.ascontiguousarray(features[window]), trimap, None, tracked.background,
            tracked.foreground, 1, cv2.GC_EVAL_FREEZE_MODEL,
        )  # fmt: skip
        found = np.zeros(tracked.mask.shape, np.float32)
        found[window] = trimap == cv2.GC_PR_FGD
        if np.count_nonzero(found) >= MIN_AREA_FRACTION * tracked.area:
            tracked.mask = found > 0
        return found
