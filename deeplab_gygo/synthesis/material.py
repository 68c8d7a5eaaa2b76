"""Training material as a configuration names it."""

from __future__ import annotations

import os
from pathlib import Path

from deeplab_gygo.datasets.registry import open_dataset
from deeplab_gygo.errors import InputError, UsageError
from deeplab_gygo.synthesis.cache import MemoryCache
from deeplab_gygo.synthesis.clips import ClipSource
from deeplab_gygo.synthesis.composer import Composer
from deeplab_gygo.synthesis.config import SourceConfig
from deeplab_gygo.synthesis.sources import (
    SHORT_SIDE,
    SPAN,
    ComposeSource,
    MixedSource,
    StillsSource,
    VideoSource,
)
from deeplab_gygo.synthesis.sprites import find_cutouts, find_stills

DATA_VARIABLE = "DEEPLAB_GYGO_DATA"
"""Environment variable with the folder that relative roots start at."""

PICTURES = (".jpg", ".jpeg", ".png", ".webp")


def data_root(configured: str) -> Path:
    """Returns the folder that relative roots start at: configured, of the environment, or here."""
    return Path(configured or os.environ.get(DATA_VARIABLE, "."))


def build_source(
    sources: list[SourceConfig],
    root: str,
    cache_gb: float,
    *,
    span: int = SPAN,
    short_side: int = SHORT_SIDE,
) -> MixedSource:
    """Opens a weighted mix of training material.

    Args:
        sources: Parts of the mix.
        root: Folder that relative roots start at; see `data_root`.
        cache_gb: Memory for decoded pictures, GB, shared by all parts.
        span: Largest distance of the two frames of a clip of a video, frames.
        short_side: Larger frames and stills are reduced to this short side, pixels.

    Returns:
        The mix.

    Raises:
        UsageError: There is no part, or weights are not positive.
        InputError: A part's folder is missing or of another layout.
    """
    if not sources:
        raise UsageError(
            "A training needs material",
            met="an empty list",
            where="sources",
            remedy="Name at least one source in the configuration",
        )
    cache = MemoryCache(int(cache_gb * 1e9))
    reach = (span, short_side)
    return MixedSource([(_open(s, data_root(root), cache, *reach), s.weight) for s in sources])


def _open(
    config: SourceConfig, root: Path, cache: MemoryCache, span: int, short_side: int
) -> ClipSource:
    place = root / config.root
    if config.kind == "stills":
        return StillsSource(_existing(place), cache, short_side=short_side)
    if config.kind == "compose":
        return ComposeSource(_composer(config, root, cache))
    dataset = open_dataset(config.kind, place, resolution=config.resolution)
    return VideoSource(
        dataset,
        cache,
        split=config.split,
        exclude=config.exclude,
        span=span,
        short_side=short_side,
    )


def _composer(config: SourceConfig, root: Path, cache: MemoryCache) -> Composer:
    stills = [
        still
        for folder in config.stills
        for still in find_stills(_existing(root / folder), short_side=SHORT_SIDE)
    ]
    photos = [
        path
        for folder in config.backgrounds
        for path in sorted(_existing(root / folder).iterdir())
        if path.suffix.lower() in PICTURES
    ]
    objects = [*find_cutouts(_existing(root / config.root)), *stills]
    return Composer(objects, [*photos, *stills], cache, guided=config.guided)


def _existing(folder: Path) -> Path:
    if not folder.is_dir():
        raise InputError(
            "Training material is an existing folder",
            met="no such folder",
            where=folder,
            remedy=f"Correct the configuration, or set data_root or {DATA_VARIABLE}",
        )
    return folder
