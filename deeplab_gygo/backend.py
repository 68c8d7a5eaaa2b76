"""The only module that knows which Keras backend runs.

Everything that TensorFlow and JAX do differently lives here: compiled forward passes, the compiled
gradient step, resizing with sizes known only at run time, precision and devices.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import keras
import numpy as np

from deeplab_gygo.errors import UsageError

SUPPORTED = ("tensorflow", "jax")


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
        UsageError: float16 on a backend that does not scale the loss.
    """
    chosen = precision
    if precision == "float16" and name() != "tensorflow":
        raise UsageError(
            "float16 needs the TensorFlow backend, whose steps scale the loss",
            met=name(),
            where="--precision",
            remedy="Use --precision bfloat16, which needs no scaling",
        )
    if precision == "auto":
        chosen = "bfloat16" if devices() else "float32"
    keras.config.set_dtype_policy("float32" if chosen == "float32" else f"mixed_{chosen}")
    return chosen


def seed_everything(seed: int) -> None:
    """Seeds Python, numpy and the backend, and asks for deterministic operations."""
    keras.utils.set_random_seed(seed)
    if name() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()


def resize(values: Any, height: Any, width: Any) -> Any:
    """Bilinear resize with half-pixel centres; sizes may be tensors.

    Args:
        values: float [batch, height, width, channels].
        height: New height, int or scalar tensor.
        width: New width, likewise.

    Returns:
        Values of the same dtype, [batch, height, width, channels].
    """
    if isinstance(values, keras.KerasTensor):
        return keras.ops.image.resize(values, (height, width), interpolation="bilinear")
    if name() == "tensorflow":
        import tensorflow as tf

        resized = tf.image.resize(values, (height, width), method="bilinear")
        return tf.cast(resized, values.dtype)
    import jax

    shape = (values.shape[0], height, width, values.shape[3])
    return jax.image.resize(values, shape, method="bilinear", antialias=False)


def compiled(model: keras.Model) -> Callable[..., Any]:
    """Returns a compiled inference call of a model, `call(inputs) -> outputs` as backend tensors.

    The model's current weights are used at every call, so that the same function serves before and
    after fine-tuning.
    """
    if name() == "tensorflow":
        import tensorflow as tf

        @tf.function(reduce_retracing=True)
        def run(inputs):
            return model(inputs, training=False)

        return run
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

        return tf.function(function, reduce_retracing=True)
    import jax

    return jax.jit(function)


def wait(values: Any) -> Any:
    """Waits until values are computed, where the backend computes on its own; returns them."""
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


