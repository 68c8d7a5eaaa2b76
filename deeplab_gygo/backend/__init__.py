"""Differences between the Keras backends TensorFlow and JAX.

Compiled forward passes, the compiled gradient step, resizing to sizes known only at run time,
precision and devices; no other package asks which backend runs.
"""

from importlib import import_module

from deeplab_gygo.errors import UsageError

try:
    import_module("keras")  # for the first time, at which Keras loads its backend
except (ImportError, ValueError) as error:
    raise UsageError(
        "Keras runs on the backend tensorflow or jax, which is installed",
        met=error,
        where="environment variable KERAS_BACKEND",
        remedy="Set KERAS_BACKEND=tensorflow",
    ) from error

from deeplab_gygo.backend.calls import (
    compiled,
    compiled_function,
    fused_depthwise,
    resize,
    to_numpy,
    wait,
)
from deeplab_gygo.backend.running import (
    compile_quickly,
    devices,
    keep_compiled,
    name,
    policy,
    seed_everything,
    set_precision,
)
from deeplab_gygo.backend.steps import GradientStep

__all__ = [
    "GradientStep",
    "compile_quickly",
    "compiled",
    "compiled_function",
    "devices",
    "fused_depthwise",
    "keep_compiled",
    "name",
    "policy",
    "resize",
    "seed_everything",
    "set_precision",
    "to_numpy",
    "wait",
]
