"""The gradient steps of OSMN and OSVOS: which variables learn at which rate, and from what loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from deeplab_gygo.backend import GradientStep
from deeplab_gygo.baselines.osmn.config import TrainOsmn
from deeplab_gygo.baselines.osmn.network import Osmn
from deeplab_gygo.baselines.osvos.config import TrainOsvos
from deeplab_gygo.baselines.osvos.network import FUSED, Osvos
from deeplab_gygo.baselines.shared.config import BaselineTrainConfig
from deeplab_gygo.baselines.shared.trunks import trunk_stage
from deeplab_gygo.models.losses import named_loss
from deeplab_gygo.training.steps import RatedStep

Rated = list[tuple[float, list[keras.Variable]]]
"""Peak rates, and the variables that learn at each."""


class OsmnStep(RatedStep):
    """OSMN's step; targets are uint8 [B, H, W, 1], 0, 1 or 255 for void.

    Args:
        parent: Network whose trainable variables are trained.
        config: Rates, optimizer, decay, clipping and loss.
    """

    def __init__(self, parent: Osmn, config: TrainOsmn):
        loss = named_loss(config.loss, config.dice)
        super().__init__(*_built(parent.network, loss, osmn_rates(parent, config), config))


class OsvosStep(RatedStep):
    """OSVOS's step; targets are those of OSMN by the name `mask`, and `side_weight`, a scalar.

    Args:
        parent: Network whose trainable variables are trained.
        config: Rates, optimizer, decay, clipping and loss.
    """

    def __init__(self, parent: Osvos, config: TrainOsvos):
        loss = supervised(named_loss(config.loss, config.dice))
        super().__init__(*_built(parent.network, loss, osvos_rates(parent, config), config))


def osmn_rates(parent: Osmn, config: TrainOsmn) -> Rated:
    """Returns the peak rates of OSMN's variables.

    The spatial modulator has a rate of its own, and so has what stands on the trunk of the visual
    one.

    Args:
        parent: Network.
        config: `rate`, `modulator_rate`, `spatial_rate` and `frozen_stages`.

    Returns:
        Rates with their variables; none is without variables.
    """
    rates: dict[float, list[keras.Variable]] = {}
    for role, variables in parent.variables(config.frozen_stages).items():
        own = {"visual": config.modulator_rate, "spatial": config.spatial_rate}.get(role, 0.0)
        for name, variable in variables.items():
            of_trunk = trunk_stage(name.split("/")[0]) is not None
            rate = config.rate if of_trunk else own or config.rate
            rates.setdefault(rate, []).append(variable)
    return list(rates.items())


def osvos_rates(parent: Osvos, config: TrainOsvos) -> Rated:
    """Returns the peak rates of OSVOS's variables, by layer and by kernel or bias.

    Args:
        parent: Network.
        config: `rate`, its multipliers and `frozen_stages`.

    Returns:
        Rates with their variables; none is without variables.
    """
    factors = {"trunk": 1.0, "score": config.side_multiplier, "fuse": config.fuse_multiplier}
    rates: dict[float, list[keras.Variable]] = {}
    for group, variables in parent.variables(config.frozen_stages).items():
        for name, variable in variables.items():
            is_bias = name.rsplit("/", 1)[1] == "bias"
            factor = factors[group] * (config.bias_multiplier if is_bias else 1.0)
            rates.setdefault(config.rate * factor, []).append(variable)
    return list(rates.items())


def supervised(loss: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Makes OSVOS's loss: of the fused output, and of every side by a common weight.

    Args:
        loss: `loss(logits, targets) -> scalar`.

    Returns:
        `loss(outputs, {"mask", "side_weight"}) -> scalar`; outputs as `Osvos.network` gives them.
    """

    def joined(outputs: dict[str, Any], targets: dict[str, Any]) -> Any:
        mask = targets["mask"]
        sides = [loss(logits, mask) for name, logits in outputs.items() if name != FUSED]
        weight = ops.cast(targets["side_weight"], "float32")
        return loss(outputs[FUSED], mask) + weight * sum(sides[1:], sides[0])

    return joined


def _built(
    network: keras.Model, loss: Callable[[Any, Any], Any], rated: Rated, config: BaselineTrainConfig
) -> tuple[list[tuple[float, keras.optimizers.Optimizer, list[keras.Variable]]], GradientStep]:
    """Builds an optimizer for every rate, and the compiled step over all of them."""
    groups = [(rate, _optimizer(rate, config), variables) for rate, variables in rated]
    step = GradientStep(
        network,
        loss,
        [(optimizer, variables) for _, optimizer, variables in groups],
        clip=config.clip,
        regularizer=kernel_decay([v for _, part in rated for v in part], config.weight_decay),
        donate=True,
    )
    return groups, step


def _optimizer(rate: float, config: BaselineTrainConfig) -> keras.optimizers.Optimizer:
    # Keras averages the gradients of so many steps itself; one step is no average.
    average = config.average if config.average > 1 else None
    if config.optimizer == "adam":
        return keras.optimizers.Adam(rate, gradient_accumulation_steps=average)
    return keras.optimizers.SGD(rate, config.momentum, gradient_accumulation_steps=average)


def kernel_decay(
    variables: list[keras.Variable], weight: float
) -> Callable[[list[Any]], Any] | None:
    """Makes w/2 times the sum of squared kernels; scales, biases and depthwise filters are free."""
    places = [
        place
        for place, variable in enumerate(variables)
        if len(variable.shape) > 1 and "depthwise" not in variable.path
    ]
    if not weight or not places:
        return None

    def penalty(values: list[Any]) -> Any:
        squares = [ops.sum(ops.square(ops.cast(values[place], "float32"))) for place in places]
        return 0.5 * weight * sum(squares[1:], squares[0])

    return penalty
