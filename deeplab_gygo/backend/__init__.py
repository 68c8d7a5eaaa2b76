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
    materialized,
    resample,
    resize,
    to_numpy,
    wait,
)
from deeplab_gygo.backend.convolution import depthwise_conv, pointwise_conv
from deeplab_gygo.backend.programs import (
    in_background,
    make_optimizers,
    output_shapes,
    prepare,
    put,
    set_values,
    shape,
    values_of,
    wait_for_background,
    without_values,
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
    "depthwise_conv",
    "devices",
    "fused_depthwise",
    "in_background",
    "keep_compiled",
    "make_optimizers",
    "materialized",
    "name",
    "output_shapes",
    "pointwise_conv",
    "policy",
    "prepare",
    "put",
    "resample",
    "resize",
    "seed_everything",
    "set_precision",
    "set_values",
    "shape",
    "to_numpy",
    "values_of",
    "wait",
    "wait_for_background",
    "without_values",
]
