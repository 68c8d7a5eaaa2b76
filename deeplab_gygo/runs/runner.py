"""Segmentation of clips into result folders, with a network that is loaded once."""

from __future__ import annotations

import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from deeplab_gygo import backend
from deeplab_gygo.errors import InputError
from deeplab_gygo.inference.confidence import doubtful_frames
from deeplab_gygo.inference.engines import encoder_in
from deeplab_gygo.io.atomic import cache_folder
from deeplab_gygo.io.local_names import shown
from deeplab_gygo.io.storage import redacted
from deeplab_gygo.methods import make_segmenter
from deeplab_gygo.models.config import ModelConfig
from deeplab_gygo.models.memory import Memory
from deeplab_gygo.models.target_model import TargetModel
from deeplab_gygo.models.weight_file import load_parent
from deeplab_gygo.runs.clip import Clip, ClipStream
from deeplab_gygo.runs.environment import hardware
from deeplab_gygo.runs.output_directory import output_directory
from deeplab_gygo.runs.outputs import result_writers
from deeplab_gygo.runs.progress import ClipProgress
from deeplab_gygo.runs.report import write_clip_report
from deeplab_gygo.runs.result_files import check_written
from deeplab_gygo.runs.run_record import RunRecord
from deeplab_gygo.runs.settings import RunSettings
from deeplab_gygo.runs.unfinished import TimedStore, UnfinishedRun


