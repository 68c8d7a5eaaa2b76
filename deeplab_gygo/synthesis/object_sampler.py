"""Random objects of synthetic clips: sprites from collections, and occluders."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from deeplab_gygo.errors import UsageError
from deeplab_gygo.synthesis.cache import MemoryCache
from deeplab_gygo.synthesis.motion import turntable_index
from deeplab_gygo.synthesis.sprites import CutoutObject, Sprite, make_sprite
from deeplab_gygo.synthesis.stills import StillObject

SourceObject = CutoutObject | StillObject
_ATTEMPTS = 6
_SPIN_RATE = (0.1, 0.7)  # images per frame, of a spin of many images
# The images of a short spin are at 30 degrees and more: it must seldom jump between neighboring
# frames, and show another side between distant ones.
_SHORT_SPIN = 12  # images
_SHORT_SPIN_RATE = (0.02, 0.08)


@dataclass(frozen=True)
class Appearance:
    """The sprite of an object over time.

    Attributes:
        first: Sprite at time 0.
        source: Source of the other sprites; None if there is only this one.
        start: Index of the first sprite.
        rate: Sprites per frame, of either sign.
        cache: Cache of decoded sprites.
    """

    first: Sprite
    source: SourceObject | None = None
    start: int = 0
    rate: float = 0.0
    cache: MemoryCache | None = None

    def at(self, time: float) -> Sprite:
        """Returns the sprite at a time in frames."""
        if self.source is None:
            return self.first
        index = turntable_index(self.start, self.rate, self.source.sprite_count, time)
        return self.source.sprite(index, self.cache) or self.first


class ObjectSampler:
    """Samples objects.

    A collection is sampled by the square root of its size, and an object in it by the square root
    of its number of sprites, so that small collections and single images are not rare.

    Args:
        objects: Objects to sample from.
        cache: Cache of decoded images.

    Raises:
        UsageError: There is no object.
    """

    def __init__(self, objects: Sequence[SourceObject], cache: MemoryCache):
        if not objects:
            raise UsageError("Synthetic clips need objects", met="none")
        self._cache = cache
        self._categories: dict[str, list[SourceObject]] = defaultdict(list)
        collections: dict[str, list[SourceObject]] = defaultdict(list)
        for source in objects:
            self._categories[source.category].append(source)
            collections[source.collection].append(source)
        self._collections = list(collections.values())
        counts = [np.array([s.sprite_count for s in members]) for members in self._collections]
        self._member_shares = [_cumulative(np.sqrt(sprites)) for sprites in counts]
        self._collection_shares = _cumulative(np.sqrt([sprites.sum() for sprites in counts]))

    def sample(
        self, rng: np.random.Generator, source: SourceObject | None = None
    ) -> tuple[SourceObject, Appearance] | None:
        """Samples an object and its spin.

        Args:
            rng: Random generator.
            source: The object, if it is given.

        Returns:
            The object and its appearance; None if several attempts gave no usable sprite.
        """
        for _ in range(_ATTEMPTS):
            candidate = source or self._any(rng)
            count = candidate.sprite_count
            index = int(rng.integers(count))
            rate = rng.uniform(*(_SPIN_RATE if count >= _SHORT_SPIN else _SHORT_SPIN_RATE))
            rate *= 1.0 if rng.random() < 0.5 else -1.0
            first = candidate.sprite(index, self._cache)
            if first is None:
                continue
            if count == 1:
                return candidate, Appearance(first)
            return candidate, Appearance(first, candidate, index, float(rate), self._cache)
        return None

    def sample_similar(
        self, first: SourceObject | None, rng: np.random.Generator
    ) -> SourceObject | None:
        """Samples a distractor of an object: itself, one of its category, or None for any."""
        choice = rng.random()
        if first is None or choice >= 0.6:
            return None
        if choice < 0.2:
            return first
        members = self._categories[first.category]
        return members[rng.integers(len(members))]

    def _any(self, rng: np.random.Generator) -> SourceObject:
        collection = _index(self._collection_shares, rng)
        return self._collections[collection][_index(self._member_shares[collection], rng)]


def _cumulative(weights: np.ndarray) -> np.ndarray:
    return np.cumsum(weights / np.sum(weights))


def _index(cumulative: np.ndarray, rng: np.random.Generator) -> int:
    """Samples an index by cumulative shares."""
    return min(int(np.searchsorted(cumulative, rng.random())), len(cumulative) - 1)


def sample_piece(image: np.ndarray, rng: np.random.Generator) -> Sprite | None:
    """Cuts a random polygon or bar out of an image, as an occluder.

    Args:
        image: uint8 [height, width, 3], RGB.
        rng: Random generator.

    Returns:
        The piece; None if it is too small.
    """
    side = min(160, *image.shape[:2])
    top = int(rng.integers(image.shape[0] - side + 1))
    left = int(rng.integers(image.shape[1] - side + 1))
    alpha = np.zeros((side, side), np.uint8)
    if rng.random() < 0.4:
        half = max(int(side * rng.uniform(0.04, 0.12)), 2)
        alpha[side // 2 - half : side // 2 + half] = 255
    else:
        angles = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(4, 10))))
        radii = rng.uniform(0.25, 0.5, len(angles)) * side
        points = side / 2 + radii[:, None] * np.column_stack([np.cos(angles), np.sin(angles)])
        cv2.fillPoly(alpha, [points.astype(np.int32)], 255)
    return make_sprite(image[top : top + side, left : left + side], cv2.blur(alpha, (3, 3)))
