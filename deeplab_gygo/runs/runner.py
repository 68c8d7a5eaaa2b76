"""One network for the life of the process, and what it makes of one clip after the other."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from deeplab_gygo import backend
from deeplab_gygo.runs.clip import Clip
from deeplab_gygo.runs.progress import SequenceBars
from deeplab_gygo.runs.sequence_record import (SequenceRecord, hashes_of, identity_config)
from deeplab_gygo.runs.result_writers import ResultWriters
from deeplab_gygo.runs.settings import RunSettings
from deeplab_gygo.runs.stream import ClipStream
from deeplab_gygo.models.config import ModelConfig
from deeplab_gygo.inference.engines import encoder_in
from deeplab_gygo.models.memory import Memory
from deeplab_gygo.models.target_model import TargetModel
from deeplab_gygo.models.weight_file import load_parent
from deeplab_gygo.inference.confidence import look_at
from deeplab_gygo.inference.prediction import Prediction
from deeplab_gygo.methods import make_segmenter
from deeplab_gygo.runs.output_directory import OutputDirectory
from deeplab_gygo.runs.environment import hardware
from deeplab_gygo.io.cache_folder import cache_folder


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

    def run(self, clip: Clip, out: Path, *, keep_bars: bool = True) -> SequenceRecord:
        """Segments a clip; the folder appears when everything in it is written.

        Args:
            clip: The clip.
            out: Folder to make; an earlier result in it is replaced, other files are not.
            keep_bars: Whether the progress bar stays to be seen.

        Returns:
            The record, which is in the folder too.

        Raises:
            InputError: A frame is damaged.
            StorageError: The folder cannot be written.
            UsageError: The folder holds other files.
        """
        hashes = hashes_of(clip, self.settings)
        with OutputDirectory(out) as folder:
            times = _Times()
            with ResultWriters(self.settings.outputs, folder, clip) as writers:
                self._segment(clip, writers, times, keep_bars)
            times.end()
            record = self._record(clip, hashes, times)
            record.write(folder)
        return record

    def adapt(self, clip: Clip) -> dict[str, Any]:
        """Fine-tunes the network on the mask of a clip and leaves it so.

        Args:
            clip: A clip with one object.

        Returns:
            What was done, for the card of the model.
        """
        frame = clip.sequence.frame(clip.start)
        with self._bars(clip, keep=True) as bars:
            done = self._segmenter.begin(frame, clip.mask, bars.tuned)
        return {
            "sequence": clip.name,
            "frame": frame.name,
            "hashes": clip.hashes(),
            "steps": done.steps,
            "seconds": round(done.seconds, 2),
            "notes": list(self._segmenter.warnings),
        }

    @property
    def memory(self) -> Memory | None:
        """Returns what is remembered of the annotated frame that `adapt` was given.

        DeepLabV3+ only.
        """
        return self._segmenter.first_memory

    @property
    def target_model(self) -> TargetModel | None:
        """Returns what tells the object that `adapt` was given from its background.

        DeepLabV3+ only.
        """
        return self._segmenter.target_model

    @property
    def _trunk(self) -> str:
        if self.parent is None:
            return ""
        config = self.parent.config
        return config.backbone if isinstance(config, ModelConfig) else self.card.get("trunk", "")

    def _segment(self, clip: Clip, writers: ResultWriters, times: _Times, keep_bars: bool) -> None:
        """Segments a clip and hands every frame to the writers."""
        ahead = max(4, 2 * self.settings.window)
        with ClipStream(clip, ahead) as stream, self._bars(clip, keep=keep_bars) as bars:
            for prediction in self._segmenter.run(stream, bars.tuned):
                writers.write(stream.take(prediction.index), prediction)
                bars.segmented()
                times.frame(prediction)

    def _bars(self, clip: Clip, keep: bool) -> SequenceBars:
        return SequenceBars(
            clip.name,
            len(clip.sequence) - clip.start,
            clip.objects,
            shown=self.settings.progress,
            keep=keep,
        )

    def _record(self, clip: Clip, hashes: dict[str, str], times: _Times) -> SequenceRecord:
        adaptation = self._segmenter.adaptation
        # The given mask is no result of the network, except in zero-shot, which predicts it too.
        given = 0 if self.settings.online.mode == "zero-shot" else 1
        return SequenceRecord(
            command=list(sys.argv),
            config=identity_config(self.settings),
            seed=self.settings.seed,
            hashes=hashes,
            frames=len(times.network) - given,
            adaptation_seconds=adaptation.seconds,
            steps=adaptation.steps,
            losses=[round(loss, 5) for loss in adaptation.losses],
            frame_seconds=times.intervals(given, self.settings.window),
            hardware=hardware(", ".join(backend.devices()) or None),
            warnings=[*self._segmenter.warnings, *look_at(times.confidence)],
            name=clip.name,
            source=str(clip.sequence.source),
            mask_source=str(clip.mask_source),
            first_frame=clip.sequence.frame_names[clip.start],
            masks=len(times.network),
            objects=clip.objects,
            outputs=list(self.settings.outputs),
            weights=str(self.settings.weights_path or ""),
            precision=self.precision,
            preset=self.settings.preset,
            method=self.settings.method,
            trunk=self._trunk,
            total_seconds=times.total,
            network_seconds=[round(seconds, 4) for seconds in times.network[given:]],
            confidence=dict(list(times.confidence.items())[given:]),
        )


class _Times:
    """The times of a run, from its making on, and the confidence of its frames."""

    def __init__(self):
        self._moments = [time.monotonic()]
        self.network: list[float] = []
        self.confidence: dict[str, float] = {}

    @property
    def total(self) -> float:
        """Seconds from the beginning to the last moment."""
        return self._moments[-1] - self._moments[0]

    def frame(self, prediction: Prediction) -> None:
        """Notes that a frame is done, how long the network took for it, and its confidence."""
        self._moments.append(time.monotonic())
        self.network.append(prediction.seconds)
        self.confidence[prediction.name] = round(prediction.confidence, 4)

    def end(self) -> None:
        """Notes that all is written; what that took counts for the last frame."""
        self._moments[-1] = time.monotonic()

    def intervals(self, given: int, window: int) -> list[float]:
        """Wall seconds of every frame that the network made.

        Frames come in windows, all at once; each of a window gets the mean of it.

        Args:
            given: Frames at the beginning that the network did not make.
            window: Frames encoded at once.

        Returns:
            Seconds; their sum is the time from the last given frame on.
        """
        moments = self._moments[given:]
        seconds: list[float] = []
        for first in range(0, len(moments) - 1, window):
            last = min(first + window, len(moments) - 1)
            mean = (moments[last] - moments[first]) / (last - first)
            seconds += [round(mean, 4)] * (last - first)
        return seconds
