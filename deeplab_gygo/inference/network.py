"""The forward pass of a parent as compiled calls, for one or more frames at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from deeplab_gygo import backend
from deeplab_gygo.inference.frame_program import (
    Flips,
    frame_program,
    memory_program,
    views_program,
)
from deeplab_gygo.models.deeplab import DeepLabV3Plus
from deeplab_gygo.models.memory import Memory, build_reader, remember
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
        window: Number of frames that are encoded at once; fewer are padded where another number
            would be another program. 0: as many as are given.
        fused: Whether a frame is one program, `frame`; None: where that is faster, on JAX and on
            accelerators.

    Attributes:
        parent: As given.
        block: Side of the block of guide positions that one position of the keys covers.
        window: As given.
        fused: Whether a frame is one program.
        refines: Whether the logits are refined.
    """

    def __init__(
        self,
        parent: DeepLabV3Plus,
        *,
        refine: bool = True,
        encode: EncoderFn | None = None,
        frozen: bool = False,
        window: int = 0,
        fused: bool | None = None,
    ):
        config = parent.config
        self.parent, self.block, self.window = parent, config.block_size, window
        self.fused = backend.name() == "jax" or bool(backend.devices()) if fused is None else fused
        if encode is None and frozen:
            encode = parent.inference_encoder()
        self._encode = encode or backend.compiled(parent.build_encoder())
        self._sizes = {window} if window else set()
        self._decode = backend.compiled(parent.head)
        self.refines = refine and parent.refiner is not None
        self._refine = backend.compiled(parent.refiner) if self.refines else None
        self._read = None
        if config.memory:
            self._read = backend.compiled(build_reader(config.key_channels, self.block))
        self._score = backend.compiled_function(partial(target_guide, block=self.block))
        self._frames: dict[tuple[Flips, int], Callable[..., Any]] = {}
        self._store = memory_program(self.block)
        self.views = views_program(parent)

    def encode(self, images: np.ndarray) -> Features:
        """Encodes frames.

        Args:
            images: uint8 [N, H, W, 3] RGB, at the padded size.

        Returns:
            Features of all frames. The batch may be longer, where a shorter one would have to be
            compiled; the frames come first.
        """
        count = len(images)
        if self.fused and (count > 1 or self.window):
            # The last batch of a clip is short, and a program per length is compiled for seconds.
            size = min((s for s in self._sizes if s >= count), default=count)
            self._sizes.add(size)
            padding = np.repeat(images[-1:], size - count, axis=0)
            images = np.concatenate([images, padding])
        return self._encode(images)

    def prepare_encoder(self, padded: tuple[int, int]) -> Features:
        """Begins to compile the encoder of windows ahead, on JAX.

        Args:
            padded: Height and width of the frames at the padded size, pixels.

        Returns:
            The shapes of the features.
        """
        images = backend.shape((self.window, *padded, 3), "uint8")
        shapes = backend.output_shapes(self._encode, images)
        backend.prepare(self._encode, images)
        return shapes

    def prepare_memory(self, features: Features, coded: np.ndarray) -> Memory:
        """Begins to compile `remember`; takes and returns shapes in place of tensors."""
        arguments = features["key"], np.int32(0), coded
        backend.prepare(self._store, *arguments)
        return backend.output_shapes(self._store, *arguments)

    def encode_views(self, images: np.ndarray) -> list[Features]:
        """Encodes views of a frame: window by window where that is one program, else one by one.

        Args:
            images: uint8 [N, H, W, 3] RGB, at the padded size.

        Returns:
            Features of windows, in order; the last one may be longer.
        """
        size = (self.window or len(images)) if self.fused else 1
        return [self.encode(images[start : start + size]) for start in range(0, len(images), size)]

    @staticmethod
    def high(windows: list[Features], count: int) -> list[np.ndarray]:
        """Returns the features "high" of `count` frames of windows, float32 [1, h, w, C] each."""
        return [plane[None] for window in windows for plane in backend.to_numpy(window["high"])][
            :count
        ]

    def frame(self, flips: Flips, variants: int) -> Callable[..., Any]:
        """Returns the compiled prediction of a frame, see `frame_program`."""
        key = flips, variants
        if key not in self._frames:
            self._frames[key] = frame_program(
                self.parent, flips, variants=variants, refine=self.refines
            )
        return self._frames[key]

    def remember(self, features: Features, coded: np.ndarray, position: int = 0) -> Memory:
        """Makes a memory of one frame.

        Args:
            features: Features of a window.
            coded: float32 [H/4, W/4, 1], the mask of the frame coded as a guide.
            position: The frame in the window.

        Returns:
            Keys float32 [1, h * w, C] and values float32 [1, h * w, block^2], which stay on the
            device where a frame is one program.
        """
        if self.fused:
            return self._store(features["key"], np.int32(position), coded)
        return remember(one_of(features, position)["key"], coded, self.block)

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
