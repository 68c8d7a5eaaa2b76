"""Training examples of the other methods, from the same clips as those of DeepLabV3+.

OSMN is told where the object was a moment ago, by a Gaussian, and what it looks like, by a cut-out
of the clip's *other* moment. Where a clip is a still, both moments are independently drawn views
of it, which is stage 1 of the original's training; a video gives stage 2. OSVOS is told nothing.

Every clip is a function of (seed, step, clip) alone, as in `data.clips`.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from deeplab_gygo.baselines.osmn.guides import (
    CENTER_PERTURBATION,
    SPREAD_PERTURBATION,
    gaussian_guide,
    visual_crop,
)
from deeplab_gygo.synthesis.augment import VOID, photometric
from deeplab_gygo.synthesis.clips import ClipSource, ClipFrame, RawClip, sample_target_view
from deeplab_gygo.synthesis.config import AugmentConfig

_LEAST_AREA = 0.003  # of the picture, and
_LEAST_FILL = 0.2  # of its box: what a frame must show to be a visual guide (authors' code)
_ATTEMPTS = 8

Example = dict[str, np.ndarray]


@dataclass(frozen=True)
class Guiding:
    """How the spatial guide of an example is drawn.

    Attributes:
        dropout: Share of examples whose guide is blank.
        center: Largest displacement, as a part of the standard deviation.
        spread: Largest factor of the standard deviation.
    """

    dropout: float = 0.0
    center: float = CENTER_PERTURBATION
    spread: float = SPREAD_PERTURBATION


def guided_clip(
    source: ClipSource,
    step: int,
    clip: int,
    seed: int,
    size: tuple[int, int],
    augment: AugmentConfig,
    guiding: Guiding,
) -> list[Example]:
    """Makes OSMN's examples of one clip, a pure function of (seed, step, clip) and the source.

    Args:
        source: Where the clip is drawn from.
        step: Step of the training.
        clip: Position of the clip in the batch.
        seed: Seed of the training.
        size: Height and width of the pictures, pixels.
        augment: Ranges of the random changes; their light and sensor change the crop too.
        guiding: How the spatial guide is drawn.

    Returns:
        One example a moment: `image` uint8 [*size, 3] RGB; `mask` uint8 [*size], 0, 1, or 255
        where the annotation is void; `spatial` float32 [*size, 1] in 0..1, of the mask a moment
        ago, or of the mask itself where there is no other; `crop` uint8 [224, 224, 3] RGB and
        `crop_mask` uint8 [224, 224, 1], 0 or 1, of the other moment, or of the same where the
        other does not show enough of the object.
    """
    rng = np.random.default_rng([seed, step, clip])
    raw = _drawn(source, lambda raw: any(_is_fair(m.mask) for m in raw.frames), rng)
    examples = []
    for moment, other in zip(raw.frames, reversed(raw.frames), strict=True):
        image, masks = sample_target_view(moment, size, augment, rng)
        told = other if _is_fair(other.mask) else moment
        crop, outline = visual_crop(told.image, told.mask == 1, rng, flip=augment.flip)
        examples.append(
            {
                "image": image,
                "mask": masks[0],
                "spatial": _spatial(masks[-1], guiding, rng),
                "crop": photometric(crop, augment, rng),
                "crop_mask": outline[..., None],
            }
        )
    return examples


def plain_clip(
    source: ClipSource,
    step: int,
    clip: int,
    seed: int,
    size: tuple[int, int],
    augment: AugmentConfig,
    moments: int,
) -> list[Example]:
    """Makes OSVOS's examples of one clip, a pure function of (seed, step, clip) and the source.

    Clips whose target the pictures alone do not tell are passed over, for nothing else does.

    Args:
        source: Where the clip is drawn from.
        step: Step of the training.
        clip: Position of the clip in the batch.
        seed: Seed of the training.
        size: Height and width of the pictures, pixels.
        augment: Ranges of the random changes.
        moments: How many of the clip's moments are used, 1 or 2.

    Returns:
        One example a moment: `image` and `mask` as in `guided_clip`.
    """
    rng = np.random.default_rng([seed, step, clip])
    raw = _drawn(source, lambda raw: raw.salient, rng)
    examples = []
    for moment in raw.frames[:moments]:
        # The neighboring mask is of no use here, and need not be resampled.
        image, masks = sample_target_view(ClipFrame(moment.image, moment.mask, None), size, augment, rng)
        examples.append({"image": image, "mask": masks[0]})
    return examples


def _drawn(source: ClipSource, is_fit, rng: np.random.Generator) -> RawClip:
    """Draws clips until one is fit, or lets the last of a few pass."""
    for _ in range(_ATTEMPTS):
        raw = source.sample(rng)
        if is_fit(raw):
            break
    return raw


def _is_fair(mask: np.ndarray) -> bool:
    """Says whether a frame shows enough of its object to be a visual guide."""
    binary = (mask == 1).astype(np.uint8)
    area = cv2.countNonZero(binary)
    if area < _LEAST_AREA * mask.size:
        return False
    _, _, width, height = cv2.boundingRect(binary)
    return area >= _LEAST_FILL * width * height


def _spatial(previous: np.ndarray, guiding: Guiding, rng: np.random.Generator) -> np.ndarray:
    if rng.random() < guiding.dropout:
        return np.zeros((*previous.shape, 1), np.float32)
    known = (previous > 0) & (previous != VOID)
    return gaussian_guide(known, rng, center=guiding.center, spread=guiding.spread)
