"""The forward pass of a parent as compiled calls, for one or more frames at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from deeplab_gygo import backend
from deeplab_gygo.models.deeplab import DeepLabV3Plus
from deeplab_gygo.models.memory import build_reader
from deeplab_gygo.models.target_model import TargetModel, joined_guide, target_guide

Features = dict[str, Any]
"""Features of frames by name, tensors of the backend."""

EncoderFn = Callable[[np.ndarray], Features]
"""Encoder of frames, uint8 [N, H, W, 3] RGB at the padded size, in any runtime."""


class ForwardPass:
    """Encoder, memory, head and refinement of a parent, compiled once for the process.

    Every call uses the parent's current weights, except those of a frozen encoder.

    Args:
        parent: Network.
        refine: Whether to refine the logits, where the architecture can.
        encode: Encoder in another runtime (`inference.engines`); None: the parent's own.
        frozen: Whether the encoder's weights are constant from now on, which is faster.
    """

    def __init__(
        self,
        parent: DeepLabV3Plus,
        *,
        refine: bool = True,
        encode: EncoderFn | None = None,
        frozen: bool = False,
    ):
        config = parent.config
        self.parent, self.block = parent, config.block_size
        if encode is None and frozen:
            encode = parent.inference_encoder()
        self._encode = encode or backend.compiled(parent.build_encoder())
        self._sizes: set[int] = set()
        self._decode = backend.compiled(parent.head)
        refines = refine and parent.refiner is not None
        self._refine = backend.compiled(parent.refiner) if refines else None
        self._read = None
        if config.memory:
            self._read = backend.compiled(build_reader(config.key_channels, self.block))
        self._score = backend.compiled_function(partial(target_guide, block=self.block))

    def encode(self, images: np.ndarray) -> Features:
        """Encodes frames.

        Args:
            images: uint8 [N, H, W, 3] RGB, at the padded size.

        Returns:
            Features of all frames. The batch may be longer, where a shorter one would have to be
            compiled; the frames come first.
        """
        count = len(images)
        if backend.name() == "jax" and count > 1:
            # The last batch of a clip is short, and JAX compiles a program per length for seconds.
            size = min((s for s in self._sizes if s >= count), default=count)
            self._sizes.add(size)
            padding = np.repeat(images[-1:], size - count, axis=0)
            images = np.concatenate([images, padding])
        return self._encode(images)

    def read(self, features: Features, keys: np.ndarray, values: np.ndarray) -> Any:
        """Reads the memory for one frame (space-time memory: Oh et al., ICCV 2019).

        Args:
            features: Features of one frame.
            keys: float32 [1, M, C].
            values: float32 [1, M, V], coded masks.

        Returns:
            The memory read-out, float32 [1, h, w, R].
        """
        return self._read({"query": features["key"], "keys": keys, "values": values})

    def guide(
        self, features: Features, model: TargetModel | None, previous: np.ndarray | None
    ) -> Any:
        """Joins the previous mask and the score of the target model to one guide.

        Args:
            features: Features of one frame.
            model: Target model of the object; None for none.
            previous: float32 [H/4, W/4, 1], the previous mask coded as a guide; None for unknown.

        Returns:
            float32 [H/4, W/4, 2] in -1..1, a tensor of the backend; None where both are unknown.
        """
        score = None if model is None else self._score(features["high"], model.values)[0]
        return joined_guide(previous, score)

    def logits(self, features: Features, guides: Sequence[Any], readout: Any) -> np.ndarray:
        """Decodes one frame.

        Args:
            features: Features of one frame.
            guides: One guide per conditioning variant, float32 [H/4, W/4, 2], or None for unknown.
                The logits of the variants are averaged, then refined once.
            readout: Result of `read`; None for unknown.

        Returns:
            float32 [h, w] logits at the finest stride.
        """
        variants = []
        for guide in guides:
            batched = None if guide is None else guide[None]
            variants.append(self._decode(self.parent.head_inputs(features, batched, readout)))
        coarse = variants[0] if len(variants) == 1 else sum(variants) / len(variants)
        if self._refine is not None:
            parts = {"low": features["low"], "fine": features["fine"]}
            coarse = self._refine({"logits": coarse, **parts})
        return backend.to_numpy(coarse)[0, ..., 0]


def one_of(features: Features, position: int) -> Features:
    """Returns the features of one frame of a batch."""
    return {name: value[position : position + 1] for name, value in features.items()}
