"""Synthetic training clips: objects composed over a background and seen by a handheld camera.

There are two kinds. In a *salient* clip one object dominates and an image alone identifies the
target; in an *ambiguous* one several objects of similar size compete, and only the mask of the
target in another frame identifies it. Without the second kind a network learns to ignore its guide
and its memory.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from deeplab_gygo.errors import UsageError
from deeplab_gygo.io.images import read_image
from deeplab_gygo.synthesis.cache import MemoryCache
from deeplab_gygo.synthesis.motion import sample_camera, sample_light
from deeplab_gygo.synthesis.object_sampler import (
    Appearance,
    ObjectSampler,
    SourceObject,
    sample_piece,
)
from deeplab_gygo.synthesis.scene import TARGET_IN_BACKGROUND, Background, Scene, SceneObject
from deeplab_gygo.synthesis.scene_sampler import (
    aim_at,
    sample_background,
    sample_object,
    sample_shutter,
    with_exit,
)
from deeplab_gygo.synthesis.stills import StillObject, limit_short_side

_MIN_VISIBLE = 0.35  # fraction of the target's own area; less is no fair target
_MIN_AREA = 0.004  # fraction of the image
_ATTEMPTS = 20
_EXIT = 0.04  # probability that the target leaves: the correct mask is then empty
_STILL_BACKGROUND = 0.35  # probability, in ambiguous clips, of a background with an object
_STILL_TARGET = 0.3  # probability that this object is the target
_CROSSING = 0.35  # probability that a distractor passes in front of or behind the target
_CROSSING_TIME = (5.0, 18.0)  # frames until then
_OTHER_SIZE = 0.3  # least root of the area of another object, relative to that of the target
_CLUTTER = 0.35  # probability of several objects far smaller than the target
_CLUTTER_COUNT = (2, 6)
_CLUTTER_SHARE = (0.02, 0.10)  # fraction of the target's area
_OCCLUDED = 0.4  # probability of an occluder
_OCCLUDER_SHARE = (0.08, 0.35)  # fraction of the target's area
_OCCLUDER_TIME = (-6.0, 18.0)  # frames until it is nearest
# Probability that the occluder is an object, by whether the clip is ambiguous: in a salient clip it
# could be taken for the target.
_OBJECT_OCCLUDER = {True: 0.6, False: 0.1}


@dataclass(frozen=True)
class ComposedClip:
    """Frames of a synthetic clip and the mask of the target in each.

    Attributes:
        images: uint8 [height, width, 3], RGB, one per requested time; None where only the mask was
            requested.
        masks: uint8 [height, width], 0 or 1, the visible part of the target. At time 0 that is a
            good part of it; at other times it may be occluded or gone.
        salient: Whether the target is identified by every one of the images alone.
        others: The same for another object, which is not of the same image as the target, at the
            times at which it was requested; empty without one.
    """

    images: list[np.ndarray | None]
    masks: list[np.ndarray]
    salient: bool
    others: list[np.ndarray]


class Composer:
    """Composes synthetic clips.

    Args:
        objects: Objects to compose; see `ObjectSampler` for their frequencies.
        backgrounds: Images without an annotated object; stills are used in ambiguous clips, with
            their object as one of the distractors.
        cache: Cache of decoded images.
        size: Height and width of the images, pixels.
        ambiguous_fraction: Fraction of ambiguous clips.

    Raises:
        UsageError: There is no object, or no background without an annotated object.
    """

    def __init__(
        self,
        objects: Sequence[SourceObject],
        backgrounds: Sequence[Path | StillObject],
        cache: MemoryCache,
        *,
        size: tuple[int, int] = (384, 512),
        ambiguous_fraction: float = 0.5,
    ):
        self._photos = [entry for entry in backgrounds if not isinstance(entry, StillObject)]
        self._stills = [entry for entry in backgrounds if isinstance(entry, StillObject)]
        if not self._photos:
            raise UsageError(
                "Synthetic clips need a background without an annotated object", met="none"
            )
        self._sampler = ObjectSampler(objects, cache)
        self._cache, self.size = cache, size
        self.ambiguous_fraction = ambiguous_fraction

    def compose_clip(
        self,
        rng: np.random.Generator,
        times: Sequence[float],
        *,
        masks_only: Collection[int] = (),
        other_at: Collection[int] = (),
    ) -> ComposedClip:
        """Composes a clip.

        The scene and its motion depend on `rng` alone, so that a generator of the same state gives
        other times of the same clip.

        Args:
            rng: Random generator.
            times: Times, frames, in any order, also negative. The target is visible at time 0.
            masks_only: Positions in `times` of which only the mask is needed, which saves time.
            other_at: Positions in `times` at which the mask of another object is wanted.

        Raises:
            UsageError: There is no time, `masks_only` is no position of `times`, or many scenes in
                a row had no sufficiently visible object.
        """
        if not len(times):
            raise UsageError("A synthetic clip has at least one time", met="none")
        wrong = [position for position in masks_only if not 0 <= position < len(times)]
        if wrong:
            raise UsageError(f"masks_only are positions in the {len(times)} times", met=wrong)
        ambiguous = bool(rng.random() < self.ambiguous_fraction)
        scene = self._visible_scene(ambiguous, rng)
        images: list[np.ndarray | None] = []
        masks: list[np.ndarray] = []
        for position, time in enumerate(times):
            image, mask = (None, scene.mask(time)) if position in masks_only else scene.render(time)
            images.append(image)
            masks.append(mask)
        # Where the target is hidden, another object would be taken for it.
        unique = len(scene.objects) == 1 or all(mask.any() for mask in masks)
        other = _other_object(scene, rng) if other_at else None
        others = [] if other is None else [scene.mask(times[at], other) for at in other_at]
        return ComposedClip(images, masks, not ambiguous and unique, others)

    def _visible_scene(self, ambiguous: bool, rng: np.random.Generator) -> Scene:
        """Samples scenes until the target of one is sufficiently visible at time 0."""
        min_area = _MIN_AREA * self.size[0] * self.size[1]
        for _ in range(_ATTEMPTS):
            scene = self._scene(ambiguous, rng)
            if scene is None:
                continue
            required = max(_MIN_VISIBLE * scene.target_area(0.0), min_area)
            if np.count_nonzero(scene.mask(0.0)) >= required:
                return scene
        raise UsageError(
            "Synthetic clips need sufficiently visible objects",
            met=f"{_ATTEMPTS} scenes in a row without a visible object",
            remedy="Check the cut-outs: their alpha channels may be empty",
        )

    def _scene(self, ambiguous: bool, rng: np.random.Generator) -> Scene | None:
        """Samples a scene; None if no object was found for it."""
        background = self._background(ambiguous, rng)
        sample = self._similar_objects if ambiguous else self._single_object
        objects = sample(background, rng)
        target = int(rng.integers(len(objects))) if objects else TARGET_IN_BACKGROUND
        if background.mask is not None and rng.random() < _STILL_TARGET:
            target = TARGET_IN_BACKGROUND
        if target == TARGET_IN_BACKGROUND and background.mask is None:
            return None
        exits = bool(rng.random() < _EXIT)
        if target != TARGET_IN_BACKGROUND:
            objects = _with_crossings(objects, target, rng)
            if exits:
                objects[target] = with_exit(objects[target], self.size, rng)
            # After the target of a salient clip has left, no other object may remain.
            if ambiguous or not exits:
                area = objects[target].root_area ** 2
                front = self._occluders(objects[target], ambiguous, background, rng)
                clutter = self._clutter(area, background, rng)
                objects, target = [*clutter, *objects, *front], target + len(clutter)
        followed = None if target == TARGET_IN_BACKGROUND else objects[target].trajectory
        return Scene(
            background,
            tuple(objects),
            target,
            sample_camera(self.size, followed, rng),
            sample_light(rng),
            sample_shutter(rng),
        )

    def _background(self, ambiguous: bool, rng: np.random.Generator) -> Background:
        if ambiguous and self._stills and rng.random() < _STILL_BACKGROUND:
            image, mask = self._stills[rng.integers(len(self._stills))].read(self._cache)
            return sample_background(image, mask, self.size, rng)
        return sample_background(self._photo(rng), None, self.size, rng)

    def _photo(self, rng: np.random.Generator) -> np.ndarray:
        path = self._photos[rng.integers(len(self._photos))]
        side = min(self.size)
        key = ("photo", str(path), side)
        return self._cache.get(key, lambda: limit_short_side(read_image(path), side))

    def _single_object(self, background: Background, rng: np.random.Generator) -> list[SceneObject]:
        """Samples one dominant object."""
        share = rng.uniform(np.sqrt(0.03), np.sqrt(0.40)) ** 2
        sampled = self._sampler.sample(rng)
        return [] if sampled is None else [sample_object(sampled[1], share, (), background, rng)]

    def _similar_objects(
        self, background: Background, rng: np.random.Generator
    ) -> list[SceneObject]:
        """Samples two to four objects of similar size, often of one category or the same."""
        count = int(rng.integers(2, 5)) - (background.mask is not None and rng.random() < 0.5)
        share = rng.uniform(np.sqrt(0.02), np.sqrt(0.5 / (count + 1))) ** 2
        objects: list[SceneObject] = []
        first: SourceObject | None = None
        for _ in range(count):
            sampled = self._sampler.sample(rng, self._sampler.sample_similar(first, rng))
            if sampled is None:
                continue
            first = first or sampled[0]
            own_share = share * float(np.exp(rng.uniform(-0.5, 0.5)))
            objects.append(sample_object(sampled[1], own_share, objects, background, rng))
        return objects

    def _clutter(
        self, area: float, background: Background, rng: np.random.Generator
    ) -> list[SceneObject]:
        """Samples objects far smaller than a target of an area, with some probability."""
        if rng.random() >= _CLUTTER:
            return []
        objects = []
        for _ in range(int(rng.integers(*_CLUTTER_COUNT))):
            sampled = self._sampler.sample(rng)
            if sampled is not None:
                share = area * rng.uniform(*_CLUTTER_SHARE) / (self.size[0] * self.size[1])
                objects.append(sample_object(sampled[1], share, (), background, rng))
        return objects

    def _occluders(
        self,
        target: SceneObject,
        ambiguous: bool,
        background: Background,
        rng: np.random.Generator,
    ) -> list[SceneObject]:
        """Samples an object or a piece of an image that passes in front of the target."""
        if rng.random() >= _OCCLUDED:
            return []
        if rng.random() < _OBJECT_OCCLUDER[ambiguous]:
            sampled = self._sampler.sample(rng)
            if sampled is None:
                return []
            appearance = sampled[1]
        else:
            piece = sample_piece(self._photo(rng), rng)
            if piece is None:
                return []
            appearance = Appearance(piece)
        root = target.root_area
        share = root**2 * rng.uniform(*_OCCLUDER_SHARE) / (self.size[0] * self.size[1])
        occluder = sample_object(appearance, share, (), background, rng)
        # It starts beside the target, or sometimes over a part of it.
        distance = rng.uniform(0.2, 1.2) * root
        angle = rng.uniform(0, 2 * np.pi)
        center = target.pose.center + distance * np.array([np.cos(angle), np.sin(angle)])
        occluder = replace(occluder, pose=replace(occluder.pose, center=center), shadow=None)
        position = target.pose.center + rng.uniform(-0.45, 0.45, 2) * root
        return [aim_at(occluder, position, rng.uniform(*_OCCLUDER_TIME))]


def _other_object(scene: Scene, rng: np.random.Generator) -> int | None:
    """Samples an object that is neither far smaller than the target nor of the same image."""
    if scene.target == TARGET_IN_BACKGROUND:
        return None
    target = scene.objects[scene.target]
    image = target.appearance.first.rgba
    others = [
        number
        for number, item in enumerate(scene.objects)
        if item.root_area > _OTHER_SIZE * target.root_area
        # By content: a sprite that left the cache is another array when it is read again.
        and not np.array_equal(item.appearance.first.rgba, image)
    ]
    return others[int(rng.integers(len(others)))] if others else None


def _with_crossings(
    objects: list[SceneObject], target: int, rng: np.random.Generator
) -> list[SceneObject]:
    """Returns the objects, some distractors of which pass the target."""
    center, root = objects[target].pose.center, objects[target].root_area
    crossing = []
    for number, item in enumerate(objects):
        chance, time = rng.random(), rng.uniform(*_CROSSING_TIME)
        position = center + rng.normal(0, 0.3, 2) * root
        crosses = number != target and chance < _CROSSING
        crossing.append(aim_at(item, position, time) if crosses else item)
    return crossing
