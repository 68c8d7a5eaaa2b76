"""What may appear in a composed picture: objects drawn from collections, and loose pieces."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import cv2
import numpy as np

from deeplab_gygo.data.cache import MemoryCache
from deeplab_gygo.data.cutouts import CutoutObject, StillObject, View, make_view
from deeplab_gygo.errors import UsageError

SourceObject = CutoutObject | StillObject
_ATTEMPTS = 6


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
    ) -> tuple[SourceObject, View, View] | None:
        """Draws an object with views for the current and the previous moment.

        Args:
            rng: Source of randomness.
            entry: The object, if it is not to be drawn.

        Returns:
            The object and two neighboring views of it, which may be the same; None when several
            tries found nothing that shows enough.
        """
        for _ in range(_ATTEMPTS):
            candidate = entry or self._any(rng)
            index = int(rng.integers(candidate.view_count))
            view = candidate.view(index, self._cache)
            if view is None:
                continue
            other = int(np.clip(index + rng.integers(-1, 2), 0, candidate.view_count - 1))
            previous = candidate.view(other, self._cache) if other != index else view
            return candidate, view, previous or view
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
