"""One clip that is being worked on: annotation, propagation, correction."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from deeplab_gygo._version import __version__
from deeplab_gygo.errors import UsageError
from deeplab_gygo.inference.config import OnlineConfig
from deeplab_gygo.inference.frame_store import FrameStore
from deeplab_gygo.inference.prediction import Adaptation, Prediction, ProgressCallback
from deeplab_gygo.inference.session_folder import SessionFolder, digest_of
from deeplab_gygo.io.config_file import to_plain
from deeplab_gygo.io.masks import check_first_mask, object_ids
from deeplab_gygo.io.sequence import MaskSource, Sequence


class Session:
    """One clip that is annotated, propagated and corrected; made by `Model.session`.

    After a correction only the frames up to the next annotated ones are segmented again, as far as
    the correction changes them: the others keep their results.

    Args:
        sequence: The frames.
        config: Online options.
        run: Segments a part of an annotated sequence; takes the sequence, a progress callback, and
            `span`, `store`, `known` and `corrected` as `SegmenterBase.run` does.
        adaptation: Returns the fine-tuning of the clip in progress.
        folder: Folder of annotations and results, in which a session is opened again; None is a
            temporary one.

    Attributes:
        sequence: As given.
        config: As given.
        adaptation: Steps, losses and seconds of the last fine-tuning of this session.

    Example:
        >>> import deeplab_gygo
        >>> frames = np.random.default_rng(0).integers(0, 256, (5, 48, 64, 3), np.uint8)
        >>> mask = np.zeros((48, 64), np.uint8)
        >>> mask[12:36, 16:48] = 1
        >>> with deeplab_gygo.load().session(frames, mode="one-shot") as session:
        ...     session.annotate(1, mask)
        ...     print([prediction.index for prediction in session.propagate()])
        ...     session.annotate(3, mask)
        ...     print([prediction.index for prediction in session.propagate()])
        [0, 1, 2, 3, 4]
        [3, 2, 4]
    """

    def __init__(
        self,
        sequence: Sequence,
        config: OnlineConfig,
        run: Callable[..., Generator[Prediction]],
        adaptation: Callable[[], Adaptation],
        folder: str | Path | None = None,
    ):
        self.sequence, self.config, self.adaptation = sequence, config, Adaptation()
        self._run, self._current_adaptation = run, adaptation
        self._running: Generator[Prediction] | None = None
        self._scratch = None
        if folder is None:
            self._scratch = tempfile.TemporaryDirectory(prefix="deeplab_gygo-")
            folder = self._scratch.name
        self._folder = SessionFolder(folder)

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
        if self._scratch is not None:
            self._scratch.cleanup()

    @property
    def annotated(self) -> list[int]:
        """Indices of the annotated frames, ascending."""
        return self._folder.annotated()

    def annotate(self, frame: int, mask: MaskSource | None) -> None:
        """Sets, replaces or removes the mask of a frame.

        Args:
            frame: Index of the frame, from 0.
            mask: File, or bool or uint8 [H, W] of object ids, of the size of the frames. It
                annotates the objects in it; an empty one is of absent objects. None removes the
                mask of the frame.

        Raises:
            InputError: The mask is absent, damaged, full, or does not fit the frames.
            UsageError: There is no such frame.
        """
        if mask is not None:
            annotated = self.sequence.with_annotations({frame: mask})
            mask = annotated.annotation(frame)
            if mask.any():
                mask = check_annotation(annotated, frame)
        self._folder.annotate(frame, mask)

    def propagate(
        self,
        progress: ProgressCallback | None = None,
        *,
        preview: Callable[[Prediction], None] | None = None,
        anew: bool = False,
    ) -> Iterator[Prediction]:
        """Segments the frames that the annotations set since the last time change.

        The first time these are all frames. Later, where masks of the same objects were added or
        changed, fine-tuning goes on from where it ended, and each of these is propagated to the
        annotated frames before and after it, as far as it changes something. Where one was removed
        or objects came or went, the frames between the annotated ones around it are segmented
        anew. Where the same propagation was interrupted, in this session or in an earlier one of
        the same folder, it goes on after the last whole frame.

        Args:
            progress: Called as `progress(step, steps, loss)` after every fine-tuning step.
            preview: Called in a thread with the predictions of the propagation backwards, which are
                results until those of both directions follow.
            anew: Whether all frames are segmented anew from all annotations, as `Model.segment`
                does with these.

        Yields:
            One prediction per frame that was segmented or annotated anew, in order. After a
            correction: those that an interrupted one had changed, as they were before it, then
            from each corrected frame outwards.

        Raises:
            UsageError: No frame is annotated, or another clip is in progress.
        """
        masks = {index: self._folder.annotation(index) for index in self.annotated}
        if not any(mask.any() for mask in masks.values()):
            raise UsageError(
                "A session is annotated before it is propagated",
                met="no annotation with an object",
                remedy="Call annotate(frame, mask) first",
            )
        self.close()
        if anew:
            self._folder.forget()
        digests = {index: digest_of(mask) for index, mask in masks.items()}
        changed = self._changed(digests)
        span = self._span(masks, changed)
        if not span:
            return map(self.result, self._folder.give_up())
        annotated = self.sequence.with_annotations(dict(masks))
        identity = self._identity(masks) | {"annotations": {str(i): d for i, d in digests.items()}}
        if self._corrects(masks, changed):
            place, given_up = self._folder.begin({**identity, "corrected": sorted(changed)})
            options = {"known": self._folder.known, "corrected": changed}
            predictions = self._run(annotated, progress, store=FrameStore(place), **options)
            span = range(0)
        else:
            place, given_up = self._folder.begin({**identity, "span": [span.start, span.stop]})
            store = _PreviewStore(place, self._folder, preview)
            predictions = self._run(annotated, progress, span=span, store=store)
        self._running = self._stream(predictions, digests, changed, span, given_up)
        return self._running

    def count(self) -> int:
        """Returns the largest number of predictions of the next propagation, both ways."""
        masks = {index: self._folder.annotation(index) for index in self.annotated}
        changed = self._changed({index: digest_of(mask) for index, mask in masks.items()})
        frames = len(self.sequence)
        if self._corrects(masks, changed):
            before = {c: max((i for i in masks if i < c), default=-1) for c in changed}
            after = {c: min((i for i in masks if i > c), default=frames) for c in changed}
            return sum(after[c] - before[c] for c in changed)
        span = self._span(masks, changed)
        last = max((index for index in masks if index in span), default=span.start)
        backwards = range(span.start, last)
        return len(span) + (len(backwards) + 1 if set(backwards) - masks.keys() else 0)

    def result(self, frame: int) -> Prediction:
        """Returns the newest result of a frame, its probability in steps of 1/255.

        Raises:
            UsageError: The frame was not segmented yet.
        """
        if not self._folder.results.holds(frame):
            raise UsageError("A result is of a frame that was segmented", met=f"frame {frame}")
        return self._folder.results.prediction(frame, self.sequence.frame_names[frame])

    def _changed(self, digests: Mapping[int, str]) -> set[int]:
        """Returns the frames whose annotations differ from those that the results follow from."""
        applied = self._folder.applied() or {}
        both = digests.keys() | applied.keys()
        return {index for index in both if digests.get(index) != applied.get(index)}

    def _identity(self, masks: Mapping[int, np.ndarray]) -> dict[Any, Any]:
        """Returns what the results of every propagation of the same objects follow from."""
        labels = object_ids(*masks.values())
        return {"version": __version__, "config": to_plain(self.config), "labels": labels}

    def _corrects(self, masks: Mapping[int, np.ndarray], changed: set[int]) -> bool:
        """Returns whether the changed annotations correct the results of a propagation."""
        identity = json.loads(json.dumps(self._identity(masks)))
        known = self._folder.known_identity()
        return (
            self._is_whole()
            and changed <= masks.keys()
            and {name: known.get(name) for name in identity} == identity
            and all(object_ids(mask) in ([], identity["labels"]) for mask in masks.values())
        )

    def _is_whole(self) -> bool:
        frames, results = range(len(self.sequence)), self._folder.results
        return self._folder.applied() is not None and all(map(results.holds, frames))

    def _span(self, masks: Mapping[int, np.ndarray], changed: set[int]) -> range:
        """Returns the frames that the changed annotations can change."""
        frames = len(self.sequence)
        if not self._is_whole():
            return range(frames)
        labels = object_ids(*masks.values())

        def bounds(index: int) -> bool:
            return index not in changed and object_ids(masks[index]) in ([], labels)

        fixed = [index for index in sorted(masks) if bounds(index)]
        if not changed:
            return range(0)
        start = max((i for i in fixed if i < min(changed)), default=0)
        stop = min((i for i in fixed if i > max(changed)), default=frames - 1) + 1
        return range(start, stop)

    def _stream(
        self,
        predictions: Generator[Prediction],
        digests: Mapping[int, str],
        changed: set[int],
        span: range,
        given_up: list[int],
    ) -> Generator[Prediction]:
        with closing(predictions):
            yield from (self.result(index) for index in given_up if not span)
            for prediction in predictions:
                self.adaptation = self._current_adaptation()
                self._folder.put(prediction)
                if prediction.index not in digests or prediction.index in changed:
                    yield prediction
        self._folder.finish(dict(digests), span)

    def close(self) -> None:
        """Ends a propagation in progress and closes the source."""
        if self._running is not None:
            self._running.close()
            self._running = None


class _PreviewStore(FrameStore):
    """What a propagation keeps to be resumed; predictions backwards are results meanwhile."""

    def __init__(
        self,
        place: Path,
        folder: SessionFolder,
        preview: Callable[[Prediction], None] | None,
        *,
        descending: bool = False,
    ):
        super().__init__(place, descending=descending)
        self._session, self._preview = folder, preview

    def backward(self) -> FrameStore:
        place = self.folder / "backward"
        return _PreviewStore(place, self._session, self._preview, descending=True)

    def put(self, prediction: Prediction, state: Mapping[str, np.ndarray] | None) -> None:
        super().put(prediction, state)
        if self._descending:
            self._session.put(prediction)
            if self._preview is not None:
                self._preview(prediction)


def check_annotation(sequence: Sequence, frame: int) -> np.ndarray:
    """Checks that a frame has a mask that can be propagated.

    Args:
        sequence: Frames and annotations.
        frame: Index of an annotated frame.

    Returns:
        The mask, uint8 [H, W] of object ids.

    Raises:
        InputError: The mask is absent, damaged, empty, full, or does not fit the frames.
    """
    mask = sequence.annotation(frame)
    check_first_mask(mask, sequence.size, f"mask of frame {frame}")
    return mask
