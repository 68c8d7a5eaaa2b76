"""Training examples of OSMN, from the same clips as those of DeepLabV3+.

The spatial guide is a Gaussian fitted to the mask of a neighboring frame, the visual guide a crop
of the clip's *other* frame. The two frames of a still are independently sampled views of it, which
is stage 1 of the original's training; videos are stage 2.
"""

from __future__ import annotations

import cv2
import numpy as np

from deeplab_gygo.baselines.osmn.config import OsmnTraining
from deeplab_gygo.baselines.osmn.guides import gaussian_guide, visual_crop
from deeplab_gygo.baselines.shared.clips import Example, sample_clip, stack_examples, step_size
from deeplab_gygo.synthesis.augment import VOID, photometric
from deeplab_gygo.synthesis.clips import ClipSource, sample_target_view
from deeplab_gygo.training.examples import Batch

MIN_AREA, MIN_FILL = 0.003, 0.2
"""Minimum area of an object relative to the image, and to its bounding box, in the frame of a
visual guide (authors' code)."""


class GuidedClipMaker:
    """Makes OSMN's examples of one clip, a pure function of (seed, step, clip) and the source.

    Args:
        source: Source of the clips.
        config: Sizes, augmentation, guides and seed.
    """

    def __init__(self, source: ClipSource, config: OsmnTraining):
        self._source, self._config = source, config

    def __call__(self, step: int, clip: int) -> Batch:
        """Makes the batch of a clip; safe to call from several threads."""
        return stack_examples(self.examples(step, clip))

    def examples(self, step: int, clip: int) -> list[Example]:
        """Makes the examples of a clip.

        Args:
            step: Training step.
            clip: Position of the clip in the batch.

        Returns:
            One example per frame: `image` uint8 [*size, 3] RGB; `mask` uint8 [*size], 0, 1, or 255
            for void; `spatial` float32 [*size, 1] in 0..1, of the neighboring mask, or of the mask
            itself if there is none; `crop` uint8 [224, 224, 3] RGB and `crop_mask` uint8
            [224, 224, 1], 0 or 1, of the other frame, or of the same one if the other shows too
            little of the object.
        """
        config, size = self._config, step_size(self._config, step)
        rng = np.random.default_rng([config.seed, step, clip])
        raw = sample_clip(
            self._source, lambda raw: any(_shows_object(frame.mask) for frame in raw.frames), rng
        )
        examples = []
        for frame, other in zip(raw.frames, reversed(raw.frames), strict=True):
            image, masks = sample_target_view(frame, size, config.augment, rng)
            guide = other if _shows_object(other.mask) else frame
            crop, crop_mask = visual_crop(
                guide.image, guide.mask == 1, rng, flip=config.augment.flip
            )
            examples.append(
                {
                    "image": image,
                    "mask": masks[0],
                    "spatial": self._spatial_guide(masks[-1], rng),
                    "crop": photometric(crop, config.augment, rng),
                    "crop_mask": crop_mask[..., None],
                }
            )
        return examples

    def _spatial_guide(self, previous: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        config = self._config
        if rng.random() < config.guide_dropout:
            return np.zeros((*previous.shape, 1), np.float32)
        return gaussian_guide(
            (previous > 0) & (previous != VOID), rng,
            center=config.center_perturbation, spread=config.spread_perturbation,
        )  # fmt: skip


def _shows_object(mask: np.ndarray) -> bool:
    """Returns whether a frame shows enough of its object for a visual guide."""
    binary = (mask == 1).astype(np.uint8)
    area = cv2.countNonZero(binary)
    if area < MIN_AREA * mask.size:
        return False
    _, _, width, height = cv2.boundingRect(binary)
    return area >= MIN_FILL * width * height
