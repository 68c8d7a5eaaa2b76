"""The running backend: its name, devices, precision, seeds and compilation options."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import keras

from deeplab_gygo.errors import UsageError

SUPPORTED = ("tensorflow", "jax")
PRECISIONS = ("auto", "float32", "bfloat16", "float16")


def name() -> str:
    """Returns the running Keras backend, `tensorflow` or `jax`.

    Raises:
        UsageError: Keras runs on a backend that this package does not support.
    """
    running = keras.backend.backend()
    if running not in SUPPORTED:
        raise UsageError(
            f"The Keras backend must be one of {', '.join(SUPPORTED)}",
            met=running,
            where="environment variable KERAS_BACKEND",
            remedy="Set KERAS_BACKEND=tensorflow",
        )
    return running


def devices() -> list[str]:
    """Returns the names of the accelerators that the backend sees; empty on a CPU."""
    if name() == "tensorflow":
        import tensorflow as tf

        return [d.name for d in tf.config.list_physical_devices("GPU")]
    import jax

    return [str(d) for d in jax.devices() if d.platform != "cpu"]


def set_precision(precision: str) -> str:
    """Sets the global Keras dtype policy before a model is built.

    Args:
        precision: `auto`, `float32`, `bfloat16` or `float16`. `auto` takes bfloat16 on an
            accelerator and float32 on a CPU. float16 scales its loss on TensorFlow only.

    Returns:
        The precision in force.

    Raises:
        UsageError: An unknown precision, or float16 on a backend that does not scale the loss.
    """
    if precision not in PRECISIONS:
        raise UsageError(f"A precision is one of {', '.join(PRECISIONS)}", met=precision)
    if precision == "float16" and name() != "tensorflow":
        raise UsageError(
            "float16 needs the TensorFlow backend, whose steps scale the loss",
            met=name(),
            where="--precision",
            remedy="Use --precision bfloat16, which needs no scaling",
        )
    if precision == "auto":
        precision = "bfloat16" if devices() else "float32"
    keras.config.set_dtype_policy("float32" if precision == "float32" else f"mixed_{precision}")
    return precision


@contextmanager
def policy(precision: str) -> Iterator[str]:
    """Sets the precision for the networks that are built inside, and restores the caller's policy.

    Layers keep the dtype policy that they are built under, so that a network made inside computes
    in this precision for good. Keras holds its policy per thread: only this thread's is touched.

    Argument, yielded precision and errors are those of `set_precision`.
    """
    before = keras.config.dtype_policy()
    try:
        yield set_precision(precision)
    finally:
        keras.config.set_dtype_policy(before)


def seed_everything(seed: int) -> None:
    """Seeds Python, numpy and the backend, and enables deterministic operations."""
    keras.utils.set_random_seed(seed)
    if name() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()


def keep_compiled(folder: Path) -> None:
    """Caches compiled programs between processes, where the backend can (JAX).

    A cache named by JAX's own environment variables takes precedence.
    """
    if name() != "jax":
        return  # TensorFlow on a CPU compiles nothing that could be kept
    import jax

    if jax.config.jax_compilation_cache_dir is None:
        jax.config.update("jax_compilation_cache_dir", str(folder))
        # All of them: JAX keeps those alone that take a second. Beside them, in the same folder, it
        # keeps what the compiler measured to choose algorithms on a GPU.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def compile_quickly() -> None:
    """Disables TensorFlow's graph optimizer in this process, on a CPU.

    Inference and fine-tuning steps of the head run no faster with it and start later; training of
    an encoder was not measured. On GPUs it chooses layouts and stays enabled.
    """
    if name() != "tensorflow" or devices():
        return
    import tensorflow as tf

    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
