"""Things that were taken for the object and were not it, followed so that they stay apart from it.

A part that lies away from the last mask is dropped, whatever the network says of it. Once such a
thing touches the object, the two are one part, and nothing that looks at single frames tells them
apart. So what was dropped is remembered as a distractor: optical flow says where it and the object
are in the next frame, and what is predicted is shared out between the two along the edges of the
picture, by a watershed from what is sure of either (Beucher & Lantuéjoul, 1979; flow by dense
inverse search, Kroeger et al., ECCV 2016). What never lay apart is told by its motion
(`common_fate`), and shared out in the same way.
"""

from __future__ import annotations

from copy import copy

import cv2
import numpy as np

from deeplab_gygo.online.common_fate import CommonFate
from deeplab_gygo.online.flow import flow_between

FLOW_SIDE = 240
"""Short side at which flow is computed, pixels: things as large as an object need no more."""

AGREED = 2.0
"""Pixels at that size by which flow forth and back may miss where it began."""

LEAST_PART = 0.1
"""Area of what is dropped, as a part of the object's, from which it is worth following."""

AWAY = 1.0
"""Distance from the object, as a part of the root of its area, beyond which a new thing is another
one. Nearer to it, inside the picture, things may be its own, a leg that comes out from behind
something; only what comes in over the edge of the picture is not."""

GROWTH = 0.25
"""How far a distractor may grow from one frame to the next, as a part of the root of its area."""

_BACKGROUND, _OBJECT, _DISTRACTOR = 1, 2, 3  # labels of the watershed
_CERTAIN = 5  # size of the element that shrinks seeds, pixels: flow is not exact


