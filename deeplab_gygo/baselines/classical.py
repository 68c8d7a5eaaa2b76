"""References that cost nothing: what a trained method must beat to be worth its seconds.

None of them has weights, and none knows how sure it can be: their confidence says no more than how
soft their masks are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np

from deeplab_gygo.baselines.flow import flow_between
from deeplab_gygo.baselines.shared.object_segmenter import Carried, ObjectSegmenter
from deeplab_gygo.inference.prediction import Adaptation, Report

_FLOW_PRESETS = {
    "ultrafast": cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST,
    "fast": cv2.DISOPTICAL_FLOW_PRESET_FAST,
    "medium": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM,
}

MIXTURE = 65
"""Numbers of a mixture of 5 Gaussians over 3 colours, as OpenCV's grabCut has it."""

LEAST_FOUND = 0.1
"""Part of the object's first area from which a new mask is believed to be where the object is."""


@dataclass
class ClassicalOnline:
    """A reference without weights; the copied first mask needs nothing else.

    Attributes:
        mode: All references start from the annotated frame and learn nothing.
    """

    mode: Literal["one-shot"] = "one-shot"


@dataclass
class FlowOnline(ClassicalOnline):
    """The previous mask, warped by dense inverse search optical flow (Kroeger et al., ECCV 2016).

    Attributes:
        preset: OpenCV's preset of the flow.
    """

    preset: Literal["ultrafast", "fast", "medium"] = "medium"


@dataclass
class GrabCutOnline(ClassicalOnline):
    """GrabCut (Rother et al., SIGGRAPH 2004) with the colour models of the annotated frame.

    Attributes:
        iterations: Rounds of fitting the colour models to the annotated frame; they are frozen
            afterwards.
        reach: Pixels around the last mask in which the object is looked for.
    """

    iterations: int = 5
    reach: float = 20.0


class CopySegmenter(ObjectSegmenter):
    """The mask of the annotated frame, copied to every other.

    Args:
        config: Nothing that can be chosen.
    """

    def __init__(self, config: ClassicalOnline | None = None):
        super().__init__()
        self.config = config or ClassicalOnline()

    def _start(self, image: np.ndarray) -> None:
        pass

    def _meet(
        self, image: np.ndarray, mask: np.ndarray | None, label: int, report: Report | None
    ) -> tuple[Any, Adaptation]:
        return None, Adaptation()

    def _look(self, image: np.ndarray) -> None:
        return None

    def _probability(self, seen: None, carried: Carried) -> np.ndarray:
        return carried.probability


class FlowSegmenter(ObjectSegmenter):
    """The mask of the frame before, moved along with the optical flow.

    Every pixel of the new frame takes the probability of the place that the flow says it came
    from; places beyond the border have none. Kroeger et al., "Fast Optical Flow using Dense
    Inverse Search", ECCV 2016.

    Args:
        config: Preset of the flow.
    """

    def __init__(self, config: FlowOnline | None = None):
        super().__init__()
        self.config = config or FlowOnline()
        self._flow = cv2.DISOpticalFlow_create(_FLOW_PRESETS[self.config.preset])
        self._before: np.ndarray | None = None
        self._places: np.ndarray | None = None

    def _start(self, image: np.ndarray) -> None:
        self._before = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        height, width = self._before.shape
        rows, columns = np.indices((height, width), np.float32)
        self._places = np.stack([columns, rows], axis=-1)

    def _meet(
        self, image: np.ndarray, mask: np.ndarray | None, label: int, report: Report | None
    ) -> tuple[Any, Adaptation]:
        return None, Adaptation()

    def _look(self, image: np.ndarray) -> np.ndarray:
        """Finds where every pixel came from: float32 [H, W, 2], column and row."""
        now = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        flow = flow_between(self._flow, now, self._before)
        self._before = now
        return flow + self._places

    def _probability(self, seen: np.ndarray, carried: Carried) -> np.ndarray:
        return cv2.remap(carried.probability, seen, None, cv2.INTER_LINEAR)


@dataclass
class _Colours:
    """What GrabCut keeps of an object.

    Attributes:
        background: float64 [1, 65], the mixture of colours around it, and `object` its own.
        object: See there.
        place: bool [H, W], its last mask that was worth believing.
        area: Its pixels in the annotated frame.
    """

    background: np.ndarray
    object: np.ndarray
    place: np.ndarray
    area: int


class GrabCutSegmenter(ObjectSegmenter):
    """GrabCut with the colours of the annotated frame, around the mask of the frame before.

    The mixtures of colours of object and background are fitted to the annotated frame and stay as
    they are. In every later frame each pixel within reach of the last mask is free, all others are
    background. Where (nearly) nothing is found the place is remembered, so that the object can be
    found again. Rother et al., "GrabCut", SIGGRAPH 2004.

    Args:
        config: Rounds of fitting, and the reach.
    """

    def __init__(self, config: GrabCutOnline | None = None):
        super().__init__()
        self.config = config or GrabCutOnline()

    def _start(self, image: np.ndarray) -> None:
        pass

    def _meet(
        self, image: np.ndarray, mask: np.ndarray, label: int, report: Report | None
    ) -> tuple[_Colours, Adaptation]:
        colours = _Colours(
            np.zeros((1, MIXTURE)), np.zeros((1, MIXTURE)), mask == 1, np.count_nonzero(mask == 1)
        )
        marked = np.where(mask == 1, cv2.GC_FGD, cv2.GC_BGD).astype(np.uint8)
        # The mixtures are started by k-means, whose random numbers are OpenCV's.
        cv2.setRNGSeed(0)
        cv2.grabCut(
            _blue_first(image), marked, None, colours.background, colours.object,
            self.config.iterations, cv2.GC_INIT_WITH_MASK,
        )  # fmt: skip
        return colours, Adaptation()

    def _look(self, image: np.ndarray) -> np.ndarray:
        return _blue_first(image)

    def _probability(self, seen: np.ndarray, carried: Carried) -> np.ndarray:
        colours: _Colours = carried.state
        window = _around(colours.place, self.config.reach)
        place = np.ascontiguousarray(colours.place[window], np.uint8)
        distance = cv2.distanceTransform(1 - place, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        marked = np.full(place.shape, cv2.GC_BGD, np.uint8)
        marked[distance <= self.config.reach] = cv2.GC_PR_BGD
        marked[place > 0] = cv2.GC_PR_FGD
        cv2.grabCut(
            np.ascontiguousarray(seen[window]), marked, None, colours.background, colours.object,
            1, cv2.GC_EVAL_FREEZE_MODEL,
        )  # fmt: skip
        found = np.zeros(colours.place.shape, np.float32)
        found[window] = marked == cv2.GC_PR_FGD
        if np.count_nonzero(found) >= LEAST_FOUND * colours.area:
            colours.place = found > 0
        return found


def _blue_first(image: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(image, cv2.COLOR_RGB2BGR)


def _around(place: np.ndarray, reach: float) -> tuple[slice, slice]:
    """Returns rows and columns of a mask and what is within reach of it, with a border."""
    left, top, width, height = cv2.boundingRect(place.astype(np.uint8))
    margin = int(np.ceil(reach)) + 2
    rows = slice(max(0, top - margin), top + height + margin)
    return rows, slice(max(0, left - margin), left + width + margin)
