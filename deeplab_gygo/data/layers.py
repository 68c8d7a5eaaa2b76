"""Placing a cut-out on a picture: pose, resampling, light, shadow, blending."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from deeplab_gygo.data.augment import line_kernel
from deeplab_gygo.data.cutouts import View


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

    def moved(self, rng: np.random.Generator, size: float, camera: np.ndarray) -> Pose:
        """Draws the pose at a neighboring moment of a handheld shot.

        Args:
            rng: Source of randomness.
            size: Length that the motion is relative to, pixels: the root of the object's area.
            camera: float64 [2], displacement of the whole picture, pixels.

        Returns:
            Another pose.
        """
        reach = 0.22 if rng.random() < 0.15 else 0.06
        return replace(
            self,
            center=self.center + camera + rng.normal(0, reach * size, 2),
            scale=self.scale * float(np.exp(rng.normal(0, 0.04))),
            angle=self.angle + float(rng.normal(0, 0.06)),
            skew=self.skew + rng.normal(0, 0.012, (4, 2)),
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
    """

    colors: np.ndarray | None
    alpha: np.ndarray
    left: int
    top: int

    @property
    def box(self) -> tuple[slice, slice]:
        """Rows and columns of the canvas."""
        height, width = self.alpha.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)


def place(
    view: View, pose: Pose, canvas: tuple[int, int], *, outline_only: bool = False
) -> Layer | None:
    """Resamples a view to the canvas.

    Args:
        view: The view.
        pose: Where it lies.
        canvas: Height and width of the canvas, pixels.
        outline_only: Leave the colors out, which saves time.

    Returns:
        The layer; None when nothing of it lies on the canvas.
    """
    source = np.ascontiguousarray(view.rgba[..., 3]) if outline_only else view.rgba
    matrix = pose.matrix(source.shape)
    if pose.scale < 0.6:
        shrunk = tuple(max(round(side * pose.scale * 1.2), 4) for side in source.shape[1::-1])
        grow = np.diag([source.shape[1] / shrunk[0], source.shape[0] / shrunk[1], 1.0])
        source = cv2.resize(source, shrunk, interpolation=cv2.INTER_AREA)
        matrix = matrix @ grow
    height, width = source.shape[:2]
    corners = np.array([[0, 0, 1], [width, 0, 1], [width, height, 1], [0, height, 1]]).T
    placed = matrix @ corners
    placed = placed[:2] / placed[2]
    left, top = np.maximum(np.floor(placed.min(axis=1)), 0).astype(int)
    right, bottom = np.ceil(placed.max(axis=1)).astype(int)
    right, bottom = min(right, canvas[1]), min(bottom, canvas[0])
    if right - left < 2 or bottom - top < 2:
        return None
    shift = np.array([[1, 0, -left], [0, 1, -top], [0, 0, 1]], np.float64)
    warped = cv2.warpPerspective(source, shift @ matrix, (right - left, bottom - top))
    if outline_only:
        return Layer(None, warped, int(left), int(top))
    colors = cv2.cvtColor(warped, cv2.COLOR_RGBA2RGB)
    return Layer(colors, np.ascontiguousarray(warped[..., 3]), int(left), int(top))


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


def smear(layer: Layer, length: float, angle: float) -> Layer:
    """Blurs a layer along a line, as a moving object is.

    Args:
        layer: The layer.
        length: Length of the motion, pixels.
        angle: Direction, radians.

    Returns:
        The blurred layer; its box stays, so the blur ends there.
    """
    kernel = line_kernel(length, angle)
    rgba = cv2.filter2D(
        np.dstack([layer.colors, layer.alpha]), -1, kernel, borderType=cv2.BORDER_REPLICATE
    )
    return replace(
        layer,
        colors=cv2.cvtColor(rgba, cv2.COLOR_RGBA2RGB),
        alpha=np.ascontiguousarray(rgba[..., 3]),
    )


def blend(canvas: np.ndarray, layer: Layer) -> None:
    """Lays a layer over the canvas, in place.

    Args:
        canvas: uint8 [height, width, 3], RGB.
        layer: The layer, with colors.
    """
    below = canvas[layer.box]
    clear = cv2.merge([255 - layer.alpha] * 3)
    canvas[layer.box] = cv2.add(cv2.multiply(below, clear, scale=1 / 255), layer.colors)


def cast_shadow(canvas: np.ndarray, layer: Layer, rng: np.random.Generator) -> None:
    """Darkens the canvas under and beside a layer, in place: a soft drop or contact shadow.

    Args:
        canvas: uint8 [height, width, 3], RGB.
        layer: The layer that will be laid over the canvas.
        rng: Source of randomness.
    """
    step = 4
    height, width = canvas.shape[0] // step, canvas.shape[1] // step
    shade = np.zeros((height, width), np.uint8)
    rows, columns = layer.alpha.shape
    left, top = layer.left // step, layer.top // step
    small_width, small_height = max(columns // step, 1), max(rows // step, 1)
    root = max(float(np.sqrt(small_width * small_height)), 2.0)
    depth = int(rng.uniform(90, 190))
    if rng.random() < 0.5:
        center = (left + small_width // 2, top + int(small_height * rng.uniform(0.92, 1.0)))
        half = (max(int(small_width * rng.uniform(0.4, 0.6)), 1), max(small_height // 12, 1))
        cv2.ellipse(shade, center, half, 0, 0, 360, depth, -1)
        spread = 0.04 * root
    else:
        small = cv2.resize(layer.alpha, (small_width, small_height), interpolation=cv2.INTER_AREA)
        left += int(rng.normal(0, 0.08) * root)
        top += int(rng.uniform(0.0, 0.12) * root)
        first = (max(top, 0), max(left, 0))
        last = (min(top + small_height, height), min(left + small_width, width))
        if last[0] <= first[0] or last[1] <= first[1]:
            return
        part = small[first[0] - top : last[0] - top, first[1] - left : last[1] - left]
        shade[first[0] : last[0], first[1] : last[1]] = cv2.convertScaleAbs(
            part, alpha=depth / 255 * 0.8
        )
        spread = rng.uniform(0.03, 0.12) * root
    shade = cv2.GaussianBlur(shade, (0, 0), max(spread, 0.6))
    light = 255 - cv2.resize(
        shade, (canvas.shape[1], canvas.shape[0]), interpolation=cv2.INTER_LINEAR
    )
    cv2.multiply(canvas, cv2.merge([light] * 3), dst=canvas, scale=1 / 255)
