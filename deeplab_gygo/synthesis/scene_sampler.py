"""Drawing the parts of a composed scene: its background, its actors, how they move and look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np

from deeplab_gygo.synthesis.bending import draw_bend
from deeplab_gygo.synthesis.layers import Pose
from deeplab_gygo.synthesis.motion import Path, draw_path
from deeplab_gygo.synthesis.object_sampler import Look
from deeplab_gygo.synthesis.scene import Actor, Edge, Exit, Stage
from deeplab_gygo.synthesis.shadows import draw_shadow

_ZOOM = (0.08, 0.6)  # logarithm: what the camera may turn to lies beside the canvas
_DEFOCUSED = 0.25  # of the backgrounds: a wide aperture
_SKETCH = 8  # the sketch that gives the local color of a background is smaller by this factor

# Root mean square of an object's own motion a frame: x and y relative to the root of its area,
# logarithm of the scale, radians, corners relative to the sides, logarithm of the light on it.
_SPEED = np.array([0.04, 0.03, 0.016, 0.02, *[0.005] * 8, 0.008])
_LIVELY = (0.15, 1.4)  # factors of that speed
_FAST = 0.15  # of the objects: their speed is that of a gesture
_FAST_FACTOR = 4.0
_MOST_FAST = 0.04  # of the canvas's height a frame, for large objects that are fast
_BENDING = 0.5  # of the objects with one view, and never of turning ones, whose views are true
_SOFT_EDGE = 0.6  # of the objects, so that a hard or a soft edge does not tell what was laid on
_SHADOWED = 0.4
_RELIT = 0.6
_SOONEST = 3.0  # frames; objects that pass each other sooner would jump
_DIM = 0.45  # of the clips: little light, so that motion blurs
_SHUTTER = (0.15, 0.9)  # frames, of those
_SIDEWAYS = 0.08  # of the objects: turned by any angle


def set_stage(
    picture: np.ndarray, mask: np.ndarray | None, size: tuple[int, int], rng: np.random.Generator
) -> Stage:
    """Draws the part of a picture that is the background.

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
    zoom = cover * float(np.exp(rng.uniform(*_ZOOM)))
    flip = -1.0 if rng.random() < 0.5 else 1.0
    free = np.array([picture.shape[1] * zoom - width, picture.shape[0] * zoom - height])
    shift = rng.uniform(-0.5, 0.5, 2) * np.maximum(free, 0)
    linear = np.diag([zoom * flip, zoom])
    middle = np.array([picture.shape[1] / 2, picture.shape[0] / 2])
    matrix = np.eye(3)
    matrix[:2, :2] = linear
    matrix[:2, 2] = np.array([width / 2, height / 2]) + shift - linear @ middle
    if rng.random() < _DEFOCUSED:
        picture = cv2.blur(picture, (max(round(rng.uniform(2, 6.5) / zoom), 2),) * 2)
    return Stage(picture, mask, matrix, size)


def cast_actor(
    look: Look,
    share: float,
    others: Sequence[Actor],
    stage: Stage,
    rng: np.random.Generator,
) -> Actor:
    """Draws pose, motion and appearance of an object.

    Args:
        look: What it looks like over time.
        share: Part of the canvas that it is to cover, as far as its shape allows.
        others: Actors that it mostly keeps clear of.
        stage: The background.
        rng: Source of randomness.

    Returns:
        The actor.
    """
    height, width = stage.size
    view = look.first
    scale = float(np.sqrt(share * height * width / view.area))
    sides = np.array([view.rgba.shape[1], view.rgba.shape[0]], np.float64)
    scale = min(scale, 2.0, float((1.15 * np.array([width, height]) / sides).min()))
    root = float(np.sqrt(view.area)) * scale
    center = _find_place(sides * scale, root, others, stage.size, rng)
    turn = rng.uniform(-np.pi, np.pi) if rng.random() < _SIDEWAYS else rng.normal(0, 0.15)
    flip = bool(rng.random() < 0.5)
    pose = Pose(center, scale, float(turn), flip, rng.normal(0, 0.025, (4, 2)))
    path = _draw_motion(root, stage.size, rng)
    bend, edge, shadow = draw_bend(rng), draw_edge(root, rng), draw_shadow(rng)
    bends, soft, shadowed, relit = rng.random(4) < (_BENDING, _SOFT_EDGE, _SHADOWED, _RELIT)
    return Actor(
        look,
        pose,
        path,
        nearness=float(rng.uniform(0.95, 1.3)),
        gains=_gains(stage, look, pose, rng) if relit else np.ones(3),
        edge=edge if soft else None,
        shadow=shadow if shadowed else None,
        bend=bend if bends and not look.turns else None,
    )


