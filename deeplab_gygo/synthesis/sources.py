"""Sources of training clips: videos, stills, synthetic clips, and a weighted mix of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from deeplab_gygo.datasets.registry import Dataset, open_dataset
from deeplab_gygo.errors import InputError, UsageError
from deeplab_gygo.io.scratch import held
from deeplab_gygo.io.storage import join, local_or_url
from deeplab_gygo.models.optical_flow import OpticalFlow, moved
from deeplab_gygo.synthesis.augment import VOID
from deeplab_gygo.synthesis.cache import MemoryCache
from deeplab_gygo.synthesis.clips import ClipFrame, ClipSource, RawClip
from deeplab_gygo.synthesis.composer import Composer
from deeplab_gygo.synthesis.config import SourceConfig
from deeplab_gygo.synthesis.sprites import find_cutouts, list_images
from deeplab_gygo.synthesis.stills import find_stills, limit_short_side

DATA_VARIABLE = "DEEPLAB_GYGO_DATA"
"""Environment variable with the folder that relative roots start at."""

SHORT_SIDE = 400
"""Short side to which decoded images are reduced, pixels: training crops are smaller."""

MAX_FRAME_DISTANCE = 25
"""Maximum distance between the two frames of a clip, frames."""

_TAKEN_IN = 0.5  # probability that the previous masks of a composed clip show another object too
_EMPTY_SHARE = 0.03  # fraction of the samples of a video source that may lack the object


def data_root(configured: str | Path) -> str | Path:
    """Returns the folder that relative roots start at: configured, of the environment, or `.`."""
    return local_or_url(configured or os.environ.get(DATA_VARIABLE, "."))


def data_place(base: str | Path, root: str) -> str | Path:
    """Returns a folder of training data, or its URL.

    Args:
        base: Folder that relative roots start at, or its URL; see `data_root`.
        root: Relative or absolute path, or a URL.
    """
    return local_or_url(join(base, root))


def build_source(
    sources: list[SourceConfig],
    root: str | Path,
    cache_gb: float,
    *,
    max_frame_distance: int = MAX_FRAME_DISTANCE,
    short_side: int = SHORT_SIDE,
    follow: bool = True,
) -> MixedSource:
    """Opens a weighted mix of training sources.

    Args:
        sources: Parts of the mix.
        root: Folder that relative roots start at, or its URL; see `data_root`. What is at URLs is
            copied to the scratch folder and stays there as long as the source is used.
        cache_gb: Memory for decoded images, GB, shared by all parts.
        max_frame_distance: Maximum distance between the two frames of a video clip, frames.
        short_side: Larger frames and stills are reduced to this short side, pixels.
        follow: See `VideoSource`, for composed clips too.

    Raises:
        UsageError: There is no part, or all weights are zero.
        InputError: The folder of a part is missing or of another layout.
        StorageError: What is at a URL cannot be read, or does not fit into the scratch folder.
    """
    if not sources:
        raise UsageError(
            "A training has at least one source",
            met="an empty list",
            where="sources",
            remedy="Add a source to the configuration",
        )
    cache, base = MemoryCache(int(cache_gb * 1e9)), data_root(root)

    def open_source(config: SourceConfig) -> ClipSource:
        place = data_place(base, config.root)
        if config.kind == "stills":
            return StillsSource(held(place, deep=True), cache, short_side=short_side)
        if config.kind == "compose":
            return ComposeSource(_composer(config, base, cache), follow=follow)
        return VideoSource(
            open_dataset(config.kind, place, resolution=config.resolution),
            cache,
            split=config.split,
            exclude=config.exclude,
            max_gap=config.max_gap,
            follow=follow,
            max_frame_distance=max_frame_distance,
            short_side=short_side,
        )

    return MixedSource([(open_source(config), config.weight) for config in sources])


def _composer(config: SourceConfig, base: str | Path, cache: MemoryCache) -> Composer:
    def local(root: str) -> Path:
        return held(data_place(base, root), deep=True)

    stills = [
        still for root in config.stills for still in find_stills(local(root), short_side=SHORT_SIDE)
    ]
    photos = [path for root in config.backgrounds for path in list_images(local(root))]
    objects = [*find_cutouts(local(config.root)), *stills]
    return Composer(
        objects, [*photos, *stills], cache, ambiguous_fraction=config.ambiguous_fraction
    )


class VideoSource:
    """Pairs of frames of an annotated video, each with the mask of a neighboring frame.

    Args:
        dataset: Video dataset.
        cache: Cache of decoded frames.
        split: Split to read, unless `names` is given.
        names: Sequences to read.
        exclude: Sequences that are held out.
        max_gap: Maximum distance to the neighboring frame, in both directions, frames.
        follow: Whether the mask of the neighboring frame is moved to the frame by optical flow, as
            propagation moves the previous mask. Without it a network learns, from clips in quick
            motion, can learn that the object is where the previous mask is not.
        max_frame_distance: Maximum distance between the two frames of a clip, frames.
        short_side: Larger frames are reduced to this short side, pixels.

    Raises:
        UsageError: No sequence is left.
        InputError: A sequence has no annotation.
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
        follow: bool = True,
        max_frame_distance: int = MAX_FRAME_DISTANCE,
        short_side: int = SHORT_SIDE,
    ):
        held_out = set(exclude)
        listed = dataset.names(split) if names is None else list(names)
        self.names = [name for name in listed if name not in held_out]
        if not self.names:
            raise UsageError(
                "A video source has at least one sequence",
                met=f"{len(listed)} listed, {len(held_out)} held out",
                where=dataset.root,
            )
        self._dataset, self._cache, self._short_side = dataset, cache, short_side
        self._max_gap, self._max_frame_distance = max_gap, max_frame_distance
        self._follow = follow
        self._sequences = [dataset.sequence(name) for name in self.names]
        self._annotated = [sorted(sequence.annotations) for sequence in self._sequences]
        missing = [n for n, frames in zip(self.names, self._annotated, strict=True) if not frames]
        if missing:
            raise InputError(
                "Every training sequence has annotations",
                met=f"{len(missing)} without, first {missing[0]}",
                where=dataset.root,
            )

    def sample(self, rng: np.random.Generator) -> RawClip:
        """Samples a sequence, two frames of it, and one of its objects."""
        allow_empty = rng.random() < _EMPTY_SHARE
        for _ in range(8):
            chosen = int(rng.integers(len(self.names)))
            frames = self._annotated[chosen]
            position = int(rng.integers(len(frames)))
            if allow_empty or self._mask(chosen, frames[position]).any():
                break
        other = self._neighbor(position, len(frames), self._max_frame_distance, rng)
        positions = [position, other]
        neighbors = [self._neighbor(p, len(frames), self._max_gap, rng) for p in positions]
        masks = [self._mask(chosen, frames[p]) for p in [*positions, *neighbors]]
        salient = True
        if self._dataset.multi_object:
            masks, salient = _sample_one_object(masks, rng)
        images = [self._image(chosen, frames[p]) for p in positions]
        if self._follow:
            before = [self._image(chosen, frames[p]) for p in neighbors]
            masks[2:] = map(_followed, masks[2:], before, images)
        first, second = (ClipFrame(images[i], masks[i], masks[i + 2]) for i in (0, 1))
        return RawClip((first, second), salient)

    @staticmethod
    def _neighbor(position: int, count: int, max_gap: int, rng: np.random.Generator) -> int:
        """Samples another position within a gap; the same one in a video of one frame."""
        gap = int(rng.integers(1, max_gap + 1)) * (1 if rng.random() < 0.5 else -1)
        for candidate in (position - gap, position + gap):
            if 0 <= candidate < count:
                return candidate
        low, high = max(0, position - max_gap), min(count - 1, position + max_gap)
        return int(rng.integers(low, high + 1))

    def _image(self, chosen: int, index: int) -> np.ndarray:
        def read() -> np.ndarray:
            image = limit_short_side(self._sequences[chosen].frame(index).image, self._short_side)
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


