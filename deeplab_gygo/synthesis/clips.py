"""Training clips: two moments of a scene, and what of each is told to the network.

A clip is what the parent learns matching from: each of its moments is the remembered first frame
of the other. Every clip is a function of (seed, step, clip) alone: a training that is resumed, or
that runs with another number of threads, sees the same data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from deeplab_gygo.models.guide import deform_guide, encode_guide
from deeplab_gygo.synthesis.augment import VOID, sample_view
from deeplab_gygo.synthesis.config import AugmentConfig

MOMENTS = 2
"""Moments of a clip: items 0 and 1 of a batch are one clip, 2 and 3 the next, and so on."""

_TINY = 0.002  # of the crop: less of the target is no fair example
_KEEP_EMPTY = 0.25  # chance to keep a view that misses the object of its picture
_TOLD = 0.8  # chance of guide, and of memory, where only they can say which object is meant
_WORN = 0.3  # chance of a reference as imperfect as a predicted mask


@dataclass(frozen=True)
class Moment:
    """A picture with its target before augmentation. The arrays are shared: do not write.

    Attributes:
        image: uint8 [height, width, 3], RGB.
        mask: uint8 [height, width], 0 background, 1 target, 255 void.
        near: uint8 [height, width] of a neighboring moment, in the same coding; None when there is
            none.
    """

    image: np.ndarray
    mask: np.ndarray
    near: np.ndarray | None


@dataclass(frozen=True)
class RawClip:
    """Two moments of a scene.

    Attributes:
        moments: The moments; of a still both are the same.
        salient: Whether the target is clear from the pictures alone.
    """

    moments: tuple[Moment, Moment]
    salient: bool


class ClipSource(Protocol):
    """Anything that clips can be drawn from, by several threads at once."""

    def draw(self, rng: np.random.Generator) -> RawClip:
        """Draws a clip.

        Args:
            rng: Source of randomness; the clip depends on nothing else.

        Returns:
            The clip.
        """
        ...


@dataclass(frozen=True)
class Telling:
    """How often an example goes without help, where the pictures alone make its target clear.

    Attributes:
        guide_dropout: Share of examples without a guide.
        memory_dropout: Share of examples without a memory.
    """

    guide_dropout: float
    memory_dropout: float


def training_clip(
    source: ClipSource,
    step: int,
    clip: int,
    seed: int,
    size: tuple[int, int],
    augment: AugmentConfig,
    telling: Telling,
) -> list[dict[str, np.ndarray]]:
    """Makes the examples of one clip, a pure function of (seed, step, clip) and the source.

    Args:
        source: Where the clip is drawn from.
        step: Step of the training.
        clip: Position of the clip in the batch.
        seed: Seed of the training.
        size: Height and width of the crops, pixels.
        augment: Ranges of the random changes.
        telling: How often guide and memory are left out.

    Returns:
        `MOMENTS` examples: `image` uint8 [*size, 3] RGB; `mask` uint8 [*size], 0 or 1; `valid`
        uint8 [*size], 0 where the annotation is void and the loss must not count; `guide` float32
        [*size, 1], +1, -1 or all 0 for unknown; `reference` likewise: the mask that the *other*
        moment remembers this one with.
    """
    rng = np.random.default_rng([seed, step, clip])
    raw = source.draw(rng)
    views = [draw_view(moment, size, augment, rng) for moment in raw.moments]
    told = [_told(raw.salient, telling, rng) for _ in views]
    targets = [(masks[0] == 1).astype(np.uint8) for _, masks in views]
    # What a moment offers is what the other one is told.
    offered = [
        _reference_mask(target, size, rng) if memory else None
        for target, (_, memory) in zip(targets, reversed(told), strict=True)
    ]
    examples = []
    for index, (image, masks) in enumerate(views):
        # Where the other moment has nothing to offer, only the guide can say what is meant.
        guided = told[index][0] or (not raw.salient and offered[1 - index] is None)
        guide = _guide_mask(masks, raw.salient, rng) if guided else None
        examples.append(
            {
                "image": image,
                "mask": targets[index],
                "valid": (masks[0] != VOID).astype(np.uint8),
                "guide": encode_guide(guide, size),
                "reference": encode_guide(offered[index], size),
            }
        )
    return examples


def draw_view(
    moment: Moment, size: tuple[int, int], augment: AugmentConfig, rng: np.random.Generator
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Draws a view of a moment that shows enough of the target, within a few tries.

    Args:
        moment: Picture with its target.
        size: Height and width of the view, pixels.
        augment: Ranges of the random changes.
        rng: Source of randomness.

    Returns:
        The view, uint8 [*size, 3], and its masks, uint8 [*size], 0, 1 or 255: that of the moment,
        and that of the neighboring moment where there is one.
    """
    given = [moment.mask] if moment.near is None else [moment.mask, moment.near]
    for _ in range(3):
        image, masks = sample_view(moment.image, given, size, augment, rng)
        target = np.count_nonzero(masks[0] == 1)
        if target >= _TINY * size[0] * size[1]:
            break
        if not target and (not moment.mask.any() or rng.random() < _KEEP_EMPTY):
            break
    return image, masks


def _told(salient: bool, telling: Telling, rng: np.random.Generator) -> tuple[bool, bool]:
    """Draws whether an example is given a guide and a memory."""
    if salient:
        return bool(rng.random() >= telling.guide_dropout), bool(
            rng.random() >= telling.memory_dropout
        )
    guide, memory = rng.random() < _TOLD, rng.random() < _TOLD
    return bool(guide or not memory), bool(memory)


def _reference_mask(
    target: np.ndarray, size: tuple[int, int], rng: np.random.Generator
) -> np.ndarray | None:
    """The mask to be remembered with: exact as an annotation, or worn as a prediction."""
    if np.count_nonzero(target) < _TINY * size[0] * size[1]:
        return None
    if rng.random() < _WORN:
        return deform_guide(target, rng, strength=float(rng.uniform(0.05, 0.3)))
    return target


def _guide_mask(masks: list[np.ndarray], salient: bool, rng: np.random.Generator) -> np.ndarray:
    """Deforms the previous mask, or more strongly the current one where there is no other.

    Where only the guide names the target, it must name it: an empty previous mask of a target
    that can be seen gives way to the current mask.
    """
    current = (masks[0] == 1).astype(np.uint8)
    if len(masks) < 2:
        return deform_guide(current, rng, strength=float(rng.uniform(1.0, 1.8)))
    previous = (masks[1] == 1).astype(np.uint8)
    if not salient and current.any() and not previous.any():
        previous = current
    return deform_guide(previous, rng, strength=float(rng.uniform(0.1, 1.1)))
