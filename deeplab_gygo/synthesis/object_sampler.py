"""What may appear in a composed clip: objects drawn from collections, and loose pieces."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from deeplab_gygo.errors import UsageError
from deeplab_gygo.synthesis.cache import MemoryCache
from deeplab_gygo.synthesis.motion import view_position
from deeplab_gygo.synthesis.sprites import CutoutObject, StillObject, View, make_view

SourceObject = CutoutObject | StillObject
_ATTEMPTS = 6
_SPIN_RATE = (0.1, 0.7)  # views a frame, of a spin of many views
# The views of a short spin lie 30 degrees and more apart: between neighboring frames it must
# seldom jump, between distant ones it shows another side.
_SHORT_SPIN = 12  # views
_SHORT_SPIN_RATE = (0.02, 0.08)


@dataclass(frozen=True)
class Look:
    """What an object looks like over time.

    Attributes:
        first: Its view at time 0.
        entry: Where its other views come from; None when there is only this one.
        start: Number of its first view.
        rate: Views a frame, of either sign.
        cache: Holds decoded views.
    """

    first: View
    entry: SourceObject | None = None
    start: int = 0
    rate: float = 0.0
    cache: MemoryCache | None = None

    @property
    def turns(self) -> bool:
        """Whether it has other views."""
        return self.entry is not None

    def view(self, time: float) -> View:
        """Returns its view at a time.

        Args:
            time: Frames.
        """
        if self.entry is None:
            return self.first
        index = view_position(self.start, self.rate, self.entry.view_count, time)
        return self.entry.view(index, self.cache) or self.first


class Cast:
    """Draws objects.

    A collection is drawn by the root of its size, and an object in it by the root of its number
    of views, so that neither small collections nor single pictures are lost.

    Args:
        objects: What can be drawn.
        cache: Holds decoded material.
    """

    def __init__(self, objects: Sequence[SourceObject], cache: MemoryCache):
        if not objects:
            raise UsageError("composing needs objects", met="none")
        self._cache = cache
        self._categories: dict[str, list[SourceObject]] = defaultdict(list)
        families: dict[str, list[SourceObject]] = defaultdict(list)
        for entry in objects:
            self._categories[entry.category].append(entry)
            families[entry.family].append(entry)
        self._families = list(families.values())
        counts = [np.array([e.view_count for e in members]) for members in self._families]
        self._member_shares = [_cumulated(np.sqrt(views)) for views in counts]
        self._family_shares = _cumulated(np.sqrt([views.sum() for views in counts]))

    def draw(
        self, rng: np.random.Generator, entry: SourceObject | None = None
    ) -> tuple[SourceObject, Look] | None:
        """Draws an object and how it turns.

        Args:
            rng: Source of randomness.
            entry: The object, if it is not to be drawn.

        Returns:
            The object and what it looks like over time; None when several tries found nothing
            that shows enough.
        """
        for _ in range(_ATTEMPTS):
            candidate = entry or self._any(rng)
            count = candidate.view_count
            index = int(rng.integers(count))
            rate = rng.uniform(*(_SPIN_RATE if count >= _SHORT_SPIN else _SHORT_SPIN_RATE))
            rate *= 1.0 if rng.random() < 0.5 else -1.0
            first = candidate.view(index, self._cache)
            if first is None:
                continue
            if count == 1:
                return candidate, Look(first)
            return candidate, Look(first, candidate, index, float(rate), self._cache)
        return None

    def alike(self, first: SourceObject | None, rng: np.random.Generator) -> SourceObject | None:
        """Draws a rival of an object: itself, one of its category, or None for anything.

        Args:
            first: The object; None leaves the choice open.
            rng: Source of randomness.

        Returns:
            The object to draw next, or None.
        """
        fate = rng.random()
        if first is None or fate >= 0.6:
            return None
        if fate < 0.2:
            return first
        members = self._categories[first.category]
        return members[rng.integers(len(members))]

    def _any(self, rng: np.random.Generator) -> SourceObject:
        family = _index(self._family_shares, rng)
        return self._families[family][_index(self._member_shares[family], rng)]


def _cumulated(weights: np.ndarray) -> np.ndarray:
    return np.cumsum(weights / np.sum(weights))


def _index(cumulated: np.ndarray, rng: np.random.Generator) -> int:
    """Draws an index by cumulated shares."""
    return min(int(np.searchsorted(cumulated, rng.random())), len(cumulated) - 1)


def cut_piece(photo: np.ndarray, rng: np.random.Generator) -> View | None:
    """Cuts a random polygon or a bar out of a picture, to lie in front of something.

    Args:
        photo: uint8 [height, width, 3], RGB.
        rng: Source of randomness.

    Returns:
        The piece; None when it came out too small.
    """
    side = min(160, *photo.shape[:2])
    top = int(rng.integers(photo.shape[0] - side + 1))
    left = int(rng.integers(photo.shape[1] - side + 1))
    alpha = np.zeros((side, side), np.uint8)
    if rng.random() < 0.4:
        half = max(int(side * rng.uniform(0.04, 0.12)), 2)
        alpha[side // 2 - half : side // 2 + half] = 255
    else:
        angles = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(4, 10))))
        radii = rng.uniform(0.25, 0.5, len(angles)) * side
        points = side / 2 + radii[:, None] * np.column_stack([np.cos(angles), np.sin(angles)])
        cv2.fillPoly(alpha, [points.astype(np.int32)], 255)
    return make_view(photo[top : top + side, left : left + side], cv2.blur(alpha, (3, 3)))
