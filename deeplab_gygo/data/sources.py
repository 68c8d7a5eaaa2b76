"""Where the training samples of a parent come from, and how a sample becomes an example.

Every example is a function of (seed, step, item) alone: a training that is resumed, or that runs
with another number of threads, sees the same data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import cv2
import numpy as np

from deeplab_gygo.config import AugmentConfig
from deeplab_gygo.data.augment import VOID, sample_view
from deeplab_gygo.data.cache import MemoryCache
from deeplab_gygo.data.compose import Composer
from deeplab_gygo.data.cutouts import find_stills
from deeplab_gygo.data.guides import deform_guide, encode_guide
from deeplab_gygo.data.pictures import shrink
from deeplab_gygo.errors import InputError, UsageError

if TYPE_CHECKING:
    from deeplab_gygo.data.datasets import Dataset

SHORT_SIDE = 400  # decoded pictures are reduced to this: training crops are smaller
_EMPTY_SHARE = 0.03  # of the samples of a video source
_TINY = 0.002  # of the crop
_KEEP_EMPTY = 0.25  # chance to keep a view that misses the object of its picture


@dataclass(frozen=True)
class RawSample:
    """A picture with its target before augmentation. The arrays are shared: do not write.

    Attributes:
        image: uint8 [height, width, 3], RGB.
        mask: uint8 [height, width], 0 background, 1 target, 255 void.
        previous_mask: uint8 [height, width] of a neighboring moment, in the same coding; None
            when there is none.
        salient: Whether the target is clear without a guide.
    """

    image: np.ndarray
    mask: np.ndarray
    previous_mask: np.ndarray | None
    salient: bool


class SampleSource(Protocol):
    """Anything that samples can be drawn from, by several threads at once."""

    def draw(self, rng: np.random.Generator) -> RawSample:
        """Draws a sample.

        Args:
            rng: Source of randomness; the sample depends on nothing else.

        Returns:
            The sample.
        """
        ...


class VideoSource:
    """Frames of annotated videos, each with the mask of a frame near it.

    Args:
        dataset: Video dataset.
        cache: Holds decoded frames.
        split: Split to read, unless `names` is given.
        names: Sequences to read.
        exclude: Sequences held back.
        max_gap: Largest distance of the previous frame; time may run backwards.
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
        self._max_gap, self._short_side = max_gap, short_side
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

    def draw(self, rng: np.random.Generator) -> RawSample:
        """Draws a sequence, a frame of it, and one of its objects."""
        keep_empty = rng.random() < _EMPTY_SHARE
        for _ in range(8):
            chosen = int(rng.integers(len(self.names)))
            frames = self._annotated[chosen]
            position = int(rng.integers(len(frames)))
            mask = self._mask(chosen, frames[position])
            if keep_empty or mask.any():
                break
        other = self._neighbor(position, len(frames), rng)
        previous = self._mask(chosen, frames[other])
        salient = True
        if self._dataset.multi_object:
            mask, previous, salient = _one_object(mask, previous, rng)
        return RawSample(self._image(chosen, frames[position]), mask, previous, salient)

    def _neighbor(self, position: int, count: int, rng: np.random.Generator) -> int:
        """Draws the position of the previous frame; the same one in a video of one frame."""
        gap = int(rng.integers(1, self._max_gap + 1)) * (1 if rng.random() < 0.5 else -1)
        for candidate in (position - gap, position + gap, position - 1, position + 1):
            if 0 <= candidate < count:
                return candidate
        return position

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


def _one_object(
    mask: np.ndarray, previous: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, bool]:
    """Draws one of the objects of a frame; the others become background.

    Returns:
        Masks uint8 [height, width], 0, 1 or 255, and whether the object is the only one.
    """
    present = [label for label in np.unique(mask) if label not in (0, VOID)]
    if not present:
        present = [label for label in np.unique(previous) if label not in (0, VOID)]
    label = present[rng.integers(len(present))] if present else 1
    coded = []
    for labels in (mask, previous):
        single = (labels == label).astype(np.uint8)
        single[labels == VOID] = VOID
        coded.append(single)
    return coded[0], coded[1], len(present) <= 1


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

    def draw(self, rng: np.random.Generator) -> RawSample:
        """Draws a photo."""
        image, mask = self._stills[rng.integers(len(self._stills))].picture(self._cache)
        return RawSample(image, mask, None, True)


