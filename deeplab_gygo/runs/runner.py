"""Segmentation of clips into result folders, with a network that is loaded once."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from tqdm import tqdm

from deeplab_gygo import backend
from deeplab_gygo.errors import InputError, UsageError
from deeplab_gygo.inference.confidence import doubtful_frames
from deeplab_gygo.inference.config import UNLIMITED_STEPS
from deeplab_gygo.inference.engines import encoder_in
from deeplab_gygo.inference.prediction import Prediction
from deeplab_gygo.io.atomic import cache_folder
from deeplab_gygo.io.overlay import overlay_writer
from deeplab_gygo.io.palette import write_mask
from deeplab_gygo.io.sequence import Frame
from deeplab_gygo.io.writers import ThreadedWriter, file_of, write_cutout, write_soft_mask
from deeplab_gygo.methods import make_segmenter
from deeplab_gygo.models.config import ModelConfig
from deeplab_gygo.models.memory import Memory
from deeplab_gygo.models.target_model import TargetModel
from deeplab_gygo.models.weight_file import load_parent
from deeplab_gygo.runs.clip import Clip, ClipStream
from deeplab_gygo.runs.environment import hardware
from deeplab_gygo.runs.output_directory import output_directory
from deeplab_gygo.runs.result_files import (
    CUTOUT_FOLDER,
    MASK_FOLDER,
    OVERLAY_NAME,
    SOFT_FOLDER,
    check_written,
)
from deeplab_gygo.runs.run_record import RunRecord
from deeplab_gygo.runs.settings import RunSettings

MAX_OVERLAY_SIDE = 16384
"""Largest width and height of an overlay, pixels: those of the H.264 encoder."""


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

        Args:
            clip: The clip.
            out: Folder to make; an earlier result in it is replaced, other files are not.
            keep_bars: Whether the full progress bar remains on the terminal.

        Returns:
            The record, also written into the folder.

        Raises:
            InputError: A frame is damaged, or a frame got no mask.
            StorageError: The folder cannot be written, or somebody changed it or its files.
            UsageError: The folder holds other files, another run writes to it, or the frames are
                too large for an overlay.
        """
        if "overlay" in self.settings.outputs and max(clip.sequence.size) > MAX_OVERLAY_SIDE:
            height, width = clip.sequence.size
            raise UsageError(
                f"Frames of an overlay are at most {MAX_OVERLAY_SIDE} pixels wide and high",
                met=f"{width}x{height}",
                where=clip.sequence.source,
                remedy="Leave overlay out of --outputs",
            )
        hashes = {**clip.hashes(), "weights": self.settings.weights_hash}
        ahead = max(4, 2 * self._segmenter.batch_size)
        bars = ProgressBars(clip, shown=self.settings.progress, keep=keep_bars)
        with output_directory(out) as folder:
            moments, predictions = [time.monotonic()], []
            with (
                result_writers(self.settings.outputs, folder, clip) as write,
                closing(ClipStream(clip, ahead)) as stream,
                closing(bars),
            ):
                for prediction in self._segmenter.run(stream, bars.tuned):
                    write(stream.take(prediction.index), prediction)
                    bars.segmented()
                    moments.append(time.monotonic())
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
            check_written(folder, self.settings.outputs, names, clip.object_ids)
            return self._record(clip, hashes, moments, predictions).write(folder)

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
        frame = clip.sequence.frame(clip.start)
        # The exported model sees whole frames.
        self._segmenter.enlarges = False
        with closing(ProgressBars(clip, shown=self.settings.progress, keep=True)) as bars:
            done = self._segmenter.begin(frame, clip.mask, bars.tuned)
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
        # The given mask is no result of the network, except in zero-shot, which predicts it too.
        given = 0 if settings.online.mode == "zero-shot" else 1
        confidence = {name: round(value, 4) for name, _, value in predictions}
        trunk = self.card.get("trunk", "")
        if self.parent is not None and isinstance(self.parent.config, ModelConfig):
            trunk = self.parent.config.backbone
        return RunRecord(
            config=settings.identity,
            seed=settings.seed,
            hashes=hashes,
            name=clip.sequence.name,
            source=str(clip.sequence.source),
            mask_source=str(clip.mask_source or ""),
            first_frame=clip.sequence.frame_names[clip.start],
            masks=len(predictions),
            frames=len(predictions) - given,
            objects=len(clip.object_ids),
            outputs=list(settings.outputs),
            method=settings.method,
            trunk=trunk,
            weights=str(settings.weights_path or ""),
            precision=self.precision,
            preset=settings.preset,
            adaptation_seconds=adaptation.seconds,
            steps=adaptation.steps,
            losses=[round(loss, 5) for loss in adaptation.losses],
            total_seconds=moments[-1] - moments[0],
            frame_seconds=_frame_seconds(moments[given:], self._segmenter.batch_size),
            network_seconds=[round(seconds, 4) for _, seconds, _ in predictions[given:]],
            confidence=dict(list(confidence.items())[given:]),
            warnings=[
                *self._segmenter.warnings,
                *clip.sequence.warnings,
                *doubtful_frames(confidence),
            ],
            command=list(sys.argv),
            hardware=hardware(", ".join(backend.devices()) or None),
        )


