"""Composed stand-ins: like objects that move, cross and occlude one another."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from deeplab_gygo.synthesis.layers import Pose
from deeplab_gygo.synthesis.motion import (
    Camera,
    Light,
    sample_camera,
    sample_deformation,
    sample_light,
    sample_trajectory,
)
from deeplab_gygo.synthesis.object_sampler import Appearance
from deeplab_gygo.synthesis.scene import Scene, SceneObject
from deeplab_gygo.synthesis.scene_sampler import (
    sample_background,
    sample_feathering,
    sample_shutter,
)
from deeplab_gygo.synthesis.shadows import sample_shadow
from deeplab_gygo.synthesis.sprites import Sprite
from standins.dataset import SIZES, Clip
from standins.sources import Sources

LAYOUTS = ("crowd", "shelf", "swarm")
_SHELF_CATEGORIES = ("vessel", "box", "statue", "sign", "flower", "bus")
_SAME_SPRITE = 0.55  # Probability that all objects of a clip are one and the same.
_AREA = (0.012, 0.07)  # Of an object, as a share of the picture.
_LIMITS = (0.004, 0.12)  # Of the visible target in the first frame, and of the whole target.
_FIRST_SHOWN = 0.75  # Least part of the target that the first frame shows.
_OCCLUDED = 0.75  # Below this visible part a frame counts as occluded.
_OCCLUDED_FRAMES = {"crowd": 3, "shelf": 2, "swarm": 3}
_LEAST_SHOWN = 0.12  # A like object could not be told from a target that is hidden entirely.
_HIDDEN_FRAMES = 1  # Frames that may show less.
_MAX_STEP = 1.0  # Of the target between frames, relative to the root of its area.
# Own motion per frame of `synthesis.motion`, in the axes of `SceneObject.trajectory`.
_SPEED = np.array([0.02, 0.012, 0.006, 0.006, *[0.002] * 8, 0.004])


def like_clip(sources: Sources, index: int, times: np.ndarray, seed: int) -> Clip:
    """Makes a clip of 4 to 8 like objects, one of which is the target; see `composed_clips`."""
    shuffled = np.random.default_rng([seed, 1]).permutation(list(sources.categories))
    names = [str(name) for name in shuffled]
    rng = np.random.default_rng([seed, 1, index])
    size, layout, number = SIZES[index % len(SIZES)], LAYOUTS[index % len(LAYOUTS)], index
    if layout == "shelf":
        names = [name for name in names if name in _SHELF_CATEGORIES] or names
        number = index // len(LAYOUTS)
    category = names[number % len(names)]
    while True:
        scene, notes = _sample_scene(sources, category, layout, times[-1], size, rng)
        if _fits(scene, times, layout):
            break
    rendered = (scene.render(float(time)) for time in times)
    return Clip(f"like{index:02d}-{layout}", rendered, {"layout": layout, **notes})


def _sample_scene(
    sources: Sources,
    category: str,
    layout: str,
    end: float,
    size: tuple[int, int],
    rng: np.random.Generator,
) -> tuple[Scene, dict]:
    """Samples a scene whose last frame is at time `end`, and notes on it."""
    background = sample_background(sources.photo(rng), None, size, rng)
    count, same = int(rng.integers(4, 9)), bool(rng.random() < _SAME_SPRITE)
    members = rng.permutation(np.array(sources.categories[category], object))
    sprites = [sources.sprite(members[0 if same else i % len(members)]) for i in range(count)]
    # Width relative to the root of the area.
    wide = float(np.mean([s.rgba.shape[1] / np.sqrt(s.area) for s in sprites]))
    share = float(np.exp(rng.uniform(*np.log(_AREA))))
    root = float(np.sqrt(share * size[0] * size[1]))
    if layout == "crowd":
        root = min(root, size[1] / (0.85 * wide * count))
    starts, ends = _positions(layout, count, root, root * wide, size, rng)
    mirrored = rng.random() < 0.4
    objects = [
        sample_member(sprites[i], starts[i], (ends[i] - starts[i]) / end, root, mirrored, rng)
        for i in range(count)
    ]
    # What stands lower in the picture is nearer: it is larger, in front, and moves more with the
    # camera.
    order = np.argsort(starts[:, 1], kind="stable")
    objects = [_at_depth(objects[i], rank / (count - 1)) for rank, i in enumerate(order)]
    target = int(rng.integers(count // 3, count))
    camera = sample_camera(size, objects[target].trajectory, rng)
    if layout == "shelf":
        camera = _panning(camera, root, end, rng)
    scene = Scene(
        background, tuple(objects), target, camera, calm_light(rng), 0.5 * sample_shutter(rng)
    )
    return scene, {"category": category, "objects": count, "same_sprite": same}


def _positions(
    layout: str,
    count: int,
    root: float,
    width: float,
    size: tuple[int, int],
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Samples where objects are in the first and in the last frame, float64 [count, 2] each.

    `root` is the root of their area and `width` their width, pixels.
    """
    center = np.array([size[1], size[0]]) / 2
    if layout == "shelf":
        # Rows of objects, the back row half a place beside the front row.
        spacing, row = rng.uniform(0.5, 0.7) * width, np.arange(count) % 2
        x = (np.arange(count) - (count - 1) / 2) * spacing
        y = (row - 0.5) * root * rng.uniform(0.3, 0.5)
        places = center + np.stack([x, y], axis=1) + rng.normal(0, 0.05, (count, 2)) * root
        return places, places
    if layout == "crowd":
        reach = min(0.46 * size[1], 0.5 * width * count)
        x = np.linspace(-reach, reach, count) + rng.normal(0, 0.15, count) * root
        y = rng.uniform(-0.35, 0.35, count) * root
    else:
        reach = np.minimum(0.36 * np.array([size[1], size[0]]), 0.4 * root * count)
        turn = np.arange(count) * 2 * np.pi / count + rng.normal(0, 0.3, count)
        x, y = (reach[:, None] * np.stack([np.cos(turn), np.sin(turn)])) * rng.uniform(
            0.6, 1.1, count
        )
    places = center + np.stack([x, y], axis=1)
    while True:
        order = rng.permutation(count)
        if (order != np.arange(count)).all():
            break
    # Everyone goes to about the place of another one, so that ways cross.
    ends = places[order] + rng.normal(0, 0.15, (count, 2)) * root
    if layout == "crowd":
        ends[:, 1] = places[:, 1] + rng.normal(0, 0.1, count) * root
    return places, ends


