"""Compiled calls without a gradient, resizing, and conversion of tensors to numpy."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

import keras
import numpy as np

from deeplab_gygo.backend.programs import JaxProgram, in_background
from deeplab_gygo.backend.running import devices, name
from deeplab_gygo.errors import UsageError

logger = logging.getLogger(__name__)

KERNELS_VARIABLE = "DEEPLAB_GYGO_KERNELS"
"""Environment variable for this package's GPU kernels: `auto`, the default, uses them on JAX with
one NVIDIA GPU where they compile; `off` never; `pallas` without trying them before; `interpret`
runs them by an interpreter, which is slow and runs anywhere."""

_PROBING = threading.Lock()


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
    """Returns the kernel of depthwise convolution, bias and ReLU6, where it is in use.

    Returns:
        `kernels.depthwise.depthwise`; None for the operations of the backend.

    Raises:
        UsageError: The kernels are selected where they cannot run.
    """
    asked = os.environ.get(KERNELS_VARIABLE) or "auto"
    if asked == "off" or (asked == "auto" and not _kernels_work()):
        return None
    if asked not in ("auto", "pallas", "interpret") or name() != "jax":
        raise UsageError(
            "Kernels are `auto`, `off`, `pallas` or `interpret`; the last two need the JAX backend",
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


def materialized(values: Any) -> Any:
    """Keeps the computation of tensors apart from that of what follows, in a compiled function.

    XLA on CPUs (JAX 0.10) computes a pooling wrongly that it fuses with a concatenation on the axis
    of channels before it, where the batch is more than one.
    """
    if name() == "tensorflow":
        return values
    import jax

    return jax.lax.optimization_barrier(values)


def _kernels_work() -> bool:
    """Tells whether the kernels run here; programs compiled in other threads wait for the first."""
    if name() != "jax":
        return False
    with _PROBING:
        return _tried_kernels()


@cache
def _tried_kernels() -> bool:
    import jax

    # Arrays divided among several GPUs would be gathered for a kernel.
    if [d.device_kind.startswith("NVIDIA") for d in jax.devices()] != [True]:
        return False
    from deeplab_gygo.backend.kernels.probe import failure

    # In a thread of its own, because the caller may be in the middle of tracing a program.
    reason = in_background(failure).result()
    if reason is not None:
        logger.warning("the GPU kernels are not used: %s", reason)
    return reason is None


def resample(planes: Any, rows: Any, columns: Any) -> Any:
    """Resamples planes by a matrix per axis, in float32 on every device.

    Args:
        planes: float32 [h, w].
        rows: float32 [H, h], weights of the input rows for every output row.
        columns: float32 [W, w], likewise for columns.

    Returns:
        float32 [H, W].
    """
    if name() == "tensorflow":
        ops = keras.ops
        return ops.matmul(ops.matmul(rows, planes), ops.transpose(columns))
    import jax

    # An accelerator would multiply float32 with the precision of bfloat16 or TF32.
    return jax.numpy.einsum("ij,jk,lk->il", rows, planes, columns, precision="highest")


def compiled(model: keras.Model) -> Callable[..., Any]:
    """Returns a compiled inference call of a model, `call(inputs) -> outputs` as backend tensors.

    Every call uses the current weights of the model, before and after fine-tuning.
    """
    return compiled_function(partial(model, training=False), model.variables)


def compiled_function(
    function: Callable[..., Any],
    variables: Sequence[keras.Variable] = (),
    *,
    single_kernel: bool = False,
) -> Callable[..., Any]:
    """Compiles a function of tensors, or of dicts and lists of tensors.

    Args:
        function: The function.
        variables: Variables that it reads; every call uses their current values.
        single_kernel: Whether TensorFlow compiles it as a whole, by XLA, as JAX always does; for
            shapes that stay the same.

    Returns:
        The compiled function. On JAX its compilations can be interrupted, and `prepare` compiles it
        ahead.
    """
    if name() == "tensorflow":
        import tensorflow as tf

        if single_kernel:
            return tf.function(function, autograph=False, jit_compile=True)
        return tf.function(function, reduce_retracing=True, autograph=False)
    return JaxProgram(function, variables)


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
