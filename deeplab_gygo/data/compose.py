"""Training pictures composed from cut-outs on backgrounds, as two moments of a handheld shot.

Two kinds: in a *salient* picture one object dominates and the target is clear from the picture
alone; in a *guided* one several objects of like size compete, and only the mask of the previous
moment tells which of them is meant. Without the second kind a network learns to ignore its guide.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from deeplab_gygo.data.augment import line_kernel
from deeplab_gygo.data.cache import MemoryCache
from deeplab_gygo.data.casting import Cast, SourceObject, cut_piece
from deeplab_gygo.data.cutouts import StillObject
from deeplab_gygo.data.layers import Layer
from deeplab_gygo.data.pictures import read_picture
from deeplab_gygo.data.scene import Actor, Stage, cast_actor, outline, render, set_stage, visible
from deeplab_gygo.errors import UsageError

_VISIBLE_SHARE = 0.35  # of an object's own area; less is no fair target
_VISIBLE_AREA = 0.004  # of the picture
_ATTEMPTS = 20
_GONE = 0.04  # of the scenes: the target has left, the right answer is an empty mask


@dataclass(frozen=True)
class ComposedPair:
    """The current moment of a composed shot and the target's mask at the previous one.

    Attributes:
        image: uint8 [height, width, 3], RGB.
        mask: uint8 [height, width], 0 or 1.
        previous_mask: uint8 [height, width], 0 or 1.
        salient: Whether the target is clear without a guide.
    """

    image: np.ndarray
    mask: np.ndarray
    previous_mask: np.ndarray
    salient: bool


class Composer:
    """Composes training pictures.

    Args:
        objects: What can be laid over a background. Collections are drawn by the root of their
            size, so that a small one is not lost beside a large one.
        backgrounds: Pictures without a marked object; stills serve in guided pictures, where
            their own object is one of the competitors.
        cache: Holds decoded material.
        size: Height and width of the pictures, pixels.
        guided: Share of guided pictures.
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

    def compose(self, rng: np.random.Generator) -> ComposedPair:
        """Draws a picture.

        Args:
            rng: Source of randomness.

        Returns:
            The picture, its target's mask, and the target's mask a moment before.
        """
        guided = rng.random() < self.guided
        for _ in range(_ATTEMPTS):
            pair = self._scene(guided, rng)
            if pair is not None:
                return pair
        raise UsageError(
            "composing needs objects of which enough can be seen",
            met=f"{_ATTEMPTS} scenes in a row without a visible object",
            remedy="Check the cut-outs: their alpha channels may be empty",
        )

    def _scene(self, guided: bool, rng: np.random.Generator) -> ComposedPair | None:
        """Composes one scene; None when nothing in it is visible enough to be the target."""
        stage = self._stage(guided, rng)
        actors = self._competitors(stage, rng) if guided else self._soloist(stage, rng)
        if not actors:
            return None
        target = int(rng.integers(len(actors))) if guided else len(actors) - 1
        if rng.random() < _GONE:
            return self._without_target(stage, actors, target, guided, rng)
        if rng.random() < 0.3:
            actors += self._occluders(actors[target], guided, stage, rng)
        drawn = [render(stage.canvas, actor, rng) for actor in actors]
        masks = self._targets(stage, actors, drawn)
        if stage.mask is not None and masks[-1] is not None and rng.random() < 0.3:
            target = -1
        elif masks[target] is None:
            visible = [index for index in range(len(actors)) if masks[index] is not None]
            if not guided or not visible:
                return None
            target = visible[rng.integers(len(visible))]
        previous = self._previous_mask(stage, actors, target)
        image = _shake(stage.canvas, rng)
        return ComposedPair(image, masks[target], previous, not guided)

    def _without_target(
        self,
        stage: Stage,
        actors: list[Actor],
        target: int,
        guided: bool,
        rng: np.random.Generator,
    ) -> ComposedPair | None:
        """Composes a scene that its target has left since the previous moment.

        In a guided picture its rivals stay; in a salient one nothing that could be taken for it.
        """
        previous = self._previous_mask(stage, actors, target)
        if not previous.any():
            return None
        if guided:
            for actor in actors[:target] + actors[target + 1 :]:
                render(stage.canvas, actor, rng)
        image = _shake(stage.canvas, rng)
        return ComposedPair(image, np.zeros(self.size, np.uint8), previous, not guided)

    def _stage(self, guided: bool, rng: np.random.Generator) -> Stage:
        """Draws a background."""
        if guided and self._stills and rng.random() < 0.35:
            picture, mask = self._stills[rng.integers(len(self._stills))].picture(self._cache)
            return set_stage(picture, mask, self.size, rng)
        return set_stage(self._photo(rng), None, self.size, rng)

    def _photo(self, rng: np.random.Generator) -> np.ndarray:
        path = self._photos[rng.integers(len(self._photos))]
        side = min(self.size)
        return self._cache.get(("picture", str(path), side), lambda: read_picture(path, side))

    def _soloist(self, stage: Stage, rng: np.random.Generator) -> list[Actor]:
        """Draws one dominant object, sometimes with much smaller ones behind it."""
        share = rng.uniform(np.sqrt(0.03), np.sqrt(0.40)) ** 2
        drawn = self._cast.draw(rng)
        if drawn is None:
            return []
        main = cast_actor(drawn[1:], share, (), stage, rng, candidate=True)
        small: list[Actor] = []
        if share > 0.06 and rng.random() < 0.3:
            for _ in range(int(rng.integers(1, 3))):
                views = self._cast.draw(rng)
                if views is not None:
                    part = share * rng.uniform(0.04, 0.15)
                    small.append(cast_actor(views[1:], part, (), stage, rng, candidate=False))
        return [*small, main]

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
            actors.append(cast_actor(drawn[1:], part, actors, stage, rng, candidate=True))
        return actors

    def _occluders(
        self, target: Actor, guided: bool, stage: Stage, rng: np.random.Generator
    ) -> list[Actor]:
        """Draws something small in front of the target: an object, or a piece of a picture.

        In a salient picture rarely an object, which could be taken for the target.
        """
        if rng.random() < (0.6 if guided else 0.1):
            drawn = self._cast.draw(rng)
            if drawn is None:
                return []
            views = drawn[1:]
        else:
            piece = cut_piece(self._photo(rng), rng)
            if piece is None:
                return []
            views = (piece, piece)
        share = target.root**2 * rng.uniform(0.08, 0.35) / (self.size[0] * self.size[1])
        actor = cast_actor(views, share, (), stage, rng, candidate=False)
        away = rng.uniform(0.2, 0.6) * target.root
        angle = rng.uniform(0, 2 * np.pi)
        center = target.pose.center + away * np.array([np.cos(angle), np.sin(angle)])
        return [actor.at(center)]

    def _targets(
        self, stage: Stage, actors: list[Actor], drawn: list[Layer | None]
    ) -> list[np.ndarray | None]:
        """Masks of what can be seen of every actor, then of the background's own object.

        Returns:
            One uint8 [height, width] an actor and one for the background; None for what is no
            candidate or is hidden too much.
        """
        masks: list[np.ndarray | None] = []
        least = _VISIBLE_AREA * self.size[0] * self.size[1]
        for index, (actor, layer) in enumerate(zip(actors, drawn, strict=True)):
            mask = None
            if actor.candidate and layer is not None:
                mask = visible(outline(layer, self.size), drawn[index + 1 :])
                own = actor.view.area * actor.pose.scale**2
                if np.count_nonzero(mask) < max(_VISIBLE_SHARE * own, least):
                    mask = None
            masks.append(mask)
        mask = None
        if stage.mask is not None:
            mask = visible(stage.mask * 255, drawn)
            own = np.count_nonzero(stage.mask)
            if np.count_nonzero(mask) < max(_VISIBLE_SHARE * own, least):
                mask = None
        masks.append(mask)
        return masks

    def _previous_mask(self, stage: Stage, actors: list[Actor], target: int) -> np.ndarray:
        """Mask of the target at the previous moment, behind what was in front of it."""
        if target < 0:
            alpha, above = stage.previous_mask * 255, actors
        else:
            layer = actors[target].previous_layer(self.size)
            alpha, above = outline(layer, self.size), actors[target + 1 :]
        return visible(alpha, [actor.previous_layer(self.size) for actor in above])


def _shake(canvas: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Blurs by the motion of the camera, sometimes."""
    if rng.random() < 0.08:
        kernel = line_kernel(rng.uniform(3, 9), rng.uniform(0, np.pi))
        return cv2.filter2D(canvas, -1, kernel)
    return canvas
