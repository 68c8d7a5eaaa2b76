"""Online fine-tuning of DeepLabV3+ on augmented views of the annotated frame."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import chain, repeat
from typing import Any

import keras
import numpy as np
from keras import ops

from deeplab_gygo import backend
from deeplab_gygo.inference.config import OnlineConfig
from deeplab_gygo.inference.fine_tuner import FineTuner
from deeplab_gygo.inference.network import Features, ForwardPass
from deeplab_gygo.inference.prediction import Adaptation, ProgressCallback
from deeplab_gygo.inference.views import View
from deeplab_gygo.models.backbones import layers_up_to
from deeplab_gygo.models.config import DECODER_STRIDE
from deeplab_gygo.models.deeplab import DeepLabV3Plus
from deeplab_gygo.models.losses import l2_sp, segmentation_loss
from deeplab_gygo.models.target_model import TargetModel

SWEEP = 10
"""Number of steps in one compiled program where the time is limited: the clock is read between."""

FINAL_RATE = 0.1
"""Fraction of the peak learning rate at the end of the cosine: the last views must not dominate."""

CONDITIONING = ("guide_", "recall_")
"""Names of the layers of the head that take guide and memory. They stay as they are: fine-tuning
them too loses .008 of J on 49 clips (standard error .006, weights of `parent_flow`,
experiments/results/parent_flow_choices.json)."""

Sample = tuple[dict[str, Any], np.ndarray]
"""Inputs of the fine-tuned network for one view, and labels uint8 [1, H, W, 1]."""


class DecoderTuner(FineTuner):
    """Fine-tunes DeepLabV3+ on cached features of augmented views, or end to end.

    Args:
        parent: Network; its weights at this moment are the parent's.
        config: Online options.
        network: Forward pass of the parent.
        guide: Conditioning of the decoder, see `OnlineConfig.guide`.

    Attributes:
        target_model: Target model of the last fine-tuning; None without one.
        first_features: Features of a window of views that begins with the annotated frame.
    """

    def __init__(
        self, parent: DeepLabV3Plus, config: OnlineConfig, network: ForwardPass, guide: str
    ):
        self._parent, self._config, self._network, self._guide = parent, config, network, guide
        self._full = config.adapt == "full"
        tuned = [layer for layer in parent.head.layers if not layer.name.startswith(CONDITIONING)]
        groups = [(config.learning_rate, _trainable(tuned))]
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
        # On a CPU a program of several steps is no faster, and shows no progress.
        self._sweep_steps = 1
        if backend.devices():
            self._sweep_steps = SWEEP if config.seconds else config.steps
        self._traced = False
        self._sweeps: dict[Any, Future[None]] = {}
        self.target_model: TargetModel | None = None
        self.first_features: Features | None = None

    def adapt(
        self,
        views: list[View],
        rng: np.random.Generator,
        *,
        started: float,
        progress: ProgressCallback | None = None,
        steps: int | None = None,
    ) -> Adaptation:
        """Fine-tunes from the current weights on views of the annotated frame.

        Args:
            views: Augmented views, all of one size.
            rng: Conditioning and order of the views.
            started: Reading of the monotonic clock from which the time limit counts.
            progress: Called after every step.
            steps: Number of steps, if fewer than of the options.

        Returns:
            Steps, losses and seconds.

        Raises:
            UsageError: The loss is no longer finite.
        """
        if self._network.fused:
            return self._adapt_in_sweeps(views, rng, started, progress, steps)
        samples = self._samples(views, rng)
        if not self._full:  # Before the steps, whose number depends on the time that is left.
            features = [inputs["high"] for inputs, _ in samples]
            self.target_model = self._fit_target_model(views, features)
        order = _orders(len(views), rng)
        done = self.tune(
            lambda: samples[next(order)], started=started, progress=progress, steps=steps
        )
        return self._averaged(views, done, started)

    def _adapt_in_sweeps(
        self,
        views: list[View],
        rng: np.random.Generator,
        started: float,
        progress: ProgressCallback | None,
        steps: int | None,
    ) -> Adaptation:
        """Fine-tunes by programs of several steps; arguments and result as `adapt`."""
        windows, stack = self._stack(views, rng)
        features = None if self._full else self._network.high(windows, len(views))
        # Meanwhile: the host has nothing to do during the steps.
        fitting = backend.in_background(partial(self._fit_target_model, views, features))
        order = _orders(len(views), rng)

        def sweep(rates: list[list[float]]) -> list[float]:
            picks = np.array([(next(order),) for _ in rates], np.int32)
            # In a thread: signals are handled during a compilation.
            self._prepare_sweep(stack, len(rates)).result()
            losses = self._step.sweep([stack], picks, np.array(rates, np.float32))
            return [float(loss) for loss in backend.to_numpy(losses)]

        done = self.tune(
            lambda: None,
            started=started,
            progress=progress,
            steps=steps,
            sweep=sweep,
            sweep_steps=self._sweep_steps,
        )
        self.target_model = fitting.result()
        return self._averaged(views, done, started)

    def go_on_from(self, weights: list[Any]) -> None:
        """Goes on with a fine-tuning from its result, the mean with the parent's weights.

        Args:
            weights: Of `weights`, after `adapt`.
        """
        self.set_weights(weights)
        self.average_with_parent(1 / self._config.TUNED_SHARE)

    def prepare(self, features: Features, padded: tuple[int, int]) -> None:
        """Begins to compile what `adapt` needs ahead, on JAX.

        Args:
            features: Shapes of the features of a window.
            padded: Height and width of the views, pixels.
        """
        backend.prepare(self._mean, self.weights(), self.weights(), np.float32(0))
        count, stride = self._config.num_views, DECODER_STRIDE
        windows = [features] * -(-count // self._network.window)
        planes = backend.shape((count, *(side // stride for side in padded), 1), "float32")
        arguments = windows, planes, planes, backend.shape((count,), "bool")
        backend.prepare(self._network.views, *arguments)
        inputs = backend.output_shapes(self._network.views, *arguments)
        inputs = self._network_inputs(inputs, backend.shape((count, *padded, 3), "float32"))
        self._prepare_sweep(
            (inputs, backend.shape((count, *padded, 1), "uint8")),
            min(self._sweep_steps, self._config.steps),
        )

    def _prepare_sweep(self, stack: Sample, steps: int) -> Future[None]:
        """Begins to compile a sweep for samples of these shapes, unless that was done."""
        key = stack[1].shape, steps
        if key not in self._sweeps:
            compiling = partial(self._step.prepare_sweep, [stack], steps)
            self._sweeps[key] = backend.in_background(compiling)
        return self._sweeps[key]

    def _network_inputs(self, inputs: dict[str, Any], images: Any) -> dict[str, Any]:
        """Returns the inputs of the fine-tuned network from those of the head and the images."""
        if not self._full:
            return inputs
        return {"image": images, **{k: v for k, v in inputs.items() if k not in ("low", "high")}}

    def _averaged(self, views: list[View], done: Adaptation, started: float) -> Adaptation:
        """Averages the weights with the parent's, and fits the target model to a new encoder."""
        self.average_with_parent(self._config.TUNED_SHARE)
        if self._full:
            windows = self._network.encode_views(np.stack([view.image for view in views]))
            features = self._network.high(windows, len(views))
            self.target_model = self._fit_target_model(views, features)
        return Adaptation(done.steps, done.losses, time.monotonic() - started)

    def _fit_target_model(
        self, views: list[View], features: list[Any] | None
    ) -> TargetModel | None:
        """Fits the target model on features "high" of the views; none without features."""
        if self._guide != "target" or features is None:
            return None
        return TargetModel.fit(features, [view.coded_mask for view in views])

    def _stack(self, views: list[View], rng: np.random.Generator) -> tuple[list[Features], Sample]:
        """Encodes the views in windows, and returns these and the samples, [N, ...] each."""
        images = np.stack([view.image for view in views])
        windows = self._network.encode_views(images)
        self.first_features = windows[0]
        known = [rng.random() >= self._config.MEMORY_DROPOUT for _ in views]
        inputs = self._network.views(
            windows,
            np.stack([view.coded_mask for view in views]),
            np.stack([view.guide for view in views]),
            np.array(known),
        )
        masks = np.stack([view.mask for view in views])[..., None]
        pixels = backend.put(images.astype(np.float32)) if self._full else None
        return windows, (self._network_inputs(inputs, pixels), backend.put(masks))

    def _samples(self, views: list[View], rng: np.random.Generator) -> list[Sample]:
        """Encodes the views; a fraction is conditioned on the memory of another view."""
        encoded = [self._network.encode(views[0].image[None])]
        self.first_features = encoded[0]
        with self._tracing(self._sample(views[0], encoded[0], None)):
            encoded += [self._network.encode(view.image[None]) for view in views[1:]]
        samples = []
        for index, view in enumerate(views):
            readout = None
            known = rng.random() >= self._config.MEMORY_DROPOUT
            if self._parent.config.memory and known and len(views) > 1:
                # The memory of the annotated frame, which later frames are matched to.
                other = 0 if index else 1
                memory = self._network.remember(encoded[other], views[other].coded_mask)
                readout = self._network.read(encoded[index], *memory)
            samples.append(self._sample(view, encoded[index], readout))
        return samples

    def _sample(self, view: View, features: Features, readout: Any) -> Sample:
        # Without the score: that of a model of half of the views, for the other half, changed J in
        # two directions (experiments/results/parent_scenes_choices.json).
        guide = self._network.guide(features, None, view.guide)
        inputs = self._parent.head_inputs(features, guide[None], readout)
        image = ops.convert_to_tensor(view.image[None], "float32") if self._full else None
        return self._network_inputs(inputs, image), view.mask[None, ..., None]

    @contextmanager
    def _tracing(self, sample: Sample) -> Iterator[None]:
        """Traces the step in a thread during the encoding, which releases the interpreter."""
        if self._traced or keras.config.dtype_policy().name != "float32":
            yield
            return
        self._traced = True
        with ThreadPoolExecutor(1) as pool:
            trace = pool.submit(self._step.prepare, *sample)
            yield
            trace.result()


def _orders(count: int, rng: np.random.Generator) -> Iterator[int]:
    """Yields all indices equally often, in a new order every time."""
    return chain.from_iterable(rng.permutation(count) for _ in repeat(None))


def _trainable(layers: list[keras.layers.Layer]) -> list[keras.Variable]:
    """Returns the trainable weights of layers except those of BatchNorm, which stay frozen."""
    return [
        variable
        for layer in layers
        if not isinstance(layer, keras.layers.BatchNormalization)
        for variable in layer.trainable_variables
    ]
