"""One composed scene at any time: its background, its actors, and what can be seen of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from deeplab_gygo.synthesis import layers
from deeplab_gygo.synthesis.augment import warp_mask
from deeplab_gygo.synthesis.bending import Bend
from deeplab_gygo.synthesis.layers import Layer, Pose
from deeplab_gygo.synthesis.motion import Camera, Light, Path, Shot
from deeplab_gygo.synthesis.object_sampler import Look
from deeplab_gygo.synthesis.shadows import Shadow

BACKDROP = -1
"""Number of the target when it is the object of the background picture."""


@dataclass(frozen=True)
class Stage:
    """The background of a scene.

    Attributes:
        picture: uint8 [any height, any width, 3], RGB.
        mask: uint8, the same height and width, 0 or 1, its own object; None when it has none.
        matrix: float64 [3, 3], affine, from the picture to the canvas at time 0.
        size: Height and width of the canvas, pixels.
    """

    picture: np.ndarray
    mask: np.ndarray | None
    matrix: np.ndarray
    size: tuple[int, int]

    def canvas(self, shot: Shot) -> np.ndarray:
        """Takes the background with the camera.

        Args:
            shot: The camera.

        Returns:
            uint8 [height, width, 3], RGB, a new array.
        """
        matrix = (shot.matrix() @ self.matrix)[:2]
        return cv2.warpAffine(self.picture, matrix, self.size[::-1], borderMode=cv2.BORDER_REFLECT)

    def outline(self, shot: Shot) -> np.ndarray:
        """Takes the outline of the background's own object, uint8 [height, width], 0 or 1.

        Args:
            shot: The camera.
        """
        return warp_mask(self.mask, (shot.matrix() @ self.matrix)[:2], self.size)


@dataclass(frozen=True)
class Edge:
    """Softness of an object's outline.

    Attributes:
        side: Width of the softening, pixels, odd.
        inset: Coverage that becomes transparent, 0 to 1.
    """

    side: int
    inset: float


@dataclass(frozen=True)
class Exit:
    """How an object leaves the picture.

    Attributes:
        start: When it begins to leave, frames.
        velocity: float64 [2], x and y, pixels a frame.
    """

    start: float
    velocity: np.ndarray


@dataclass(frozen=True)
class Actor:
    """An object of a scene over time.

    Attributes:
        look: What it looks like.
        pose: Where it is at time 0.
        path: How it moves from there, 12 axes as `Pose.moved` takes them and the logarithm of the
            light on it.
        nearness: How far the camera's displacement moves it, relative to the background.
        gains: float64 [3], light on it at time 0, one factor a channel.
        edge: Softness of its outline; None leaves it as cut.
        shadow: Its shadow; None for none.
        bend: Non-rigid change of its shape; None for none.
        exit: How it leaves; None when it does not.
    """

    look: Look
    pose: Pose
    path: Path
    nearness: float = 1.0
    gains: np.ndarray | None = None
    edge: Edge | None = None
    shadow: Shadow | None = None
    bend: Bend | None = None
    exit: Exit | None = None

    @property
    def root(self) -> float:
        """Root of its area at time 0, pixels."""
        return float(np.sqrt(self.look.first.area)) * self.pose.scale

    def area(self, time: float, shot: Shot) -> float:
        """Estimates the area of the whole object, beyond the canvas too, square pixels.

        Args:
            time: Frames.
            shot: The camera.
        """
        scale = self.pose.scale * float(np.exp(self.path.at(time)[2]))
        return self.look.view(time).area * scale**2 * abs(float(np.linalg.det(shot.linear)))

    def layer(
        self,
        time: float,
        shot: Shot,
        shutter: float,
        size: tuple[int, int],
        *,
        outline_only: bool = False,
    ) -> Layer | None:
        """Places it.

        Args:
            time: Frames.
            shot: The camera at that time.
            shutter: Time that the shutter is open, frames.
            size: Height and width of the canvas, pixels.
            outline_only: Leave the colors out.

        Returns:
            The layer; None when nothing of it lies on the canvas.
        """
        step = self.path.at(time)
        velocity = self.path.velocity(time)[:2] + self.nearness * shot.velocity
        if self.exit is not None and time > self.exit.start:
            step[:2] += (time - self.exit.start) * self.exit.velocity
            velocity = velocity + self.exit.velocity
        view = self.look.view(time)
        matrix = shot.matrix(self.nearness) @ self.pose.moved(step).matrix(view.rgba.shape)
        layer = layers.place(
            view, matrix, size, bend=self.bend, time=time, outline_only=outline_only
        )
        if layer is None:
            return None
        if self.edge is not None:
            layer = layers.feather(layer, self.edge.side, self.edge.inset)
        if not outline_only and self.gains is not None:
            layer = layers.relight(layer, self.gains * np.exp(step[12]))
        return layers.smear(layer, shutter * velocity, size)


@dataclass(frozen=True)
class Scene:
    """Everything that a clip shows, at any time.

    Attributes:
        stage: The background.
        actors: The objects, from back to front.
        target: Number of the actor that is the target, or `BACKDROP`.
        camera: The camera.
        light: The light.
        shutter: Time that the shutter is open, frames.
    """

    stage: Stage
    actors: tuple[Actor, ...]
    target: int
    camera: Camera
    light: Light
    shutter: float

    def film(self, time: float) -> tuple[np.ndarray, np.ndarray]:
        """Renders the scene.

        Args:
            time: Frames.

        Returns:
            The picture, uint8 [height, width, 3], RGB, and what can be seen of the target, uint8
            [height, width], 0 or 1.
        """
        shot = self.camera.shot(time)
        canvas = layers.motion_blur(self.stage.canvas(shot), self.shutter * shot.velocity)
        drawn = []
        for actor in self.actors:
            layer = actor.layer(time, shot, self.shutter, self.stage.size)
            if layer is not None:
                if actor.shadow is not None:
                    actor.shadow.cast(canvas, layer)
                layers.blend(canvas, layer)
            drawn.append(layer)
        picture = cv2.LUT(canvas, self.light.table(time))
        if self.target == BACKDROP:
            return picture, visible(self.stage.outline(shot) * 255, drawn)
        target = outline(drawn[self.target], self.stage.size)
        return picture, visible(target, drawn[self.target + 1 :])

    def mask(self, time: float) -> np.ndarray:
        """Finds what can be seen of the target without rendering the picture.

        Args:
            time: Frames.

        Returns:
            uint8 [height, width], 0 or 1.
        """
        shot, size = self.camera.shot(time), self.stage.size
        if self.target == BACKDROP:
            alpha = self.stage.outline(shot) * 255
        else:
            layer = self.actors[self.target].layer(
                time, shot, self.shutter, size, outline_only=True
            )
            alpha = outline(layer, size)
        if not alpha.any():
            return alpha
        above = (
            actor.layer(time, shot, self.shutter, size, outline_only=True)
            for actor in self.actors[self.target + 1 :]
        )
        return visible(alpha, list(above))

    def target_area(self, time: float) -> float:
        """Estimates the area of the whole target, hidden or not, square pixels.

        Args:
            time: Frames.
        """
        shot = self.camera.shot(time)
        if self.target == BACKDROP:
            return float(np.count_nonzero(self.stage.outline(shot)))
        return self.actors[self.target].area(time, shot)


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
