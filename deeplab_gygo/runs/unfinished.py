"""Runs that were interrupted: what is kept of them, and when they may go on."""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from deeplab_gygo._version import __version__
from deeplab_gygo.errors import InputError, UsageError
from deeplab_gygo.inference.frame_store import FrameStore
from deeplab_gygo.inference.prediction import Prediction
from deeplab_gygo.io.atomic import files_below, replacing
from deeplab_gygo.io.listing import shorten
from deeplab_gygo.io.locking import side_path
from deeplab_gygo.io.masks import read_mask
from deeplab_gygo.io.output_folder import resolved
from deeplab_gygo.io.reading import read_json
from deeplab_gygo.runs.clip import Clip
from deeplab_gygo.runs.output_directory import partial_folder
from deeplab_gygo.runs.result_files import MASK_FOLDER
from deeplab_gygo.runs.run_record import RunRecord, finished_record
from deeplab_gygo.runs.settings import RunSettings

logger = logging.getLogger(__name__)

_NAME = "run.json"


class TimedStore(FrameStore):
    """A store that also keeps how long the run had taken, in all its processes, at every file.

    Args:
        folder: As in `FrameStore`.
        descending: As in `FrameStore`.
        began: When the run would have begun without interruptions, on the monotonic clock, seconds;
            by default the time that its files record before now.

    Attributes:
        began: As given.
    """

    def __init__(self, folder: str | Path, *, descending: bool = False, began: float | None = None):
        super().__init__(folder, descending=descending)
        self._done = self.indices()
        self.began = time.monotonic() if began is None else began
        if began is None:
            states = self.initial_state() or {}, self.state(), self.backward().state()
            self.began -= max(float(state.get("elapsed", 0)) for state in states)

    def backward(self) -> TimedStore:
        return TimedStore(self.folder / "backward", descending=True, began=self.began)

    def moment(self, index: int) -> float:
        """Returns the moment at which an earlier process had finished a frame, or else now."""
        if index > max(self._done, default=-1):
            return time.monotonic()
        if index in self._done:
            return self.began + float(self._read(f"{index:06d}.npz")["elapsed"])
        # Before the annotated frame: all of these were finished when the first of them was.
        return self.began + float(self.backward().state()["elapsed"])

    def _write(self, name: str, values: Mapping[str, np.ndarray]) -> None:
        super()._write(name, {**values, "elapsed": np.array(time.monotonic() - self.began)})


