"""Composed stand-ins: one object, in part hard to tell from its background, or very small."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from deeplab_gygo.synthesis.layers import Layer, Pose, alpha_blend, motion_blur
from deeplab_gygo.synthesis.motion import (
    Camera,
    Light,
    sample_camera,
    sample_deformation,
    sample_trajectory,
)
from deeplab_gygo.synthesis.object_sampler import Appearance
from deeplab_gygo.synthesis.scene import (
    Background,
    SceneObject,
    alpha_on_canvas,
    visible_mask,
)
from deeplab_gygo.synthesis.scene_sampler import (
    sample_background,
    sample_feathering,
    sample_shutter,
)
from deeplab_gygo.synthesis.sprites import Sprite
from standins.dataset import SIZES, Clip
from standins.like import calm_light, largest_step
from standins.limbs import part_weights, sample_cut, swinging
from standins.sources import STEP, Sources

# Seven clips: three with a part like the background, two with a swinging limb, two in the dark.
VARIANTS = ("part", "limb", "part", "dark", "part", "limb", "dark")
_PART = (0.28, 0.45)  # Area of the weak part, as a share of the object.
_PULL = (0.70, 0.85)  # How far its color is moved toward the background.
_LIMB = (0.18, 0.35)  # Area of the limb.
_LIMBED = ("person", "deer", "dog", "bird")  # Categories of objects with limbs.
_SWING = (0.6, 1.0)  # Amplitude, radians.
_PERIOD = (26.0, 42.0)  # Frames at 30 per second: at 5 per second a swing takes 4 to 7.
# Of all of it.
_LIKE_BACKGROUND = {
    "part": (0.35, 0.6), "limb": (0.35, 0.6), "dark": (0.85, 1.0), "small": (0.0, 0.4)
}  # fmt: skip
_DARK = (14.0, 26.0)  # Mean of the surroundings of an object in the dark, gray levels.
_BACKGROUNDS = 4  # Photos of which the busiest is taken.
_AREA = (0.025, 0.10)  # Of the object, as a share of the picture.
_SMALL_AREA = (0.0002, 0.0012)  # 9 to 22 pixels at 854x480.
_INSIDE = 0.7  # Least part of the object inside the picture.
_MAX_STEP = 0.7  # Between frames, relative to the root of its area.
_SMALL_MAX_STEP = 1.5
_SPEED = np.array([0.022, 0.016, 0.008, 0.012, *[0.004] * 8, 0.004])  # As in `like`.


@dataclass(frozen=True)
class WeakScene:
    """A background, one object, and what makes it hard to see.

    Attributes:
        background: The background.
        item: The object.
        weights: The same object with the weight of its weak part as color; None for none.
        pull: Share of the color of the weak part that is the background's.
        shift: int [2], x and y, whence the texture of the weak part is taken, pixels.
        camera: The camera.
        light: The light.
        shutter: Exposure time, frames.
        noise: Standard deviation of the noise, gray levels.
    """

    background: Background
    item: SceneObject
    weights: SceneObject | None
    pull: float
    shift: np.ndarray
    camera: Camera
    light: Light
    shutter: float
    noise: float

    def render(self, time: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Renders the scene at a time in frames.

        Returns:
            The image, uint8 [H, W, 3] RGB, and the mask of the object, uint8 [H, W], 0 or 1.
        """
        camera, size = self.camera.at(time), self.background.size
        canvas = motion_blur(self.background.render(camera), self.shutter * camera.velocity)
        layer = self.item.layer(time, camera, self.shutter, size)
        mask = visible_mask(alpha_on_canvas(layer, size), [])
        if layer is not None:
            if self.weights is not None:
                weights = self.weights.layer(time, camera, self.shutter, size)
                layer = self._camouflaged(layer, weights, canvas)
            alpha_blend(canvas, layer)
        image = cv2.LUT(canvas, self.light.lookup_table(time))
        return _with_grain(image, self.noise, rng), mask

    def _camouflaged(self, layer: Layer, weights: Layer, canvas: np.ndarray) -> Layer:
        """Moves the colors of the weak part toward those of the background around."""
        box = layer.box
        smooth = cv2.GaussianBlur(canvas, (0, 0), 9).astype(np.float32)
        # The local color with the texture of a place nearby: the part is not transparent.
        detail = np.roll(canvas.astype(np.float32) - smooth, tuple(self.shift[::-1]), axis=(0, 1))
        local = np.clip(smooth + detail, 0, 255)[box]
        # Both layers are premultiplied: the quotient is the weight itself.
        opaque = np.maximum(weights.alpha[..., None], 1).astype(np.float32)
        mix = self.pull * np.clip(weights.colors[..., :1] / opaque, 0, 1)
        alpha = layer.alpha[..., None].astype(np.float32) / 255
        colors = layer.colors * (1 - mix) + mix * local * alpha
        return replace(layer, colors=np.clip(colors + 0.5, 0, 255).astype(np.uint8))

    def fits(self, times: np.ndarray, max_step: float = _MAX_STEP) -> bool:
        """Checks that the object stays in the picture and that a person can follow it."""
        if largest_step(self.item, self.camera, times) > max_step:
            return False
        for time in (float(value) for value in times):
            camera = self.camera.at(time)
            layer = self.item.layer(time, camera, 0.0, self.background.size, alpha_only=True)
            if layer is None:
                return False
            shown = np.count_nonzero(layer.alpha >= 128)
            if shown < _INSIDE * self.item.area(time, camera):
                return False
        return True


