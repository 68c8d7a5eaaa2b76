"""Fine-tuning of OSMN and OSVOS on the annotated frame: training samples, loss, weight decay."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import keras
import numpy as np
from keras import ops

from deeplab_gygo.baselines.shared.config import FineTuningConfig
from deeplab_gygo.baselines.shared.losses import named_loss
from deeplab_gygo.inference.config import OnlineConfig
from deeplab_gygo.inference.fine_tuner import FineTuner
from deeplab_gygo.inference.geometry import Geometry
from deeplab_gygo.inference.views import augmented_views

ParameterGroups = list[tuple[float, list[keras.Variable]]]
"""Learning rates and their variables."""


@dataclass(frozen=True)
class Sample:
    """An image of the annotated object and its labels.

    Attributes:
        image: uint8 [H, W, 3] RGB at a padded size.
        labels: uint8 [H, W], 0 or 1, 255 for void.
    """

    image: np.ndarray
    labels: np.ndarray

    @property
    def targets(self) -> np.ndarray:
        """Labels in the shape of the loss, uint8 [1, H, W, 1]."""
        return self.labels[None, ..., None]

    def flipped(self) -> Sample:
        """Returns the sample flipped horizontally."""
        return Sample(cv2.flip(self.image, 1), cv2.flip(self.labels, 1))


def training_samples(
    image: np.ndarray,
    mask: np.ndarray,
    config: FineTuningConfig,
    geometry: Geometry,
    stride: int,
    rng: np.random.Generator,
) -> list[Sample]:
    """Makes the samples from which every fine-tuning step draws one.

    Args:
        image: uint8 [H, W, 3] RGB, the annotated frame.
        mask: uint8 [H, W], 0 or 1, 255 for void.
        config: `num_views`, or else `scales`.
        geometry: Sizes of the frame.
        stride: Number that divides the sides of the network's input.
        rng: Random generator of the views.

    Returns:
        With `num_views`, augmented views, the first of which is the frame unchanged; otherwise the
        frame at every scale, never enlarged.
    """
    if config.num_views:
        views = augmented_views(
            image, (mask == 1).astype(np.uint8), geometry, rng, count=config.num_views,
            lucid_fraction=OnlineConfig.LUCID_FRACTION, scale=OnlineConfig.VIEW_SCALE,
            guide_dropout=1.0,
        )  # fmt: skip
        return [Sample(view.image, view.mask) for view in views]
    scaled = [
        Geometry.fit(geometry.frame, max(stride, round(scale * min(geometry.working))), stride)
        for scale in config.scales
    ]
    return [Sample(size.image(image), size.labels(mask)) for size in scaled]


def make_tuner(
    network: keras.Model,
    groups: ParameterGroups,
    config: FineTuningConfig,
    optimizer: Callable[[float], keras.optimizers.Optimizer] = keras.optimizers.Adam,
) -> FineTuner:
    """Makes the fine-tuner of a method.

    Args:
        network: Network; its weights at this moment are the parent's.
        groups: Parameter groups.
        config: Steps, time limit, loss and weight decay.
        optimizer: Makes an optimizer of a learning rate.
    """
    variables = [variable for _, group in groups for variable in group]
    return FineTuner(
        network,
        groups,
        named_loss(config.loss, config.dice_weight),
        steps=config.steps,
        seconds=config.seconds,
        regularizer=kernel_decay(variables, config.weight_decay),
        optimizer=optimizer,
    )


def kernel_decay(
    variables: list[keras.Variable], weight: float
) -> Callable[[list[Any]], Any] | None:
    """Makes L2 regularization of kernels, without scales, biases and depthwise filters.

    Args:
        variables: Trained variables.
        weight: Factor w.

    Returns:
        `penalty(values)`: w/2 times the sum of squares; None if there is nothing to regularize.
    """
    kernels = [
        index
        for index, variable in enumerate(variables)
        if len(variable.shape) > 1 and "depthwise" not in variable.path
    ]
    if not weight or not kernels:
        return None

    def penalty(values: list[Any]) -> Any:
        squares = [ops.sum(ops.square(ops.cast(values[index], "float32"))) for index in kernels]
        return 0.5 * weight * sum(squares[1:], squares[0])

    return penalty
