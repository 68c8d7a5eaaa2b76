"""One composed scene: its background, its actors at two moments, and what can be seen of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from deeplab_gygo.data import layers
from deeplab_gygo.data.augment import warp_mask
from deeplab_gygo.data.cutouts import View
from deeplab_gygo.data.layers import Layer, Pose


@dataclass(frozen=True)
class Stage:
    """The background of a scene.

    Attributes:
        canvas: uint8 [height, width, 3], RGB; actors are drawn onto it in place.
        mask: uint8 [height, width], 0 or 1, the background's own object; None when it has none.
        previous_mask: The same at the previous moment.
        camera: float64 [2], displacement of everything at the previous moment, pixels.
    """

    canvas: np.ndarray
    mask: np.ndarray | None
    previous_mask: np.ndarray | None
    camera: np.ndarray

    @property
    def size(self) -> tuple[int, int]:
        """Height and width, pixels."""
        return self.canvas.shape[0], self.canvas.shape[1]


@dataclass(frozen=True)
class Actor:
    """An object of a scene at both moments.

    Attributes:
        view: What it looks like now.
        previous_view: What it looked like a moment before.
        pose: Where it is now.
        previous_pose: Where it was.
        candidate: Whether it may be the target.
    """

    view: View
    previous_view: View
    pose: Pose
    previous_pose: Pose
    candidate: bool

    @property
    def root(self) -> float:
        """Root of its area on the canvas, pixels."""
        return float(np.sqrt(self.view.area)) * self.pose.scale

    def at(self, center: np.ndarray) -> Actor:
        """Puts it elsewhere, with the same motion.

        Args:
            center: float64 [2], x and y, pixels.

        Returns:
            The actor at its new place.
        """
        motion = self.previous_pose.center - self.pose.center
        return replace(
            self,
            pose=replace(self.pose, center=center),
            previous_pose=replace(self.previous_pose, center=center + motion),
        )

    def previous_layer(self, size: tuple[int, int]) -> Layer | None:
        """Places its outline at the previous moment.

        Args:
            size: Height and width of the canvas, pixels.

        Returns:
            The layer without colors; None when nothing of it lies on the canvas.
        """
        return layers.place(self.previous_view, self.previous_pose, size, outline_only=True)


def set_stage(
    picture: np.ndarray, mask: np.ndarray | None, size: tuple[int, int], rng: np.random.Generator
) -> Stage:
    """Draws the part of a picture that is the background, and the motion of the camera.

    Args:
        picture: uint8 [any height, any width, 3], RGB.
        mask: uint8, its own object, 0 or 1; None when it has none.
        size: Height and width of the canvas, pixels.
        rng: Source of randomness.

    Returns:
        The stage.
    """
    height, width = size
    cover = max(height / picture.shape[0], width / picture.shape[1])
    zoom = cover * np.exp(rng.uniform(0, 0.5))
    flip = -1.0 if rng.random() < 0.5 else 1.0
    free = np.array([picture.shape[1] * zoom - width, picture.shape[0] * zoom - height])
    shift = rng.uniform(-0.5, 0.5, 2) * np.maximum(free, 0)
    linear = np.diag([zoom * flip, zoom])
    middle = np.array([picture.shape[1] / 2, picture.shape[0] / 2])
    offset = np.array([width / 2, height / 2]) + shift - linear @ middle
    matrix = np.column_stack([linear, offset])
    canvas = cv2.warpAffine(picture, matrix, (width, height), borderMode=cv2.BORDER_REFLECT)
    if rng.random() < 0.25:
        canvas = cv2.blur(canvas, (int(rng.integers(2, 7)),) * 2)
    camera = rng.normal(0, 0.02 * width, 2)
    if mask is None:
        return Stage(canvas, None, None, camera)
    earlier = np.column_stack([linear, offset + camera])
    return Stage(
        canvas,
        warp_mask(mask, matrix, size),
        warp_mask(mask, earlier, size),
        camera,
    )


def cast_actor(
    views: tuple[View, View],
    share: float,
    others: Sequence[Actor],
    stage: Stage,
    rng: np.random.Generator,
    *,
    candidate: bool,
) -> Actor:
    """Draws pose and motion of an object.

    Args:
        views: Its views now and a moment before.
        share: Part of the canvas that it is to cover, as far as its shape allows.
        others: Actors that it mostly keeps clear of.
        stage: The background.
        rng: Source of randomness.
        candidate: Whether it may be the target.

    Returns:
        The actor.
    """
    height, width = stage.size
    view, previous = views
    scale = float(np.sqrt(share * height * width / view.area))
    sides = np.array([view.rgba.shape[1], view.rgba.shape[0]], np.float64)
    scale = min(scale, 2.0, float((1.15 * np.array([width, height]) / sides).min()))
    root = float(np.sqrt(view.area)) * scale
    center = _find_place(sides * scale, root, others, stage.size, rng)
    turn = rng.uniform(-np.pi, np.pi) if rng.random() < 0.08 else rng.normal(0, 0.15)
    flip = bool(rng.random() < 0.5)
    pose = Pose(center, scale, float(turn), flip, rng.normal(0, 0.025, (4, 2)))
    return Actor(view, previous, pose, pose.moved(rng, root, stage.camera), candidate)


def _find_place(
    sides: np.ndarray,
    root: float,
    others: Sequence[Actor],
    size: tuple[int, int],
    rng: np.random.Generator,
) -> np.ndarray:
    """Draws the middle of an object, mostly whole on the canvas and clear of the others."""
    canvas = np.array([size[1], size[0]], np.float64)
    outside = 0.35 if rng.random() < 0.2 else 0.0
    low = np.minimum((0.5 - outside) * sides, canvas / 2)
    crowd = others if rng.random() < 0.75 else ()
    for _ in range(8):
        center = rng.uniform(low, canvas - low)
        apart = [np.hypot(*(center - other.pose.center)) for other in crowd]
        if all(gap > 0.5 * (root + other.root) for gap, other in zip(apart, crowd, strict=True)):
            break
    return center


def render(canvas: np.ndarray, actor: Actor, rng: np.random.Generator) -> Layer | None:
    """Draws an actor at the current moment onto the canvas, in place.

    Args:
        canvas: uint8 [height, width, 3], RGB.
        actor: The actor.
        rng: Source of randomness.

    Returns:
        What was drawn; None when nothing of it lies on the canvas.
    """
    layer = layers.place(actor.view, actor.pose, canvas.shape[:2])
    if layer is None:
        return None
    if rng.random() < 0.6:
        layer = layers.relight(layer, _gains(canvas, layer, rng))
    if rng.random() < 0.12:
        layer = layers.smear(layer, rng.uniform(3, 12), rng.uniform(0, np.pi))
    if rng.random() < 0.4:
        layers.cast_shadow(canvas, layer, rng)
    layers.blend(canvas, layer)
    return layer


def outline(layer: Layer | None, size: tuple[int, int]) -> np.ndarray:
    """Puts the alpha of a layer on an empty canvas.

    Args:
        layer: The layer; None for nothing.
        size: Height and width of the canvas, pixels.

    Returns:
        uint8 [height, width].
    """
    alpha = np.zeros(size, np.uint8)
    if layer is not None:
        alpha[layer.box] = layer.alpha
    return alpha


def visible(alpha: np.ndarray, above: Sequence[Layer | None]) -> np.ndarray:
    """Finds what the layers above an outline leave visible.

    Args:
        alpha: uint8 [height, width], the outline; changed in place.
        above: Layers over it.

    Returns:
        uint8 [height, width], 0 or 1.
    """
    for layer in above:
        if layer is not None:
            alpha[layer.box] = cv2.multiply(alpha[layer.box], 255 - layer.alpha, scale=1 / 255)
    return (alpha >= 128).astype(np.uint8)


def _gains(canvas: np.ndarray, layer: Layer, rng: np.random.Generator) -> np.ndarray:
    """Draws how far the light of an object follows its background, float64 [3]."""
    own = np.array(cv2.mean(layer.colors)[:3]) * 255.0 / max(cv2.mean(layer.alpha)[0], 1.0)
    around = np.array(cv2.mean(canvas[layer.box])[:3])
    follow = rng.uniform(0.0, 0.35)
    gains = ((around + 16.0) / (own + 16.0)) ** follow * np.exp(rng.normal(0, 0.12))
    return np.clip(gains * np.exp(rng.normal(0, 0.03, 3)), 0.5, 1.7)
