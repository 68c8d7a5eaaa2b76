"""Fine-tuning of OSMN and OSVOS on the annotated frame: one compiled step for the process."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import keras
import numpy as np

from deeplab_gygo import backend
from deeplab_gygo.baselines.osmn.config import OsmnOnline
from deeplab_gygo.baselines.osvos.config import OsvosOnline
from deeplab_gygo.baselines.shared.steps import Rated, kernel_decay
from deeplab_gygo.errors import UsageError
from deeplab_gygo.inference.config import OnlineConfig
from deeplab_gygo.inference.geometry import Geometry
from deeplab_gygo.inference.prediction import Adaptation, Report
from deeplab_gygo.inference.views import first_frame_views
from deeplab_gygo.models.losses import l2_sp, named_loss

POOR = 0.6
"""J on the annotated frame below which a fine-tuning is warned about."""

LEAST_SCALE = 2.0**10
"""Scale that a float16 loss starts from: one that overflows costs a step, and there are few."""


@dataclass(frozen=True)
class Picture:
    """A picture of the annotated object to learn from.

    Attributes:
        image: uint8 [H, W, 3] RGB at a padded size.
        labels: uint8 [H, W], 0 or 1, 255 where nothing is to be learned.
    """

    image: np.ndarray
    labels: np.ndarray

    @property
    def targets(self) -> np.ndarray:
        """The labels as a loss takes them, uint8 [1, H, W, 1]."""
        return self.labels[None, ..., None]


def pictures_of(
    image: np.ndarray,
    mask: np.ndarray,
    config: OsmnOnline | OsvosOnline,
    geometry: Geometry,
    stride: int,
    rng: np.random.Generator,
) -> list[Picture]:
    """Makes the pictures that a method is fine-tuned on, from which every step draws one.

    Args:
        image: uint8 [H, W, 3] RGB, the annotated frame.
        mask: uint8 [H, W], 0 or 1, 255 where it is void.
        config: `views`, `lucid` and `view_scale`, or else `scales`.
        geometry: Sizes at which the network sees frames.
        stride: Multiple that its input must have.
        rng: Of the views.

    Returns:
        Augmented views with `views`, the first of which is the frame as it is; otherwise the frame
        in every zoom of `scales`, none of them larger than the frame itself.
    """
    if config.views:
        options = OnlineConfig(
            views=config.views,
            lucid=config.lucid,
            view_scale=config.view_scale,
            guide_dropout=1.0,
        )
        views = first_frame_views(image, (mask == 1).astype(np.uint8), geometry, options, rng)
        return [Picture(view.image, view.mask) for view in views]
    zooms = [
        Geometry.fit(geometry.frame, max(stride, round(zoom * min(geometry.working))), stride)
        for zoom in config.scales
    ]
    return [Picture(zoom.image(image), zoom.labels(mask)) for zoom in zooms]


def mirrored(picture: Picture) -> Picture:
    """Exchanges left and right of a picture."""
    return Picture(cv2.flip(picture.image, 1), cv2.flip(picture.labels, 1))


class FineTuner:
    """Adapts some variables of a network to one object, and puts them back bit by bit.

    The step is built once; between objects weights and optimizers return to a snapshot. BatchNorm
    runs on its moving statistics, and dropout is off.

    Args:
        network: Network; its weights at this moment are the parent's.
        rated: Rates, and the variables that learn at each.
        config: Steps, time, loss and weight decay.
        make_optimizer: Makes an optimizer of a rate.

    Attributes:
        variables: What is adapted.
    """

    def __init__(
        self,
        network: keras.Model,
        rated: Rated,
        config: OsmnOnline | OsvosOnline,
        make_optimizer: Callable[[float], keras.optimizers.Optimizer],
    ):
        self._config = config
        groups = [(_scaled(make_optimizer(rate)), variables) for rate, variables in rated]
        self._rates = [
            (optimizer, rate) for (optimizer, _), (rate, _) in zip(groups, rated, strict=True)
        ]
        self.variables = [variable for _, variables in groups for variable in variables]
        self._step = backend.GradientStep(
            network,
            named_loss(config.loss, config.dice),
            groups,
            training=False,
            regularizer=_joined(
                kernel_decay(self.variables, config.weight_decay),
                l2_sp(self.variables, config.anchor),
            ),
        )
        self._state = self.variables + [v for o, _ in groups for v in o.variables]
        self._snapshot = [np.array(v.numpy()) for v in self._state]

    def reset(self) -> None:
        """Puts weights and optimizers back to what they were at construction, bit by bit."""
        for variable, value in zip(self._state, self._snapshot, strict=True):
            variable.assign(value)

    def weights(self) -> list[np.ndarray]:
        """Returns copies of the adapted variables."""
        return [np.array(variable.numpy()) for variable in self.variables]

    def set_weights(self, values: list[np.ndarray]) -> None:
        """Sets what `weights` returned."""
        for variable, value in zip(self.variables, values, strict=True):
            variable.assign(value)

    def tune(
        self,
        sample: Callable[[], tuple[Any, Any]],
        started: float,
        report: Report | None = None,
    ) -> Adaptation:
        """Fine-tunes from the present weights.

        Args:
            sample: Draws what a step learns from: inputs of the network, and targets.
            started: Time of the monotonic clock that the seconds count from.
            report: Called after every step.

        Returns:
            What was done.

        Raises:
            UsageError: The loss is no longer finite.
        """
        config, losses = self._config, []
        for step in range(1, config.steps + 1):
            elapsed = time.monotonic() - started
            self._set_rates(step, elapsed)
            losses.append(self._step(*sample()))
            check_finite(losses[-1], step)
            if report is not None:
                report(step, config.steps, losses[-1])
            now = time.monotonic() - started
            # It ends where it is nearest to the limit: at the middle of the next step.
            if config.seconds and now + 0.5 * (now - elapsed) >= config.seconds:
                break
        return Adaptation(len(losses), losses, time.monotonic() - started)

    def _done(self, step: int, elapsed: float) -> float:
        """Returns how much of fine-tuning lies behind, 0 at its first step and 1 at its last."""
        config = self._config
        done = (step - 1) / max(1, config.steps - 1)
        return min(1.0, max(done, elapsed / config.seconds) if config.seconds else done)

    def _set_rates(self, step: int, elapsed: float) -> None:
        config = self._config
        if config.final_rate == 1:
            return
        half = 0.5 * (1.0 + math.cos(math.pi * self._done(step, elapsed)))
        for optimizer, rate in self._rates:
            optimizer.learning_rate = rate * (config.final_rate + (1.0 - config.final_rate) * half)


def _joined(*regularizers: Callable[[list[Any]], Any] | None) -> Callable[[list[Any]], Any] | None:
    there = [regularizer for regularizer in regularizers if regularizer is not None]
    return (lambda values: sum(r(values) for r in there)) if there else None


def _scaled(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    if keras.config.dtype_policy().name != "mixed_float16":
        return optimizer
    return keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=LEAST_SCALE)


def check_finite(loss: float, step: int) -> None:
    """Raises `UsageError` where a loss is no finite number."""
    if not math.isfinite(loss):
        raise UsageError(
            "The loss of fine-tuning stays finite",
            met=loss,
            where=f"step {step}",
            remedy="Lower --online.rate, or use --precision float32",
        )


def note_of(first: float, label: int) -> list[str]:
    """Says so where fine-tuning did not reach the object even on the frame that it was shown.

    Args:
        first: J on the annotated frame.
        label: Id of the object.

    Returns:
        A sentence, or none.
    """
    if first >= POOR:
        return []
    return [
        f"object {label}: fine-tuning reached J {first:.2f} only on the first frame; check the "
        "mask, or give more --steps"
    ]