def weak_clip(sources: Sources, index: int, times: np.ndarray, seed: int) -> Clip:
    """Makes a clip of one object, hard to see in part or whole; see `composed_clips`."""
    variant = VARIANTS[index % len(VARIANTS)]
    clip = _clip(sources, index, times, [seed, 2, index], variant, _MAX_STEP)
    return replace(clip, name=f"weak{index:02d}-{variant}")


def small_clip(sources: Sources, index: int, times: np.ndarray, seed: int) -> Clip:
    """Makes a clip of one very small object, plain to see; see `composed_clips`."""
    clip = _clip(sources, index, times, [seed, 3, index], "small", _SMALL_MAX_STEP)
    return replace(clip, name=f"small{index:02d}-{clip.notes['category']}")


def _clip(
    sources: Sources, index: int, times: np.ndarray, seeds: list[int], variant: str, step: float
) -> Clip:
    """Makes a clip of a variant, without a name."""
    rng, size = np.random.default_rng(seeds), SIZES[index % len(SIZES)]
    while True:
        scene, notes = _sample_scene(sources, variant, size, rng)
        if scene.fits(times, step):
            break
    rendered = (
        scene.render(float(time), np.random.default_rng([*seeds, int(time)])) for time in times
    )
    return Clip("", rendered, {"variant": variant, **notes})


def _sample_scene(
    sources: Sources, variant: str, size: tuple[int, int], rng: np.random.Generator
) -> tuple[WeakScene, dict]:
    """Samples a scene and notes on it."""
    photo = max((sources.photo(rng) for _ in range(_BACKGROUNDS)), key=_busyness)
    background = sample_background(photo, None, size, rng)
    category = sources.category(rng, _LIMBED if variant == "limb" else ())
    still = sources.still(category, rng)
    sprite = sources.sprite(still)
    area = _SMALL_AREA if variant == "small" else _AREA
    root = float(np.sqrt(np.exp(rng.uniform(*np.log(area))) * size[0] * size[1]))
    item = _sample_item(sprite, root, size, variant, rng)
    gains = _local_gains(item, background) ** rng.uniform(*_LIKE_BACKGROUND[variant])
    item, weights, pull = replace(item, gains=gains), None, float(rng.uniform(*_PULL))
    notes = {"category": category, "object": still.name}
    if variant == "part":
        fraction = float(rng.uniform(*_PART))
        cut = sample_cut(sprite, fraction, bool(rng.random() < 0.5), rng)
        colored = _weight_sprite(sprite, part_weights(sprite, cut, rng.uniform(3, 12)))
        weights = replace(item, appearance=Appearance(colored), gains=None)
        notes |= {"part": round(fraction, 3), "pull": round(pull, 3)}
    elif variant == "limb":
        item, weights, swing = _with_limb(item, sprite, rng)
        notes |= {**swing, "pull": round(pull, 3)}
    camera = sample_camera(size, item.trajectory, rng)
    light, noise = calm_light(rng), float(rng.uniform(0.5, 2.0))
    if variant == "dark":
        light, noise = _dim(light, background, item, rng), float(rng.uniform(3.0, 5.0))
    shift = np.round(root * 0.35 * _unit(rng)).astype(int)
    shutter = 0.6 * sample_shutter(rng)
    return (
        WeakScene(background, item, weights, pull, shift, camera, light, shutter, noise),
        notes,
    )


def _sample_item(
    sprite: Sprite, root: float, size: tuple[int, int], variant: str, rng: np.random.Generator
) -> SceneObject:
    """Samples pose, motion and compositing of the object, whose root of the area is given."""
    center = np.array([size[1], size[0]]) * rng.uniform(0.35, 0.65, 2)
    scale = min(root / float(np.sqrt(sprite.area)), 2.0)
    pose = Pose(
        center,
        scale,
        float(rng.normal(0, 0.1)),
        bool(rng.random() < 0.5),
        rng.normal(0, 0.02, (4, 2)),
    )
    speed = _SPEED * rng.uniform(0.5, 1.5)
    speed[:2] *= root
    return SceneObject(
        Appearance(sprite),
        pose,
        sample_trajectory(speed, rng),
        parallax=float(rng.uniform(1.0, 1.3)),
        feathering=sample_feathering(root, rng),
        deformation=sample_deformation(rng) if variant != "limb" and rng.random() < 0.6 else None,
    )


