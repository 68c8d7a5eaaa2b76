"""Compiled calls without a gradient, resizing, and conversion of tensors to numpy."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import numpy as np

from deeplab_gygo.backend.running import devices, name
from deeplab_gygo.errors import UsageError

KERNELS_VARIABLE = "DEEPLAB_GYGO_KERNELS"
"""Environment variable that selects this package's GPU kernels: `pallas`, or `interpret` for the
interpreter, which is slow and runs anywhere. Without it the operations of the backend are used."""


def resize(values: Any, height: Any, width: Any) -> Any:
    """Bilinear resize of float [B, H, W, C] with half-pixel centers; sizes may be tensors."""
    if name() == "tensorflow":
        import tensorflow as tf

        resized = tf.image.resize(values, (height, width), method="bilinear")
        return tf.cast(resized, values.dtype)
    import jax

    shape = (values.shape[0], height, width, values.shape[3])
    return jax.image.resize(values, shape, method="bilinear", antialias=False)


def fused_depthwise() -> Callable[..., Any] | None:
    """Returns the kernel of depthwise convolution, bias and ReLU6, where it is selected.

    Returns:
        `kernels.depthwise.depthwise`; None for the operations of the backend.

    Raises:
        UsageError: The kernels are selected where they cannot run.
    """
    asked = os.environ.get(KERNELS_VARIABLE, "")
    if not asked:
        return None
    if asked not in ("pallas", "interpret") or name() != "jax":
        raise UsageError(
            "Kernels are `pallas` or `interpret`, and need the JAX backend",
            met=f"{asked} on {name()}",
            where=f"environment variable {KERNELS_VARIABLE}",
            remedy="Unset it, or set KERAS_BACKEND=jax",
        )
    if asked == "pallas" and not devices():
        raise UsageError(
            "Kernels run on a GPU",
            met="none",
            where=f"environment variable {KERNELS_VARIABLE}",
            remedy="Unset it, or name `interpret` there",
        )
    from deeplab_gygo.backend.kernels.depthwise import depthwise

    return partial(depthwise, interpret=asked == "interpret")


def compiled(model: keras.Model) -> Callable[..., Any]:
    """Returns a compiled inference call of a model, `call(inputs) -> outputs` as backend tensors.

    Every call uses the current weights of the model, before and after fine-tuning.
    """
    if name() == "tensorflow":
        return compiled_function(partial(model, training=False))
    import jax

    @jax.jit
    def pure(trainable, non_trainable, inputs):
        outputs, _ = model.stateless_call(trainable, non_trainable, inputs, training=False)
        return outputs

    def run_jax(inputs):
        return pure(
            [v.value for v in model.trainable_variables],
            [v.value for v in model.non_trainable_variables],
            inputs,
        )

    return run_jax


def compiled_function(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiles a function of tensors, or of lists of tensors, that uses no variables."""
    if name() == "tensorflow":
        import tensorflow as tf

        return tf.function(function, reduce_retracing=True, autograph=False)
    import jax

    return jax.jit(function)


def wait(values: Any) -> Any:
    """Returns values when they are computed, where the backend is asynchronous (JAX)."""
    if name() == "jax":
        import jax

        jax.block_until_ready(values)
    return values


def to_numpy(values: Any) -> Any:
    """Copies a backend tensor, or a dict or list of them, to numpy float32 or integer arrays."""
    if isinstance(values, dict):
        return {key: to_numpy(value) for key, value in values.items()}
    if isinstance(values, (list, tuple)):
        return [to_numpy(value) for value in values]
    array = keras.ops.convert_to_numpy(values)
    return array.astype(np.float32) if array.dtype.name == "bfloat16" else array
