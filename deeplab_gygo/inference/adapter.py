"""Fine-tuning of a parent on the first frame: one compiled step for the life of the process."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import Any

import keras
import numpy as np
from keras import ops

from deeplab_gygo import backend
from deeplab_gygo.errors import UsageError
from deeplab_gygo.inference.config import OnlineConfig
from deeplab_gygo.inference.network import Features, OnlineNetwork
from deeplab_gygo.inference.prediction import Adaptation, Report
from deeplab_gygo.inference.views import View
from deeplab_gygo.models.backbones import layers_up_to
from deeplab_gygo.models.deeplab import DeepLabV3Plus
from deeplab_gygo.models.losses import l2_sp, segmentation_loss
from deeplab_gygo.models.memory import remember
from deeplab_gygo.models.target_model import TargetModel

logger = logging.getLogger(__name__)

SWEEP = 10
"""Steps between looks at the clock, where steps run as one program and time is limited."""

Sample = tuple[dict[str, Any], np.ndarray]
"""Inputs of the adapted network for one picture, and labels uint8 [1, H, W, 1]."""


class OnlineAdapter:
    """Adapts a parent's weights to one object, and puts them back bit by bit.

    The network is built once; between sequences weights, optimizer slots and the loss scale return
    to a snapshot. BatchNorm is frozen: it runs on its moving statistics (decision of the official
    FAQ for small batches), and dropout is off.

    Args:
        parent: Network; its weights at this moment are the parent's.
        config: What is adapted, how fast, and what holds it to the parent.
        network: Compiled parts of the parent.

    Attributes:
        samples: What the last adaptation learned from, with cached features.
        model: What tells the object of the last adaptation from its background; None where it is
            not asked for, or nothing does.
    """

    def __init__(self, parent: DeepLabV3Plus, config: OnlineConfig, network: OnlineNetwork):
        self._parent, self._config, self._network = parent, config, network
        self._full = config.adapt == "full"
        self._groups = self._make_groups()
        self.variables = [v for _, variables in self._groups for v in variables]
        self._step = backend.GradientStep(
            parent.network if self._full else parent.head,
            segmentation_loss(config.dice),
            self._groups,
            training=False,
            regularizer=l2_sp(self.variables, config.anchor),
        )
        self._whole = bool(backend.devices()) if config.whole is None else config.whole
        self._traced = False
        self._state = self.variables + [v for o, _ in self._groups for v in o.variables]
        self._snapshot = [np.array(v.numpy()) for v in self._state]
        self.samples: list[Sample] = []
        self.model: TargetModel | None = None

    def _make_groups(self) -> list[tuple[keras.optimizers.Optimizer, list[keras.Variable]]]:
        config = self._config
        groups = [(_adam(config.rate), _adapted(self._parent.head.layers))]
        if self._full:
            encoder = self._parent.encoder
            frozen = {id(layer) for layer in layers_up_to(encoder, config.frozen_stages)}
            trained = [layer for layer in encoder.layers if id(layer) not in frozen]
            groups.append((_adam(config.backbone_rate), _adapted(trained)))
        return groups

    # === State ===

    def reset(self) -> None:
        """Puts weights and optimizer back to what they were at construction, bit by bit."""
        for variable, value in zip(self._state, self._snapshot, strict=True):
            variable.assign(value)

    def weights(self) -> list[np.ndarray]:
        """Returns copies of the adapted variables."""
        return [np.array(v.numpy()) for v in self.variables]

    def state(self) -> list[np.ndarray]:
        """Returns copies of the adapted variables and of the optimizers' slots."""
        return [np.array(v.numpy()) for v in self._state]

    def set_state(self, values: list[np.ndarray]) -> None:
        """Sets what `weights` or `state` returned."""
        for variable, value in zip(self._state, values, strict=False):
            variable.assign(value)

    # === Fine-tuning ===

    def adapt(
        self,
        views: list[View],
        rng: np.random.Generator,
        *,
        replay: list[View] | None = None,
        report: Report | None = None,
        started: float | None = None,
    ) -> Adaptation:
        """Fine-tunes from the present weights on views of one frame.

        Args:
            views: Views of the annotated frame, all of one size.
            rng: Order of the views.
            replay: Pictures of other things, one of which joins every step.
            report: Called after every step.
            started: Time of the monotonic clock that the budget counts from; None is now.

        Returns:
            What was done.

        Raises:
            UsageError: The loss is no longer finite.
        """
        started = time.monotonic() if started is None else started
        config = self._config
        cached = self._cached(views, rng, batch=2 if replay else 1)
        others = [self.sample(view.image, view.mask, view.guide) for view in replay or []]
        self.samples = cached
        if not self._full:  # before the steps, whose number the time that is left decides
            self.model = self._solved(views)
        sources = [cached, others] if others else [cached]
        stacks = [_joined(source) for source in sources] if self._whole else None
        picks = _picks([len(source) for source in sources], rng)
        losses: list[float] = []
        pace = 0.0
        while len(losses) < config.steps:
            step, elapsed = len(losses), time.monotonic() - started
            # It ends where it is nearest to the limit: at the middle of the steps to come.
            if config.seconds and step and elapsed + 0.5 * pace >= config.seconds:
                break
            chosen = list(islice(picks, self._at_once(step)))
            rates = [self._rates(step + i, elapsed) for i in range(len(chosen))]
            losses += self._learn(sources, stacks, chosen, rates)
            pace = time.monotonic() - started - elapsed
            for done in range(step, len(losses)):
                _check_finite(losses[done], done + 1)
                if report is not None:
                    report(done + 1, config.steps, losses[done])
        if config.keep:
            self._mix_back(config.keep)
        if self._full:
            self.model = self._solved(views)
        return Adaptation(len(losses), losses, time.monotonic() - started)

    def _solved(self, views: list[View]) -> TargetModel | None:
        """Solves for the target model on the views, with the encoder as it is now."""
        if self._config.guide != "target" or not self._parent.config.guide:
            return None
        if self._full:
            features = [self._network.encode(view.image[None])["high"] for view in views]
        else:
            features = [inputs["high"] for inputs, _ in self.samples]
        return TargetModel.fit(features, [view.coded for view in views])

    def _at_once(self, step: int) -> int:
        """Returns how many steps to run before the clock and the report have their turn."""
        if not self._whole:
            return 1
        left = self._config.steps - step
        return min(left, SWEEP) if self._config.seconds else left

    def _learn(
        self,
        sources: list[list[Sample]],
        stacks: list[Sample] | None,
        picks: list[tuple[int, ...]],
        rates: list[list[float]],
    ) -> list[float]:
        """Runs steps and returns their losses."""
        if stacks is not None:
            return [
                float(loss) for loss in backend.to_numpy(self._step.sweep(stacks, picks, rates))
            ]
        losses = []
        for pick, now in zip(picks, rates, strict=True):
            for (optimizer, _), rate in zip(self._groups, now, strict=True):
                optimizer.learning_rate = rate
            chosen = [source[index] for source, index in zip(sources, pick, strict=True)]
            losses.append(self._step(*_joined(chosen)))
        return losses

    def _rates(self, step: int, elapsed: float) -> list[float]:
        config = self._config
        done = step / max(1, config.steps)
        if config.seconds:
            done = max(done, elapsed / config.seconds)
        # Full speed at first, then down to a tenth: the last views must not decide alone.
        factor = 0.1 + 0.9 * 0.5 * (1.0 + math.cos(math.pi * min(1.0, done)))
        return [rate * factor for rate in (config.rate, config.backbone_rate)[: len(self._groups)]]

    def adapt_to(
        self,
        sample: Sample,
        first: list[Sample],
        rng: np.random.Generator,
        views: list[View] | None = None,
    ) -> None:
        """Adapts further to a later frame, beside views of the annotated one that hold it.

        One step in three is on the later frame, at a small part of the rate of the others: its
        labels are the network's own (OnAVOS weighs its loss by .05).

        Args:
            sample: Of `sample`, the later frame.
            first: Samples of the annotated frame.
            rng: Choice of the views.
            views: The same frame's views, to solve for `model` again where the encoder learns too;
                not looked at where it does not.
        """
        config = self._config
        for step in range(config.online_steps):
            later = step % 3 == 0
            chosen = sample if later else first[int(rng.integers(len(first)))]
            factor = config.online_rate * (config.online_weight if later else 1.0)
            self._set_rates(factor)
            _check_finite(self._step(*_joined([chosen])), step + 1)
        if self._full and views:
            self.model = self._solved(views)

    def _set_rates(self, factor: float) -> None:
        rates = (self._config.rate, self._config.backbone_rate)[: len(self._groups)]
        for (optimizer, _), rate in zip(self._groups, rates, strict=True):
            optimizer.learning_rate = rate * factor

    # === Samples ===

    def sample(
        self,
        image: np.ndarray,
        labels: np.ndarray,
        guide: np.ndarray | None,
        *,
        features: Features | None = None,
        recall: Any = None,
    ) -> Sample:
        """Makes a sample to learn from.

        Args:
            image: uint8 [H, W, 3] RGB at the padded size.
            labels: uint8 [H, W], 0 or 1, 255 where nothing is to be learned.
            guide: float32 [H/4, W/4, 1]; None for unknown.
            features: Of the image, where they are at hand.
            recall: What a memory says of it; None for unknown.

        Returns:
            Inputs of the adapted network, and the labels.
        """
        target = labels[None, ..., None]
        features = self._network.encode(image[None]) if features is None else features
        told = None if guide is None else guide[None]
        inputs = self._parent.head_inputs(features, told, recall)
        if self._full:
            known = {name: inputs[name] for name in inputs if name in ("guide", "recall")}
            inputs = {"image": ops.convert_to_tensor(image[None], "float32"), **known}
        return inputs, target

    def _cached(self, views: list[View], rng: np.random.Generator, batch: int) -> list[Sample]:
        """Encodes the views; some are told what a memory of another view says of them."""
        encoded = [self._network.encode(views[0].image[None])]
        first = self.sample(views[0].image, views[0].mask, views[0].guide, features=encoded[0])
        with self._tracing([first] * batch):
            encoded += [self._network.encode(view.image[None]) for view in views[1:]]
        samples = []
        for index, view in enumerate(views):
            recall = None
            known = rng.random() >= self._config.memory_dropout
            if self._parent.config.memory and self._config.recall and known and len(views) > 1:
                # The annotated frame, which is what later frames will be matched to.
                other = 0 if index else 1
                memory = remember(encoded[other]["key"], views[other].coded, self._parent.cell)
                recall = self._network.read(encoded[index], *memory)
            samples.append(
                self.sample(
                    view.image, view.mask, view.guide, features=encoded[index], recall=recall
                )
            )
        return samples

    @contextmanager
    def _tracing(self, samples: list[Sample]) -> Iterator[None]:
        """Traces the step beside the encoding of views, which leaves the interpreter idle."""
        if self._traced or self._whole or keras.config.dtype_policy().name != "float32":
            yield
            return
        self._traced = True
        with ThreadPoolExecutor(1) as pool:
            trace = pool.submit(self._step.prepare, *_joined(samples))
            yield
            trace.result()

    def _mix_back(self, part: float) -> None:
        for variable, start in zip(self.variables, self._snapshot, strict=False):
            value = variable.numpy()
            variable.assign(value + part * (start - value))


