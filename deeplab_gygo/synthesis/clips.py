"""Training clips: two frames of a scene, each with its target, guide and memory reference.

The parent learns matching from clips: each of the two frames is the memory frame of the other.
Every clip is a function of (seed, step, clip) alone, so that a resumed training, or one with
another number of threads, sees the same data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from deeplab_gygo.models.guide import deform_guide, encode_guide
from deeplab_gygo.synthesis.augment import VOID, sample_view
from deeplab_gygo.synthesis.config import AugmentConfig

FRAMES_PER_CLIP = 2
"""Frames of a clip: items 0 and 1 of a batch are one clip, 2 and 3 the next, and so on."""

_MIN_TARGET = 0.002  # fraction of the crop; a smaller target is no fair example
_KEEP_EMPTY = 0.25  # probability to keep a view that misses the object of its image
_CONDITIONED = 0.8  # probability of guide, and of memory, where they alone identify the target
_DEFORMED_REFERENCE = 0.3  # probability of a reference as imperfect as a predicted mask


@dataclass(frozen=True)
class ClipFrame:
    """A frame with its target before augmentation. The arrays are shared: do not write.

    Attributes:
        image: uint8 [height, width, 3], RGB.
        mask: uint8 [height, width], 0 background, 1 target, 255 void.
        neighbor_mask: uint8 [height, width], the mask of a neighboring frame in the same coding, or
            what `VideoSource` made of it, 0 or 1; None if there is none.
    """

    image: np.ndarray
    mask: np.ndarray
    neighbor_mask: np.ndarray | None


@dataclass(frozen=True)
class RawClip:
    """Two frames of a scene before augmentation.

    Attributes:
        frames: The frames; both are the same for a still.
        salient: Whether the target is identified by the images alone.
    """

    frames: tuple[ClipFrame, ClipFrame]
    salient: bool


class ClipSource(Protocol):
    """A source of clips, safe to use from several threads."""

    def sample(self, rng: np.random.Generator) -> RawClip:
        """Samples a clip that depends on the state of `rng` alone."""
        ...


@dataclass(frozen=True)
class ConditioningDropout:
    """Dropout of the decoder's conditioning.

    Attributes:
        guide: Fraction of examples without a previous mask where the images alone identify the
            target.
        memory: Fraction of examples without a memory and a target model, likewise.
        score: Fraction of examples with a memory and without a target model.
        rollout: Fraction of examples whose previous mask has the errors of the network itself.
    """

    guide: float
    memory: float
    score: float = 0.0
    rollout: float = 0.0

    def sample(self, salient: bool, rng: np.random.Generator) -> tuple[bool, bool]:
        """Samples whether an example has a guide and a memory."""
        if salient:
            return bool(rng.random() >= self.guide), bool(rng.random() >= self.memory)
        guide, memory = rng.random() < _CONDITIONED, rng.random() < _CONDITIONED
        return bool(guide or not memory), bool(memory)


def training_clip(
    source: ClipSource,
    step: int,
    clip: int,
    seed: int,
    size: tuple[int, int],
    augment: AugmentConfig,
    dropout: ConditioningDropout,
) -> list[dict[str, np.ndarray]]:
    """Makes the examples of one clip, a pure function of (seed, step, clip) and the source.

    Args:
        source: Source of the clip.
        step: Training step.
        clip: Position of the clip in the batch.
        seed: Seed of the training.
        size: Height and width of the crops, pixels.
        augment: Augmentation.
        dropout: Dropout of guide and memory.

    Returns:
        `FRAMES_PER_CLIP` examples: `image` uint8 [*size, 3] RGB; `mask` uint8 [*size], 0 or 1;
        `valid` uint8 [*size], 0 where the annotation is void and excluded from the loss; `guide`
        float32 [*size, 1], +1, -1 or all 0 for unknown; `reference` likewise: the mask of this
        frame in the memory of the *other* frame; `has_score` and `rollout` float32 0 or 1.
    """
    rng = np.random.default_rng([seed, step, clip])
    raw = source.sample(rng)
    views = [sample_target_view(frame, size, augment, rng) for frame in raw.frames]
    conditioning = [dropout.sample(raw.salient, rng) for _ in views]
    targets = [(masks[0] == 1).astype(np.uint8) for _, masks in views]
    # The reference of a frame is read by the other one.
    references = [
        _reference_mask(target, size, rng) if has_memory else None
        for target, (_, has_memory) in zip(targets, reversed(conditioning), strict=True)
    ]
    examples = []
    for index, (image, masks) in enumerate(views):
        # Without a reference of the other frame only the guide can identify the target.
        needs_guide = not raw.salient and references[1 - index] is None
        has_guide = conditioning[index][0] or needs_guide
        guide = _guide_mask(masks, raw.salient, rng) if has_guide else None
        examples.append(
            {
                "image": image,
                "mask": targets[index],
                "valid": (masks[0] != VOID).astype(np.uint8),
                "guide": encode_guide(guide, size),
                "reference": encode_guide(references[index], size),
            }
        )
    for example in examples:
        example["has_score"] = np.float32(rng.random() >= dropout.score)
        example["rollout"] = np.float32(rng.random() < dropout.rollout)
    return examples


def sample_target_view(
    frame: ClipFrame, size: tuple[int, int], augment: AugmentConfig, rng: np.random.Generator
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Samples a view with enough of the target in it, within a few attempts.

    Args:
        frame: Image with its target.
        size: Height and width of the view, pixels.
        augment: Augmentation.
        rng: Random generator.

    Returns:
        The view, uint8 [*size, 3], and its masks, uint8 [*size], 0, 1 or 255: of the frame, and of
        its neighbor if there is one.
    """
    given = [frame.mask] if frame.neighbor_mask is None else [frame.mask, frame.neighbor_mask]
    for _ in range(3):
        image, masks = sample_view(frame.image, given, size, augment, rng)
        target = np.count_nonzero(masks[0] == 1)
        if target >= _MIN_TARGET * size[0] * size[1]:
            break
        if not target and (not frame.mask.any() or rng.random() < _KEEP_EMPTY):
            break
    return image, masks


def _reference_mask(
    target: np.ndarray, size: tuple[int, int], rng: np.random.Generator
) -> np.ndarray | None:
    """Samples the memory mask of a frame: exact like an annotation, or deformed."""
    if np.count_nonzero(target) < _MIN_TARGET * size[0] * size[1]:
        return None
    if rng.random() < _DEFORMED_REFERENCE:
        return deform_guide(target, rng, strength=float(rng.uniform(0.05, 0.3)))
    return target


def _guide_mask(masks: list[np.ndarray], salient: bool, rng: np.random.Generator) -> np.ndarray:
    """Deforms the previous mask, or, more strongly, the current one if there is no other."""
    current = (masks[0] == 1).astype(np.uint8)
    if len(masks) < 2:
        return deform_guide(current, rng, strength=float(rng.uniform(1.0, 1.8)))
    previous = (masks[1] == 1).astype(np.uint8)
    if not salient and current.any() and not previous.any():
        previous = current  # an empty guide would not identify a visible target
    return deform_guide(previous, rng, strength=float(rng.uniform(0.1, 1.1)))
