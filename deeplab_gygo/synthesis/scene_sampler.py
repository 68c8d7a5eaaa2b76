"""Random background, objects, motion and appearance of a synthetic scene."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np

from deeplab_gygo.synthesis.layers import Pose
from deeplab_gygo.synthesis.motion import Trajectory, sample_deformation, sample_trajectory
from deeplab_gygo.synthesis.object_sampler import Appearance
from deeplab_gygo.synthesis.scene import Background, Exit, Feathering, SceneObject
from deeplab_gygo.synthesis.shadows import sample_shadow

_LOG_ZOOM = (0.08, 0.6)  # of the background: room for the motion of the camera
_DEFOCUSED = 0.25  # probability of a background out of focus
_COLOR_STRIDE = 8  # reduction of the background for its local color

# Root mean square of an object's own motion per frame: x and y relative to the root of its area,
# log scale, radians, corners relative to the sides, log gain.
_SPEED = np.array([0.04, 0.03, 0.016, 0.02, *[0.005] * 8, 0.008])
_SPEED_FACTOR = (0.15, 1.4)
_FAST = 0.15  # probability of the speed of a gesture
_FAST_FACTOR = 4.0
_MAX_FAST = 0.04  # of the height of the canvas per frame, for large objects that are fast
# Probabilities. Only single images are deformed: those of a spin are true views. Some contours stay
# hard, so that softness does not reveal what is composed.
_DEFORMED, _FEATHERED, _SHADOWED, _RELIT = 0.5, 0.6, 0.4, 0.6
_MIN_PASS_TIME = 3.0  # frames; objects that pass each other sooner would jump
_DIM = 0.45  # probability of little light, and so of motion blur
_SHUTTER = (0.15, 0.9)  # exposure time then, frames
_ANY_ANGLE = 0.08  # probability of an object rotated by any angle


def sample_background(
    image: np.ndarray, mask: np.ndarray | None, size: tuple[int, int], rng: np.random.Generator
) -> Background:
    """Samples the part of an image that is the background.

    Args:
        image: uint8 [any height, any width, 3], RGB.
        mask: uint8, its own object, 0 or 1; None if there is none.
        size: Height and width of the canvas, pixels.
        rng: Random generator.
    """
    height, width = size
    cover = max(height / image.shape[0], width / image.shape[1])
    zoom = cover * float(np.exp(rng.uniform(*_LOG_ZOOM)))
    flip = -1.0 if rng.random() < 0.5 else 1.0
    free = np.array([image.shape[1] * zoom - width, image.shape[0] * zoom - height])
    shift = rng.uniform(-0.5, 0.5, 2) * np.maximum(free, 0)
    linear = np.diag([zoom * flip, zoom])
    center = np.array([image.shape[1] / 2, image.shape[0] / 2])
    matrix = np.eye(3)
    matrix[:2, :2] = linear
    matrix[:2, 2] = np.array([width / 2, height / 2]) + shift - linear @ center
    if rng.random() < _DEFOCUSED:
        image = cv2.blur(image, (max(round(rng.uniform(2, 6.5) / zoom), 2),) * 2)
    return Background(image, mask, matrix, size)


def sample_object(
    appearance: Appearance,
    share: float,
    others: Sequence[SceneObject],
    background: Background,
    rng: np.random.Generator,
) -> SceneObject:
    """Samples pose, motion and compositing of an object.

    Args:
        appearance: Its sprite over time.
        share: Fraction of the canvas that it covers, as far as its shape allows.
        others: Objects that it mostly does not overlap.
        background: The background.
        rng: Random generator.
    """
    height, width = background.size
    sprite = appearance.first
    scale = float(np.sqrt(share * height * width / sprite.area))
    sides = np.array([sprite.rgba.shape[1], sprite.rgba.shape[0]], np.float64)
    scale = min(scale, 2.0, float((1.15 * np.array([width, height]) / sides).min()))
    root_area = float(np.sqrt(sprite.area)) * scale
    center = _sample_center(sides * scale, root_area, others, background.size, rng)
    angle = rng.uniform(-np.pi, np.pi) if rng.random() < _ANY_ANGLE else rng.normal(0, 0.15)
    flip = bool(rng.random() < 0.5)
    pose = Pose(center, scale, float(angle), flip, rng.normal(0, 0.025, (4, 2)))
    trajectory = _sample_motion(root_area, background.size, rng)
    deformation = sample_deformation(rng)
    feathering, shadow = sample_feathering(root_area, rng), sample_shadow(rng)
    deformed, feathered, shadowed, relit = rng.random(4) < (
        _DEFORMED,
        _FEATHERED,
        _SHADOWED,
        _RELIT,
    )
    return SceneObject(
        appearance,
        pose,
        trajectory,
        parallax=float(rng.uniform(0.95, 1.3)),
        gains=_sample_gains(background, appearance, pose, rng) if relit else np.ones(3),
        feathering=feathering if feathered else None,
        shadow=shadow if shadowed else None,
        deformation=deformation if deformed and appearance.source is None else None,
    )


def _sample_motion(root_area: float, size: tuple[int, int], rng: np.random.Generator) -> Trajectory:
    """Samples the own motion of an object."""
    speed = _SPEED * rng.uniform(*_SPEED_FACTOR)
    speed[:2] *= root_area
    if rng.random() < _FAST:
        fast = np.minimum(_FAST_FACTOR * speed[:2], _MAX_FAST * size[0])
        speed[:2] = np.maximum(fast, speed[:2])
    return sample_trajectory(speed, rng)


def sample_feathering(root_area: float, rng: np.random.Generator) -> Feathering:
    """Samples the softness of a contour; small objects, by the root of their area, stay sharp."""
    side = 3 if root_area < 40 else 2 * int(rng.integers(1, 4)) + 1
    return Feathering(side, float(rng.uniform(0.0, 0.55)))


def with_exit(item: SceneObject, size: tuple[int, int], rng: np.random.Generator) -> SceneObject:
    """Returns an object that leaves the canvas of a size for good, within some frames."""
    angle = rng.uniform(0, 2 * np.pi)
    sides = np.array(item.appearance.first.rgba.shape[:2]) * item.pose.scale
    distance = 1.3 * (float(np.hypot(*size)) + float(np.hypot(*sides)))
    velocity = distance / rng.uniform(2.0, 8.0) * np.array([np.cos(angle), np.sin(angle)])
    return replace(item, exit=Exit(float(rng.uniform(0.0, 8.0)), velocity))


def aim_at(item: SceneObject, position: np.ndarray, time: float) -> SceneObject:
    """Returns an object with a drift that passes a position.

    Args:
        item: The object.
        position: float64 [2], x and y on the canvas at time 0, pixels.
        time: Time of the passage, frames; negative if it was before time 0.
    """
    if abs(time) < _MIN_PASS_TIME:
        time = _MIN_PASS_TIME if time >= 0 else -_MIN_PASS_TIME
    drift = item.trajectory.drift.copy()
    drift[:2] = (position - item.pose.center) / time
    return replace(item, trajectory=replace(item.trajectory, drift=drift))


def sample_shutter(rng: np.random.Generator) -> float:
    """Samples the exposure time in frames: 0 in good light."""
    return float(rng.uniform(*_SHUTTER)) if rng.random() < _DIM else 0.0


def _sample_center(
    sides: np.ndarray,
    root_area: float,
    others: Sequence[SceneObject],
    size: tuple[int, int],
    rng: np.random.Generator,
) -> np.ndarray:
    """Samples the center of an object, mostly whole on the canvas and clear of the others."""
    canvas = np.array([size[1], size[0]], np.float64)
    outside = 0.35 if rng.random() < 0.2 else 0.0
    low = np.minimum((0.5 - outside) * sides, canvas / 2)
    avoided = others if rng.random() < 0.75 else ()
    for _ in range(8):
        center = rng.uniform(low, canvas - low)
        if all(
            np.hypot(*(center - other.pose.center)) > 0.5 * (root_area + other.root_area)
            for other in avoided
        ):
            break
    return center


def _sample_gains(
    background: Background, appearance: Appearance, pose: Pose, rng: np.random.Generator
) -> np.ndarray:
    """Samples gains that pull an object towards the local background color, float64 [3]."""
    alpha = max(cv2.mean(appearance.first.rgba)[3], 1.0)
    own = np.array(cv2.mean(appearance.first.rgba)[:3]) * 255.0 / alpha
    local = np.array(_local_color(background, appearance, pose))
    strength = rng.uniform(0.0, 0.35)
    gains = ((local + 16.0) / (own + 16.0)) ** strength * np.exp(rng.normal(0, 0.12))
    return np.clip(gains * np.exp(rng.normal(0, 0.03, 3)), 0.5, 1.7)


def _local_color(
    background: Background, appearance: Appearance, pose: Pose
) -> tuple[float, float, float]:
    """Averages the background behind an object at time 0."""
    height, width = (max(side // _COLOR_STRIDE, 1) for side in background.size)
    reduction = np.diag([1 / _COLOR_STRIDE, 1 / _COLOR_STRIDE, 1.0])
    matrix = (reduction @ background.matrix)[:2]
    reduced = cv2.warpAffine(
        background.image, matrix, (width, height), borderMode=cv2.BORDER_REFLECT
    )
    half = np.array(appearance.first.rgba.shape[1::-1]) * pose.scale / 2
    left, top = np.clip((pose.center - half) / _COLOR_STRIDE, 0, (width - 1, height - 1)).astype(
        int
    )
    right, bottom = np.ceil((pose.center + half) / _COLOR_STRIDE).astype(int)
    part = reduced[top : max(bottom, top + 1), left : max(right, left + 1)]
    return cv2.mean(part)[:3]
