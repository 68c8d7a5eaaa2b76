"""Texture look-up with mip levels, in linear light."""

from __future__ import annotations

import cv2
import numpy as np

_ROW = 1024  # cv2.remap wants images of less than 32768 rows and columns, so lists are folded.


def lengths(vectors: np.ndarray) -> np.ndarray:
    """Returns the lengths [N] of vectors [N, K]; for short vectors far faster than `norm`."""
    return np.sqrt(np.einsum("ij,ij->i", vectors, vectors))


def pyramid(texture: np.ndarray, levels: int = 6) -> list[np.ndarray]:
    """Makes the linear-light mip levels of a texture.

    Args:
        texture: uint8 [H, W, 3] sRGB.
        levels: How many sizes at most, each half the one before.

    Returns:
        float32 [H, W, 3] images, range 0..1, linear light.
    """
    image = (texture.astype(np.float32) / 255) ** 2.2
    images = [image]
    while len(images) < levels and min(image.shape[:2]) >= 8:
        half = (image.shape[1] // 2, image.shape[0] // 2)
        image = cv2.resize(image, half, interpolation=cv2.INTER_AREA)
        images.append(image)
    return images


def sample(image: np.ndarray, u: np.ndarray, v: np.ndarray, border=cv2.BORDER_WRAP) -> np.ndarray:
    """Looks up an image at texture coordinates with bilinear interpolation.

    Args:
        image: float32 [H, W] or [H, W, C].
        u: float [N], 0..1 across.
        v: float [N], 0..1 down.
        border: OpenCV border mode outside the image.

    Returns:
        float32 [N] or [N, C].
    """
    count = len(u)
    rows = -(-count // _ROW)
    folded = np.zeros((2, rows * _ROW), np.float32)
    folded[0, :count] = u * image.shape[1] - 0.5
    folded[1, :count] = v * image.shape[0] - 0.5
    maps = folded.reshape(2, rows, _ROW)
    found = cv2.remap(image, maps[0], maps[1], cv2.INTER_LINEAR, borderMode=border)
    return found.reshape(rows * _ROW, -1)[:count].squeeze(-1 if image.ndim == 2 else ())


def sample_levels(levels: list[np.ndarray], u, v, level) -> np.ndarray:
    """Looks up a mip pyramid between two levels.

    Args:
        levels: Result of `pyramid`.
        u: float [N], 0..1 across; wraps.
        v: float [N], 0..1 down; wraps.
        level: float or float [N]: 0 is the full texture, each 1 more is half its size.

    Returns:
        float32 [N, 3], linear light.
    """
    level = np.clip(level, 0, len(levels) - 1)
    if np.ndim(level) == 0:
        low = min(int(level), len(levels) - 1)
        high, part = min(low + 1, len(levels) - 1), np.float32(level - low)
        first = sample(levels[low], u, v)
        return first if part < 0.02 else first + part * (sample(levels[high], u, v) - first)
    result = np.empty((len(u), 3), np.float32)
    whole = np.floor(level).astype(np.int64)
    for low in np.unique(whole):
        chosen = whole == low
        a = sample(levels[low], u[chosen], v[chosen])
        b = sample(levels[min(low + 1, len(levels) - 1)], u[chosen], v[chosen])
        part = (level[chosen] - low)[:, None].astype(np.float32)
        result[chosen] = a + part * (b - a)
    return result
