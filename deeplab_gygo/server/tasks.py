"""What the worker computes: propagations, exports, jobs, and answers about one frame."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from deeplab_gygo import backend
from deeplab_gygo.errors import UsageError
from deeplab_gygo.inference.config import OnlineConfig, make_options
from deeplab_gygo.inference.feature_cache import FeatureCache
from deeplab_gygo.inference.prediction import Adaptation, Prediction
from deeplab_gygo.inference.segmenter import DeepLabSegmenter
from deeplab_gygo.inference.session import Session
from deeplab_gygo.inference.session_folder import SessionFolder, digest_of
from deeplab_gygo.inference.strokes import StrokeSegmenter
from deeplab_gygo.io.atomic import cache_folder
from deeplab_gygo.io.masks import object_ids
from deeplab_gygo.io.sequence import Sequence
from deeplab_gygo.models.stroke_decoder import load_stroke_network
from deeplab_gygo.models.weight_file import load_parent
from deeplab_gygo.runs.clip import Clip, open_clip
from deeplab_gygo.runs.given_masks import MEMORY, Annotation
from deeplab_gygo.runs.output_kinds import OutputOptions
from deeplab_gygo.runs.run_record import RunRecord
from deeplab_gygo.runs.runner import SequenceRunner
from deeplab_gygo.runs.settings import RunSettings, make_settings
from deeplab_gygo.server.clips import open_sequence
from deeplab_gygo.server.frame_readers import FrameReader
from deeplab_gygo.server.sessions import encoded_mask
from deeplab_gygo.server.worker import Kept, Pace, Task, Worker, WorkerSettings

_SEGMENTERS, _ENCODED, _CLIPS = 2, 4, 4  # that are kept


class _Segmenter(DeepLabSegmenter):
    """Lets the worker answer between two frames."""

    between: Callable[[], None]

    def predict(self, *arguments: Any, **options: Any) -> Iterator[Prediction]:
        for prediction in super().predict(*arguments, **options):
            yield prediction
            self.between()


class Tasks:
    """The network and what is computed with it.

    Args:
        worker: Link to the parent.
        settings: Settings of the worker.

    Raises:
        WeightsError: The weights are absent or damaged.
    """

    def __init__(self, worker: Worker, settings: WorkerSettings):
        self._worker, self._settings = worker, settings
        backend.seed_everything(settings.seed)
        backend.keep_compiled(cache_folder() / "programs")
        self.precision = backend.set_precision(settings.precision)
        self.parent, self.card = load_parent(settings.weights)
        self._segmenters, self._encoded = Kept(_SEGMENTERS), Kept(_ENCODED)
        self._clips, self._features = Kept(_CLIPS), Kept(1)
        self._strokes, self._has_drawn = StrokeSegmenter(load_stroke_network()), False

    # Answers about one frame

    def answer(self, question: str, values: dict[str, Any]) -> bytes | None:
        """Answers `strokes`, `propose` or `prefetch` about a frame of a clip."""
        encoded = self._encode(values["clip"], values["index"])
        if question == "prefetch":
            if not self._has_drawn:  # the decoder is compiled before the first stroke
                self._strokes.propose(encoded)
                self._has_drawn = True
            return None
        if question == "propose":
            return encoded_mask(self._strokes.propose(encoded))
        named = (values[name] for name in ("strokes", "box", "start"))
        return encoded_mask(self._strokes.segment(encoded, *named))

    def _encode(self, clip: tuple[Path, str], index: int) -> Any:
        def make() -> Any:
            reader = self._clips.of(clip, lambda: FrameReader(open_sequence(*clip)))
            return self._strokes.encode(reader.read(index))

        return self._encoded.of((clip, index), make)

    # Tasks

    def do(self, task: Task) -> None:
        """Does a task."""
        {"propagate": self._propagate, "export": self._export, "job": self._job}[task.kind](
            **task.values
        )

    def segmenter(self, config: OnlineConfig) -> _Segmenter:
        """Returns a segmenter; the newest are kept, so that nothing is compiled again."""
        made = self._segmenters.of(
            config, lambda: _Segmenter(self.parent, config, self._settings.seed)
        )
        made.between, made.features = self._worker.between, None
        return made

    def _propagate(self, clip: tuple[Path, str], folder: Path, preset: str, mode: str) -> None:
        sequence = open_sequence(*clip)
        config = make_options("deeplab", preset, mode)
        segmenter = self.segmenter(config)
        segmenter.features = self._features.of((folder, config.short_side), FeatureCache)

        def run(annotated: Sequence, progress: Any, **options: Any) -> Generator[Prediction]:
            try:
                yield from segmenter.run(annotated, progress, backwards=True, **options)
            finally:
                segmenter.release()

        session = Session(sequence, config, run, lambda: segmenter.adaptation, folder)
        pace = Pace(self._worker.send, session.count(), "propagation")

        def tuned(*step: Any) -> None:
            pace.tuned(*step)
            self._between_steps()

        def found(prediction: Prediction) -> None:
            self._worker.send("frame", prediction.index, prediction.confidence)
            pace.framed()

        for prediction in session.propagate(tuned, preview=found):
            found(prediction)

    def _between_steps(self) -> None:
        """Answers between two steps of fine-tuning where they are programs of their own."""
        if backend.name() == "tensorflow" and not backend.devices():
            self._worker.between()

    def _export(
        self, clip: tuple[Path, str], folder: Path, preset: str, mode: str,
        out: Path, outputs: tuple[str, ...], options: dict[str, Any],
    ) -> None:  # fmt: skip
        sequence, files = open_sequence(*clip), SessionFolder(folder)
        masks = {index: files.annotation(index) for index in files.annotated()}
        annotations = {index: Annotation(mask, MEMORY) for index, mask in masks.items()}
        settings = self._run_settings(preset, mode, outputs, options)
        results = _Results(files, masks, self._worker.between)
        _Runner(self, settings, results).run(Clip(sequence, annotations), out)

    def _job(
        self, clip: tuple[Path, str], mask: Path | None, frame: int, preset: str,
        mode: str | None, out: Path, outputs: tuple[str, ...], options: dict[str, Any],
    ) -> None:  # fmt: skip
        mode = mode or ("fine-tune" if mask is not None else "zero-shot")
        settings = self._run_settings(preset, mode, outputs, options)
        opened = open_clip(
            open_sequence(*clip), mask, frame=None if mask is None else str(frame),
            needs_mask=mode != "zero-shot",
        )  # fmt: skip
        _Runner(self, settings, self.segmenter(settings.online)).run(opened, out)

    def _run_settings(
        self, preset: str, mode: str, outputs: tuple[str, ...], options: dict[str, Any]
    ) -> RunSettings:
        return make_settings(
            preset_name=preset, mode=mode, weights=self._settings.weights,
            precision=self._settings.precision, seed=self._settings.seed, outputs=outputs,
            output_options=OutputOptions(**options), overwrite=True, progress=False,
        )  # fmt: skip

    def pace(self, total: int) -> Pace:
        """Returns the progress of a run of so many frames."""
        return Pace(self._worker.send, total, "propagation")

    def between(self) -> None:
        """See `Worker.between`."""
        self._worker.between()

    def between_steps(self) -> None:
        """See `_between_steps`."""
        self._between_steps()


class _Runner(SequenceRunner):
    """Runs with the network of the worker.

    Args:
        tasks: The network.
        settings: Settings of the run.
        segmenter: What yields the predictions.
    """

    def __init__(self, tasks: Tasks, settings: RunSettings, segmenter: Any):
        self.settings, self.precision = settings, tasks.precision
        self.parent, self.card = tasks.parent, tasks.card
        self._segmenter, self._tasks = segmenter, tasks

    def run(self, clip: Clip, out: Path, *, keep_bars: bool = True) -> Any:
        try:
            return super().run(clip, out, keep_bars=keep_bars)
        finally:
            self._segmenter.release()

    def _record(self, *arguments: Any) -> RunRecord:
        # A client reads it: it has no paths of this machine.
        record = super()._record(*arguments)
        source = Path(record.source).name
        return replace(record, source=source, mask_source="", weights="", command=[])

    def _progress(self, clip: Clip, keep: bool) -> Any:
        return _RunProgress(self._tasks, len(clip.sequence) - clip.start)


class _RunProgress:
    """Sends the progress of a run to the parent."""

    def __init__(self, tasks: Tasks, frames: int):
        self._tasks, self._pace = tasks, tasks.pace(frames)

    def tuned(self, step: int, steps: int, loss: float) -> None:
        self._pace.tuned(step, steps, loss)
        self._tasks.between_steps()

    def segmented(self) -> None:
        self._pace.framed()

    def __enter__(self) -> _RunProgress:
        return self

    def __exit__(self, *error: object) -> None:
        return


class _Results:
    """The results of a session, as a segmenter yields them.

    Args:
        files: Folder of the session.
        masks: Its annotations.
        between: Lets the worker answer between two frames.
    """

    batch_size = 1

    def __init__(
        self, files: SessionFolder, masks: dict[int, np.ndarray], between: Callable[[], None]
    ):
        self._files, self._masks, self._between = files, masks, between
        self._applied = files.applied() or {}
        self.adaptation, self.warnings = Adaptation(), list[str]()

    def release(self) -> None:
        """Holds nothing."""

    def run(self, sequence: Sequence, *_: Any, **__: Any) -> Iterator[Prediction]:
        """Yields the results in order; what was annotated since is as annotated."""
        for frame in sequence:
            mask = self._masks.get(frame.index)
            if mask is not None and self._applied.get(frame.index) != digest_of(mask):
                yield self._annotated(frame.index, frame.name)
            elif self._files.results.holds(frame.index):
                yield self._files.results.prediction(frame.index, frame.name)
            else:
                raise UsageError(
                    "An export has a mask of every frame",
                    met=f"none of frame {frame.index}",
                    remedy="Run the session to its end first",
                )
            self._between()

    def _annotated(self, index: int, name: str) -> Prediction:
        mask = self._masks[index]
        labels = object_ids(*self._masks.values())
        planes = np.stack([mask == label for label in labels]).astype(np.float32)
        probability = planes[0] if len(labels) == 1 else planes
        return Prediction(index, name, probability, mask, 0.0, 1.0)