def sample_member(
    sprite: Sprite,
    start: np.ndarray,
    drift: np.ndarray,
    root: float,
    mirrored: bool,
    rng: np.random.Generator,
) -> SceneObject:
    """Samples pose, motion and compositing of one of the objects.

    Args:
        sprite: Its sprite.
        start: float64 [2], x and y in the first frame, pixels.
        drift: float64 [2], pixels per frame of `synthesis.motion`.
        root: Root of its area, pixels.
        mirrored: Whether it may be mirrored.
        rng: Random generator.
    """
    scale = root / float(np.sqrt(sprite.area)) * float(np.exp(rng.normal(0, 0.06)))
    flip = bool(mirrored and rng.random() < 0.5)
    pose = Pose(start, scale, float(rng.normal(0, 0.05)), flip, rng.normal(0, 0.015, (4, 2)))
    speed = _SPEED * rng.uniform(0.4, 1.2)
    speed[:2] *= root
    constant = np.concatenate([drift, np.zeros(len(_SPEED) - 2)])
    return SceneObject(
        Appearance(sprite),
        pose,
        sample_trajectory(speed, rng, drift=constant),
        gains=np.exp(rng.normal(0, 0.05) + rng.normal(0, 0.015, 3)),
        feathering=sample_feathering(root, rng),
        shadow=sample_shadow(rng) if rng.random() < 0.6 else None,
        deformation=sample_deformation(rng) if rng.random() < 0.3 else None,
    )


def _at_depth(item: SceneObject, near: float) -> SceneObject:
    """Returns an object at a depth: `near` is 0 for the farthest and 1 for the nearest."""
    pose = replace(item.pose, scale=item.pose.scale * (0.92 + 0.16 * near))
    return replace(item, pose=pose, parallax=0.9 + 0.5 * near)


def _panning(camera: Camera, root: float, end: float, rng: np.random.Generator) -> Camera:
    """Returns a camera that also pans along a shelf."""
    drift = camera.trajectory.drift.copy()
    drift[0] += rng.choice([-1, 1]) * rng.uniform(1.5, 3.0) * root / end
    return replace(camera, trajectory=replace(camera.trajectory, drift=drift))


def calm_light(rng: np.random.Generator) -> Light:
    """Samples a change of light that is half as fast as that of training clips."""
    light = sample_light(rng)
    slow = replace(light.trajectory, amplitudes=0.5 * light.trajectory.amplitudes)
    return replace(light, trajectory=slow)


def _fits(scene: Scene, times: np.ndarray, layout: str) -> bool:
    """Checks that the target is occluded and that a person can follow it."""
    pixels = scene.background.size[0] * scene.background.size[1]
    whole = np.array([scene.target_area(float(time)) for time in times])
    step = largest_step(scene.objects[scene.target], scene.camera, times)
    if whole.max() > _LIMITS[1] * pixels or step > _MAX_STEP:
        return False
    visible = np.array([np.count_nonzero(scene.mask(float(time))) for time in times])
    shown = visible / whole
    return bool(
        visible[0] >= _LIMITS[0] * pixels
        and shown[0] >= _FIRST_SHOWN
        and (shown < _OCCLUDED).sum() >= _OCCLUDED_FRAMES[layout]
        and (shown < _LEAST_SHOWN).sum() <= _HIDDEN_FRAMES
        and (shown > 0.5).sum() >= len(times) // 2
    )


def largest_step(item: SceneObject, camera: Camera, times: np.ndarray) -> float:
    """Returns the largest motion of an object between frames, relative to the root of its area."""
    places = []
    for time in times:
        center = item.pose.center + item.trajectory.at(float(time))[:2]
        matrix = camera.at(float(time)).matrix(item.parallax)
        places.append(matrix[:2, :2] @ center + matrix[:2, 2])
    return float(np.linalg.norm(np.diff(places, axis=0), axis=1).max()) / item.root_area
