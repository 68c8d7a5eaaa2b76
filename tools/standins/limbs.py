"""Objects of two parts: a limb that swings about a joint, or a part of its own appearance."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from deeplab_gygo.synthesis.sprites import Sprite

_DIRECTIONS = 32  # Of the cuts that are compared.
_OPAQUE = 128


@dataclass(frozen=True)
class Cut:
    """A line through a sprite; the part is on the side of its normal.

    Attributes:
        normal: float64 [2], x and y, unit vector.
        offset: Signed distance of the line from the origin along the normal, sprite pixels.
        joint: float64 [2], x and y, middle of the object's section along the line.
    """

    normal: np.ndarray
    offset: float
    joint: np.ndarray

    def distance(self, shape: tuple[int, ...]) -> np.ndarray:
        """Returns the signed distance of every pixel of a shape from the line, float32 [H, W]."""
        y, x = np.ogrid[: shape[0], : shape[1]]
        return (x * self.normal[0] + y * self.normal[1] - self.offset).astype(np.float32)


def sample_cut(sprite: Sprite, fraction: float, limb: bool, rng: np.random.Generator) -> Cut:
    """Samples a line that separates a part of an object.

    Args:
        sprite: The object.
        fraction: Area of the part, as a share of the object.
        limb: Whether to take a line whose section of the object is short, as of a limb.
        rng: Random generator.
    """
    rows, columns = np.nonzero(sprite.rgba[..., 3] >= _OPAQUE)
    points = np.stack([columns, rows], axis=1).astype(np.float64)
    start = rng.uniform(0, 2 * np.pi)
    cuts = []
    for index in range(_DIRECTIONS if limb else 1):
        angle = start + 2 * np.pi * index / _DIRECTIONS
        normal = np.array([np.cos(angle), np.sin(angle)])
        along = points @ normal
        offset = float(np.quantile(along, 1.0 - fraction))
        section = points[np.abs(along - offset) < 1.0]
        cuts.append((len(section), index, Cut(normal, offset, section.mean(axis=0))))
    return min(cuts, key=lambda entry: entry[:2])[2]


def part_weights(sprite: Sprite, cut: Cut, softness: float) -> np.ndarray:
    """Returns the weight of the part at every pixel, float32 [H, W], 0 to 1.

    Args:
        sprite: The object.
        cut: The line.
        softness: Width of the ramp across the line, sprite pixels.
    """
    return np.clip(0.5 + cut.distance(sprite.rgba.shape) / softness, 0, 1)


@dataclass(frozen=True)
class SwingingLimb:
    """Appearance of an object whose limb swings about its joint.

    Attributes:
        first: Sprite at time 0.
        body: uint8 [H, W, 4], premultiplied, the object without the limb.
        limb: uint8 [H, W, 4], likewise, the limb alone.
        joint: float64 [2], x and y, pixels.
        amplitude: Radians.
        period: Frames.
        phase: Radians at time 0.
    """

    first: Sprite
    body: np.ndarray
    limb: np.ndarray
    joint: np.ndarray
    amplitude: float
    period: float
    phase: float

    source = None

    def at(self, time: float) -> Sprite:
        """Returns the sprite at a time in frames."""
        angle = self.amplitude * np.sin(2 * np.pi * time / self.period + self.phase)
        center = tuple(float(value) for value in self.joint)
        matrix = cv2.getRotationMatrix2D(center, np.degrees(angle), 1.0)
        limb = cv2.warpAffine(self.limb, matrix, self.limb.shape[1::-1])
        hidden = cv2.merge([255 - self.body[..., 3]] * 4)
        rgba = cv2.add(self.body, cv2.multiply(limb, hidden, scale=1 / 255))
        return Sprite(rgba, float(rgba[..., 3].sum()) / 255.0)


def swinging(sprite: Sprite, cut: Cut, amplitude: float, period: float, phase: float):
    """Makes the part of a sprite beyond a cut a swinging limb.

    Args:
        sprite: The object.
        cut: The line.
        amplitude: Radians.
        period: Frames.
        phase: Radians at time 0.

    Returns:
        The appearance, on a sprite with room for the swing.
    """
    beyond = cut.distance(_shape(sprite)) > 0
    rows, columns = np.nonzero((sprite.rgba[..., 3] >= _OPAQUE) & beyond)
    reach = np.hypot(columns - cut.joint[0], rows - cut.joint[1]).max()
    height, width = _shape(sprite)
    x, y = cut.joint
    pad = int(np.ceil(max(reach - x, reach - y, reach - width + x, reach - height + y, 0))) + 2
    rgba = cv2.copyMakeBorder(sprite.rgba, pad, pad, pad, pad, cv2.BORDER_CONSTANT)
    joint = cut.joint + pad
    offset = cut.offset + pad * float(cut.normal.sum())
    distance = Cut(cut.normal, offset, joint).distance(rgba.shape)
    beyond = np.clip(distance + 0.5, 0, 1)
    limb = (rgba * beyond[..., None]).astype(np.uint8)
    # The limb turns behind the body, which reaches a little beyond the line round the joint.
    y, x = np.ogrid[: rgba.shape[0], : rgba.shape[1]]
    section = rgba[..., 3][np.abs(distance) < 1.0]
    half = np.count_nonzero(section >= _OPAQUE) / 4
    near = np.hypot(x - joint[0], y - joint[1]) <= half
    body = (rgba * np.where(near, 1.0, 1.0 - beyond)[..., None]).astype(np.uint8)
    still = SwingingLimb(sprite, body, limb, joint, amplitude, period, phase)
    return SwingingLimb(still.at(0.0), body, limb, joint, amplitude, period, phase)


def _shape(sprite: Sprite) -> tuple[int, int]:
    return sprite.rgba.shape[0], sprite.rgba.shape[1]
