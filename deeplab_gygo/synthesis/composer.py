"""Training clips composed from cut-outs on backgrounds, as moments of a handheld shot.

Two kinds: in a *salient* clip one object dominates and the target is clear from a picture alone;
in a *guided* one several objects of like size compete, and only the target's mask at another
moment tells which of them is meant. Without the second kind a network learns to ignore its guide
and its memory.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from deeplab_gygo.errors import UsageError
from deeplab_gygo.synthesis.backgrounds import read_picture
from deeplab_gygo.synthesis.cache import MemoryCache
from deeplab_gygo.synthesis.motion import draw_camera, draw_light
from deeplab_gygo.synthesis.object_sampler import Cast, Look, SourceObject, cut_piece
from deeplab_gygo.synthesis.scene import BACKDROP, Actor, Scene, Stage
from deeplab_gygo.synthesis.scene_sampler import (
    cast_actor,
    draw_shutter,
    head_for,
    leave,
    set_stage,
)
from deeplab_gygo.synthesis.sprites import StillObject

_VISIBLE_SHARE = 0.35  # of an object's own area; less is no fair target
_VISIBLE_AREA = 0.004  # of the picture
_ATTEMPTS = 20
_GONE = 0.04  # of the clips: the target leaves, the right answer is then an empty mask
_STILL_STAGE = 0.35  # of the guided clips: the background has an object of its own
_STILL_TARGET = 0.3  # of those: it is the target
_CROSSING = 0.35  # of the rivals: passes before or behind the target
_CROSSING_TIME = (5.0, 18.0)  # frames until then
_CLUTTER = 0.35  # of the clips; its objects are far smaller than the target
_CLUTTER_COUNT = (2, 6)
_CLUTTER_SHARE = (0.02, 0.10)  # of the target's area
_OCCLUDED = 0.4  # of the clips: something passes in front of the target
_OCCLUDER_SHARE = (0.08, 0.35)  # of the target's area
_OCCLUDER_TIME = (-6.0, 18.0)  # frames until it is nearest
# An occluder that is an object could be taken for the target of a salient clip.
_OBJECT_OCCLUDER = {True: 0.6, False: 0.1}  # by whether the clip is guided


@dataclass(frozen=True)
class ComposedClip:
    """Moments of a composed shot and the target's mask at each of them.

    Attributes:
        images: uint8 [height, width, 3], RGB, one a moment in the order asked for; None where
            only the mask was asked for.
        masks: uint8 [height, width], 0 or 1, what can be seen of the target at these moments. At
            time 0 that is a good part of it; at other times it may be hidden or gone.
        salient: Whether the target is clear without a guide or memory, at each of the moments.
    """

    images: list[np.ndarray | None]
    masks: list[np.ndarray]
    salient: bool


class Composer:
    """Composes training clips.

    Args:
        objects: What can be laid over a background. Collections are drawn by the root of their
            size, so that a small one is not lost beside a large one.
        backgrounds: Pictures without a marked object; stills serve in guided clips, where their
            own object is one of the competitors.
        cache: Holds decoded material.
        size: Height and width of the pictures, pixels.
        guided: Share of guided clips.

    Raises:
        UsageError: There is no object, or no background without a marked object.
    """

    def __init__(
        self,
        objects: Sequence[SourceObject],
        backgrounds: Sequence[Path | StillObject],
        cache: MemoryCache,
        *,
        size: tuple[int, int] = (384, 512),
        guided: float = 0.5,
    ):
        self._photos = [entry for entry in backgrounds if not isinstance(entry, StillObject)]
        self._stills = [entry for entry in backgrounds if isinstance(entry, StillObject)]
        if not self._photos:
            raise UsageError(
                "composing needs at least one background without a marked object", met="none"
            )
        self._cast = Cast(objects, cache)
        self._cache, self.size, self.guided = cache, size, guided

    def compose_clip(
        self,
        rng: np.random.Generator,
        moments: Sequence[float],
        *,
        outlines: Collection[int] = (),
    ) -> ComposedClip:
        """Composes a clip.

        The scene and its motion depend on `rng` alone, so other moments of the same clip can be
        had by asking again with a generator of the same state.

        Args:
            rng: Source of randomness.
            moments: Times, frames, in any order, also before 0. Moments 1 apart look like
                neighboring frames. The target is sure to be visible at time 0.
            outlines: Positions in `moments` of which only the mask is needed, which saves time.

        Returns:
            The clip.

        Raises:
            UsageError: There is no moment, `outlines` names none of the moments, or many scenes
                in a row had no object of which enough can be seen.
        """
        _check_moments(moments, outlines)
        guided = bool(rng.random() < self.guided)
        scene = self._visible_scene(guided, rng)
        images: list[np.ndarray | None] = []
        masks: list[np.ndarray] = []
        for position, time in enumerate(moments):
            image, mask = (None, scene.mask(time)) if position in outlines else scene.film(time)
            images.append(image)
            masks.append(mask)
        # Where the target is hidden, what else is there would be taken for it.
        lone = len(scene.actors) == 1 or all(mask.any() for mask in masks)
        return ComposedClip(images, masks, not guided and lone)

    def _visible_scene(self, guided: bool, rng: np.random.Generator) -> Scene:
        """Draws scenes until one shows enough of its target at time 0."""
        least = _VISIBLE_AREA * self.size[0] * self.size[1]
        for _ in range(_ATTEMPTS):
            scene = self._scene(guided, rng)
            if scene is None:
                continue
            needed = max(_VISIBLE_SHARE * scene.target_area(0.0), least)
            if np.count_nonzero(scene.mask(0.0)) >= needed:
                return scene
        raise UsageError(
            "composing needs objects of which enough can be seen",
            met=f"{_ATTEMPTS} scenes in a row without a visible object",
            remedy="Check the cut-outs: their alpha channels may be empty",
        )

    def _scene(self, guided: bool, rng: np.random.Generator) -> Scene | None:
        """Draws a scene; None when no object was found for it."""
        stage = self._stage(guided, rng)
        actors = self._competitors(stage, rng) if guided else self._soloist(stage, rng)
        target = int(rng.integers(len(actors))) if actors else BACKDROP
        if stage.mask is not None and rng.random() < _STILL_TARGET:
            target = BACKDROP
        if target == BACKDROP and stage.mask is None:
            return None
        leaves = bool(rng.random() < _GONE)
        if target != BACKDROP:
            actors = _cross(actors, target, rng)
            if leaves:
                actors[target] = leave(actors[target], self.size, rng)
            # When the target of a salient clip has left, nothing that could be taken for it stays.
            if guided or not leaves:
                root = actors[target].root
                front = self._occluders(actors[target], guided, stage, rng)
                clutter = self._clutter(root**2, stage, rng)
                actors, target = [*clutter, *actors, *front], target + len(clutter)
        followed = None if target == BACKDROP else actors[target].path
        return Scene(
            stage,
            tuple(actors),
            target,
            draw_camera(self.size, followed, rng),
            draw_light(rng),
            draw_shutter(rng),
        )

    def _stage(self, guided: bool, rng: np.random.Generator) -> Stage:
        """Draws a background."""
        if guided and self._stills and rng.random() < _STILL_STAGE:
            picture, mask = self._stills[rng.integers(len(self._stills))].picture(self._cache)
            return set_stage(picture, mask, self.size, rng)
        return set_stage(self._photo(rng), None, self.size, rng)

    def _photo(self, rng: np.random.Generator) -> np.ndarray:
        path = self._photos[rng.integers(len(self._photos))]
        side = min(self.size)
        return self._cache.get(("picture", str(path), side), lambda: read_picture(path, side))

    def _soloist(self, stage: Stage, rng: np.random.Generator) -> list[Actor]:
        """Draws one dominant object."""
        share = rng.uniform(np.sqrt(0.03), np.sqrt(0.40)) ** 2
        drawn = self._cast.draw(rng)
        return [] if drawn is None else [cast_actor(drawn[1], share, (), stage, rng)]

    def _competitors(self, stage: Stage, rng: np.random.Generator) -> list[Actor]:
        """Draws two to four objects of like size, often of one category or even the same."""
        count = int(rng.integers(2, 5)) - (stage.mask is not None and rng.random() < 0.5)
        share = rng.uniform(np.sqrt(0.02), np.sqrt(0.5 / (count + 1))) ** 2
        actors: list[Actor] = []
        first: SourceObject | None = None
        for _ in range(count):
            drawn = self._cast.draw(rng, self._cast.alike(first, rng))
            if drawn is None:
                continue
            first = first or drawn[0]
            part = share * float(np.exp(rng.uniform(-0.5, 0.5)))
            actors.append(cast_actor(drawn[1], part, actors, stage, rng))
        return actors

    def _clutter(self, area: float, stage: Stage, rng: np.random.Generator) -> list[Actor]:
        """Draws several objects far smaller than a target of the given area, sometimes."""
        if rng.random() >= _CLUTTER:
            return []
        actors = []
        for _ in range(int(rng.integers(*_CLUTTER_COUNT))):
            drawn = self._cast.draw(rng)
            if drawn is not None:
                share = area * rng.uniform(*_CLUTTER_SHARE) / (self.size[0] * self.size[1])
                actors.append(cast_actor(drawn[1], share, (), stage, rng))
        return actors

    def _occluders(
        self, target: Actor, guided: bool, stage: Stage, rng: np.random.Generator
    ) -> list[Actor]:
        """Draws something that passes in front of the target, sometimes.

        It is an object, or a piece of a picture.
        """
        if rng.random() >= _OCCLUDED:
            return []
        if rng.random() < _OBJECT_OCCLUDER[guided]:
            drawn = self._cast.draw(rng)
            if drawn is None:
                return []
            look = drawn[1]
        else:
            piece = cut_piece(self._photo(rng), rng)
            if piece is None:
                return []
            look = Look(piece)
        share = target.root**2 * rng.uniform(*_OCCLUDER_SHARE) / (self.size[0] * self.size[1])
        actor = cast_actor(look, share, (), stage, rng)
        # Mostly it starts beside the target, sometimes already over a part of it.
        away = rng.uniform(0.2, 1.2) * target.root
        angle = rng.uniform(0, 2 * np.pi)
        center = target.pose.center + away * np.array([np.cos(angle), np.sin(angle)])
        actor = replace(actor, pose=replace(actor.pose, center=center), shadow=None)
        aim = target.pose.center + rng.uniform(-0.45, 0.45, 2) * target.root
        return [head_for(actor, aim, rng.uniform(*_OCCLUDER_TIME))]


def _cross(actors: list[Actor], target: int, rng: np.random.Generator) -> list[Actor]:
    """Lets some of the rivals pass the target."""
    aim, root = actors[target].pose.center, actors[target].root
    crossing = []
    for number, actor in enumerate(actors):
        fate, time = rng.random(), rng.uniform(*_CROSSING_TIME)
        place = aim + rng.normal(0, 0.3, 2) * root
        passes = number != target and fate < _CROSSING
        crossing.append(head_for(actor, place, time) if passes else actor)
    return crossing


def _check_moments(moments: Sequence[float], outlines: Collection[int]) -> None:
    if not len(moments):
        raise UsageError("a composed clip has at least one moment", met="none")
    strange = [position for position in outlines if not 0 <= position < len(moments)]
    if strange:
        raise UsageError(
            f"outlines are positions in the {len(moments)} moments, from 0", met=strange
        )