def _draw_motion(root: float, size: tuple[int, int], rng: np.random.Generator) -> Path:
    """Draws how an object moves by itself."""
    speed = _SPEED * rng.uniform(*_LIVELY)
    speed[:2] *= root
    if rng.random() < _FAST:
        fast = np.minimum(_FAST_FACTOR * speed[:2], _MOST_FAST * size[0])
        speed[:2] = np.maximum(fast, speed[:2])
    return draw_path(speed, rng)


def draw_edge(root: float, rng: np.random.Generator) -> Edge:
    """Draws how soft the outline of an object is.

    Args:
        root: Root of its area, pixels: small objects keep their shape.
        rng: Source of randomness.

    Returns:
        The edge.
    """
    side = 3 if root < 40 else 2 * int(rng.integers(1, 4)) + 1
    return Edge(side, float(rng.uniform(0.0, 0.55)))


def leave(actor: Actor, size: tuple[int, int], rng: np.random.Generator) -> Actor:
    """Lets an actor leave the picture for good, within some frames.

    Args:
        actor: The actor.
        size: Height and width of the canvas, pixels.
        rng: Source of randomness.

    Returns:
        The actor with its exit.
    """
    angle = rng.uniform(0, 2 * np.pi)
    sides = np.array(actor.look.first.rgba.shape[:2]) * actor.pose.scale
    way = 1.3 * (float(np.hypot(*size)) + float(np.hypot(*sides)))
    velocity = way / rng.uniform(2.0, 8.0) * np.array([np.cos(angle), np.sin(angle)])
    return replace(actor, exit=Exit(float(rng.uniform(0.0, 8.0)), velocity))


def head_for(actor: Actor, aim: np.ndarray, time: float) -> Actor:
    """Lets an actor drift so that it passes a place, and goes on.

    Args:
        actor: The actor.
        aim: float64 [2], x and y at time 0 of the camera, pixels.
        time: When it is there, frames; before 0 it has been there and moves away.

    Returns:
        The actor with its drift.
    """
    if abs(time) < _SOONEST:
        time = _SOONEST if time >= 0 else -_SOONEST
    drift = actor.path.drift.copy()
    drift[:2] = (aim - actor.pose.center) / time
    return replace(actor, path=replace(actor.path, drift=drift))


def draw_shutter(rng: np.random.Generator) -> float:
    """Draws how long the shutter is open, frames: in good light for a small part of one."""
    return float(rng.uniform(*_SHUTTER)) if rng.random() < _DIM else 0.0


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


def _gains(stage: Stage, look: Look, pose: Pose, rng: np.random.Generator) -> np.ndarray:
    """Draws how far the light of an object follows its background at time 0, float64 [3]."""
    alpha = max(cv2.mean(look.first.rgba)[3], 1.0)
    own = np.array(cv2.mean(look.first.rgba)[:3]) * 255.0 / alpha
    around = np.array(_color_around(stage, look, pose))
    follow = rng.uniform(0.0, 0.35)
    gains = ((around + 16.0) / (own + 16.0)) ** follow * np.exp(rng.normal(0, 0.12))
    return np.clip(gains * np.exp(rng.normal(0, 0.03, 3)), 0.5, 1.7)


def _color_around(stage: Stage, look: Look, pose: Pose) -> tuple[float, float, float]:
    """Averages the background where an object lies at time 0."""
    height, width = (max(side // _SKETCH, 1) for side in stage.size)
    shrink = np.diag([1 / _SKETCH, 1 / _SKETCH, 1.0])
    sketch = cv2.warpAffine(
        stage.picture, (shrink @ stage.matrix)[:2], (width, height), borderMode=cv2.BORDER_REFLECT
    )
    half = np.array(look.first.rgba.shape[1::-1]) * pose.scale / 2
    left, top = np.clip((pose.center - half) / _SKETCH, 0, (width - 1, height - 1)).astype(int)
    right, bottom = np.ceil((pose.center + half) / _SKETCH).astype(int)
    part = sketch[top : max(bottom, top + 1), left : max(right, left + 1)]
    return cv2.mean(part)[:3]
