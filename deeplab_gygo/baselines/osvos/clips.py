"""Training examples of OSVOS: frames of clips whose target the image alone identifies."""

from __future__ import annotations

import numpy as np

from deeplab_gygo.baselines.osvos.config import OsvosTraining
from deeplab_gygo.baselines.shared.clips import Example, sample_clip, stack_examples, step_size
from deeplab_gygo.synthesis.clips import FRAMES_PER_CLIP, ClipFrame, ClipSource, sample_target_view
from deeplab_gygo.training.examples import Batch


class PlainClipMaker:
    """Makes OSVOS's examples of one clip, a pure function of (seed, step, clip) and the source.

    Args:
        source: Source of the clips.
        config: Sizes, batch, augmentation and seed.
    """

    def __init__(self, source: ClipSource, config: OsvosTraining):
        self._source, self._config = source, config
        self.frames = 1 if config.batch % FRAMES_PER_CLIP else FRAMES_PER_CLIP

    def __call__(self, step: int, clip: int) -> Batch:
        """Makes the batch of a clip; safe to call from several threads."""
        return stack_examples(self.examples(step, clip))

    def examples(self, step: int, clip: int) -> list[Example]:
        """Makes the examples of a clip.

        Args:
            step: Training step.
            clip: Position of the clip in the batch.

        Returns:
            One example for each of the first `frames` frames: `image` uint8 [*size, 3] RGB and
            `mask` uint8 [*size], 0, 1, or 255 for void.
        """
        config, size = self._config, step_size(self._config, step)
        rng = np.random.default_rng([config.seed, step, clip])
        raw = sample_clip(self._source, lambda raw: raw.salient, rng)
        examples = []
        for frame in raw.frames[: self.frames]:
            # Without its neighboring mask, which would be resampled for nothing.
            frame = ClipFrame(frame.image, frame.mask, None)
            image, masks = sample_target_view(frame, size, config.augment, rng)
            examples.append({"image": image, "mask": masks[0]})
        return examples
