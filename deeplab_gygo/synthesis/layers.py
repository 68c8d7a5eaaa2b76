"""Placing a cut-out on a picture: pose, resampling, edge, light, motion blur, blending."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from deeplab_gygo.synthesis.augment import line_kernel
from deeplab_gygo.synthesis.bending import Bend
from deeplab_gygo.synthesis.sprites import View

_LATTICE = 8  # pixels between the points at which a bent map is evaluated exactly
_SHORTEST_BLUR = 1.6  # pixels; less is not seen
# Longer lines are blurred by two passes: OpenCV turns to a slow Fourier transform for kernels of
# more than 11 x 11.
_LONGEST_LINE = 10.0


@dataclass(frozen=True)
class Pose:
    """Where and how a view lies on the canvas.

    Attributes:
        center: float64 [2], x and y on the canvas, pixels.
        scale: Canvas pixels a pixel of the view.
        angle: Radians.
        flip: Whether the view is mirrored.
        skew: float64 [4, 2], displacement of the corners relative to the sides: perspective.
    """

    center: np.ndarray
    scale: float
    angle: float
    flip: bool
    skew: np.ndarray

    def moved(self, step: np.ndarray) -> Pose:
        """Moves the pose.

        Args:
            step: float64 [12]: x and y in pixels, logarithm of the scale, angle in radians, and
                the skew of the corners.

        Returns:
            Another pose.
        """
        return replace(
            self,
            center=self.center + step[:2],
            scale=self.scale * float(np.exp(step[2])),
            angle=self.angle + float(step[3]),
            skew=self.skew + step[4:12].reshape(4, 2),
        )

    def matrix(self, shape: tuple[int, ...]) -> np.ndarray:
        """Builds the transform from a view to the canvas.

        Args:
            shape: Height and width of the view first.

        Returns:
            float64 [3, 3], homography.
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
    """A view resampled to the canvas, on its box only.

    Attributes:
        colors: uint8 [height, width, 3], RGB multiplied by alpha; None for an outline only.
        alpha: uint8 [height, width].
        left: First column of the box on the canvas.
        top: First row of the box on the canvas.
        extent: Left, top, right and bottom of the whole view, beyond the canvas too, pixels.
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


def place(
    view: View,
    matrix: np.ndarray,
    canvas: tuple[int, int],
    *,
    bend: Bend | None = None,
    time: float = 0.0,
    outline_only: bool = False,
) -> Layer | None:
    """Resamples a view to the canvas.

    Args:
        view: The view.
        matrix: float64 [3, 3], homography from view to canvas.
        canvas: Height and width of the canvas, pixels.
        bend: Non-rigid change of the shape; None for none.
        time: Time at which the bend is taken, frames.
        outline_only: Leave the colors out, which saves time.

    Returns:
        The layer; None when nothing of it lies on the canvas.
    """
    source, factor = view.reduced(float(np.sqrt(abs(np.linalg.det(matrix[:2, :2])))))
    if factor != 1.0:
        # Pixel centers of the reduced view lie at factor * (position + 1/2) - 1/2.
        offset = (factor - 1.0) / 2.0
        matrix = matrix @ np.array([[factor, 0, offset], [0, factor, offset], [0, 0, 1.0]])
    if outline_only:
        source = cv2.extractChannel(source, 3)
    extent = _extent(matrix, source.shape, 0.0 if bend is None else bend.reach)
    left, top = max(int(np.floor(extent[0])), 0), max(int(np.floor(extent[1])), 0)
    right, bottom = (
        min(int(np.ceil(extent[2])), canvas[1]),
        min(int(np.ceil(extent[3])), canvas[0]),
    )
    if right - left < 2 or bottom - top < 2:
        return None
    shift = np.array([[1, 0, -left], [0, 1, -top], [0, 0, 1]], np.float64)
    size = (right - left, bottom - top)
    if bend is None:
        warped = cv2.warpPerspective(source, shift @ matrix, size)
    else:
        sampled = _bent_map(shift @ matrix, source.shape, size, bend, time)
        warped = cv2.remap(source, sampled, None, cv2.INTER_LINEAR)
    if outline_only:
        return Layer(None, warped, left, top, extent)
    colors, alpha = cv2.cvtColor(warped, cv2.COLOR_RGBA2RGB), cv2.extractChannel(warped, 3)
    return Layer(colors, alpha, left, top, extent)


def _extent(
    matrix: np.ndarray, shape: tuple[int, ...], reach: float
) -> tuple[float, float, float, float]:
    """Finds the box of a placed view, as left, top, right and bottom."""
    height, width = shape[:2]
    low, high = np.array([-reach, 1.0 + reach])
    corners = np.array([[low, low, 1], [high, low, 1], [high, high, 1], [low, high, 1]]).T
    placed = matrix @ (corners * np.array([[width], [height], [1.0]]))
    placed = placed[:2] / placed[2]
    return (*placed.min(axis=1).tolist(), *placed.max(axis=1).tolist())


def _bent_map(
    matrix: np.ndarray, shape: tuple[int, ...], size: tuple[int, int], bend: Bend, time: float
) -> np.ndarray:
    """Builds the places of a view that a box shows.

    Args:
        matrix: float64 [3, 3], homography from the view to the box.
        shape: Height and width of the view first.
        size: Width and height of the box, pixels.
        bend: The change of the shape.
        time: Frames.

    Returns:
        float32 [height, width, 2], x and y in the view.
    """
    sides = np.array([shape[1], shape[0]], np.float64)
    # One more cell on every side: interpolation is exact in the inner ones only.
    counts = [-(-length // _LATTICE) + 2 for length in size]
    x, y = ((np.arange(count) - 0.5) * _LATTICE - 0.5 for count in counts)
    points = np.stack([*np.meshgrid(x, y), np.ones((counts[1], counts[0]))], axis=-1)
    sources = points @ np.linalg.inv(matrix).T
    sources = sources[..., :2] / sources[..., 2:]
    sources = sources + bend.displacement(sources / sides, time) * sides
    full = cv2.resize(sources.astype(np.float32), (counts[0] * _LATTICE, counts[1] * _LATTICE))
    return full[_LATTICE : _LATTICE + size[1], _LATTICE : _LATTICE + size[0]]


def relight(layer: Layer, gains: np.ndarray) -> Layer:
    """Multiplies the colors of a layer.

    Args:
        layer: The layer.
        gains: float64 [3], one factor a channel.

    Returns:
        A layer whose colors do not exceed its alpha.
    """
    colors = cv2.transform(layer.colors, np.diag(gains))
    return replace(layer, colors=cv2.min(colors, cv2.merge([layer.alpha] * 3)))


def feather(layer: Layer, side: int, inset: float) -> Layer:
    """Softens the edge of a layer and draws it in.

    Args:
        layer: The layer, with colors or without.
        side: Width of the softening, pixels, odd.
        inset: Coverage that becomes transparent, 0 to 1: above one half the object shrinks.

    Returns:
        A layer that covers no more than before.
    """
    soft = cv2.blur(layer.alpha, (side, side), borderType=cv2.BORDER_REPLICATE)
    ramp = np.clip((np.arange(256) - 255 * inset) / (1.0 - inset), 0, 255).astype(np.uint8)
    alpha = cv2.min(cv2.LUT(soft, ramp), layer.alpha)
    if layer.colors is None:
        return replace(layer, alpha=alpha)
    kept = cv2.divide(alpha, layer.alpha, scale=255)
    colors = cv2.multiply(layer.colors, cv2.merge([kept] * 3), scale=1 / 255)
    return replace(layer, colors=colors, alpha=alpha)


def motion_blur(picture: np.ndarray, motion: np.ndarray) -> np.ndarray:
    """Blurs a picture along a line.

    Args:
        picture: uint8 [height, width] or [height, width, channels].
        motion: float64 [2], x and y of the line, pixels; more than 20 pixels count as 20.

    Returns:
        The blurred picture, the same one when the line is too short to be seen.
    """
    length, angle = float(np.hypot(*motion)), float(np.arctan2(motion[1], motion[0]))
    if length < _SHORTEST_BLUR:
        return picture
    passes = 1 if length <= _LONGEST_LINE else 2
    kernel = line_kernel(min(length / passes, _LONGEST_LINE), angle)
    for _ in range(passes):
        picture = cv2.filter2D(picture, -1, kernel, borderType=cv2.BORDER_REPLICATE)
    return picture


def smear(layer: Layer, motion: np.ndarray, canvas: tuple[int, int]) -> Layer:
    """Blurs a layer along a line, as a moving object is.

    Args:
        layer: The layer, with colors or without.
        motion: float64 [2], x and y of the motion while the shutter is open, pixels.
        canvas: Height and width of the canvas, pixels.

    Returns:
        The blurred layer, on a box that is larger by the blur as far as the canvas goes.
    """
    length = min(float(np.hypot(*motion)), 2 * _LONGEST_LINE)
    if length < _SHORTEST_BLUR:
        return layer
    pad = int(np.ceil(length / 2)) + 1
    channels = (
        layer.alpha if layer.colors is None else cv2.merge([*cv2.split(layer.colors), layer.alpha])
    )
    # An object that the border of the canvas cuts goes on beyond it.
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


def blend(canvas: np.ndarray, layer: Layer) -> None:
    """Lays a layer over the canvas, in place.

    Args:
        canvas: uint8 [height, width, 3], RGB.
        layer: The layer, with colors.
    """
    below = canvas[layer.box]
    clear = cv2.merge([255 - layer.alpha] * 3)
    canvas[layer.box] = cv2.add(cv2.multiply(below, clear, scale=1 / 255), layer.colors)