def _adapted(layers: list[keras.layers.Layer]) -> list[keras.Variable]:
    """Returns the weights of layers but for BatchNorm's: those stay the parent's."""
    return [
        variable
        for layer in layers
        if not isinstance(layer, keras.layers.BatchNormalization)
        for variable in layer.trainable_variables
    ]


def _adam(rate: float) -> keras.optimizers.Optimizer:
    optimizer = keras.optimizers.Adam(rate)
    if keras.config.dtype_policy().name == "mixed_float16":
        # A scale that overflows costs a step, and there are few: start below Keras's 2^15.
        return keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=2.0**10)
    return optimizer


def _picks(counts: list[int], rng: np.random.Generator) -> Iterator[tuple[int, ...]]:
    """Draws pictures without end: all of the first source equally often, any of the others."""
    views, *others = counts
    while True:
        for index in rng.permutation(views):
            yield (int(index), *(int(rng.integers(count)) for count in others))


def _joined(samples: list[Sample]) -> Sample:
    inputs = {
        key: ops.concatenate([s[0][key] for s in samples])
        if len(samples) > 1
        else samples[0][0][key]
        for key in samples[0][0]
    }
    return inputs, np.concatenate([s[1] for s in samples])


def _check_finite(loss: float, step: int) -> None:
    if not math.isfinite(loss):
        raise UsageError(
            "The loss of fine-tuning stays finite",
            met=loss,
            where=f"step {step}",
            remedy="Lower the rate, or use --precision float32",
        )