class UnfinishedRun:
    """What an interrupted run of a clip left: its results, and the state to go on from.

    The results are in `<out>.partial`, the state is in a hidden folder beside it.

    Args:
        out: Folder of the results.
        clip: The clip.
        settings: Settings of the run.
        hashes: Of input, masks and weights.
    """

    def __init__(self, out: Path, clip: Clip, settings: RunSettings, hashes: dict[str, str]):
        self._clip, self._settings, self._hashes = clip, settings, hashes
        self._target = resolved(out)
        self._partial = partial_folder(out)
        self._state = side_path(self._target, "state")

    @property
    def safe(self) -> set[str]:
        """Corrected masks of an earlier result that are given again, or kept."""
        names, given = self._clip.sequence.frame_names, self._clip.annotations
        kept = range(self._clip.first_annotated) if self._earlier is not None else ()
        return {f"{MASK_FOLDER}/{names[i]}.png" for i in kept} | {
            f"{MASK_FOLDER}/{names[i]}.png"
            for i, each in given.items()
            if each.source.resolve() == self._target / MASK_FOLDER / f"{names[i]}.png"
        }

    def finished(self) -> RunRecord | None:
        """Returns the record of a run that was killed when all was written."""
        record = finished_record(self._partial)
        return record if record is not None and record.matches(self._clip, self._settings) else None

    @contextmanager
    def kept(self, folder: Path) -> Iterator[TimedStore]:
        """Yields the state to go on from; after an error it stays if there are masks.

        Args:
            folder: The partial folder, in which the results are written.

        Raises:
            UsageError: What is there belongs to another run, or its masks were corrected by hand.
        """
        self._check(folder)
        store = TimedStore(self._state)
        with replacing(self._state / _NAME) as side:
            side.write_text(json.dumps(self._identity, indent=1) + "\n", encoding="utf-8")
        self._check_masks(folder, store)
        done = len(store.indices())
        if done:
            logger.info("goes on after %d frames of an interrupted run", done)
        else:
            self._keep_earlier(store)
        try:
            yield store
        except BaseException as error:
            count = len(store.indices()) + len(store.backward().indices())
            if count:
                error.add_note(
                    f"{count} frames are kept in {folder}; the same command goes on after them"
                )
            elif files_below(folder):
                error.add_note(f"what was written is kept in {folder}; it is replaced by a new run")
            else:
                error.add_note("no frame was finished, and nothing is kept")
                self.forget()
            raise

    def forget(self) -> None:
        """Removes the state."""
        shutil.rmtree(self._state, ignore_errors=True)

    @property
    def _identity(self) -> dict[str, Any]:
        settings = self._settings
        identity = {
            "version": __version__,
            "seed": settings.seed,
            "settings": settings.identity,
            "hashes": self._hashes,
        }
        return json.loads(json.dumps(identity))

    def _check(self, folder: Path) -> None:
        """Removes the state of a run that is gone; refuses the results of another one."""
        path = self._state / _NAME
        try:
            found = read_json(path) if path.exists() else None
        except InputError:
            found = None
        if found == self._identity:
            return
        files = files_below(folder)
        if found is not None and self._settings.overwrite:
            for name in files:
                (folder / name).unlink()
        elif files:
            met = "an interrupted run with other input, settings or version"
            raise UsageError(
                "The folder of an unfinished result is that of the same run",
                met=met if found is not None else "other files",
                where=folder,
                remedy="Give the settings of that run to go on with it, or --overwrite to discard "
                "it, or move it elsewhere"
                if found is not None
                else "Move it elsewhere",
            )
        self.forget()

    def _check_masks(self, folder: Path, store: FrameStore) -> None:
        """Refuses to replace masks of the interrupted run that were corrected by hand."""
        names, corrected = self._clip.sequence.frame_names, []
        for index in sorted(store.indices()):
            path = folder / MASK_FOLDER / f"{names[index]}.png"
            try:
                mask = read_mask(path, mask_format="ids") if path.exists() else None
            except InputError:
                continue
            if mask is not None and (mask != store.prediction(index, names[index]).mask).any():
                corrected.append(path.name)
        if corrected:
            raise UsageError(
                "Masks that were corrected by hand are not replaced",
                met=shorten(corrected),
                where=folder / MASK_FOLDER,
                remedy="Move them elsewhere, and give them by --mask FRAME=FILE in a new run",
            )

    @cached_property
    def _earlier(self) -> RunRecord | None:
        """The earlier result of the same input, whose masks before the annotated frame are kept."""
        clip = self._clip
        if not (self._settings.overwrite and clip.both_ways and clip.first_annotated):
            return None
        try:
            record = RunRecord.read(self._target)
        except InputError:
            return None
        if record is None or record.hashes["input"] != self._hashes["input"]:
            return None
        names = clip.sequence.frame_names[: clip.first_annotated]
        known = all((self._target / MASK_FOLDER / f"{name}.png").exists() for name in names)
        return record if known else None

    def _keep_earlier(self, store: FrameStore) -> None:
        """Takes the masks before the annotated frame from an earlier result."""
        record, clip = self._earlier, self._clip
        if record is None:
            return
        labels, kept = clip.object_ids, store.backward()
        for index in reversed(range(clip.first_annotated)):
            name = clip.sequence.frame_names[index]
            path = self._target / MASK_FOLDER / f"{name}.png"
            mask = read_mask(path, size=clip.sequence.size, mask_format="ids")
            planes = np.stack([mask == label for label in labels]).astype(np.float32)
            probability = planes[0] if len(labels) == 1 else planes
            confidence = record.confidence.get(name, 1.0)
            prediction = Prediction(index, name, probability, mask, 0.0, confidence)
            kept.put(prediction, {})
        logger.info("the masks of the %d frames before it are kept", clip.first_annotated)
