"""Offline training of a parent: one loop, any backend, exactly resumable."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import time
from pathlib import Path

import cv2
import keras
import numpy as np
from tqdm import tqdm

from deeplab_gygo import backend
from deeplab_gygo.config import TrainConfig, to_plain
from deeplab_gygo.data.clips import MOMENTS
from deeplab_gygo.data.material import build_source, data_root
from deeplab_gygo.data.shards import local_material
from deeplab_gygo.errors import UsageError
from deeplab_gygo.models.backbones import layers_up_to
from deeplab_gygo.models.deeplab import DECODER_STRIDE, KEY_LAYER, DeepLabV3Plus
from deeplab_gygo.models.weights import (
    assign,
    load_parent,
    read_parent_file,
    save_parent,
    variables_by_name,
)
from deeplab_gygo.training.averaging import MovingAverage
from deeplab_gygo.training.batches import batches
from deeplab_gygo.training.checkpoints import load_checkpoint, save_checkpoint
from deeplab_gygo.training.examples import open_pool
from deeplab_gygo.training.interrupts import deferred_interrupts
from deeplab_gygo.training.optimization import ParentStep
from deeplab_gygo.training.pace import Pace
from deeplab_gygo.training.parallel import distribute
from deeplab_gygo.training.summaries import Summaries
from deeplab_gygo.training.validation import Validation

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


class ParentTrainer:
    """Trains a parent and writes checkpoints, logs and the parent file into a folder.

    Files: `parent.npz` (the best by validation, or the last where there is no validation),
    `last.npz`, `checkpoint.npz`, `log.csv`, TensorBoard events, `config.json`.

    Args:
        config: What to train on what.
        folder: Where to write; an unfinished training in it is resumed.
        backbone_weights: `imagenet`, a path, or None for random ones.
        progress: Show a progress bar.

    Raises:
        InputError: Material is missing, damaged or of another layout.
        UsageError: The folder holds a training of another configuration, or a value is out of
            range.
    """

    def __init__(
        self,
        config: TrainConfig,
        folder: str | Path,
        *,
        backbone_weights: str | None = "imagenet",
        progress: bool = True,
    ):
        if config.batch < MOMENTS or config.batch % MOMENTS:
            raise UsageError(
                f"A batch holds whole clips of {MOMENTS} moments", met=config.batch, where="batch"
            )
        self.config, self.folder, self.progress = config, Path(folder), progress
        self.folder.mkdir(parents=True, exist_ok=True)
        cv2.setNumThreads(1)  # the examples' threads are the parallelism
        self.root = local_material(data_root(config.data_root), progress=progress)
        self.source = build_source(config.sources, str(self.root), config.cache_gb)
        self.precision = backend.set_precision(config.precision)
        self.devices = distribute(config.batch) if config.data_parallel else 1
        keras.utils.set_random_seed(config.seed)
        self.parent = self._initial_parent(backbone_weights)
        self._freeze()
        self._step_function = ParentStep(self.parent, config)
        self.validation = Validation(self.parent, config.validation, str(self.root))
        self.step, self.seconds, self.best = 0, 0.0, -1.0
        trained = {n: v for n, v in variables_by_name(self.parent).items() if v.trainable}
        self.average = MovingAverage(trained, config.ema, on_device=bool(backend.devices()))
        self.pace = Pace()
        self._resume()

    def _initial_parent(self, backbone_weights: str | None) -> DeepLabV3Plus:
        if not self.config.initial:
            return DeepLabV3Plus(self.config.model, backbone_weights)
        if self.config.grow:
            parent = DeepLabV3Plus(self.config.model)
            _, arrays, _ = read_parent_file(self.config.initial)
            assign(parent, arrays, self.config.initial, grow=True)
            return parent
        parent, _ = load_parent(self.config.initial)
        if parent.config != self.config.model:
            raise UsageError(
                "A parent to start from has the architecture of the configuration",
                met=to_plain(parent.config),
                where=self.config.initial,
                remedy="Correct `model` or `initial`, or set `grow` where only parts are new",
            )
        return parent

    def _freeze(self) -> None:
        if self.config.frozen_stages >= 0:
            for layer in layers_up_to(self.parent.encoder, self.config.frozen_stages):
                layer.trainable = layer.name == KEY_LAYER  # new, however much is frozen beside it
        for layer in self.parent.encoder.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.trainable = False

    # === State ===

    @property
    def _identity(self) -> str:
        """Hash of the configuration, but for what may change between runs of one training."""
        plain = to_plain(self.config)
        for key in NOT_IDENTITY:
            plain.pop(key)
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()

    def _random_states(self) -> list[keras.Variable]:
        """Returns the states of the random numbers of dropout."""
        return [v for v in self.parent.head.variables if "seed_generator" in v.path]

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

    # === Schedule ===

    def progress_fraction(self) -> float:
        """Returns how much of the schedule is done, in 0..1, by steps or by time."""
        by_time = self.seconds / self.config.seconds if self.config.seconds else 0.0
        return min(1.0, max(self.step / self.config.steps, by_time))

    def _rate_factor(self) -> float:
        warm = min(1.0, (self.step + 1) / max(1, self.config.warmup))
        return warm * 0.5 * (1.0 + math.cos(math.pi * self.progress_fraction()))

    # === The loop ===

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
        feed = batches(
            open_pool(config, self.source, self.root, DECODER_STRIDE),
            first_step=self.step,
            last_step=config.steps,
            batch=config.batch,
        )
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
            loss = self._step_function(inputs, targets, self._rate_factor())
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
        values |= {"rate": self._rate_factor() * self.config.head_rate, "seconds": self.seconds}
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
            card = {"step": self.step, "seconds": round(self.seconds), "validation": scores,
                    "training": to_plain(self.config)}  # fmt: skip
            save_parent(self.folder / "last.npz", self.parent, card)
            if score >= self.best or not scores:
                self.best = score if scores else self.best
                save_parent(self.folder / "parent.npz", self.parent, card)
            logger.info("step %d: %s", self.step, scores)
        finally:
            assign(self.parent, current, self.folder)
