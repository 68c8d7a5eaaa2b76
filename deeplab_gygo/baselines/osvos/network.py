"""OSVOS: a trunk with side outputs that is fine-tuned on the annotated frame.

Caelles et al., "One-Shot Video Object Segmentation", CVPR 2017; architecture of osvos.py:57-140 in
OSVOS-TensorFlow, without the contour branch and boundary snapping, which that port lacks too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
from keras import layers

from deeplab_gygo.baselines.osvos.config import OsvosModel
from deeplab_gygo.baselines.shared.config import STRIDE
from deeplab_gygo.baselines.shared.sides import FuseSides, apply_sides, small_normal
from deeplab_gygo.baselines.shared.trunk_weights import TrunkWeights
from deeplab_gygo.baselines.shared.trunks import build_trunk, freeze_statistics, trunk_stage
from deeplab_gygo.models.layers import ResizeToFeatures

FUSED = "fused"
"""Output of the fusion, the result; the others are the sides' own, for deep supervision."""


class Osvos:
    """The network of OSVOS.

    Attributes:
        config: Architecture.
        network: {"image" float32 [B, H, W, 3], RGB in 0..255, H and W multiples of `stride`} ->
            {"fused", "side2", ...}: logits float32 [B, H/s, W/s, 1], all at the stride of the
            finest side, which comes first.
        parts: The models that hold the weights.
        stride: Number that divides height and width of the image.
        trunk_source: Origin of the trunk's initial weights, for the model card.

    Args:
        config: Architecture.
        trunk_weights: None for random ones, or a source as in `TrunkWeights`.

    Raises:
        WeightsError, InputError, DependencyError, UsageError: As `TrunkWeights` raises them.
    """

    stride = STRIDE

    def __init__(self, config: OsvosModel, trunk_weights: str | Path | None = None):
        self.config = config
        self.trunk_source = "random"
        image = keras.Input((None, None, 3), name="image")
        sides = apply_sides(build_trunk(config.trunk, image), config.trunk, config.side_channels)
        outputs = {FUSED: FuseSides(name="fuse")(list(sides.values())), **_scores(sides)}
        self.network = keras.Model({"image": image}, outputs, name="osvos")
        self.parts = [self.network]
        freeze_statistics(self.network)
        if trunk_weights is not None:
            weights = TrunkWeights(config.trunk, trunk_weights)
            weights.assign_trunk(self.network)
            self.trunk_source = weights.description

    def variables(self, frozen_stages: int = 0) -> dict[str, dict[str, keras.Variable]]:
        """Returns the trainable variables by parameter group.

        Args:
            frozen_stages: Stem and stages of the trunk that are left out; 0: none.

        Returns:
            `trunk` (with the sides' 3x3 convolutions), `score` (the sides' own scores) and `fuse`,
            each by `<layer>/<variable>`.
        """
        groups: dict[str, dict[str, keras.Variable]] = {"trunk": {}, "score": {}, "fuse": {}}
        for layer in self.network.layers:
            stage = trunk_stage(layer.name)
            if frozen_stages and stage is not None and stage <= frozen_stages:
                continue
            group = "fuse" if layer.name == "fuse" else "trunk"
            group = "score" if layer.name.endswith("_score") else group
            for variable in layer.trainable_variables:
                groups[group][f"{layer.name}/{variable.name}"] = variable
        return groups

    def parameter_groups(
        self, learning_rate: float, factors: dict[str, float], bias_factor: float, frozen: int
    ) -> list[tuple[float, list[keras.Variable]]]:
        """Returns the variables by learning rate (osvos.py:85-103).

        Args:
            learning_rate: Learning rate.
            factors: Its factor by parameter group; groups without one are left out.
            bias_factor: Factor of biases, on top of that of the group.
            frozen: Frozen stages of the trunk, as for `variables`.

        Returns:
            Learning rates and their variables; none is empty.
        """
        rates: dict[float, list[keras.Variable]] = {}
        for group, variables in self.variables(frozen).items():
            for name, variable in variables.items() if group in factors else ():
                is_bias = name.rsplit("/", 1)[1] == "bias"
                factor = factors[group] * (bias_factor if is_bias else 1.0)
                rates.setdefault(learning_rate * factor, []).append(variable)
        return list(rates.items())


def _scores(sides: dict[str, Any]) -> dict[str, Any]:
    """Scores every side by itself (`score-dsn`) and resizes the score to the finest side."""
    scores = {
        name: layers.Conv2D(
            1, 1, kernel_initializer=small_normal(), dtype="float32", name=f"{name}_score"
        )(side)
        for name, side in sides.items()
    }
    first, *others = scores
    return {first: scores[first]} | {
        name: ResizeToFeatures(dtype="float32", name=f"{name}_resize")(
            [scores[name], scores[first]]
        )
        for name in others
    }
