"""The Python front door: a loaded network that segments clip after clip."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Generator, Iterator
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np

from deeplab_gygo import backend
from deeplab_gygo.errors import UsageError
from deeplab_gygo.inference.config import (
    DEFAULT_PRESET,
    Engine,
    Mode,
    OnlineConfig,
    make_options,
)
from deeplab_gygo.inference.engines import encoder_in
from deeplab_gygo.inference.feature_cache import FeatureCache
from deeplab_gygo.inference.prediction import Adaptation, Prediction, ProgressCallback
from deeplab_gygo.inference.segmenter import DeepLabSegmenter
from deeplab_gygo.inference.session import Session, check_annotation
from deeplab_gygo.inference.source import Masks, Source, open_source
from deeplab_gygo.inference.strokes import StrokeSegmenter
from deeplab_gygo.io.array_sequence import StreamSequence
from deeplab_gygo.io.listing import shorten
from deeplab_gygo.io.masks import VOID
from deeplab_gygo.io.scratch import held
from deeplab_gygo.io.sequence import MaskSource, Sequence
from deeplab_gygo.models.config import ModelConfig, Precision
from deeplab_gygo.models.stroke_decoder import load_stroke_network
from deeplab_gygo.models.stroke_marks import Box, Point, checked_strokes
from deeplab_gygo.models.weight_file import load_parent


class Model:
    """DeepLabV3+ with its weights, ready to segment clip after clip; made by `load`.

    The caller's Keras dtype policy is left alone. One clip is segmented at a time.

    Attributes:
        card: Provenance of the weights: training material, terms, scores.
        precision: Numeric precision in force, `float32`, `bfloat16` or `float16`.

    Example:
        >>> frames = np.random.default_rng(0).integers(0, 256, (2, 48, 64, 3), np.uint8)
        >>> model = load()
        >>> for clip in (frames, frames[::-1]):
        ...     print([p.mask.shape for p in model.segment(clip, mode="zero-shot")])
        [(48, 64), (48, 64)]
        [(48, 64), (48, 64)]
    """

    def __init__(
        self, weights: str | Path | None, precision: Precision = "auto", engine: Engine = "keras"
    ):
        for value, kind, where in ((precision, Precision, "precision"), (engine, Engine, "engine")):
            if value not in get_args(kind):
                raise UsageError(
                    f"{where} is one of {', '.join(get_args(kind))}", met=value, where=where
                )
        with backend.policy(precision) as chosen:
            self._parent, self.card = load_parent(None if weights is None else held(weights))
            if not isinstance(self._parent.config, ModelConfig):
                raise UsageError(
                    "The Python interface runs weights of the method deeplab",
                    met=f"weights of {self.card.get('method', 'another method')}",
                    where=weights,
                    remedy="Use `deeplab-gygo segment --method` for the other methods",
                )
            self._encode = encoder_in(self._parent, engine, precision)
        self.precision: str = chosen
        self._segmenter: DeepLabSegmenter | None = None
        self._key: tuple[OnlineConfig, int] | None = None
        self._strokes: StrokeSegmenter | None = None
        self._busy = False

    def draw(
        self,
        source: Source,
        frame: int = 0,
        *,
        inside: Collection[Point] = (),
        outside: Collection[Point] = (),
        box: Box | None = None,
        start: MaskSource | None = None,
    ) -> np.ndarray:
        """Draws the mask of one object on one frame, for `segment` to start from.

        The network of it is the shipped one, whatever the weights of the model.

        Args:
            source: As for `segment`; not an iterator of frames.
            frame: Index of the frame, from 0.
            inside: Points x, y on the object, pixels; the middle of a pixel is an integer.
            outside: Points on the background.
            box: x0, y0, x1, y1 around the object, pixels.
            start: A mask to correct, a file or [H, W], nonzero is the object.

        Returns:
            uint8 [H, W], 0 or 1. Of nothing but the source, the most salient object.

        Raises:
            InputError: The source or the mask is absent, damaged, or they do not fit.
            UsageError: There is no such frame, or a point is not in it.

        Example:
            >>> image = np.full((48, 64, 3), 90, np.uint8)
            >>> image[12:36, 16:48] = (200, 40, 40)
            >>> mask = load().draw([image], inside=[(30, 24)], outside=[(4, 4)])
            >>> mask.shape, int(mask[24, 30]), int(mask[4, 4])
            ((48, 64), 1, 0)
        """
        sequence = open_source(source)
        if isinstance(sequence, StreamSequence) or not 0 <= frame < len(sequence):
            raise UsageError(
                "A mask is drawn on a frame of a clip that can be read again",
                met=f"frame {frame} of {sequence.name}",
                remedy="Give a list of frames, a folder or a video, and the index of a frame",
            )
        strokes, box = checked_strokes(inside, outside, box, sequence.size)
        known = None
        if start is not None:
            start = held(start) if isinstance(start, str) else start
            labels = sequence.with_annotations({frame: start}).annotation(frame)
            known = (labels != 0) & (labels != VOID)
        with backend.policy(self.precision):
            if self._strokes is None:
                self._strokes = StrokeSegmenter(load_stroke_network())
            encoded = self._strokes.encode(sequence.frame(frame).image)
            if not strokes and box is None:
                return self._strokes.propose(encoded) if known is None else known.astype(np.uint8)
            return self._strokes.segment(encoded, strokes, box, known)

    def segment(
        self,
        source: Source,
        masks: Masks | None = None,
        *,
        preset: str | None = None,
        mode: Mode | None = None,
        seed: int = 0,
        progress: ProgressCallback | None = None,
        **options: Any,
    ) -> Iterator[Prediction]:
        """Segments a clip, frame by frame in constant memory.

        Args:
            source: Video file, folder of frames, frames in memory, or an iterator of frames.
            masks: Mask of the first frame, or {frame index: mask} of one or several frames; a file
                or uint8 [H, W] of object ids each. Every mask is propagated to the frames after and
                before it. None: zero-shot, or the annotations of a sequence. Of an iterator, the
                mask of the first frame.
            preset: `fast`, `balanced` (default) or `best`.
            mode: `zero-shot`, `one-shot` or `fine-tune`; None: `fine-tune` with a mask,
                `zero-shot` without. On an iterator, `zero-shot` segments every frame
                independently, since it cannot be read twice.
            seed: Seed of fine-tuning.
            progress: Called as `progress(step, steps, loss)` after every fine-tuning step.
            **options: Fields of `OnlineConfig`, e.g. `steps=40` or `size=480`.

        Yields:
            One `Prediction` per frame, in order.

        Raises:
            InputError: The source or a mask is absent, damaged, or they do not fit.
            UsageError: An option is unknown or out of range, or another clip is in progress.

        Example:
            >>> frames = np.random.default_rng(0).integers(0, 256, (3, 48, 64, 3), np.uint8)
            >>> mask = np.zeros((48, 64), np.uint8)
            >>> mask[12:36, 16:48] = 1
            >>> results = list(load().segment(frames, mask, mode="one-shot"))
            >>> [(p.name, p.mask.shape, p.probability.dtype.name) for p in results][1:]
            [('00001', (48, 64), 'float32'), ('00002', (48, 64), 'float32')]
        """
        sequence = open_source(source, masks)
        config = _config(preset, mode, bool(sequence.annotations), options)
        if config.mode != "zero-shot":
            if sequence.read_once and list(sequence.annotations) != [0]:
                raise UsageError(
                    "An iterator of frames is segmented from the mask of its first frame",
                    met=f"masks of the frames {shorten(map(str, sequence.annotations))}",
                    where=sequence.name,
                    remedy="Give a list of frames, a folder or a video",
                )
            check_annotation(sequence, sequence.first_annotated)
        return self._run(sequence, progress, config=config, seed=seed)

    def session(
        self,
        source: Source,
        *,
        preset: str | None = None,
        mode: Mode | None = None,
        seed: int = 0,
        folder: str | Path | None = None,
        **options: Any,
    ) -> Session:
        """Opens a clip to annotate and propagate.

        Args:
            source: As for `segment`; not an iterator of frames.
            preset: As for `segment`.
            mode: `one-shot` or `fine-tune` (default).
            seed: Seed of fine-tuning.
            folder: Folder of annotations and results, in which the session is opened again; None
                is a temporary one.
            **options: Fields of `OnlineConfig`.

        Returns:
            The session, a context manager.

        Raises:
            InputError: The source is absent or damaged.
            UsageError: An option is unknown or out of range.
        """
        sequence = open_source(source)
        if isinstance(sequence, StreamSequence):
            raise UsageError(
                "A session needs frames that can be read again",
                met="an iterator of frames",
                remedy="Give a list of frames, a folder or a video, or use `segment`",
            )
        config = _config(preset, mode, True, options)
        if config.mode == "zero-shot":
            raise UsageError(
                "A session propagates an annotation",
                met="mode zero-shot",
                remedy="Use `segment` for zero-shot",
            )
        return Session(
            sequence,
            config,
            run=partial(self._run, config=config, seed=seed, features=FeatureCache()),
            adaptation=lambda: self._segmenter.adaptation if self._segmenter else Adaptation(),
            folder=folder,
        )

    def _run(
        self,
        sequence: Sequence,
        progress: ProgressCallback | None,
        *,
        config: OnlineConfig,
        seed: int,
        features: FeatureCache | None = None,
        **options: Any,
    ) -> Generator[Prediction]:
        if self._busy:
            raise UsageError(
                "A model segments one clip at a time",
                met="another clip in progress",
                remedy="Finish or close the other generator first, or load a second model",
            )
        self._busy = True
        segmenter = None
        try:
            with backend.policy(self.precision):
                segmenter = self._segmenter_for(config, seed)
            segmenter.features = features
            # The policy is set while the network works, and is the caller's own between frames.
            backwards = not sequence.read_once
            predictions = segmenter.run(sequence, progress, backwards=backwards, **options)
            while True:
                with backend.policy(self.precision):
                    prediction = next(predictions, None)
                if prediction is None:
                    return
                yield prediction
        finally:
            if segmenter is not None:
                segmenter.release()
                segmenter.features = None
            self._busy = False

    def _segmenter_for(self, config: OnlineConfig, seed: int) -> DeepLabSegmenter:
        """Returns the segmenter of the last clip if it fits: nothing is compiled again."""
        key = (config, seed)
        if self._segmenter is None or self._key != key:
            self._segmenter, self._key = None, None
            self._segmenter = DeepLabSegmenter(self._parent, config, seed, self._encode)
            self._key = key
        return self._segmenter


def load(
    weights: str | Path | None = None, precision: Precision = "auto", engine: Engine = "keras"
) -> Model:
    """Loads DeepLabV3+ for clip after clip.

    Args:
        weights: Parent file (.npz), or its URL; None: the parent of the package.
        precision: `auto` (bfloat16 on an accelerator, float32 on a CPU), `float32`, `bfloat16` or
            `float16`.
        engine: Runtime of the encoder: `keras`, or on a CPU `openvino` or `onnxruntime` (extras).

    Returns:
        The model.

    Raises:
        WeightsError: The file is absent, damaged, or no parent of this package.
        UsageError: The engine does not fit the backend or the precision.
        DependencyError: A package that the engine needs is not installed.

    Example:
        >>> load(precision="float32").precision
        'float32'
    """
    return Model(weights, precision, engine)


def _config(
    preset: str | None, mode: Mode | None, annotated: bool, options: dict[str, Any]
) -> OnlineConfig:
    known = {field.name for field in dataclasses.fields(OnlineConfig)} - {"mode"}
    for name in options:
        if name not in known:
            renamed = OnlineConfig.RENAMED_KEYS.get(name)
            removed = OnlineConfig.REMOVED_KEYS.get(name, "")
            raise UsageError(
                f"An option is one of {', '.join(sorted(known))}",
                met=name,
                remedy=f"Write {renamed}" if renamed else removed[:1].upper() + removed[1:] or None,
            )
    mode = mode or ("fine-tune" if annotated else "zero-shot")
    return make_options("deeplab", preset or DEFAULT_PRESET, mode, (options, "options"))
