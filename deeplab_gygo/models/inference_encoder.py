"""An encoder that only encodes, made from a parent's arrays without building it in Keras.

Most of the time that a network takes to build goes into variables: five of every convolution with
BatchNorm. An encoder that nobody is going to adapt needs two tensors in their place, the folded
kernel and bias, and no layer at all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from deeplab_gygo.models.backbones import INVERTED_RESIDUAL
from deeplab_gygo.models.config import ModelConfig
from deeplab_gygo.models.folding import Weights, convolution
from deeplab_gygo.models.inverted_residual import (
    Builder,
    InvertedResidualSpec,
    apply_inverted_residual,
    named_ends,
)
from deeplab_gygo.models.weight_file import ENCODER


@dataclass(frozen=True)
class FrozenEncoder:
    """What an encoder does in inference, and its weights.

    Attributes:
        config: Architecture.
        widths: Channels of its features: "low", "high", and "fine" where the architecture has it.
        weights: Kernel and bias of every convolution, float32, in the order of the network, those
            of the memory's keys last where the architecture has them.
    """

    config: ModelConfig
    widths: dict[str, int]
    weights: list[tuple[np.ndarray, np.ndarray]]

    def function(self) -> tuple[Callable[[Weights, Any], dict[str, Any]], Weights]:
        """Makes a function of it, as `folding.folded` does of a model.

        Returns:
            `call(weights, images) -> features` as `DeepLabV3Plus.encoder` gives them, and the
            weights in the dtype that Keras computes in.
        """
        config, names = self.config, tuple(self.widths)
        spec, dtype = INVERTED_RESIDUAL[config.backbone], keras.config.dtype_policy().compute_dtype
        pointwise = {"strides": (1, 1), "rates": (1, 1), "padding": "valid", "depthwise": False}
        key_of = convolution(**pointwise, activation=None, dtype=dtype)

        def run(weights: Weights, images: Any) -> dict[str, Any]:
            builder = _Runner(spec, config.output_stride, list(weights), dtype)
            ends = named_ends(apply_inverted_residual(images, builder))
            features = {name: ends[name] for name in names}
            if config.memory:
                features["key"] = key_of(weights[-1], ends["high"])
            return features

        weights = [
            tuple(ops.convert_to_tensor(array, dtype) for array in pair) for pair in self.weights
        ]
        return run, weights


def frozen_encoder(
    config: ModelConfig, arrays: dict[str, np.ndarray], key_layer: str
) -> FrozenEncoder | None:
    """Makes an encoder of the arrays of a parent.

    Args:
        config: Architecture.
        arrays: Values of its variables by name; those of other parts are not looked at.
        key_layer: Name of the layer that makes the keys of the memory.

    Returns:
        The encoder; None where the backbone is of another kind, or the arrays are not exactly
        those of the architecture: who builds it will say what is wrong with them.
    """
    if config.backbone not in INVERTED_RESIDUAL:
        return None
    own = {name: value for name, value in arrays.items() if name.startswith(ENCODER)}
    collector = _Collector(INVERTED_RESIDUAL[config.backbone], config.output_stride, own)
    try:
        ends = named_ends(apply_inverted_residual(_Wide((None, None, None, 3)), collector))
        widths = {name: ends[name].shape[-1] for name in ("low", "high")}
        if config.refine:
            widths["fine"] = ends["fine"].shape[-1]
        if config.memory:
            kernel = collector.take(
                f"{key_layer}/kernel", (1, 1, widths["high"], config.key_channels)
            )
            bias = collector.take(f"{key_layer}/bias", (config.key_channels,))
            collector.weights.append((kernel, bias))
    except _Unfit:
        return None
    if own.keys() != collector.taken:
        return None
    return FrozenEncoder(config, widths, collector.weights)


class _Unfit(Exception):
    """An array is missing or has another shape."""


class _Wide(NamedTuple):
    """Stands for features of which only the width is known."""

    shape: tuple[int | None, ...]


class _Collector(Builder):
    """Goes through a network and folds its arrays, in order, without computing anything."""

    def __init__(
        self, spec: InvertedResidualSpec, output_stride: int, arrays: dict[str, np.ndarray]
    ):
        super().__init__(spec, output_stride)
        self._arrays = arrays
        self.taken: set[str] = set()
        self.weights: list[tuple[np.ndarray, np.ndarray]] = []

    def take(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """Returns an array, float32."""
        name = ENCODER + name
        found = self._arrays.get(name)
        if found is None or found.shape != shape:
            raise _Unfit(name)
        self.taken.add(name)
        return found.astype(np.float32)

    def normalize_image(self, image: _Wide) -> _Wide:
        return image

    def convolve(
        self,
        features: _Wide,
        channels: int,
        name: str,
        *,
        kernel: int = 1,
        stride: int = 1,
        activation: bool = True,
    ) -> _Wide:
        found = self.take(f"{name}/kernel", (kernel, kernel, features.shape[-1], channels))
        factor, bias = self._scale(name, channels)
        self.weights.append((found * factor, bias))
        return _Wide((*features.shape[:-1], channels))

    def filter(self, features: _Wide, kernel: int, stride: int, rate: int, name: str) -> _Wide:
        channels = features.shape[-1]
        found = self.take(f"{name}/kernel", (kernel, kernel, channels, 1))
        factor, bias = self._scale(name, channels)
        self.weights.append((found * factor[:, None], bias))
        return features

    def add(self, inputs: _Wide, features: _Wide, name: str) -> _Wide:
        return features

    def _scale(self, name: str, channels: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns what BatchNorm multiplies by in inference, and what it adds."""
        gamma, beta, mean, variance = (
            self.take(f"{name}_bn/{part}", (channels,))
            for part in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        factor = gamma / np.sqrt(variance + np.float32(self.spec.norm_epsilon))
        return factor, beta - factor * mean


class _Runner(Builder):
    """Computes a network with folded weights."""

    def __init__(
        self, spec: InvertedResidualSpec, output_stride: int, weights: Weights, dtype: str
    ):
        super().__init__(spec, output_stride)
        self._left = iter(weights)
        self._dtype = dtype

    def normalize_image(self, image: Any) -> Any:
        return ops.cast(image, "float32") * self.spec.image_scale + self.spec.image_offset

    def convolve(
        self,
        features: Any,
        channels: int,
        name: str,
        *,
        kernel: int = 1,
        stride: int = 1,
        activation: bool = True,
    ) -> Any:
        return self._apply(features, stride, 1, depthwise=False, activation=activation)

    def filter(self, features: Any, kernel: int, stride: int, rate: int, name: str) -> Any:
        return self._apply(features, stride, rate, depthwise=True, activation=True)

    def add(self, inputs: Any, features: Any, name: str) -> Any:
        return inputs + features

    def _apply(
        self, features: Any, stride: int, rate: int, *, depthwise: bool, activation: bool
    ) -> Any:
        call = convolution(
            strides=(stride, stride),
            rates=(rate, rate),
            padding="same",
            depthwise=depthwise,
            activation="relu6" if activation else None,
            dtype=self._dtype,
        )
        return call(next(self._left), features)