def _followed(mask: np.ndarray, before: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Moves a mask 0, 1 or 255 from the frame before; what is void there is background."""
    if before is image:
        return mask
    source = OpticalFlow(before).advance(image)
    return (moved((mask == 1).astype(np.float32), source) > 0.5).astype(np.uint8)


def _sample_one_object(
    masks: list[np.ndarray], rng: np.random.Generator
) -> tuple[list[np.ndarray], bool]:
    """Samples one object of the first non-empty frame; the others become background.

    Returns:
        Masks uint8 [height, width], 0, 1 or 255, and whether the object is the only one.
    """
    present: list[int] = []
    for mask in masks:
        present = present or [int(i) for i in np.unique(mask) if i not in (0, VOID)]
    object_id = present[rng.integers(len(present))] if present else 1
    coded = []
    for mask in masks:
        single = (mask == object_id).astype(np.uint8)
        single[mask == VOID] = VOID
        coded.append(single)
    return coded, len(present) <= 1


class StillsSource:
    """Stills with one object, both frames of a clip at once.

    Args:
        folder: Folder with `images/` and `masks/`.
        cache: Cache of decoded images.
        short_side: Larger stills are reduced to this short side, pixels.
    """

    def __init__(self, folder: Path, cache: MemoryCache, *, short_side: int = SHORT_SIDE):
        self._stills = find_stills(Path(folder), short_side=short_side)
        self._cache = cache

    def sample(self, rng: np.random.Generator) -> RawClip:
        """Samples a still."""
        image, mask = self._stills[rng.integers(len(self._stills))].read(self._cache)
        frame = ClipFrame(image, mask, None)
        return RawClip((frame, frame), True)


class ComposeSource:
    """Synthetic clips.

    Something that touches the object may be taken into a mask; from there it would be followed
    like the object. Where the previous mask follows the object, it therefore shows another object
    too in a part of the clips, which is to be left out again.

    Args:
        composer: Composer of the clips.
        max_frame_distance: Maximum distance between the two frames, frames.
        follow: See `VideoSource`.
    """

    def __init__(
        self, composer: Composer, *, max_frame_distance: float = 20.0, follow: bool = True
    ):
        self._composer, self._max_frame_distance = composer, max_frame_distance
        self._follow = follow

    def sample(self, rng: np.random.Generator) -> RawClip:
        """Composes a clip."""
        other = float(rng.uniform(1.0, self._max_frame_distance))
        gaps = rng.uniform(0.5, 2.0, 2)
        times = [0.0, other, -float(gaps[0]), other + float(gaps[1])]
        clip = self._composer.compose_clip(
            rng,
            times,
            masks_only=() if self._follow else (2, 3),
            other_at=(2, 3) if self._follow else (),
        )
        images, masks = clip.images, list(clip.masks)
        if clip.others and rng.random() < _TAKEN_IN:
            masks[2:] = map(np.maximum, masks[2:], clip.others)
        if self._follow:
            masks[2:] = map(_followed, masks[2:], images[2:], images[:2])
        first, second = (ClipFrame(images[i], masks[i], masks[i + 2]) for i in (0, 1))
        return RawClip((first, second), clip.salient)


class MixedSource:
    """A weighted mix of sources.

    Args:
        sources: Sources with their weights, in any unit.

    Raises:
        UsageError: There is no source, a weight is negative, or all are zero.
    """

    def __init__(self, sources: Sequence[tuple[ClipSource, float]]):
        weights = np.array([weight for _, weight in sources], np.float64)
        if not len(weights) or (weights < 0).any() or weights.sum() <= 0:
            raise UsageError(
                "A mix has sources with weights of zero or more, not all zero",
                met=weights.tolist(),
            )
        self._sources = [source for source, _ in sources]
        self._cumulative = np.cumsum(weights / weights.sum())

    def sample(self, rng: np.random.Generator) -> RawClip:
        """Samples a source by weight, then a clip of it."""
        index = int(np.searchsorted(self._cumulative, rng.random(), side="right"))
        return self._sources[min(index, len(self._sources) - 1)].sample(rng)