def _unit(rng: np.random.Generator) -> np.ndarray:
    angle = rng.uniform(0, 2 * np.pi)
    return np.array([np.cos(angle), np.sin(angle)])


def _busyness(photo: np.ndarray) -> float:
    """Returns the mean strength of the edges of uint8 [H, W, 3]."""
    gray = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY)
    return float(np.abs(cv2.Laplacian(gray, cv2.CV_32F)).mean())


def _weight_sprite(sprite: Sprite, weights: np.ndarray) -> Sprite:
    """Returns a sprite with weights, float32 [H, W], 0 to 1, in place of colors."""
    rgba = sprite.rgba.copy()
    rgba[..., :3] = np.round(weights * rgba[..., 3])[..., None]
    return Sprite(rgba, sprite.area)


def _with_limb(
    item: SceneObject, sprite: Sprite, rng: np.random.Generator
) -> tuple[SceneObject, SceneObject, dict]:
    """Returns an object with a swinging limb, its weights, and notes on the swing."""
    cut = sample_cut(sprite, rng.uniform(*_LIMB), True, rng)
    amplitude, period = float(rng.uniform(*_SWING)), float(rng.uniform(*_PERIOD))
    motion = (cut, amplitude, period, rng.uniform(0, 2 * np.pi))
    colored = _weight_sprite(sprite, part_weights(sprite, cut, 6.0))
    weights = replace(item, appearance=swinging(colored, *motion), gains=None)
    notes = {"swing": round(amplitude, 2), "period": round(period / STEP, 1)}
    return replace(item, appearance=swinging(sprite, *motion)), weights, notes


def _local_gains(item: SceneObject, background: Background) -> np.ndarray:
    """Returns gains that give an object the mean color behind it, float64 [3]."""
    own, local = _mean_color(item), _local_color(item, background)
    return np.clip((local + 8) / (own + 8), 0.15, 3.0)


def _mean_color(item: SceneObject) -> np.ndarray:
    """Returns the mean color of an object, float64 [3], gray levels."""
    color = np.array(cv2.mean(item.appearance.first.rgba))
    return color[:3] * 255.0 / max(color[3], 1.0)


def _local_color(item: SceneObject, background: Background) -> np.ndarray:
    """Returns the mean color of the background where an object is at time 0, float64 [3]."""
    canvas = cv2.warpAffine(
        background.image,
        background.matrix[:2],
        background.size[::-1],
        borderMode=cv2.BORDER_REFLECT,
    )
    x, y = np.round(item.pose.center).astype(int)
    half = max(int(item.root_area / 2), 1)
    around = canvas[max(y - half, 0) : y + half, max(x - half, 0) : x + half]
    return around.reshape(-1, 3).mean(axis=0)


def _dim(
    light: Light, background: Background, item: SceneObject, rng: np.random.Generator
) -> Light:
    """Returns a light in which the surroundings of an object are dark gray."""
    local = float(_local_color(item, background).mean()) / 255.0
    wanted, gamma = rng.uniform(*_DARK) / 255.0, rng.uniform(0.1, 0.35)
    gain = np.log(wanted) - np.exp(gamma) * np.log(max(local, 0.02))
    return DimLight(np.array([min(gain, 0.0), light.start[1], gamma]), light.trajectory)


@dataclass(frozen=True)
class DimLight(Light):
    """A light that may be far darker than that of training clips."""

    def lookup_table(self, time: float) -> np.ndarray:
        """Returns the lookup table of a time in frames, uint8 [1, 256, 3] for `cv2.LUT`."""
        gain, temperature, gamma = self.start + 0.5 * self.trajectory.at(time)
        gains = np.exp(gain + temperature * np.array([1.0, 0.0, -1.0]))
        levels = (np.arange(256) / 255.0) ** np.exp(gamma)
        return np.clip(np.rint(255.0 * levels[:, None] * gains), 0, 255).astype(np.uint8)[None]


def _with_grain(image: np.ndarray, deviation: float, rng: np.random.Generator) -> np.ndarray:
    """Adds noise of a standard deviation in gray levels to uint8 [H, W, 3]."""
    grain = rng.standard_normal(image.shape, dtype=np.float32)
    # Noise reduction leaves grain that is wider than one pixel.
    grain = cv2.GaussianBlur(grain, (0, 0), 0.7) * (2.4 * deviation)
    return np.clip(image + grain + 0.5, 0, 255).astype(np.uint8)
