"""The loop of every offline training: any method, any backend, exactly resumable."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import cv2
import keras
import numpy as np
from tqdm import tqdm

from deeplab_gygo import backend
from deeplab_gygo.errors import UsageError
from deeplab_gygo.io.config_file import to_plain
from deeplab_gygo.models.weight_file import assign, save_parent, variables_by_name
from deeplab_gygo.synthesis.clips import ClipSource
from deeplab_gygo.synthesis.sources import data_root
from deeplab_gygo.training.checkpoints import load_checkpoint, save_checkpoint
from deeplab_gygo.training.config import TrainConfig
from deeplab_gygo.training.ema import MovingAverage
from deeplab_gygo.training.examples import Batch
from deeplab_gygo.training.interrupts import deferred_interrupts
from deeplab_gygo.training.steps import RatedStep
from deeplab_gygo.training.summaries import Summaries
from deeplab_gygo.training.throughput import Pace

logger = logging.getLogger(__name__)

NOT_IDENTITY = (
    "steps",
    "seconds",
    "workers",
    "worker_processes",
    "data_parallel",
    "cache_gb",
    "data_root",
    "log_every",
    "validate_every",
    "checkpoint_every",
)
"""Keys of the configuration that may change between runs of one training."""


class Measurement(Protocol):
    """What measures a network on sequences that are held back."""

    def run(self) -> dict[str, float]:
        """Returns mean J by name."""
        ...


class Trainer(ABC):
    """Trains a network and writes checkpoints, logs and the parent file into a folder.

    Files: `parent.npz` (the best by validation, or the last where there is no validation),
    `last.npz`, `checkpoint.npz`, `log.csv`, TensorBoard events, `config.json`.

    A method's trainer says what the network is, what is trained, and what it is fed with.

    Args:
        config: What to train on what.
        folder: Where to write; an unfinished training in it is resumed.
        progress: Show a progress bar.

    Raises:
        InputError: Material is missing, damaged or of another layout.
        UsageError: The folder holds a training of another configuration, or a value is out of
            range.
    """

    def __init__(
        self, config: TrainConfig, folder: str | Path, progress: bool
    ):
        self.config, self.folder, self.progress = config, Path(folder), progress
        self.folder.mkdir(parents=True, exist_ok=True)
        cv2.setNumThreads(1)  # the examples' threads are the parallelism
        self.root = data_root(config.data_root)
        self.source = self._open_source()
        self.precision = backend.set_precision(config.precision)
        self._choose_devices()
        keras.utils.set_random_seed(config.seed)
        self.parent = self._build_parent()
        self._freeze()
        self._step_function = self._build_step()
        self.validation = self._build_validation()
        self.step, self.seconds, self.best = 0, 0.0, -1.0
        trained = {n: v for n, v in variables_by_name(self.parent).items() if v.trainable}
        self.average = MovingAverage(trained, config.ema, on_device=bool(backend.devices()))
        self.pace = Pace()
        self._resume()

    # === What a method says ===

    @abstractmethod
    def _open_source(self) -> ClipSource:
        """Opens the material."""

    @abstractmethod
    def _build_parent(self) -> Any:
        """Builds the network: `parts`, `config`, and what `save_parent` stores."""

    @abstractmethod
    def _freeze(self) -> None:
        """Sets which layers are not trained."""

    @abstractmethod
    def _build_step(self) -> RatedStep:
        """Builds the gradient step."""

    @abstractmethod
    def _build_validation(self) -> Measurement:
        """Builds what measures the network."""

    @abstractmethod
    def _feed(self) -> Iterator[Batch]:
        """Starts the batches from the present step on."""

    @abstractmethod
    def _rate_factor(self) -> float:
        """Returns the factor of the peak rates at the present step."""

    def _choose_devices(self) -> None:
        """Chooses what the training runs on, before anything is built; one device otherwise."""
        self.devices = 1

    def _step_targets(self, targets: np.ndarray) -> Any:
        """Returns what the loss is given beside the outputs."""
        return targets

    def _card(self) -> dict[str, Any]:
        """Returns what the parent file says of itself beside the course of the training."""
        return {}

    @property
    def _peak_rate(self) -> float:
        """Peak rate that the log follows."""
        return self.config.rate

    # === State ===

    @property
    def _identity(self) -> str:
        """Hash of the configuration, but for what may change between runs of one training."""
        plain = to_plain(self.config)
        for key in NOT_IDENTITY:
            plain.pop(key, None)
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()

    def _random_states(self) -> list[keras.Variable]:
        """Returns the states of the random numbers of dropout."""
        variables = [v for part in self.parent.parts for v in part.variables]
        return [v for v in variables if "seed_generator" in v.path]

    def _resume(self) -> None:
        found = load_checkpoint(self.folder)
        if found is None:
            (self.folder / "config.json").write_text(json.dumps(to_plain(self.config), indent=1))
            return
        groups, state = found
        if state["identity"] != self._identity:
            raise UsageError(
                "A folder holds trainings of one configuration",
                met="a checkpoint of another configuration",
                where=self.folder,
                remedy="Give another --out, or delete the folder",
            )
        assign(self.parent, groups["network"], self.folder)
        if self.config.ema:
            self.average.set_values(groups["average"])
        self._step_function.set_state(groups["optimizer"])
        for index, variable in enumerate(self._random_states()):
            variable.assign(groups["random"][str(index)])
        self.step, self.seconds, self.best = state["step"], state["seconds"], state["best"]
        logger.info("resumed at step %d after %.0f s", self.step, self.seconds)

    def _checkpoint(self) -> None:
        self.pace.settle()
        network = {n: v.numpy() for n, v in variables_by_name(self.parent).items()}
        random = {str(i): v.numpy() for i, v in enumerate(self._random_states())}
        groups = {
            "network": network,
            "optimizer": self._step_function.state(),
            "random": random,
            "average": self.average.values(),
        }
        state = {
            "step": self.step,
            "seconds": self.seconds,
            "best": self.best,
            "identity": self._identity,
        }
        save_checkpoint(self.folder, groups, state)

    # === The loop ===

    def progress_fraction(self) -> float:
        """Returns how much of the schedule is done, in 0..1, by steps or by time."""
        by_time = self.seconds / self.config.seconds if self.config.seconds else 0.0
        return min(1.0, max(self.step / self.config.steps, by_time))

    def run(self) -> Path:
        """Trains until the steps or the seconds of the configuration are used up.

        Returns:
            Path of the parent file.

        Raises:
            DeepLabGygoError: The loss is no longer finite, or a file cannot be written.
        """
        config = self.config
        summaries = Summaries(self.folder)
        bar = tqdm(
            total=config.steps,
            initial=self.step,
            unit="step",
            disable=None if self.progress else True,
        )
        feed = self._feed()
        clock = time.monotonic()
        try:
            for inputs, targets in self.pace.timed(feed):
                self._train_step(inputs, targets)
                clock = self._count_time(clock)
                bar.update()
                if self.step % config.log_every == 0:
                    self._log(summaries, bar)
                if self.step % config.validate_every == 0:
                    self._validate(summaries)
                    clock = time.monotonic()  # measuring is no training
                if self.step % config.checkpoint_every == 0:
                    self._checkpoint()
                if self.progress_fraction() >= 1.0:
                    break
        except KeyboardInterrupt:
            self._checkpoint()
            raise
        finally:
            bar.close()
            feed.close()
        if self.step % config.validate_every or not (self.folder / "parent.npz").is_file():
            self._validate(summaries)
        self._checkpoint()
        summaries.close()
        logger.info("%.1f %% of the time went by waiting for examples", 100 * self.pace.input_wait)
        return self.folder / "parent.npz"

    def _train_step(self, inputs: dict[str, np.ndarray], targets: np.ndarray) -> None:
        with deferred_interrupts():
            loss = self._step_function(inputs, self._step_targets(targets), self._rate_factor())
            self.step += 1
            self.average.update(self.step)
        self.pace.add(self.step, loss)

    def _count_time(self, clock: float) -> float:
        now = time.monotonic()
        self.seconds += now - clock
        self.pace.count(now - clock)
        return now

    def _log(self, summaries: Summaries, bar: tqdm) -> None:
        values = self.pace.take()
        values |= {"rate": self._rate_factor() * self._peak_rate, "seconds": self.seconds}
        summaries.write(self.step, values)
        if "loss" in values:
            bar.set_postfix(loss=f"{values['loss']:.3f}")

    def _validate(self, summaries: Summaries) -> None:
        """Measures J with the averaged weights, and keeps the best parent."""
        self.pace.settle()
        current = {n: v.numpy() for n, v in variables_by_name(self.parent).items()}
        assign(self.parent, {**current, **self.average.values()}, self.folder)
        try:
            scores = self.validation.run()
            summaries.write(self.step, {f"validation/{k}": v for k, v in scores.items()})
            score = float(np.mean(list(scores.values()))) if scores else math.inf
            # Where the material lay is no part of what the weights are.
            training = {**to_plain(self.config), "data_root": ""}
            card = {"step": self.step, "seconds": round(self.seconds), "validation": scores,
                    **self._card(), "training": training}  # fmt: skip
            save_parent(self.folder / "last.npz", self.parent, card)
            if score >= self.best or not scores:
                self.best = score if scores else self.best
                save_parent(self.folder / "parent.npz", self.parent, card)
            logger.info("step %d: %s", self.step, scores)
        finally:
            assign(self.parent, current, self.folder)