class GradientStep:
    """One compiled step of training: forward, loss, gradient, clip, update.

    It is traced once for the life of the process for each shape of its inputs. Variables are
    divided in groups, each with an optimizer of its own, so that groups can learn at different
    rates.

    Args:
        model: Network; called as `model(inputs, training=training)`.
        loss: `loss(outputs, targets) -> scalar` in `keras.ops`.
        groups: Pairs of an optimizer and the variables that it updates.
        clip: Largest global norm of the gradient over all groups; 0 leaves it as it is.
        training: The `training` argument of the model: False keeps BatchNorm and dropout frozen.
        regularizer: Optional `regularizer(variables) -> scalar` over the updated variables, in
            the order of the groups.
        donate: Whether a step may overwrite the memory of the variables, so that they are held
            once instead of twice (JAX; TensorFlow always does). Arrays that were taken from
            `variable.value` before a step are lost then.
    """

    def __init__(
        self,
        model: keras.Model,
        loss: Callable[[Any, Any], Any],
        groups: Sequence[tuple[keras.optimizers.Optimizer, list[keras.Variable]]],
        *,
        clip: float = 0.0,
        training: bool = True,
        regularizer: Callable[[list[Any]], Any] | None = None,
        donate: bool = False,
    ):
        self.model, self.loss, self.clip, self.training = model, loss, clip, training
        self.donate = donate
        self.groups = [(optimizer, list(variables)) for optimizer, variables in groups]
        self.regularizer = regularizer
        self.variables = [v for _, variables in self.groups for v in variables]
        for optimizer, variables in self.groups:
            optimizer.build(variables)
        self._run = self._make_tensorflow() if name() == "tensorflow" else self._make_jax()

    def __call__(self, inputs: Any, targets: Any) -> float:
        """Runs one step.

        Args:
            inputs: Inputs of the model, numpy arrays or tensors.
            targets: Second argument of the loss, arrays or a structure of them.

        Returns:
            The loss before the update, regularizer included.
        """
        return float(self.launch(inputs, targets))

    def launch(self, inputs: Any, targets: Any) -> Any:
        """Runs one step without waiting for its end, where the backend computes on its own.

        Args:
            inputs: As for a call.
            targets: As for a call.

        Returns:
            The same loss as a scalar of the backend; `float` waits for it.
        """
        return self._run(inputs, targets)

    def _objective(self, outputs: Any, targets: Any, values: list[Any]) -> Any:
        total = self.loss(outputs, targets)
        if self.regularizer is not None:
            total = total + self.regularizer(values)
        return total

    def _clipped(self, gradients: list[Any]) -> list[Any]:
        if not self.clip:
            return gradients
        ops = keras.ops
        squares = [ops.sum(ops.square(ops.cast(g, "float32"))) for g in gradients]
        norm = ops.sqrt(sum(squares[1:], squares[0]))
        factor = ops.minimum(1.0, self.clip / (norm + 1e-6))
        return [g * ops.cast(factor, g.dtype) for g in gradients]

    def _make_tensorflow(self) -> Callable[[Any, Any], Any]:
        import tensorflow as tf

        scaler = self.groups[0][0]
        scales = isinstance(scaler, keras.optimizers.LossScaleOptimizer)

        @tf.function(reduce_retracing=True)
        def run(inputs, targets):
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch([v.value for v in self.variables])
                outputs = self.model(inputs, training=self.training)
                total = self._objective(outputs, targets, [v.value for v in self.variables])
                objective = scaler.scale_loss(total) if scales else total
            gradients = tape.gradient(objective, [v.value for v in self.variables])
            self._apply(gradients if scales else self._clipped(gradients))
            return total

        return run

    def _apply(self, gradients: list[Any]) -> None:
        start = 0
        for optimizer, variables in self.groups:
            part = gradients[start : start + len(variables)]
            optimizer.apply_gradients(zip(part, variables, strict=True))
            start += len(variables)

    def _make_jax(self) -> Callable[[Any, Any], Any]:
        import jax

        model = self.model
        updated = {id(v) for v in self.variables}
        all_trainable, all_fixed = model.trainable_variables, model.non_trainable_variables
        for variable in self.variables:
            if not any(variable is v for v in all_trainable):
                raise UsageError("Updated variables must be trainable ones of the model")

        def objective(values, others, fixed, inputs, targets):
            mine, rest = iter(values), iter(others)
            by_id = dict(zip([id(v) for v in self.variables], mine, strict=True))
            trainable = [by_id[id(v)] if id(v) in updated else next(rest) for v in all_trainable]
            outputs, fixed = model.stateless_call(trainable, fixed, inputs, training=self.training)
            return self._objective(outputs, targets, values), fixed

        @partial(jax.jit, donate_argnums=(0, 2, 3) if self.donate else ())
        def pure(values, others, fixed, states, inputs, targets):
            (total, fixed), gradients = jax.value_and_grad(objective, has_aux=True)(
                values, others, fixed, inputs, targets
            )
            gradients = self._clipped(gradients)
            new_values, new_states, start = [], [], 0
            for (optimizer, variables), state in zip(self.groups, states, strict=True):
                stop = start + len(variables)
                part, state = optimizer.stateless_apply(
                    state, gradients[start:stop], values[start:stop]
                )
                new_values += part
                new_states.append(state)
                start = stop
            return total, new_values, new_states, fixed

        def run(inputs, targets):
            others = [v.value for v in all_trainable if id(v) not in updated]
            total, values, states, fixed = pure(
                [v.value for v in self.variables],
                others,
                [v.value for v in all_fixed],
                [[v.value for v in optimizer.variables] for optimizer, _ in self.groups],
                inputs,
                targets,
            )
            for variable, value in zip(self.variables, values, strict=True):
                variable.assign(value)
            for (optimizer, _), state in zip(self.groups, states, strict=True):
                for variable, value in zip(optimizer.variables, state, strict=True):
                    variable.assign(value)
            for variable, value in zip(all_fixed, fixed, strict=True):
                variable.assign(value)
            return total

        return run
