"""Online fine-tuning: one compiled step for the process, exact reset between objects."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import chain, count
from typing import Any

import keras
import numpy as np
from keras import ops

from deeplab_gygo import backend
from deeplab_gygo.errors import UsageError
from deeplab_gygo.inference.config import OnlineConfig
from deeplab_gygo.inference.network import Features, ForwardPass
from deeplab_gygo.inference.prediction import Adaptation, ProgressCallback
from deeplab_gygo.inference.views import View
from deeplab_gygo.models.backbones import layers_up_to
from deeplab_gygo.models.deeplab import DeepLabV3Plus
from deeplab_gygo.models.losses import l2_sp, segmentation_loss
from deeplab_gygo.models.memory import remember
from deeplab_gygo.models.target_model import TargetModel

SWEEP = 10
"""Number of steps in one compiled program where the time is limited: the clock is read between."""

FINAL_RATE = 0.1
"""Fraction of the peak learning rate at the end of the cosine: the last views must not dominate."""

INITIAL_LOSS_SCALE = 2.0**10
"""Initial scale of a float16 loss. Keras starts at 2^15; an overflow costs one of few steps."""

Sample = tuple[dict[str, Any], np.ndarray]
"""Inputs of the fine-tuned network for one view, and labels uint8 [1, H, W, 1]."""


class FineTuner:
    """Fine-tunes some variables of a network for one object, and resets them bit by bit.

    The step is compiled once; between objects variables, optimizer slots and the loss scale return
    to a snapshot. BatchNorm runs on its moving statistics (official DeepLab FAQ for small batches)
    and dropout is off.

    Args:
        network: Network; its weights at this moment are the parent's.
        groups: Peak learning rate and variables of every parameter group.
        loss: `loss(outputs, targets)`.
        steps: Number of steps.
        seconds: Time limit; 0: none.
        final_rate: Fraction of the learning rate at the end of a cosine; 1: constant rate.
        regularizer: `regularizer(values)` of all variables, added to the loss; None: none.
        optimizer: Makes an optimizer of a learning rate.

    Attributes:
        variables: Fine-tuned variables.
    """

    def __init__(
        self,
        network: keras.Model,
        groups: list[tuple[float, list[keras.Variable]]],
        loss: Callable[[Any, Any], Any],
        *,
        steps: int,
        seconds: float = 0.0,
        final_rate: float = 1.0,
        regularizer: Callable[[list[Any]], Any] | None = None,
        optimizer: Callable[[float], keras.optimizers.Optimizer] = keras.optimizers.Adam,
    ):
        self._steps, self._seconds, self._final_rate = steps, seconds, final_rate
        self._peak_rates = [rate for rate, _ in groups]
        self._groups = [(optimizer(rate), variables) for rate, variables in groups]
        if keras.config.dtype_policy().name == "mixed_float16":
            self._groups = [
                (keras.optimizers.LossScaleOptimizer(o, initial_scale=INITIAL_LOSS_SCALE), v)
                for o, v in self._groups
            ]
        self.variables = [v for _, variables in self._groups for v in variables]
        self._step = backend.GradientStep(
            network, loss, self._groups, training=False, regularizer=regularizer
        )
        self._state = self.variables + [v for o, _ in self._groups for v in o.variables]
        self._snapshot = self.state()

    def reset(self) -> None:
        """Restores the parent's weights and fresh optimizers, bit by bit."""
        self.set_state(self._snapshot)

    def weights(self) -> list[np.ndarray]:
        """Returns copies of the fine-tuned variables."""
        return [np.array(variable.numpy()) for variable in self.variables]

    def set_weights(self, values: list[np.ndarray]) -> None:
        """Sets the values that `weights` returned."""
        for variable, value in zip(self.variables, values, strict=True):
            variable.assign(value)

    def average_with_parent(self, share: float) -> None:
        """Averages the weights with those of the parent.

        Due to WiSE-FT (Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022).

        Args:
            share: Share of the fine-tuned weights, 0..1.
        """
        parent = self._snapshot[: len(self.variables)]
        pairs = zip(parent, self.weights(), strict=True)
        self.set_weights([start + np.float32(share) * (tuned - start) for start, tuned in pairs])

    def state(self) -> list[np.ndarray]:
        """Returns copies of the fine-tuned variables and of the optimizer slots."""
        return [np.array(variable.numpy()) for variable in self._state]

    def set_state(self, values: list[np.ndarray]) -> None:
        """Sets the values that `state` returned."""
        for variable, value in zip(self._state, values, strict=True):
            variable.assign(value)

    def tune(
        self,
        draw: Callable[[], tuple[Any, Any]],
        *,
        started: float,
        progress: ProgressCallback | None = None,
        sweep: Callable[[list[list[float]]], list[float]] | None = None,
        sweep_steps: int = 1,
    ) -> Adaptation:
        """Fine-tunes from the current weights until the number of steps or the time limit.

        Args:
            draw: Draws inputs of the network and targets, one sample per step.
            started: Reading of the monotonic clock from which the time limit counts.
            progress: Called after every step.
            sweep: Runs several steps as one program in place of `draw`: from the learning rates
                of every step and group to the losses. None: step by step.
            sweep_steps: Largest number of steps of one sweep.

        Returns:
            Steps, losses and seconds.

        Raises:
            UsageError: The loss is no longer finite.
        """
        losses: list[float] = []
        pace = 0.0
        while len(losses) < self._steps:
            step, elapsed = len(losses), time.monotonic() - started
            # The limit is met best by stopping where half of the next steps would pass it.
            if self._seconds and step and elapsed + 0.5 * pace >= self._seconds:
                break
            planned = min(sweep_steps, self._steps - step)
            rates = [self._rates(step + i, elapsed) for i in range(planned)]
            if sweep is not None:
                losses += sweep(rates)
            else:
                for (optimizer, _), rate in zip(self._groups, rates[0], strict=True):
                    optimizer.learning_rate = rate
                losses.append(self._step(*draw()))
            pace = time.monotonic() - started - elapsed
            for done in range(step, len(losses)):
                if not math.isfinite(losses[done]):
                    raise UsageError(
                        "The loss of fine-tuning stays finite",
                        met=losses[done],
                        where=f"step {done + 1}",
                        remedy="Lower --online.learning_rate, or use --precision float32",
                    )
                if progress is not None:
                    progress(done + 1, self._steps, losses[done])
        return Adaptation(len(losses), losses, time.monotonic() - started)

    def _rates(self, step: int, elapsed: float) -> list[float]:
        """Returns the learning rate of every group: a cosine over steps or time."""
        done = step / max(1, self._steps)
        if self._seconds:
            done = max(done, elapsed / self._seconds)
        cosine = 0.5 * (1.0 + math.cos(math.pi * min(1.0, done)))
        factor = self._final_rate + (1.0 - self._final_rate) * cosine
        return [rate * factor for rate in self._peak_rates]


