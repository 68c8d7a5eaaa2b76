"""Compositing of sprites: warping, feathering, lighting, motion blur and alpha blending."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from deeplab_gygo.synthesis.augment import line_kernel
from deeplab_gygo.synthesis.motion import Deformation
from deeplab_gygo.synthesis.sprites import Sprite

_GRID = 8  # pixels between the points at which a deformation is evaluated exactly
_MIN_BLUR = 1.6  # pixels; a shorter blur is invisible
# Longer lines are blurred in two passes: OpenCV uses a slow Fourier transform for kernels larger
# than 11 x 11.
_MAX_LINE = 10.0


@dataclass(frozen=True)
class Pose:
    """Placement of a sprite on the canvas.

    Attributes:
        center: float64 [2], x and y on the canvas, pixels.
        scale: Canvas pixels per sprite pixel.
        angle: Radians.
        flip: Whether the sprite is mirrored.
        skew: float64 [4, 2], perspective displacement of the corners, relative to the sides.
    """

    center: np.ndarray
    scale: float
    angle: float
    flip: bool
    skew: np.ndarray

    def moved(self, step: np.ndarray) -> Pose:
        """Returns the pose after a motion.

        Args:
            step: float64 [12 or more]: x and y in pixels, log scale, angle in radians, and the
                skew of the corners.
        """
        return replace(
            self,
            center=self.center + step[:2],
            scale=self.scale * float(np.exp(step[2])),
            angle=self.angle + float(step[3]),
            skew=self.skew + step[4:12].reshape(4, 2),
        )

    def matrix(self, shape: tuple[int, ...]) -> np.ndarray:
        """Returns the homography from a sprite of a shape (height, width) to the canvas.

        Returns:
            float64 [3, 3].
        """
        height, width = shape[:2]
        corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float64)
        placed = corners - (width / 2, height / 2) + self.skew * (width, height)
        if self.flip:
            placed[:, 0] *= -1
        cos, sin = self.scale * np.cos(self.angle), self.scale * np.sin(self.angle)
        placed = placed @ np.array([[cos, sin], [-sin, cos]]) + self.center
        return cv2.getPerspectiveTransform(
            corners.astype(np.float32), placed.astype(np.float32)
        ).astype(np.float64)


@dataclass(frozen=True)
class Layer:
    """A sprite warped to the canvas, stored on its bounding box only.

    Attributes:
        colors: uint8 [height, width, 3], RGB premultiplied by alpha; None for alpha only.
        alpha: uint8 [height, width].
        left: First column of the box on the canvas.
        top: First row of the box on the canvas.
        extent: Left, top, right and bottom of the whole sprite, beyond the canvas too, pixels.
    """

    colors: np.ndarray | None
    alpha: np.ndarray
    left: int
    top: int
    extent: tuple[float, float, float, float]

    @property
    def box(self) -> tuple[slice, slice]:
        """Rows and columns of the canvas."""
        height, width = self.alpha.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)


def warp_sprite(
    sprite: Sprite,
    matrix: np.ndarray,
    canvas: tuple[int, int],
    *,
    deformation: Deformation | None = None,
    time: float = 0.0,
    alpha_only: bool = False,
) -> Layer | None:
    """Resamples a sprite to the canvas.

    Args:
        sprite: The sprite.
        matrix: float64 [3, 3], homography from sprite to canvas.
        canvas: Height and width of the canvas, pixels.
        deformation: Non-rigid deformation; None for none.
        time: Time of the deformation, frames.
        alpha_only: Skip the colors, which saves time.

    Returns:
        The layer; None if no part of it is on the canvas.
    """
    source, factor = sprite.reduced(float(np.sqrt(abs(np.linalg.det(matrix[:2, :2])))))
    if factor != 1.0:
        # Pixel centers of the reduced sprite are at factor * (position + 1/2) - 1/2.
        offset = (factor - 1.0) / 2.0
        matrix = matrix @ np.array([[factor, 0, offset], [0, factor, offset], [0, 0, 1.0]])
    if alpha_only:
        source = cv2.extractChannel(source, 3)
    margin = 0.0 if deformation is None else deformation.max_displacement
    extent = _extent(matrix, source.shape, margin)
    left, top = max(int(np.floor(extent[0])), 0), max(int(np.floor(extent[1])), 0)
    right = min(int(np.ceil(extent[2])), canvas[1])
    bottom = min(int(np.ceil(extent[3])), canvas[0])
    if right - left < 2 or bottom - top < 2:
        return None
    shift = np.array([[1, 0, -left], [0, 1, -top], [0, 0, 1]], np.float64)
    size = (right - left, bottom - top)
    if deformation is None:
        warped = cv2.warpPerspective(source, shift @ matrix, size)
    else:
        positions = _deformed_map(shift @ matrix, source.shape, size, deformation, time)
        warped = cv2.remap(source, positions, None, cv2.INTER_LINEAR)
    if alpha_only:
        return Layer(None, warped, left, top, extent)
    colors, alpha = cv2.cvtColor(warped, cv2.COLOR_RGBA2RGB), cv2.extractChannel(warped, 3)
    return Layer(colors, alpha, left, top, extent)


def _extent(
    matrix: np.ndarray, shape: tuple[int, ...], margin: float
) -> tuple[float, float, float, float]:
    """Returns left, top, right and bottom of a sprite with a margin relative to its sides."""
    height, width = shape[:2]
    low, high = np.array([-margin, 1.0 + margin])
    corners = np.array([[low, low, 1], [high, low, 1], [high, high, 1], [low, high, 1]]).T
    placed = matrix @ (corners * np.array([[width], [height], [1.0]]))
    placed = placed[:2] / placed[2]
    return (*placed.min(axis=1).tolist(), *placed.max(axis=1).tolist())


def _deformed_map(
    matrix: np.ndarray,
    shape: tuple[int, ...],
    size: tuple[int, int],
    deformation: Deformation,
    time: float,
) -> np.ndarray:
    """Returns the sprite position (x, y) of every pixel of a box of a size (width, height).

    `matrix` is the homography from a sprite of a shape (height, width, ...) to the box; the result
    is float32 [height, width, 2], for `cv2.remap`.
    """
    sides = np.array([shape[1], shape[0]], np.float64)
    # One more cell on every side: interpolation is exact in the inner ones only.
    counts = [-(-length // _GRID) + 2 for length in size]
    x, y = ((np.arange(count) - 0.5) * _GRID - 0.5 for count in counts)
    points = np.stack([*np.meshgrid(x, y), np.ones((counts[1], counts[0]))], axis=-1)
    sources = points @ np.linalg.inv(matrix).T
    sources = sources[..., :2] / sources[..., 2:]
    sources = sources + deformation.displacement(sources / sides, time) * sides
    full = cv2.resize(sources.astype(np.float32), (counts[0] * _GRID, counts[1] * _GRID))
    return full[_GRID : _GRID + size[1], _GRID : _GRID + size[0]]


def apply_gains(layer: Layer, gains: np.ndarray) -> Layer:
    """Multiplies the colors of a layer by one gain per channel, float64 [3], up to its alpha."""
    colors = cv2.transform(layer.colors, np.diag(gains))
    return replace(layer, colors=cv2.min(colors, cv2.merge([layer.alpha] * 3)))


def feather(layer: Layer, side: int, inset: float) -> Layer:
    """Softens the contour of a layer, inwards only.

    Args:
        layer: The layer, with colors or without.
        side: Width of the box blur, pixels, odd.
        inset: Coverage that becomes transparent, 0 to 1: above one half the object shrinks.
    """
    soft = cv2.blur(layer.alpha, (side, side), borderType=cv2.BORDER_REPLICATE)
    ramp = np.clip((np.arange(256) - 255 * inset) / (1.0 - inset), 0, 255).astype(np.uint8)
    alpha = cv2.min(cv2.LUT(soft, ramp), layer.alpha)
    if layer.colors is None:
        return replace(layer, alpha=alpha)
    kept = cv2.divide(alpha, layer.alpha, scale=255)
    colors = cv2.multiply(layer.colors, cv2.merge([kept] * 3), scale=1 / 255)
    return replace(layer, colors=colors, alpha=alpha)


def motion_blur(image: np.ndarray, motion: np.ndarray) -> np.ndarray:
    """Blurs an image along a line.

    Args:
        image: uint8 [height, width] or [height, width, channels].
        motion: float64 [2], x and y of the line, pixels; its length is limited to 20 pixels.

    Returns:
        The blurred image; the same array if the line is too short to be visible.
    """
    length, angle = float(np.hypot(*motion)), float(np.arctan2(motion[1], motion[0]))
    if length < _MIN_BLUR:
        return image
    passes = 1 if length <= _MAX_LINE else 2
    kernel = line_kernel(min(length / passes, _MAX_LINE), angle)
    for _ in range(passes):
        image = cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_REPLICATE)
    return image


def motion_blur_layer(layer: Layer, motion: np.ndarray, canvas: tuple[int, int]) -> Layer:
    """Blurs a layer along a line, on a box enlarged by the blur within the canvas.

    Args:
        layer: The layer, with colors or without.
        motion: float64 [2], x and y of the motion while the shutter is open, pixels.
        canvas: Height and width of the canvas, pixels.
    """
    length = min(float(np.hypot(*motion)), 2 * _MAX_LINE)
    if length < _MIN_BLUR:
        return layer
    pad = int(np.ceil(length / 2)) + 1
    channels = (
        layer.alpha if layer.colors is None else cv2.merge([*cv2.split(layer.colors), layer.alpha])
    )
    # An object cut by the border of the canvas continues beyond it.
    channels = cv2.copyMakeBorder(channels, pad, pad, pad, pad, cv2.BORDER_REPLICATE)
    blurred = motion_blur(channels, motion)
    left, top = max(layer.left - pad, 0), max(layer.top - pad, 0)
    rows, columns = blurred.shape[:2]
    right = min(layer.left - pad + columns, canvas[1])
    bottom = min(layer.top - pad + rows, canvas[0])
    first = top - (layer.top - pad), left - (layer.left - pad)
    blurred = np.ascontiguousarray(
        blurred[first[0] : first[0] + bottom - top, first[1] : first[1] + right - left]
    )
    if layer.colors is None:
        return Layer(None, blurred, left, top, layer.extent)
    colors = cv2.cvtColor(blurred, cv2.COLOR_RGBA2RGB)
    return Layer(colors, cv2.extractChannel(blurred, 3), left, top, layer.extent)


def alpha_blend(canvas: np.ndarray, layer: Layer) -> None:
    """Blends a layer with colors over the canvas, uint8 [height, width, 3] RGB, in place."""
    transparency = cv2.merge([255 - layer.alpha] * 3)
    behind = cv2.multiply(canvas[layer.box], transparency, scale=1 / 255)
    canvas[layer.box] = cv2.add(behind, layer.colors)
