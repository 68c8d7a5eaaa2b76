"""Features of frames on disk, for clips that are segmented more than once."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from deeplab_gygo.inference.network import Features

MAX_BYTES = 2 << 30
"""Largest size: about 300 frames of 640x360 pixels of the shipped parent, in float32."""


class FeatureCache:
    """Features by the content of frames, in a temporary folder that is removed with this object.

    When it is full, the features of further frames are computed each time.

    Args:
        max_bytes: Largest size of all features.

    Example:
        >>> calls = []
        >>> def encode(images):
        ...     calls.append(len(images))
        ...     return {"mean": images.mean(axis=(1, 2), keepdims=True)}
        >>> cache, images = FeatureCache(), np.arange(24, dtype=np.uint8).reshape(2, 2, 2, 3)
        >>> first, second = cache.encode(images, encode), cache.encode(images[1:], encode)
        >>> calls, bool((second["mean"][0] == first["mean"][1]).all())
        ([2], True)
    """

    def __init__(self, max_bytes: int = MAX_BYTES):
        self._max_bytes, self._used = max_bytes, 0
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._known: set[str] = set()

    def encode(self, images: np.ndarray, encode: Callable[[np.ndarray], Features]) -> Features:
        """Returns the features of frames.

        Args:
            images: uint8 [N, H, W, 3] RGB, at the padded size.
            encode: Computes the features of frames; of more than N where it likes a longer batch.

        Returns:
            Features of all frames; as `encode` returned them where one was not known.
        """
        keys = [_key(image) for image in images]
        if self._known.issuperset(keys):
            found = [self._read(key) for key in keys]
            return {name: np.concatenate([each[name] for each in found]) for name in found[0]}
        features = encode(images)
        arrays = {name: np.asarray(value) for name, value in features.items()}
        size = sum(array[:1].nbytes for array in arrays.values())
        for position, key in enumerate(keys):
            if key not in self._known and self._used + size <= self._max_bytes:
                self._write(key, {n: array[position : position + 1] for n, array in arrays.items()})
                self._used += size
        return features

    def _place(self, key: str) -> Path:
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="deeplab_gygo-")
        return Path(self._folder.name) / f"{key}.npz"

    def _read(self, key: str) -> dict[str, np.ndarray]:
        with np.load(self._place(key), allow_pickle=False) as file:
            return dict(file)

    def _write(self, key: str, values: dict[str, np.ndarray]) -> None:
        path = self._place(key)
        try:
            np.savez(path, **values)
        except OSError:  # a full disk is no reason to end
            self._max_bytes = 0
            if path.exists():
                os.unlink(path)
            return
        self._known.add(key)


def _key(image: np.ndarray) -> str:
    digest = hashlib.sha256(repr(image.shape).encode())
    digest.update(np.ascontiguousarray(image))
    return digest.hexdigest()
