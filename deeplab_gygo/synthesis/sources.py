"""Where a parent's training clips come from: videos, stills, composed scenes, a mix of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from deeplab_gygo.errors import InputError, UsageError
from deeplab_gygo.synthesis.augment import VOID
from deeplab_gygo.synthesis.backgrounds import shrink
from deeplab_gygo.synthesis.cache import MemoryCache
from deeplab_gygo.synthesis.clips import ClipSource, Moment, RawClip
from deeplab_gygo.synthesis.composer import Composer
from deeplab_gygo.synthesis.sprites import find_stills

if TYPE_CHECKING:
    from deeplab_gygo.datasets.registry import Dataset

SHORT_SIDE = 400  # decoded pictures are reduced to this: training crops are smaller
SPAN = 25  # frames, the largest distance of the two of a clip
_EMPTY_SHARE = 0.03  # of the samples of a video source


class VideoSource:
    """Two frames of an annotated video, each with the mask of a frame near it.

    Args:
        dataset: Video dataset.
        cache: Holds decoded frames.
        split: Split to read, unless `names` is given.
        names: Sequences to read.
        exclude: Sequences held back.
        max_gap: Largest distance of the frame near it; time may run backwards.
        span: Largest distance of the two frames of a clip.
        short_side: Larger frames are reduced to this short side, pixels.
    """

    def __init__(
        self,
        dataset: Dataset,
        cache: MemoryCache,
        *,
        split: str = "train",
        names: Sequence[str] | None = None,
        exclude: Sequence[str] = (),
        max_gap: int = 3,
        span: int = SPAN,
        short_side: int = SHORT_SIDE,
    ):
        held_back = set(exclude)
        listed = dataset.names(split) if names is None else list(names)
        self.names = [name for name in listed if name not in held_back]
        if not self.names:
            raise UsageError(
                "a video source needs at least one sequence",
                met=f"{len(listed)} listed, {len(held_back)} held back",
                where=dataset.root,
            )
        self._dataset, self._cache = dataset, cache
        self._max_gap, self._span, self._short_side = max_gap, span, short_side
        self._sequences = [dataset.sequence(name) for name in self.names]
        self._annotated = [sorted(sequence.annotations) for sequence in self._sequences]
        bare = [
            name for name, frames in zip(self.names, self._annotated, strict=True) if not frames
        ]
        if bare:
            raise InputError(
                "every training sequence has annotations",
                met=f"{len(bare)} without, first {bare[0]}",
                where=dataset.root,
            )

    def draw(self, rng: np.random.Generator) -> RawClip:
        """Draws a sequence, two frames of it, and one of its objects."""
        keep_empty = rng.random() < _EMPTY_SHARE
        for _ in range(8):
            chosen = int(rng.integers(len(self.names)))
            frames = self._annotated[chosen]
            position = int(rng.integers(len(frames)))
            if keep_empty or self._mask(chosen, frames[position]).any():
                break
        far = self._neighbor(position, len(frames), self._span, rng)
        positions = [position, far]
        near = [self._neighbor(p, len(frames), self._max_gap, rng) for p in positions]
        masks = [self._mask(chosen, frames[p]) for p in [*positions, *near]]
        salient = True
        if self._dataset.multi_object:
            masks, salient = _one_object(masks, rng)
        first, second = (
            Moment(self._image(chosen, frames[p]), masks[i], masks[i + 2])
            for i, p in enumerate(positions)
        )
        return RawClip((first, second), salient)

    @staticmethod
    def _neighbor(position: int, count: int, reach: int, rng: np.random.Generator) -> int:
        """Draws another position within reach; the same one in a video of one frame."""
        gap = int(rng.integers(1, reach + 1)) * (1 if rng.random() < 0.5 else -1)
        for candidate in (position - gap, position + gap):
            if 0 <= candidate < count:
                return candidate
        low, high = max(0, position - reach), min(count - 1, position + reach)
        return int(rng.integers(low, high + 1))

    def _image(self, chosen: int, index: int) -> np.ndarray:
        def read() -> np.ndarray:
            image = shrink(self._sequences[chosen].frame(index).image, self._short_side)
            return np.ascontiguousarray(image)

        return self._cache.get(self._key("frame", chosen, index), read)

    def _mask(self, chosen: int, index: int) -> np.ndarray:
        def read() -> np.ndarray:
            mask = self._dataset.annotation(self.names[chosen], index)
            factor = self._short_side / min(mask.shape)
            if factor >= 1.0:
                return mask
            size = (round(mask.shape[1] * factor), round(mask.shape[0] * factor))
            return cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST)

        return self._cache.get(self._key("mask", chosen, index), read)

    def _key(self, kind: str, chosen: int, index: int) -> tuple:
        root = (str(self._dataset.root), str(self._dataset.resolution))
        return (kind, *root, self._short_side, self.names[chosen], index)


def _one_object(masks: list[np.ndarray], rng: np.random.Generator) -> tuple[list[np.ndarray], bool]:
    """Draws one of the objects of the first frame; the others become background.

    Returns:
        Masks uint8 [height, width], 0, 1 or 255, and whether the object is the only one.
    """
    present: list[int] = []
    for mask in masks:
        present = present or [int(i) for i in np.unique(mask) if i not in (0, VOID)]
    label = present[rng.integers(len(present))] if present else 1
    coded = []
    for labels in masks:
        single = (labels == label).astype(np.uint8)
        single[labels == VOID] = VOID
        coded.append(single)
    return coded, len(present) <= 1


class StillsSource:
    """Photos with the mask of their one object.

    Args:
        folder: Folder with `images/` and `masks/`.
        cache: Holds decoded pictures.
        short_side: Larger photos are reduced to this short side, pixels.
    """

    def __init__(self, folder: Path, cache: MemoryCache, *, short_side: int = SHORT_SIDE):
        self._stills = find_stills(Path(folder), short_side=short_side)
        self._cache = cache

    def draw(self, rng: np.random.Generator) -> RawClip:
        """Draws a photo, which is both moments."""
        image, mask = self._stills[rng.integers(len(self._stills))].picture(self._cache)
        moment = Moment(image, mask, None)
        return RawClip((moment, moment), True)


class ComposeSource:
    """Composed clips.

    Args:
        composer: Makes them.
        span: Largest distance of the two moments, frames.
    """

    def __init__(self, composer: Composer, *, span: float = 20.0):
        self._composer, self._span = composer, span

    def draw(self, rng: np.random.Generator) -> RawClip:
        """Composes a clip."""
        far = float(rng.uniform(1.0, self._span))
        gaps = rng.uniform(0.5, 2.0, 2)
        moments = [0.0, far, -float(gaps[0]), far + float(gaps[1])]
        clip = self._composer.compose_clip(rng, moments, outlines=(2, 3))
        first, second = (Moment(clip.images[i], clip.masks[i], clip.masks[i + 2]) for i in (0, 1))
        return RawClip((first, second), clip.salient)


class MixedSource:
    """A weighted mix of sources.

    Args:
        sources: Sources with their weights, in any unit.
    """

    def __init__(self, sources: Sequence[tuple[ClipSource, float]]):
        weights = np.array([weight for _, weight in sources], np.float64)
        if not len(weights) or (weights < 0).any() or weights.sum() <= 0:
            raise UsageError(
                "a mix needs sources with weights of zero or more, not all zero",
                met=weights.tolist(),
            )
        self._sources = [source for source, _ in sources]
        self._cumulated = np.cumsum(weights / weights.sum())

    def draw(self, rng: np.random.Generator) -> RawClip:
        """Draws a source by weight, then a clip of it."""
        index = int(np.searchsorted(self._cumulated, rng.random(), side="right"))
        return self._sources[min(index, len(self._sources) - 1)].draw(rng)