class DecoderTuner(FineTuner):
    """Fine-tunes DeepLabV3+ on cached features of augmented views, or end to end.

    Args:
        parent: Network; its weights at this moment are the parent's.
        config: Online options.
        network: Forward pass of the parent.
        guide: Conditioning of the decoder, see `OnlineConfig.guide`.

    Attributes:
        target_model: Target model of the last fine-tuning; None without one.
    """

    def __init__(
        self, parent: DeepLabV3Plus, config: OnlineConfig, network: ForwardPass, guide: str
    ):
        self._parent, self._config, self._network, self._guide = parent, config, network, guide
        self._full = config.adapt == "full"
        groups = [(config.learning_rate, _trainable(parent.head.layers))]
        if self._full:
            encoder = parent.build_encoder()
            frozen = {id(layer) for layer in layers_up_to(encoder, config.FROZEN_STAGES)}
            trained = [layer for layer in encoder.layers if id(layer) not in frozen]
            groups.append((config.BACKBONE_LEARNING_RATE, _trainable(trained)))
        super().__init__(
            parent.network if self._full else parent.head,
            groups,
            segmentation_loss(config.DICE_WEIGHT),
            steps=config.steps,
            seconds=config.seconds,
            final_rate=FINAL_RATE,
            regularizer=l2_sp([v for _, group in groups for v in group], config.L2_SP_WEIGHT),
        )
        # On an accelerator all steps are one program; on a CPU that gains nothing.
        self._single_graph = bool(backend.devices())
        self._traced = False
        self.target_model: TargetModel | None = None

    def adapt(
        self,
        views: list[View],
        rng: np.random.Generator,
        *,
        started: float,
        progress: ProgressCallback | None = None,
    ) -> Adaptation:
        """Fine-tunes from the current weights on views of the annotated frame.

        Args:
            views: Augmented views, all of one size.
            rng: Conditioning and order of the views.
            started: Reading of the monotonic clock from which the time limit counts.
            progress: Called after every step.

        Returns:
            Steps, losses and seconds.

        Raises:
            UsageError: The loss is no longer finite.
        """
        samples = self._samples(views, rng)
        if not self._full:  # Before the steps, whose number depends on the time that is left.
            self.target_model = self._fit_target_model(views, samples)
        # All views equally often, in a new order every time.
        order = chain.from_iterable(rng.permutation(len(samples)) for _ in count())
        stack = _concatenated(samples) if self._single_graph else None

        def sweep(rates: list[list[float]]) -> list[float]:
            picks = [(int(next(order)),) for _ in rates]
            losses = backend.to_numpy(self._step.sweep([stack], picks, rates))
            return [float(loss) for loss in losses]

        done = self.tune(
            lambda: samples[next(order)],
            started=started,
            progress=progress,
            sweep=sweep if self._single_graph else None,
            sweep_steps=(SWEEP if self._seconds else self._steps) if self._single_graph else 1,
        )
        self.average_with_parent(self._config.TUNED_SHARE)
        if self._full:
            self.target_model = self._fit_target_model(views, samples)
        return Adaptation(done.steps, done.losses, time.monotonic() - started)

    def _fit_target_model(self, views: list[View], samples: list[Sample]) -> TargetModel | None:
        """Fits the target model on the views, with the current encoder."""
        if self._guide != "target":
            return None
        if self._full:
            features = [self._network.encode(view.image[None])["high"] for view in views]
        else:
            features = [inputs["high"] for inputs, _ in samples]
        return TargetModel.fit(features, [view.coded_mask for view in views])

    def _samples(self, views: list[View], rng: np.random.Generator) -> list[Sample]:
        """Encodes the views; a fraction is conditioned on the memory of another view."""
        encoded = [self._network.encode(views[0].image[None])]
        with self._tracing(self._sample(views[0], encoded[0], None)):
            encoded += [self._network.encode(view.image[None]) for view in views[1:]]
        samples = []
        for index, view in enumerate(views):
            readout = None
            known = rng.random() >= self._config.MEMORY_DROPOUT
            if self._parent.config.memory and known and len(views) > 1:
                # The memory of the annotated frame, which later frames are matched to.
                other = 0 if index else 1
                memory = remember(
                    encoded[other]["key"], views[other].coded_mask, self._network.block
                )
                readout = self._network.read(encoded[index], *memory)
            samples.append(self._sample(view, encoded[index], readout))
        return samples

    def _sample(self, view: View, features: Features, readout: Any) -> Sample:
        # Without the score: that of a model of half of the views, for the other half, changed J in
        # two directions (experiments/results/parent_scenes_choices.json).
        guide = self._network.guide(features, None, view.guide)
        inputs = self._parent.head_inputs(features, guide[None], readout)
        if self._full:
            conditioning = {k: v for k, v in inputs.items() if k not in ("low", "high")}
            image = ops.convert_to_tensor(view.image[None], "float32")
            inputs = {"image": image, **conditioning}
        return inputs, view.mask[None, ..., None]

    @contextmanager
    def _tracing(self, sample: Sample) -> Iterator[None]:
        """Traces the step in a thread during the encoding, which releases the interpreter."""
        if self._traced or self._single_graph or keras.config.dtype_policy().name != "float32":
            yield
            return
        self._traced = True
        with ThreadPoolExecutor(1) as pool:
            trace = pool.submit(self._step.prepare, *sample)
            yield
            trace.result()


def _trainable(layers: list[keras.layers.Layer]) -> list[keras.Variable]:
    """Returns the trainable weights of layers except those of BatchNorm, which stay frozen."""
    return [
        variable
        for layer in layers
        if not isinstance(layer, keras.layers.BatchNormalization)
        for variable in layer.trainable_variables
    ]


def _concatenated(samples: list[Sample]) -> Sample:
    inputs = {key: ops.concatenate([s[0][key] for s in samples]) for key in samples[0][0]}
    return inputs, np.concatenate([s[1] for s in samples])
