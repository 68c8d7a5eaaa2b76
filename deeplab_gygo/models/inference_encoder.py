"""Inference-only encoder with BatchNorm folded, computed straight from the arrays of a weight file.

Creating variables takes most of the time of building a network: five for every convolution with
BatchNorm. An encoder that is not fine-tuned needs two tensors instead, the folded kernel and bias,
and no layers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from deeplab_gygo import backend
from deeplab_gygo.models.backbones import INVERTED_RESIDUAL
from deeplab_gygo.models.config import KEY_LAYER, ModelConfig
from deeplab_gygo.models.inverted_residual import (
    Builder,
    InvertedResidualSpec,
    apply_inverted_residual,
    named_ends,
)

Weights = list[tuple[Any, Any]]
"""Kernel and bias of every convolution, in the order of the network."""

PREFIX = "encoder/"
"""Beginning of the names of the encoder's variables in a weight file."""


@dataclass(frozen=True)
class InferenceEncoder:
    """Encoder with folded weights.

    Attributes:
        config: Architecture.
        widths: Channels of the features: "low", "high", and "fine" where the architecture has it.
        weights: Folded kernel and bias of every convolution, float32, in the order of the network;
            those of the memory's keys last, where the architecture has them.
        arrays: Values of the encoder's variables by name, not folded.
    """

    config: ModelConfig
    widths: dict[str, int]
    weights: list[tuple[np.ndarray, np.ndarray]]
    arrays: dict[str, np.ndarray]

    @classmethod
    def from_arrays(
        cls, config: ModelConfig, arrays: dict[str, np.ndarray]
    ) -> InferenceEncoder | None:
        """Folds the arrays of a parent.

        Args:
            config: Architecture.
            arrays: Values of its variables by name; those of other parts are ignored.

        Returns:
            The encoder; None where the backbone has no inverted residual blocks, or the arrays do
            not fit the architecture exactly: building the Keras model reports the difference.
        """
        if config.backbone not in INVERTED_RESIDUAL:
            return None
        own = {name: value for name, value in arrays.items() if name.startswith(PREFIX)}
        collector = _WeightCollector(INVERTED_RESIDUAL[config.backbone], config.output_stride, own)
        try:
            widths = collector.collect(config)
        except _Unfit:
            return None
        if own.keys() != collector.shapes.keys():
            return None
        return cls(config, widths, collector.weights, own)

    @classmethod
    def without_weights(
        cls, config: ModelConfig
    ) -> tuple[InferenceEncoder, dict[str, tuple[int, ...]]] | None:
        """Returns an encoder that cannot compute yet, and the shapes of its variables by name.

        Returns:
            Both; None where the backbone has no inverted residual blocks.
        """
        if config.backbone not in INVERTED_RESIDUAL:
            return None
        collector = _ShapeCollector(INVERTED_RESIDUAL[config.backbone], config.output_stride, {})
        return cls(config, collector.collect(config), [], {}), collector.shapes

    def function(self) -> tuple[Callable[[Weights, Any], dict[str, Any]], Weights]:
        """Returns the computation of the features as a function of weights and images.

        Returns:
            `call(weights, images) -> features` as `DeepLabV3Plus.encoder` computes them, and the
            weights in the compute dtype of the current Keras policy.
        """
        config, names = self.config, tuple(self.widths)
        spec, dtype = INVERTED_RESIDUAL[config.backbone], keras.config.dtype_policy().compute_dtype

        def run(weights: Weights, images: Any) -> dict[str, Any]:
            builder = FoldedBuilder(spec, config.output_stride, weights, dtype)
            image = ops.cast(images, "float32") * spec.image_scale + spec.image_offset
            ends = named_ends(apply_inverted_residual(image, builder))
            features = {name: ends[name] for name in names}
            if config.memory:
                features["key"] = builder.convolve(
                    ends["high"], config.key_channels, KEY_LAYER, activation=False
                )
            return features

        return run, backend.put(self.weights, dtype)


class _Unfit(Exception):
    """An array is missing or has another shape."""


class _Features(NamedTuple):
    """Shape-only placeholder: weights are collected without computing features."""

    shape: tuple[int | None, ...]


class _WeightCollector(Builder):
    """Collects and folds the arrays of a network in its order."""

    def __init__(
        self, spec: InvertedResidualSpec, output_stride: int, arrays: dict[str, np.ndarray]
    ):
        super().__init__(spec, output_stride)
        self._arrays = arrays
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.weights: list[tuple[np.ndarray, np.ndarray]] = []

    def collect(self, config: ModelConfig) -> dict[str, int]:
        """Goes through the network, and returns the channels of its features."""
        ends = named_ends(apply_inverted_residual(_Features((None, None, None, 3)), self))
        widths = {name: ends[name].shape[-1] for name in ("low", "high")}
        if config.refine:
            widths["fine"] = ends["fine"].shape[-1]
        if config.memory:
            shape = (1, 1, widths["high"], config.key_channels)
            kernel = self.take(f"{KEY_LAYER}/kernel", shape)
            self.weights.append((kernel, self.take(f"{KEY_LAYER}/bias", shape[-1:])))
        return widths

    def take(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """Returns an array, float32."""
        name = PREFIX + name
        found = self._arrays.get(name)
        if found is None or found.shape != shape:
            raise _Unfit(name)
        self.shapes[name] = shape
        return found.astype(np.float32)

    def convolve(
        self,
        features: _Features,
        channels: int | None,
        name: str,
        *,
        kernel: int = 1,
        stride: int = 1,
        rate: int = 1,
        activation: bool = True,
    ) -> _Features:
        inputs = features.shape[-1]
        width, last = (inputs, 1) if channels is None else (channels, channels)
        values = self.take(f"{name}/kernel", (kernel, kernel, inputs, last))
        gamma, beta, mean, variance = (
            self.take(f"{name}_bn/{part}", (width,))
            for part in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        factor = gamma / np.sqrt(variance + np.float32(self.spec.norm_epsilon))
        values = values * (factor[:, None] if channels is None else factor)
        self.weights.append((values, beta - factor * mean))
        return _Features((*features.shape[:-1], width))

    def add(self, inputs: _Features, features: _Features, name: str) -> _Features:
        return features


class _ShapeCollector(_WeightCollector):
    """Collects the shapes of the arrays of a network."""

    def take(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        self.shapes[PREFIX + name] = shape
        return np.ones([1] * len(shape), np.float32)


class FoldedBuilder(Builder):
    """Applies a network with folded weights to images."""

    def __init__(
        self, spec: InvertedResidualSpec, output_stride: int, weights: Weights, dtype: str
    ):
        super().__init__(spec, output_stride)
        self._weights = iter(weights)
        self._dtype = dtype

    def convolve(
        self,
        features: Any,
        channels: int | None,
        name: str,
        *,
        kernel: int = 1,
        stride: int = 1,
        rate: int = 1,
        activation: bool = True,
    ) -> Any:
        values, bias = next(self._weights)
        features = ops.cast(features, self._dtype)
        if channels is None and (fused := backend.fused_depthwise()):
            return fused(features, values[..., 0], bias, stride=stride, rate=rate, relu6=activation)
        convolve = ops.depthwise_conv if channels is None else ops.conv
        features = convolve(
            features,
            values,
            strides=stride,
            padding="same",
            data_format="channels_last",
            dilation_rate=rate,
        )
        return ops.relu6(features + bias) if activation else features + bias

    def add(self, inputs: Any, features: Any, name: str) -> Any:
        return inputs + features
