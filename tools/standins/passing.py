"""Composed stand-ins: one object, and another one that passes it and touches it in the picture."""

from __future__ import annotations

import numpy as np

from deeplab_gygo.synthesis.motion import sample_camera
from deeplab_gygo.synthesis.scene import Scene
from deeplab_gygo.synthesis.scene_sampler import sample_background, sample_shutter
from standins.dataset import SIZES, Clip
from standins.like import calm_light, largest_step, sample_member
from standins.sources import Sources

WAYS = ("from behind", "through", "into")  # Hidden at first, past the target, or up to it.
_AREA = (0.02, 0.10)  # Of the target, as a share of the picture.
_SIZE = (0.6, 1.1)  # Root of the area of the other object, relative to that of the target.
_BEFORE = 0.25  # Probability that it passes in front of the target, if it is not hidden at first.
_SAME_CATEGORY = 0.6
_DISTANCE = (1.0, 1.6)  # Farthest from the target, relative to the width of the wider one.
_FIRST_SHOWN, _LEAST_SHOWN = 0.8, 0.4  # Part of the target that the first and all frames show.
_MAX_STEP = 0.5  # Of the target between frames, relative to the root of its area.


def passing_clip(sources: Sources, index: int, times: np.ndarray, seed: int) -> Clip:
    """Makes a clip of a target and an object that passes it; see `composed_clips`."""
    rng = np.random.default_rng([seed, 4, index])
    size, way = SIZES[index % len(SIZES)], WAYS[index % len(WAYS)]
    while True:
        scene, notes = _sample_scene(sources, way, times[-1], size, rng)
        if _fits(scene, times):
            break
    rendered = (scene.render(float(time)) for time in times)
    return Clip(f"passing{index:02d}-{way.replace(' ', '-')}", rendered, {"way": way, **notes})


def _sample_scene(
    sources: Sources, way: str, end: float, size: tuple[int, int], rng: np.random.Generator
) -> tuple[Scene, dict]:
    """Samples a scene whose last frame is at time `end`, and notes on it."""
    background = sample_background(sources.photo(rng), None, size, rng)
    category = sources.category(rng)
    other = category if rng.random() < _SAME_CATEGORY else sources.category(rng)
    sprites = [sources.sprite(sources.still(name, rng)) for name in (category, other)]
    root = float(np.sqrt(np.exp(rng.uniform(*np.log(_AREA))) * size[0] * size[1]))
    width = root * max(1.0, *(s.rgba.shape[1] / np.sqrt(s.area) for s in sprites))
    center = np.array([size[1], size[0]]) / 2
    start = center + rng.normal(0, 0.1, 2) * root
    drift = rng.normal(0, 0.2, 2) * root / end
    target = sample_member(sprites[0], start, drift, root, False, rng)
    side = rng.choice([-1, 1])
    near, far = (
        np.array([side * distance * width, rng.normal(0, 0.2) * root])
        for distance in (0.0, rng.uniform(*_DISTANCE))
    )
    ways = {"from behind": (near, far), "through": (-far, far), "into": (far, 0.5 * far)}
    begin, finish = ways[way]
    passer = sample_member(
        sprites[1], start + begin, (finish - begin) / end, root * rng.uniform(*_SIZE), True, rng
    )
    before = bool(rng.random() < _BEFORE) and way != "from behind"
    scene = Scene(
        background,
        (target, passer) if before else (passer, target),
        0 if before else 1,
        sample_camera(size, target.trajectory, rng),
        calm_light(rng),
        0.5 * sample_shutter(rng),
    )
    return scene, {"category": category, "other": other, "before": before}


def _fits(scene: Scene, times: np.ndarray) -> bool:
    """Checks that a person can follow the target."""
    if largest_step(scene.objects[scene.target], scene.camera, times) > _MAX_STEP:
        return False
    whole = np.array([scene.target_area(float(time)) for time in times])
    shown = np.array([np.count_nonzero(scene.mask(float(time))) for time in times]) / whole
    return bool(shown[0] >= _FIRST_SHOWN and shown.min() >= _LEAST_SHOWN)
