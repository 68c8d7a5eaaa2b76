"""A synthetic scene at any time: background, objects, and the visible part of the target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from deeplab_gygo.synthesis.augment import warp_mask
from deeplab_gygo.synthesis.layers import (
    Layer,
    Pose,
    alpha_blend,
    apply_gains,
    feather,
    motion_blur,
    motion_blur_layer,
    warp_sprite,
)
from deeplab_gygo.synthesis.motion import Camera, CameraPose, Deformation, Light, Trajectory
from deeplab_gygo.synthesis.object_sampler import Appearance
from deeplab_gygo.synthesis.shadows import Reflection, Shadow

TARGET_IN_BACKGROUND = -1
"""Index of the target if it is the object of the background image."""


@dataclass(frozen=True)
class Background:
    """The background of a scene.

    Attributes:
        image: uint8 [any height, any width, 3], RGB.
        mask: uint8, the same height and width, 0 or 1, its own object; None if there is none.
        matrix: float64 [3, 3], affine, from the image to the canvas at time 0.
        size: Height and width of the canvas, pixels.
    """

    image: np.ndarray
    mask: np.ndarray | None
    matrix: np.ndarray
    size: tuple[int, int]

    def render(self, camera: CameraPose) -> np.ndarray:
        """Returns the background seen by a camera, uint8 [height, width, 3] RGB."""
        matrix = (camera.matrix() @ self.matrix)[:2]
        return cv2.warpAffine(self.image, matrix, self.size[::-1], borderMode=cv2.BORDER_REFLECT)

    def object_mask(self, camera: CameraPose) -> np.ndarray:
        """Returns the mask of its own object seen by a camera, uint8 [height, width], 0 or 1."""
        return warp_mask(self.mask, (camera.matrix() @ self.matrix)[:2], self.size)


@dataclass(frozen=True)
class Feathering:
    """Softness of a contour; see `layers.feather`.

    Attributes:
        side: Width of the box blur, pixels, odd.
        inset: Coverage that becomes transparent, 0 to 1.
    """

    side: int
    inset: float


@dataclass(frozen=True)
class Exit:
    """How an object leaves the frame.

    Attributes:
        start: Start of the exit, frames.
        velocity: float64 [2], x and y, pixels per frame.
    """

    start: float
    velocity: np.ndarray


@dataclass(frozen=True)
class SceneObject:
    """An object of a scene over time.

    Attributes:
        appearance: Its sprite over time.
        pose: Its pose at time 0.
        trajectory: Its motion from there, 13 axes: 12 of `Pose.moved`, and the log gain.
        parallax: Factor of the camera's displacement, relative to the background.
        gains: float64 [3], gain per color channel at time 0; None for none.
        feathering: Softness of its contour; None for a hard one.
        shadow: Its shadow or reflection; None for none.
        deformation: Its non-rigid deformation; None for none.
        exit: How it leaves the frame; None if it stays.
    """

    appearance: Appearance
    pose: Pose
    trajectory: Trajectory
    parallax: float = 1.0
    gains: np.ndarray | None = None
    feathering: Feathering | None = None
    shadow: Shadow | Reflection | None = None
    deformation: Deformation | None = None
    exit: Exit | None = None

    @property
    def root_area(self) -> float:
        """Square root of its area at time 0, pixels."""
        return float(np.sqrt(self.appearance.first.area)) * self.pose.scale

    def area(self, time: float, camera: CameraPose) -> float:
        """Estimates the area of the whole object, beyond the canvas too, square pixels."""
        scale = self.pose.scale * float(np.exp(self.trajectory.at(time)[2]))
        zoom = abs(float(np.linalg.det(camera.linear)))
        return self.appearance.at(time).area * scale**2 * zoom

    def layer(
        self,
        time: float,
        camera: CameraPose,
        shutter: float,
        size: tuple[int, int],
        *,
        alpha_only: bool = False,
    ) -> Layer | None:
        """Renders the object.

        Args:
            time: Frames.
            camera: The camera at that time.
            shutter: Exposure time, frames.
            size: Height and width of the canvas, pixels.
            alpha_only: Skip the colors.

        Returns:
            The layer; None if no part of it is on the canvas.
        """
        step = self.trajectory.at(time)
        velocity = self.trajectory.velocity(time)[:2] + self.parallax * camera.velocity
        if self.exit is not None and time > self.exit.start:
            step[:2] += (time - self.exit.start) * self.exit.velocity
            velocity = velocity + self.exit.velocity
        sprite = self.appearance.at(time)
        matrix = camera.matrix(self.parallax) @ self.pose.moved(step).matrix(sprite.rgba.shape)
        layer = warp_sprite(
            sprite, matrix, size, deformation=self.deformation, time=time, alpha_only=alpha_only
        )
        if layer is None:
            return None
        if self.feathering is not None:
            layer = feather(layer, self.feathering.side, self.feathering.inset)
        if not alpha_only and self.gains is not None:
            layer = apply_gains(layer, self.gains * np.exp(step[12]))
        return motion_blur_layer(layer, shutter * velocity, size)


@dataclass(frozen=True)
class Scene:
    """All content of a clip, at any time.

    Attributes:
        background: The background.
        objects: The objects, from back to front.
        target: Index of the object that is the target, or `TARGET_IN_BACKGROUND`.
        camera: The camera.
        light: The light.
        shutter: Exposure time, frames.
    """

    background: Background
    objects: tuple[SceneObject, ...]
    target: int
    camera: Camera
    light: Light
    shutter: float

    def render(self, time: float) -> tuple[np.ndarray, np.ndarray]:
        """Renders the scene at a time in frames.

        Returns:
            The image, uint8 [height, width, 3] RGB, and the mask of the visible part of the target,
            uint8 [height, width], 0 or 1.
        """
        camera, size = self.camera.at(time), self.background.size
        canvas = motion_blur(self.background.render(camera), self.shutter * camera.velocity)
        layers = []
        for item in self.objects:
            layer = item.layer(time, camera, self.shutter, size)
            if layer is not None:
                if item.shadow is not None:
                    item.shadow.cast(canvas, layer)
                alpha_blend(canvas, layer)
            layers.append(layer)
        image = cv2.LUT(canvas, self.light.lookup_table(time))
        if self.target == TARGET_IN_BACKGROUND:
            return image, visible_mask(self.background.object_mask(camera) * 255, layers)
        alpha = alpha_on_canvas(layers[self.target], size)
        return image, visible_mask(alpha, layers[self.target + 1 :])

    def mask(self, time: float, number: int | None = None) -> np.ndarray:
        """Returns the mask of `render` without rendering the image, uint8 [height, width].

        Args:
            time: Frames.
            number: Index of an object whose visible part is wanted; None: the target.
        """
        number = self.target if number is None else number
        camera, size = self.camera.at(time), self.background.size

        def layer_of(item: SceneObject) -> Layer | None:
            return item.layer(time, camera, self.shutter, size, alpha_only=True)

        if number == TARGET_IN_BACKGROUND:
            alpha = self.background.object_mask(camera) * 255
        else:
            alpha = alpha_on_canvas(layer_of(self.objects[number]), size)
        if not alpha.any():
            return alpha
        return visible_mask(alpha, [layer_of(item) for item in self.objects[number + 1 :]])

    def target_area(self, time: float) -> float:
        """Estimates the area of the whole target, occluded or not, square pixels."""
        camera = self.camera.at(time)
        if self.target == TARGET_IN_BACKGROUND:
            return float(np.count_nonzero(self.background.object_mask(camera)))
        return self.objects[self.target].area(time, camera)


def alpha_on_canvas(layer: Layer | None, size: tuple[int, int]) -> np.ndarray:
    """Returns the alpha of a layer on a canvas of a size, uint8 [height, width]."""
    alpha = np.zeros(size, np.uint8)
    if layer is not None:
        alpha[layer.box] = layer.alpha
    return alpha


def visible_mask(alpha: np.ndarray, in_front: Sequence[Layer | None]) -> np.ndarray:
    """Returns the part of an object that is not occluded.

    Args:
        alpha: uint8 [height, width], alpha of the object; changed in place.
        in_front: Layers in front of it.

    Returns:
        uint8 [height, width], 0 or 1.
    """
    for layer in in_front:
        if layer is not None:
            alpha[layer.box] = cv2.multiply(alpha[layer.box], 255 - layer.alpha, scale=1 / 255)
    return (alpha >= 128).astype(np.uint8)
