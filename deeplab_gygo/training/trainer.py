"""The loop of offline training: any method, any backend, exactly resumable."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, Protocol

import cv2
import keras
import numpy as np

from deeplab_gygo import backend
from deeplab_gygo.errors import DeepLabGygoError
from deeplab_gygo.inference.prediction import ProgressCallback
from deeplab_gygo.io.atomic import replacing
from deeplab_gygo.io.config_file import to_plain
from deeplab_gygo.models.config import Precision
from deeplab_gygo.models.weight_file import (
    assign,
    dropout_states,
    save_parent,
    variables_by_name,
)
from deeplab_gygo.synthesis.sources import data_root
from deeplab_gygo.training.checkpoints import (
    Groups,
    first_not_finite,
    load_checkpoint,
    save_checkpoint,
)
from deeplab_gygo.training.checks import check_training
from deeplab_gygo.training.config import ValidationConfig
from deeplab_gygo.training.examples import Batch, LoaderConfig
from deeplab_gygo.training.interrupts import DeferredInterrupts
from deeplab_gygo.training.monitoring import (
    DIVERGED,
    STEPS_IN_FLIGHT,
    VALIDATION,
    ScalarLog,
    ThroughputMeter,
)
from deeplab_gygo.training.run_folder import owned
from deeplab_gygo.training.steps import MovingAverage, TrainStep
from deeplab_gygo.training.validation import Validation

logger = logging.getLogger(__name__)

NOT_IDENTITY = (
    "steps", "seconds", "workers", "worker_processes", "data_parallel", "cache_gb", "data_root",
    "log_every", "validate_every", "checkpoint_every",
)  # fmt: skip
"""Keys of the configuration that may change between runs of one training."""


class TrainerConfig(LoaderConfig, Protocol):
    """Options of `Trainer`, in the training configuration of every method."""

    model: Any
    init_from: str
    validation: list[ValidationConfig]
    data_root: str
    steps: int
    seconds: float
    warmup: int
    ema_momentum: float
    validate_every: int
    checkpoint_every: int
    log_every: int
    precision: Precision
    seed: int


def prepare_training(config: TrainerConfig, folder: str | Path) -> str | Path:
    """Checks what a training needs, and sets threads, precision and random seeds.

    Args:
        config: Configuration of the training.
        folder: Output folder.

    Returns:
        Folder that relative roots of the sources start at, or its URL.

    Raises:
        DeepLabGygoError: As in `check_training`.
    """
    check_training(config, folder)
    cv2.setNumThreads(1)  # the threads that make examples are the parallelism
    backend.set_precision(config.precision)
    keras.utils.set_random_seed(config.seed)
    return data_root(config.data_root)


class Trainer(ABC):
    """Trains a network and writes checkpoints, logs and the parent file into a folder.

    Files: `parent.npz` (the best by validation, or the last without validation), `last.npz`,
    `checkpoint.npz`, `log.csv`, TensorBoard events, `config.json`.

    A training that is stopped at any moment, by a signal or by the end of its process, is resumed
    as if it had not been: steps are whole, validations are done again. The order of the writes of a
    step is: its log, the checkpoint from which its validation can be repeated, the scores, the
    weights, the checkpoint with the validation.

    A subclass calls `prepare_training`, builds the parts, passes them on, and makes the batches.

    Args:
        config: Configuration of the training.
        folder: Output folder; an unfinished training in it is resumed.
        parent: Network to train, with its frozen layers marked.
        step: Gradient step over the network's variables.
        validation: Measurement of the network.
        learning_rate: Peak learning rate that is logged.
        card: Entries of the parent file beside those of the training.

    Raises:
        UsageError: The folder contains a training of another configuration, or one that runs.
        InputError: The checkpoint in the folder is damaged.
    """

    def __init__(
        self,
        config: TrainerConfig,
        folder: str | Path,
        *,
        parent: Any,
        step: TrainStep,
        validation: Validation,
        learning_rate: float,
        card: dict[str, Any] | None = None,
    ):
        self.config, self.folder, self._loss = config, Path(folder), math.nan
        self.parent, self.validation = parent, validation
        self.train_step, self._peak_learning_rate, self._card = step, learning_rate, card or {}
        self.step, self.seconds, self.best, self._validated = 0, 0.0, -1.0, 0
        self._is_compiled = False
        trained = {n: v for n, v in self._variables().items() if v.trainable}
        has_device = bool(backend.devices())
        self.average = MovingAverage(trained, config.ema_momentum, has_device)
        self.meter = ThroughputMeter(STEPS_IN_FLIGHT if has_device else 0)
        # Whether all of the state is of one step, and the step and validation of the checkpoint.
        self._is_whole, self._saved = True, (-1, -1)
        with ExitStack() as stack:
            stack.enter_context(owned(self.folder))
            self._resume()
            self._owned = stack.pop_all()

    @abstractmethod
    def batches(self) -> Iterator[Batch]:
        """Starts the batches from the current step on."""

    def learning_rate_factor(self) -> float:
        """Returns the factor of the peak learning rates: linear warm-up, then cosine decay."""
        warmup = min(1.0, (self.step + 1) / max(1, self.config.warmup))
        return warmup * 0.5 * (1.0 + math.cos(math.pi * self.progress_fraction()))

    def step_targets(self, targets: np.ndarray) -> Any:
        """Returns the second argument of the loss for the targets of a batch."""
        return targets

    def progress_fraction(self) -> float:
        """Returns the finished fraction of the schedule, 0..1, by steps or by time."""
        by_time = self.seconds / self.config.seconds if self.config.seconds else 0.0
        return min(1.0, max(self.step / self.config.steps, by_time))

    def run(self, progress: ProgressCallback = lambda step, steps, loss: None) -> Path:
        """Trains until the steps or the seconds of the configuration are used up.

        Args:
            progress: Called as `progress(step, steps, loss)` after every step, with the loss that
                was logged last, NaN before.

        Returns:
            Path of the parent file.

        Raises:
            DeepLabGygoError: The loss is not finite, or a file cannot be written.
        """
        with ExitStack() as stack:
            stack.enter_context(closing(self._owned))
            log = stack.enter_context(closing(ScalarLog(self.folder, self.step, self._validated)))
            feed = stack.enter_context(closing(self.batches()))
            with DeferredInterrupts() as interrupts:
                try:
                    self._train(feed, log, progress, interrupts)
                except KeyboardInterrupt:
                    if self._is_whole:
                        self._checkpoint()
                    raise
        logger.info(
            "%.1f examples a second; %.1f %% of the time was input wait",
            self.meter.examples_per_second,
            100 * self.meter.input_wait,
        )
        return self.folder / "parent.npz"

    def _train(
        self,
        feed: Iterator[Batch],
        log: ScalarLog,
        progress: ProgressCallback,
        interrupts: DeferredInterrupts,
    ) -> None:
        config = self.config
        if self.step % config.validate_every == 0:
            self._validate(log, interrupts)  # if the training was stopped within the validation
        while self.progress_fraction() < 1.0:
            start = time.monotonic()
            with interrupts.allowed():
                inputs, targets = next(feed)
            waited = time.monotonic() - start
            if not self._is_compiled:
                with interrupts.allowed():
                    self._compile(inputs, targets)
                start = time.monotonic() - waited  # the schedule does not count the compilation
            self._run_step(inputs, targets)
            seconds = time.monotonic() - start
            self.seconds += seconds
            self.meter.add_time(seconds, waited, len(targets))
            if self.step % config.log_every == 0:
                self._log(log)
            self._is_whole = True
            progress(self.step, config.steps, self._loss)
            if self.step % config.validate_every == 0:
                self._validate(log, interrupts)
            elif self.step % config.checkpoint_every == 0:
                self._checkpoint()
        self._validate(log, interrupts)

    def _compile(self, inputs: dict[str, np.ndarray], targets: np.ndarray) -> dict[str, int]:
        """Compiles the step where a signal may interrupt it: on a GPU it takes a minute."""
        start = time.monotonic()
        memory = self.train_step.prepare(inputs, self.step_targets(targets))
        logger.info("the step was compiled in %.1f s", time.monotonic() - start)
        self._is_compiled = True
        return memory

    def dry_run(self) -> dict[str, Any]:
        """Makes a batch and compiles the step for it, without training.

        Returns:
            Figures of the training: `parameters` and the `trained` ones among them, `steps` that
            are left, `examples`, the examples of these, `batch_seconds`, the time to make the first
            batch, `compile_seconds`, and on JAX `bytes`, the memory of the step.
        """
        with closing(self._owned), closing(self.batches()) as feed:
            start = time.monotonic()
            inputs, targets = next(feed)
            made = time.monotonic()
            memory = self._compile(inputs, targets)
            compiled = time.monotonic()
        sizes = {n: (v.trainable, int(np.prod(v.shape))) for n, v in self._variables().items()}
        left = self.config.steps - self.step
        return {
            "parameters": sum(size for _, size in sizes.values()),
            "trained": sum(size for trainable, size in sizes.values() if trainable),
            "steps": left,
            "examples": left * len(targets),
            "batch_seconds": round(made - start, 1),
            "compile_seconds": round(compiled - made, 1),
            **({"bytes": memory} if memory else {}),
        }

    def _run_step(self, inputs: dict[str, np.ndarray], targets: np.ndarray) -> None:
        self._is_whole = False
        factor = self.learning_rate_factor()
        loss = self.train_step(inputs, self.step_targets(targets), factor)
        self.step += 1
        self.average.update(self.step)
        self.meter.add_loss(self.step, loss)

    def _log(self, log: ScalarLog) -> None:
        values = self.meter.summary()
        rate = self.learning_rate_factor() * self._peak_learning_rate
        log.write(self.step, {**values, "rate": rate, "seconds": self.seconds})
        self._loss = values.get("loss", self._loss)

    def _validate(self, log: ScalarLog, interrupts: DeferredInterrupts) -> None:
        """Measures J with the averaged weights and keeps the best parent, once a step."""
        if self._validated == self.step:
            return
        self._checkpoint()
        current = {n: v.numpy() for n, v in self._variables().items()}
        self._is_whole = False
        try:
            assign(self.parent, {**current, **self.average.values()}, self.folder)
            with interrupts.allowed():
                scores = self.validation.run()
            self._keep(scores, log)
        finally:
            assign(self.parent, current, self.folder)
            self._is_whole = True
        self._validated = self.step
        self._checkpoint()

    def _keep(self, scores: dict[str, float], log: ScalarLog) -> None:
        """Logs the scores of the network, and writes its weights."""
        log.write(self.step, {f"{VALIDATION}{k}": v for k, v in scores.items()})
        # The folder of the sources does not define the weights.
        training = {**to_plain(self.config), "data_root": ""}
        card = {"step": self.step, "seconds": round(self.seconds), "validation": scores,
                **self._card, "training": training}  # fmt: skip
        save_parent(self.folder / "last.npz", self.parent, card)
        score = float(np.mean(list(scores.values()))) if scores else self.best
        if score >= self.best:
            save_parent(self.folder / "parent.npz", self.parent, card)
            self.best = score
        logger.info("step %d: %s", self.step, scores)

    @property
    def _identity(self) -> str:
        """Hash of the configuration without the keys that may change between runs."""
        plain = to_plain(self.config)
        for key in NOT_IDENTITY:
            plain.pop(key, None)
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()

    def _variables(self) -> dict[str, keras.Variable]:
        return variables_by_name(self.parent)

    def _resume(self) -> None:
        found = load_checkpoint(self.folder, self._identity, self._groups())
        if found is None:
            with replacing(self.folder / "config.json") as side:
                side.write_text(json.dumps(to_plain(self.config), indent=1), encoding="utf-8")
            return
        groups, state = found
        assign(self.parent, groups["network"], self.folder)
        self.average.set_values(groups["average"])
        self.train_step.set_state(groups["optimizer"])
        for index, variable in enumerate(dropout_states(self.parent.parts)):
            variable.assign(groups["random"][str(index)])
        self.step, self.seconds, self.best = state["step"], state["seconds"], state["best"]
        self._validated = state["validated"]
        self.meter.set_state(state["meter"])
        self._saved = (self.step, self._validated)
        logger.info("resumed at step %d after %.0f s", self.step, self.seconds)

    def _groups(self) -> Groups:
        return {
            "network": {n: v.numpy() for n, v in self._variables().items()},
            "optimizer": self.train_step.state(),
            "random": {str(i): v.numpy() for i, v in enumerate(dropout_states(self.parent.parts))},
            "average": self.average.values(),
        }

    def _checkpoint(self) -> None:
        """Writes a checkpoint if the last one is of another step or validation."""
        if self._saved == (self.step, self._validated):
            return
        self._is_whole = False
        meter = self.meter.state()
        self._is_whole = True
        groups = self._groups()
        wrong = first_not_finite(groups)
        if wrong is not None:
            raise DeepLabGygoError(
                "The weights of a training are finite",
                met=f"{wrong} is not",
                where=f"step {self.step}",
                remedy=DIVERGED,
            )
        state = {
            "step": self.step,
            "seconds": self.seconds,
            "best": self.best,
            "validated": self._validated,
            "meter": meter,
            "identity": self._identity,
        }
        save_checkpoint(self.folder, groups, state)
        self._saved = (self.step, self._validated)