class ComposeSource:
    """Composed pictures.

    Args:
        composer: Makes them.
    """

    def __init__(self, composer: Composer):
        self._composer = composer

    def draw(self, rng: np.random.Generator) -> RawSample:
        """Composes a picture."""
        pair = self._composer.compose(rng)
        return RawSample(pair.image, pair.mask, pair.previous_mask, pair.salient)


class MixedSource:
    """A weighted mix of sources.

    Args:
        sources: Sources with their weights, in any unit.
    """

    def __init__(self, sources: Sequence[tuple[SampleSource, float]]):
        weights = np.array([weight for _, weight in sources], np.float64)
        if not len(weights) or (weights < 0).any() or weights.sum() <= 0:
            raise UsageError(
                "a mix needs sources with weights of zero or more, not all zero",
                met=weights.tolist(),
            )
        self._sources = [source for source, _ in sources]
        self._cumulated = np.cumsum(weights / weights.sum())

    def draw(self, rng: np.random.Generator) -> RawSample:
        """Draws a source by weight, then a sample of it."""
        index = int(np.searchsorted(self._cumulated, rng.random(), side="right"))
        return self._sources[min(index, len(self._sources) - 1)].draw(rng)


def training_example(
    source: SampleSource,
    step_index: int,
    item: int,
    seed: int,
    size: tuple[int, int],
    augment_config: AugmentConfig,
    guide_dropout: float,
) -> dict[str, np.ndarray]:
    """Makes one training example, a pure function of (seed, step, item) and the source.

    Args:
        source: Where the sample is drawn from.
        step_index: Step of the training.
        item: Position in the batch.
        seed: Seed of the training.
        size: Height and width of the crop, pixels.
        augment_config: Ranges of the random changes.
        guide_dropout: Share of examples without guide, among those that do not need one.

    Returns:
        `image` uint8 [*size, 3] RGB; `mask` uint8 [*size], 0 or 1; `valid` uint8 [*size], 0 where
        the annotation is void and the loss must not count; `guide` float32 [*size, 1], +1, -1 or
        all 0 for unknown; `salient` bool [], whether the target is clear without a guide.
    """
    rng = np.random.default_rng([seed, step_index, item])
    for _ in range(4):
        sample = source.draw(rng)
        given = (
            [sample.mask]
            if sample.previous_mask is None
            else [
                sample.mask,
                sample.previous_mask,
            ]
        )
        image, masks = sample_view(sample.image, given, size, augment_config, rng)
        target = np.count_nonzero(masks[0] == 1)
        if target >= _TINY * size[0] * size[1]:
            break
        if not target and (not sample.mask.any() or rng.random() < _KEEP_EMPTY):
            break
    guided = not sample.salient or rng.random() >= guide_dropout
    guide = encode_guide(_guide_mask(masks, sample.salient, rng) if guided else None, size)
    return {
        "image": image,
        "mask": (masks[0] == 1).astype(np.uint8),
        "valid": (masks[0] != VOID).astype(np.uint8),
        "guide": guide,
        "salient": np.array(sample.salient),
    }


def _guide_mask(masks: Sequence[np.ndarray], salient: bool, rng: np.random.Generator) -> np.ndarray:
    """Deforms the previous mask, or more strongly the current one where there is no other.

    Where only the guide names the target, it must name it: an empty previous mask of a target
    that can be seen gives way to the current mask.
    """
    current = (masks[0] == 1).astype(np.uint8)
    if len(masks) < 2:
        return deform_guide(current, rng, strength=float(rng.uniform(1.0, 1.8)))
    previous = (masks[1] == 1).astype(np.uint8)
    if not salient and current.any() and not previous.any():
        previous = current
    return deform_guide(previous, rng, strength=float(rng.uniform(0.1, 1.1)))