def _frame_seconds(moments: list[float], batch: int) -> list[float]:
    """Returns the seconds between moments; frames segmented in one batch get their mean."""
    seconds: list[float] = []
    for first in range(0, len(moments) - 1, batch):
        last = min(first + batch, len(moments) - 1)
        mean = (moments[last] - moments[first]) / (last - first)
        seconds += [round(mean, 4)] * (last - first)
    return seconds


@contextmanager
def result_writers(
    outputs: Collection[str], folder: Path, clip: Clip
) -> Iterator[Callable[[Frame, Prediction], None]]:
    """Opens a writer for every kind of result, each in a thread of its own.

    Args:
        outputs: Kinds to write, of `settings.OUTPUTS`.
        folder: Folder to write into.
        clip: The clip, for size, times and ids.

    Yields:
        A function that writes the results of one frame. It raises `StorageError` where an earlier
        frame could not be written. Leaving the context waits until everything is written.
    """
    ids, sequence = clip.object_ids, clip.sequence
    with ExitStack() as stack:
        threads = {
            kind: stack.enter_context(ThreadedWriter(folder))
            for kind in ("masks", "cutout", "soft")
            if kind in outputs
        }
        if "overlay" in outputs:
            # The video begins with the annotated frame.
            times = sequence.times and [t - sequence.times[clip.start] for t in sequence.times]
            path, several = folder / OVERLAY_NAME, len(ids) > 1
            overlay = stack.enter_context(
                overlay_writer(
                    path, sequence.size, times=times and times[clip.start :], several=several
                )
            )

        def write(frame: Frame, p: Prediction) -> None:
            if "masks" in outputs:
                path = file_of(folder / MASK_FOLDER, p.name, ".png")
                threads["masks"].submit(write_mask, path, p.mask)
            if "overlay" in outputs:
                overlay(frame.image, p.mask)
            if "cutout" in outputs:
                path = file_of(folder / CUTOUT_FOLDER, p.name, ".png")
                threads["cutout"].submit(write_cutout, path, frame.image, p.probability)
            if "soft" in outputs:
                soft = folder / SOFT_FOLDER
                threads["soft"].submit(write_soft_mask, soft, p.name, p.probability, ids)

        yield write


class ProgressBars:
    """A progress bar for the fine-tuning of each object, then one for the frames.

    Args:
        clip: The clip.
        shown: Whether bars are shown on a terminal.
        keep: Whether full bars remain on the terminal.
    """

    def __init__(self, clip: Clip, *, shown: bool, keep: bool = False):
        self._clip, self._objects = clip, len(clip.object_ids)
        # None: shown where there is a terminal.
        self._options = {"leave": keep, "disable": None if shown else True}
        self._tuning: tqdm | None = None
        self._running: tqdm | None = None
        self._object = 0

    def close(self) -> None:
        """Closes the bars."""
        for bar in (self._tuning, self._running):
            if bar is not None:
                bar.close()

    def tuned(self, step: int, steps: int, loss: float) -> None:
        """Shows a step of fine-tuning; the first one of an object begins a bar."""
        if step == 1 or self._tuning is None:
            self.close()
            self._object += 1
            which = f" object {self._object}/{self._objects}" if self._objects > 1 else ""
            total = steps if steps < UNLIMITED_STEPS else None
            text = f"fine-tune {self._clip.sequence.name}{which}"
            self._tuning = tqdm(total=total, desc=text, unit="step", **self._options)
        self._tuning.set_postfix(loss=f"{loss:.3f}", refresh=False)
        self._tuning.update(step - self._tuning.n)

    def segmented(self) -> None:
        """Counts a frame."""
        if self._running is None:
            self.close()
            total = len(self._clip.sequence) - self._clip.start
            text = f"segment {self._clip.sequence.name}"
            self._running = tqdm(total=total, desc=text, unit="frame", **self._options)
        self._running.update()
