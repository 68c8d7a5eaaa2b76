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

ConvolutionFn = Callable[[tuple[Any, Any], Any], Any]
"""`call((kernel, bias), images) -> features`, [B, h, w, C] each."""

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
            image = _Features((None, None, None, 3))
            ends = named_ends(apply_inverted_residual(image, collector))
            widths = {name: ends[name].shape[-1] for name in ("low", "high")}
            if config.refine:
                widths["fine"] = ends["fine"].shape[-1]
            if config.memory:
                shape = (1, 1, widths["high"], config.key_channels)
                kernel = collector.take(f"{KEY_LAYER}/kernel", shape)
                collector.weights.append((kernel, collector.take(f"{KEY_LAYER}/bias", shape[-1:])))
        except _Unfit:
            return None
        if own.keys() != collector.taken:
            return None
        return cls(config, widths, collector.weights, own)

    def function(self) -> tuple[Callable[[Weights, Any], dict[str, Any]], Weights]:
        """Returns the computation of the features as a function of weights and images.

        Returns:
            `call(weights, images) -> features` as `DeepLabV3Plus.encoder` computes them, and the
            weights in the compute dtype of the current Keras policy.
        """
        config, names = self.config, tuple(self.widths)
        spec, dtype = INVERTED_RESIDUAL[config.backbone], keras.config.dtype_policy().compute_dtype
        pointwise = {"strides": (1, 1), "rates": (1, 1), "padding": "valid", "depthwise": False}
        project_key = convolution(**pointwise, activation=None, dtype=dtype)

        def run(weights: Weights, images: Any) -> dict[str, Any]:
            builder = _FoldedBuilder(spec, config.output_stride, list(weights), dtype)
            ends = named_ends(apply_inverted_residual(images, builder))
            features = {name: ends[name] for name in names}
            if config.memory:
                features["key"] = project_key(weights[-1], ends["high"])
            return features

        weights = [
            tuple(ops.convert_to_tensor(array, dtype) for array in pair) for pair in self.weights
        ]
        return run, weights


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
        self.taken: set[str] = set()
        self.weights: list[tuple[np.ndarray, np.ndarray]] = []

    def take(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """Returns an array, float32."""
        name = PREFIX + name
        found = self._arrays.get(name)
        if found is None or found.shape != shape:
            raise _Unfit(name)
        self.taken.add(name)
        return found.astype(np.float32)

    def normalize_image(self, image: _Features) -> _Features:
        return image

    def convolve(
        self,
        features: _Features,
        channels: int,
        name: str,
        *,
        kernel: int = 1,
        stride: int = 1,
        activation: bool = True,
    ) -> _Features:
        found = self.take(f"{name}/kernel", (kernel, kernel, features.shape[-1], channels))
        factor, bias = self._scale(name, channels)
        self.weights.append((found * factor, bias))
        return _Features((*features.shape[:-1], channels))

    def filter(
        self, features: _Features, kernel: int, stride: int, rate: int, name: str
    ) -> _Features:
        channels = features.shape[-1]
        found = self.take(f"{name}/kernel", (kernel, kernel, channels, 1))
        factor, bias = self._scale(name, channels)
        self.weights.append((found * factor[:, None], bias))
        return features

    def add(self, inputs: _Features, features: _Features, name: str) -> _Features:
        return features

    def _scale(self, name: str, channels: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns factor and offset of BatchNorm in inference, float32 [channels] each."""
        gamma, beta, mean, variance = (
            self.take(f"{name}_bn/{part}", (channels,))
            for part in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        factor = gamma / np.sqrt(variance + np.float32(self.spec.norm_epsilon))
        return factor, beta - factor * mean


class _FoldedBuilder(Builder):
    """Applies a network with folded weights to images."""

    def __init__(
        self, spec: InvertedResidualSpec, output_stride: int, weights: Weights, dtype: str
    ):
        super().__init__(spec, output_stride)
        self._weights = iter(weights)
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
        return call(next(self._weights), features)


def convolution(
    *,
    strides: tuple[int, int],
    rates: tuple[int, int],
    padding: str,
    depthwise: bool,
    activation: str | None,
    dtype: str,
) -> ConvolutionFn:
    """Returns the call of a convolution with bias and activation, channels last.

    Args:
        strides: Vertical and horizontal stride.
        rates: Vertical and horizontal dilation.
        padding: `same` or `valid`.
        depthwise: Whether it is a depthwise convolution.
        activation: Name of a function of `keras.ops`; None for none.
        dtype: Compute dtype, that of kernel and bias.

    Returns:
        `call((kernel, bias), images)`.
    """
    fused = _fused(strides, rates, padding, activation, dtype) if depthwise else None
    if fused is not None:
        return fused
    convolve = ops.depthwise_conv if depthwise else ops.conv
    activate = getattr(ops, activation) if activation else lambda found: found

    def call(weights: tuple[Any, Any], images: Any) -> Any:
        kernel, bias = weights
        found = convolve(
            ops.cast(images, dtype),
            kernel,
            strides=strides,
            padding=padding,
            data_format="channels_last",
            dilation_rate=rates,
        )
        return activate(found + bias)

    return call


def _fused(
    strides: tuple[int, int],
    rates: tuple[int, int],
    padding: str,
    activation: str | None,
    dtype: str,
) -> ConvolutionFn | None:
    """Returns the call of a fused kernel, where the backend has one that fits."""
    kernel_of = backend.fused_depthwise()
    fits = len(set(strides)) == len(set(rates)) == 1 and padding == "same"
    if kernel_of is None or not fits or activation not in (None, "relu6"):
        return None
    options = {"stride": strides[0], "rate": rates[0], "relu6": activation is not None}

    def call(weights: tuple[Any, Any], images: Any) -> Any:
        kernel, bias = weights
        return kernel_of(ops.cast(images, dtype), kernel[..., 0], bias, **options)

    return call