class SequenceRunner:
    """Segments clips into folders, one at a time; the network is built once.

    Args:
        settings: Settings of all runs.

    Attributes:
        settings: As given.
        parent: The network; None for a method without one.
        card: Provenance of its weights; empty for a method without.

    Raises:
        WeightsError: The weights do not fit their architecture.
        UsageError: The mode needs other weights, or the engine another backend.
        DependencyError: A package that the engine needs is missing.
    """

    def __init__(self, settings: RunSettings):
        self.settings = settings
        backend.seed_everything(settings.seed)
        backend.keep_compiled(cache_folder() / "programs")
        self.precision = backend.set_precision(settings.precision)
        self.parent, self.card = None, {}
        if settings.weights_path is not None:
            self.parent, self.card = load_parent(settings.weights_path)
        encode = None
        if settings.method == "deeplab":
            encode = encoder_in(self.parent, settings.engine, settings.precision)
        self._segmenter = make_segmenter(
            settings.method, self.parent, settings.online, settings.seed, encode
        )

    def run(self, clip: Clip, out: Path, *, keep_bars: bool = True) -> RunRecord:
        """Segments a clip; the folder appears when it is complete.

        Until then the results are in `<out>.partial`. If the run is interrupted they stay there,
        and the same run goes on after the last whole frame, with the same masks.

        Args:
            clip: The clip.
            out: Folder to make; an earlier result in it is replaced, other files and masks that
                were corrected by hand are not. If the annotated frame is not the first and the
                earlier result is of the same input, its masks before that frame are kept.
            keep_bars: Whether the full progress bar remains on the terminal.

        Returns:
            The record, also written into the folder.

        Raises:
            InputError: A frame is damaged, or a frame got no mask.
            StorageError: The folder cannot be written, or somebody changed it or its files.
            UsageError: The folder holds other files, another run writes to it, an interrupted run
                with other settings was left beside it, or the frames are too large for an overlay.
        """
        hashes = {**clip.hashes(), "weights": self.settings.weights_hash}
        unfinished = UnfinishedRun(out, clip, self.settings, hashes)
        with (
            self._progress(clip, keep_bars) as progress,
            output_directory(out, safe=unfinished.safe) as folder,
        ):
            record = unfinished.finished()
            if record is None:
                with unfinished.kept(folder) as store:
                    record = self._segment(clip, folder, store, hashes, progress)
        unfinished.forget()
        return record

    def _progress(self, clip: Clip, keep: bool) -> ClipProgress:
        frames, objects = len(clip.sequence) - clip.start, len(clip.object_ids)
        kind, name = self.settings.progress_kind, clip.sequence.name
        return ClipProgress(kind, name, frames, objects=objects, keep=keep)

    def _segment(
        self,
        clip: Clip,
        folder: Path,
        store: TimedStore,
        hashes: dict[str, str],
        progress: ClipProgress,
    ) -> RunRecord:
        """Segments a clip into a folder, from the last whole frame of an interrupted run on."""
        settings = self.settings
        ahead = max(4, 2 * self._segmenter.batch_size)
        moments, predictions = [store.began], []
        with (
            result_writers(settings.outputs, folder, clip, settings.output_options) as write,
            closing(ClipStream(clip, ahead)) as stream,
            # Closed here, since an interrupted run counts what was kept.
            closing(
                self._segmenter.run(stream, progress.tuned, backwards=clip.both_ways, store=store)
            ) as results,
        ):
            for prediction in results:
                write(stream.take(prediction.index), prediction)
                progress.segmented()
                moments.append(max(moments[-1], store.moment(prediction.index)))
                # Masks and probabilities are not kept.
                predictions.append((prediction.name, prediction.seconds, prediction.confidence))
            expected = len(clip.sequence) - clip.start
            if len(predictions) != expected:
                raise InputError(
                    f"Every frame from {clip.sequence.frame_names[clip.start]} on gets a mask",
                    met=f"{len(predictions)} masks of {expected}",
                    where=clip.sequence.source,
                )
        moments[-1] = time.monotonic()  # the time of writing counts for the last frame
        names = [name for name, *_ in predictions]
        record = self._record(clip, hashes, moments, predictions)
        if "report" in settings.outputs:
            write_clip_report(folder, clip, record)
        check_written(
            folder, settings.outputs, names, clip.object_ids,
            clip=clip.sequence.name, options=settings.output_options,
        )  # fmt: skip
        return record.write(folder)

    def prepare(self, size: tuple[int, int]) -> None:
        """Compiles all programs for frames of a size and keeps them in the cache folder, on JAX.

        Args:
            size: Height and width of the frames, pixels.
        """
        self._segmenter.prepare(size)

    def adapt(self, clip: Clip) -> dict[str, Any]:
        """Fine-tunes the network on the mask of a clip and keeps the adapted weights.

        Args:
            clip: A clip with one object.

        Returns:
            Sequence, steps and seconds, for the card of the model.
        """
        frame = clip.sequence.frame(clip.first_annotated)
        # The exported model sees whole frames.
        self._segmenter.enlarges = False
        with self._progress(clip, True) as progress:
            done = self._segmenter.begin(frame, clip.mask, progress.tuned)
        return {
            "sequence": clip.sequence.name,
            "frame": frame.name,
            "hashes": clip.hashes(),
            "steps": done.steps,
            "seconds": round(done.seconds, 2),
            "notes": list(self._segmenter.warnings),
        }

    @property
    def memory(self) -> Memory | None:
        """The memory of the frame given to `adapt`; DeepLabV3+ only."""
        return self._segmenter.first_memory

    @property
    def target_model(self) -> TargetModel | None:
        """The target model of the object given to `adapt`; DeepLabV3+ only."""
        return self._segmenter.target_model

    def _record(
        self,
        clip: Clip,
        hashes: dict[str, str],
        moments: list[float],
        predictions: list[tuple[str, float, float]],
    ) -> RunRecord:
        settings, adaptation = self.settings, self._segmenter.adaptation
        # Given masks are no results of the network, except in zero-shot, which predicts them too.
        needs_mask = settings.online.mode != "zero-shot"
        indices = list(clip.annotations) if needs_mask else []
        given = {clip.sequence.frame_names[index] for index in indices}
        made = [k for k, (name, *_) in enumerate(predictions) if name not in given]
        confidence = {name: round(value, 4) for name, _, value in predictions}
        trunk = self.card.get("trunk", "")
        if self.parent is not None and isinstance(self.parent.config, ModelConfig):
            trunk = self.parent.config.backbone
        return RunRecord(
            config=settings.identity,
            seed=settings.seed,
            hashes=hashes,
            name=clip.sequence.name,
            source=shown(clip.sequence.source),
            mask_source=shown(clip.mask_source or ""),
            first_frame=clip.sequence.frame_names[clip.start],
            annotated=[clip.sequence.frame_names[index] for index in indices],
            masks=len(predictions),
            frames=len(made),
            objects=len(clip.object_ids),
            outputs=list(settings.outputs),
            method=settings.method,
            trunk=trunk,
            weights=shown(settings.weights_path or ""),
            precision=self.precision,
            preset=settings.preset,
            adaptation_seconds=adaptation.seconds,
            steps=adaptation.steps,
            losses=[round(loss, 5) for loss in adaptation.losses],
            total_seconds=moments[-1] - moments[0],
            frame_seconds=_frame_seconds(
                moments, made, self._segmenter.batch_size, adaptation.seconds
            ),
            network_seconds=[round(predictions[k][1], 4) for k in made],
            confidence={n: value for n, value in confidence.items() if n not in given},
            warnings=[
                *self._segmenter.warnings,
                *clip.sequence.warnings,
                *doubtful_frames(confidence),
            ],
            command=[redacted(word) for word in sys.argv],
            hardware=hardware(", ".join(backend.devices()) or None),
        )


def _frame_seconds(
    moments: list[float], made: list[int], batch: int, adaptation: float
) -> list[float]:
    """Returns the seconds of frames; those of one batch get their mean.

    Args:
        moments: The beginning, and the end of every frame, seconds.
        made: Positions of the frames that the network made.
        batch: Number of frames segmented together.
        adaptation: Seconds before the first frame.
    """
    spans = [moments[k + 1] - moments[k] for k in made]
    if made and made[0] == 0:
        spans[0] = max(0.0, spans[0] - adaptation)
    seconds: list[float] = []
    for first in range(0, len(spans), batch):
        part = spans[first : first + batch]
        seconds += [round(sum(part) / len(part), 4)] * len(part)
    return seconds