class DistractorTrack:
    """The distractors beside one object; forgotten with it.

    Args:
        fate: Whether motion tells too what is not the object (`CommonFate`); flow is then computed
            for every frame.

    Attributes:
        mask: bool [h, w] at the size of the images, where distractors were last; None for nowhere.
    """

    def __init__(self, fate: bool = False):
        self.fate = CommonFate() if fate else None
        self.mask: np.ndarray | None = None
        self._before: np.ndarray | None = None
        self._moved: np.ndarray | None = None
        self._flow: cv2.DISOpticalFlow | None = None

    @property
    def watches(self) -> bool:
        """Whether the next frame has to be looked at by `claim`."""
        return self.mask is not None or self.fate is not None

    def claim(self, image: np.ndarray, predicted: np.ndarray, previous: np.ndarray) -> np.ndarray:
        """Finds what the distractors have of a prediction.

        Args:
            image: uint8 [h, w, 3] RGB, the frame.
            predicted: bool [h, w], what the network takes for the object in it.
            previous: bool [h, w], the object in the frame before.

        Returns:
            bool [h, w]: the part of `predicted` that belongs to distractors.
        """
        self._moved = None
        nothing = np.zeros(predicted.shape, bool)
        if self._before is None or not self.watches:
            return nothing
        back, error = self._flows(image)
        followed = nothing if self.mask is None else self.mask
        seeds = _carried(np.stack([previous, followed], axis=-1), back, error <= AGREED)
        ours, theirs = seeds[..., 0], seeds[..., 1] & ~seeds[..., 0]
        self._moved = theirs.copy() if self.mask is not None else None
        if self.fate is not None:
            small = _resized(predicted & ~theirs, back.shape[:2])
            strange, undecided = (
                _resized(part, predicted.shape) for part in self.fate.strangers(back, error, small)
            )
            # What is not surely the object's is left to the edges of the picture to decide.
            ours, theirs = ours & ~(strange | undecided), theirs | strange
        if not (theirs & predicted).any():
            return nothing
        grown = _grown(theirs)
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (_CERTAIN, _CERTAIN))
        sure = [cv2.erode(s.astype(np.uint8), kernel) > 0 for s in (ours, theirs)]
        markers = np.full(predicted.shape, 0, np.int32)
        markers[~predicted] = _BACKGROUND
        markers[predicted & sure[0]] = _OBJECT
        markers[predicted & sure[1]] = _DISTRACTOR
        labels = cv2.watershed(np.ascontiguousarray(image), markers)
        theirs = (labels == _DISTRACTOR).astype(np.uint8)
        # The watershed leaves a line of one pixel between its regions.
        theirs = cv2.dilate(theirs, np.ones((3, 3), np.uint8)) > 0
        # What comes into view beside a distractor is not a distractor's for that.
        theirs &= predicted & (labels != _OBJECT) & grown
        if self._moved is None:
            return theirs
        return theirs | _islands(predicted & ~theirs, theirs & _grown(self._moved))

    def along(self, size: tuple[int, int]) -> np.ndarray | None:
        """Finds what has come along with the object, also where it lies apart from it.

        Args:
            size: Height and width to return.

        Returns:
            bool [height, width], after `claim` of the frame; None where motion is not watched.
        """
        return _resized(self.fate.along, size) if self.fate is not None else None

    def begin(self, image: np.ndarray, mask: np.ndarray) -> None:
        """Starts from a frame that the object is known from.

        Args:
            image: uint8 [h, w, 3] RGB, the frame.
            mask: bool [h, w], the object in it.
        """
        self.mask = self._moved = None
        self._before = self._gray(image)
        if self.fate is not None:
            self.fate.begin(_resized(mask, self._before.shape))

    def forget(self) -> None:
        """Forgets all distractors."""
        self.mask = self._moved = None
        if self.fate is not None:
            self.fate.restart()

    def pass_by(self, image: np.ndarray, kept: np.ndarray) -> None:
        """Goes on by a frame in which there is nothing to follow.

        Args:
            image: uint8 [h, w, 3] RGB, the frame.
            kept: bool [h, w], the object.
        """
        self.mask = self._moved = None
        self._go_on(image, kept)

    def follow(
        self, image: np.ndarray, dropped: np.ndarray, kept: np.ndarray, usual: float = 0.0
    ) -> None:
        """Remembers where the distractors are now.

        Args:
            image: uint8 [h, w, 3] RGB, the frame.
            dropped: bool [h, w], what was predicted and is not the object.
            kept: bool [h, w], the object.
            usual: Area that the object has where it is not hidden, pixels.
        """
        known = np.zeros(dropped.shape, bool) if self._moved is None else self._moved & ~kept
        self._moved = None
        # Only motion gives back what comes out on the other side of something.
        usual = usual if self.fate is not None else 0.0
        # What was known is followed also where the network was right for once.
        dropped = known | _others(dropped & ~kept, known, kept, usual)
        large = np.count_nonzero(dropped) >= LEAST_PART * np.count_nonzero(kept)
        self.mask = dropped if dropped.any() and large else None
        self._go_on(image, kept)

    def copy(self) -> DistractorTrack:
        """Returns one that goes its own way from here."""
        other = copy(self)
        other._flow = None
        other.fate = self.fate.copy() if self.fate is not None else None
        return other

    def _go_on(self, image: np.ndarray, kept: np.ndarray) -> None:
        self._before = self._gray(image)
        if self.fate is not None:
            self.fate.keep(_resized(kept, self._before.shape))

    def _flows(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Computes the flow back to the frame before, and how far it misses on the way forth."""
        if self._flow is None:
            self._flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        now = self._gray(image)
        back = flow_between(self._flow, now, self._before)
        forth = flow_between(self._flow, self._before, now)
        rows, columns = np.indices(now.shape, np.float32)
        grid = np.stack([columns, rows], axis=-1)
        # What the two flows disagree about was hidden, or comes out from behind something.
        returned = back + cv2.remap(forth, grid + back, None, cv2.INTER_LINEAR)
        return back, np.linalg.norm(returned, axis=-1)

    def _gray(self, image: np.ndarray) -> np.ndarray:
        gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        scale = min(1.0, FLOW_SIDE / min(gray.shape))
        size = tuple(max(1, round(side * scale)) for side in gray.shape[::-1])
        return gray if scale == 1.0 else cv2.resize(gray, size, interpolation=cv2.INTER_AREA)


def _resized(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if mask.shape == tuple(size):
        return mask
    return cv2.resize(mask.astype(np.uint8), size[::-1], interpolation=cv2.INTER_NEAREST) > 0


def _carried(masks: np.ndarray, back: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Moves masks bool [h, w, n] of the frame before along with a flow of any size."""
    height, width = masks.shape[:2]
    scale = np.array([width / back.shape[1], height / back.shape[0]], np.float32)
    flow = cv2.resize(back, (width, height)) * scale
    rows, columns = np.indices((height, width), np.float32)
    places = flow + np.stack([columns, rows], axis=-1)
    moved = cv2.remap(masks.astype(np.uint8) * 255, places, None, cv2.INTER_LINEAR)
    return (moved > 127) & _resized(known, (height, width))[..., None]


def _others(parts: np.ndarray, known: np.ndarray, kept: np.ndarray, usual: float) -> np.ndarray:
    """Finds the parts that are known things, or new ones that cannot be the object's own."""
    count, labels = cv2.connectedComponents(parts.astype(np.uint8), connectivity=8)
    if count == 1 or not kept.any():
        return parts
    distance = cv2.distanceTransform((~kept).astype(np.uint8), cv2.DIST_L2, 3)
    # A thing that is half hidden is as large as ever: its other half is not far from it.
    away = distance > AWAY * float(np.sqrt(max(np.count_nonzero(kept), usual)))
    inside = np.zeros(parts.shape, bool)
    inside[1:-1, 1:-1] = True
    others = np.zeros(count, bool)
    others[labels[known | away | ~inside]] = True
    others[0] = False
    return others[labels]


def _grown(mask: np.ndarray) -> np.ndarray:
    """Grows a mask, bool [h, w], as far as it may have grown in a frame."""
    radius = max(1.0, GROWTH * float(np.sqrt(np.count_nonzero(mask))))
    return cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 3) <= radius


def _islands(kept: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Finds parts of an object that lie apart from its largest part and touch a known distractor.

    Without this, what leaks into a distractor by an error of the flow stays there and grows. What
    only its motion tells may as well stand in front of the object and divide it.
    """
    count, labels, stats, _ = cv2.connectedComponentsWithStats(kept.astype(np.uint8))
    if count <= 2 or not theirs.any():
        return np.zeros(kept.shape, bool)
    near = cv2.dilate(theirs.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    touching = np.zeros(count, bool)
    touching[np.unique(labels[near])] = True
    touching[[0, 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))]] = False
    return touching[labels]
