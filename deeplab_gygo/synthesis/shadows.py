"""Soft shadows of synthetic objects, on the ground or behind them, and reflections in it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from deeplab_gygo.synthesis.layers import Layer

_STRIDE = 4  # shadows are soft, so they are computed at a quarter of the resolution
_CONTACT = 0.5  # probability of a contact shadow instead of a drop shadow
_DARKENING = (90.0, 190.0)  # at the core, of 255
_REFLECTED = 0.25  # probability of a reflection in glossy ground instead of a shadow


@dataclass(frozen=True)
class Shadow:
    """A shadow, constant over time.

    Attributes:
        contact: Whether it is a contact shadow (an ellipse), else a drop shadow of the contour.
        darkening: Darkening at its core, 0 to 255.
        half_width: Of a contact shadow, relative to the object's width.
        ground: Of a contact shadow, its height in the object's box, 0 top to 1 bottom.
        shift: float64 [2], displacement of a drop shadow, x and y relative to the object's size.
        spread: Standard deviation of its blur, relative to the object's size.
    """

    contact: bool
    darkening: float
    half_width: float
    ground: float
    shift: np.ndarray
    spread: float

    def cast(self, canvas: np.ndarray, layer: Layer) -> None:
        """Darkens the canvas, uint8 [height, width, 3] RGB, behind a layer, in place."""
        left, top, right, bottom = layer.extent
        size = max(float(np.sqrt(max(right - left, 1.0) * max(bottom - top, 1.0))), 8.0)
        deviation = max(self.spread * size / _STRIDE, 0.6)
        if self.contact:
            shade, corner = self._ground_shade(layer.extent, deviation)
        else:
            shade, corner = self._drop_shade(layer, size, deviation)
        _darken(canvas, cv2.GaussianBlur(shade, (0, 0), deviation), corner)

    def _ground_shade(
        self, extent: tuple[float, float, float, float], deviation: float
    ) -> tuple[np.ndarray, tuple[int, int]]:
        """Returns an ellipse at low resolution and its top left corner in pixels."""
        left, top, right, bottom = extent
        half_width = max(int(self.half_width * (right - left) / _STRIDE), 1)
        half_height = max(int((bottom - top) / 12 / _STRIDE), 1)
        pad = int(3 * deviation) + 1
        shade = np.zeros((2 * (half_height + pad) + 1, 2 * (half_width + pad) + 1), np.uint8)
        center = (half_width + pad, half_height + pad)
        cv2.ellipse(shade, center, (half_width, half_height), 0, 0, 360, int(self.darkening), -1)
        middle = (left + right) / 2, top + self.ground * (bottom - top)
        return shade, (
            round(middle[0] - _STRIDE * (center[0] + 0.5)),
            round(middle[1] - _STRIDE * (center[1] + 0.5)),
        )

    def _drop_shade(
        self, layer: Layer, size: float, deviation: float
    ) -> tuple[np.ndarray, tuple[int, int]]:
        """Returns the shifted alpha at low resolution and its top left corner in pixels."""
        rows, columns = layer.alpha.shape
        small = cv2.resize(
            layer.alpha,
            (max(round(columns / _STRIDE), 1), max(round(rows / _STRIDE), 1)),
            interpolation=cv2.INTER_AREA,
        )
        small = cv2.convertScaleAbs(small, alpha=self.darkening / 255 * 0.8)
        shift = self.shift * size
        # An object cut by the border of the image continues beyond it, and so does its shadow.
        pad = int(3 * deviation) + 1 + int(np.abs(shift).max() / _STRIDE)
        shade = cv2.copyMakeBorder(small, pad, pad, pad, pad, cv2.BORDER_REPLICATE)
        return shade, (
            round(layer.left + shift[0] - _STRIDE * pad),
            round(layer.top + shift[1] - _STRIDE * pad),
        )


@dataclass(frozen=True)
class Reflection:
    """A reflection in glossy ground, constant over time: the mirrored object, fading downwards.

    Attributes:
        strength: Its opacity at the base of the object, 0 to 1.
        reach: Distance at which it has faded, relative to the object's height.
        spread: Standard deviation of its blur, relative to the object's size.
    """

    strength: float
    reach: float
    spread: float

    def cast(self, canvas: np.ndarray, layer: Layer) -> None:
        """Blends the reflection into the canvas, uint8 [height, width, 3] RGB, in place."""
        _, top, _, bottom = layer.extent
        covered = np.flatnonzero(layer.alpha.any(axis=1))
        if layer.colors is None or not len(covered):
            return
        base = layer.top + int(covered[-1]) + 1
        fading = np.linspace(self.strength, 0, round(self.reach * (bottom - top)) + 1)
        rows, columns = min(len(fading), canvas.shape[0] - base), layer.alpha.shape[1]
        if rows < 1:  # the object is cut by the border of the image
            return
        # Row k below the base shows row k above it.
        above = slice(max(base - layer.top - rows, 0), base - layer.top)
        picture = np.dstack([layer.colors, layer.alpha])[above][::-1].astype(np.float32)
        deviation = self.spread * float(np.sqrt(max(columns * (bottom - top), 1.0)))
        if deviation > 0.3:
            picture = cv2.GaussianBlur(picture, (0, 0), deviation)
        picture *= fading.astype(np.float32)[: len(picture), None, None]
        below = canvas[base : base + len(picture), layer.left : layer.left + columns]
        remaining = below * (1 - picture[..., 3:] / 255) + picture[..., :3]
        below[:] = np.clip(remaining + 0.5, 0, 255).astype(np.uint8)


def sample_shadow(rng: np.random.Generator) -> Shadow | Reflection:
    """Samples the shape of a shadow, or of a reflection."""
    if rng.random() < _REFLECTED:
        strength, reach, spread = rng.uniform([0.15, 0.3, 0.0], [0.7, 1.0, 0.03])
        return Reflection(float(strength), float(reach), float(spread))
    contact = bool(rng.random() < _CONTACT)
    return Shadow(
        contact,
        float(rng.uniform(*_DARKENING)),
        float(rng.uniform(0.4, 0.55)),
        float(rng.uniform(0.92, 1.0)),
        np.array([rng.normal(0, 0.08), rng.uniform(0.0, 0.12)]),
        0.04 if contact else float(rng.uniform(0.03, 0.12)),
    )


def _darken(canvas: np.ndarray, shade: np.ndarray, corner: tuple[int, int]) -> None:
    """Darkens the canvas by a low-resolution shade, in place."""
    left, top = corner
    height, width = shade.shape[0] * _STRIDE, shade.shape[1] * _STRIDE
    first = max(left, 0), max(top, 0)
    last = min(left + width, canvas.shape[1]), min(top + height, canvas.shape[0])
    if last[0] <= first[0] or last[1] <= first[1]:
        return
    light = 255 - cv2.resize(shade, (width, height), interpolation=cv2.INTER_LINEAR)
    light = light[first[1] - top : last[1] - top, first[0] - left : last[0] - left]
    below = canvas[first[1] : last[1], first[0] : last[0]]
    canvas[first[1] : last[1], first[0] : last[0]] = cv2.multiply(
        below, cv2.merge([light] * 3), scale=1 / 255
    )
