"""Compiled gradient steps: one at a time, or all steps of a fine-tuning as one program."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import keras

from deeplab_gygo.backend.programs import in_background, shape
from deeplab_gygo.backend.running import devices, name
from deeplab_gygo.errors import UsageError

Stack = tuple[Any, Any]
"""Inputs of a model and targets of N images, arrays [N, ...] each."""


class GradientStep:
    """Compiled training step: forward pass, loss, gradient, clipping, update.

    It is traced once per shape of its inputs. Variables are divided into parameter groups with an
    optimizer each, so that learning rates can differ.

    Attributes:
        launch: Runs one step as a call does, but returns the loss as a scalar of the backend, and
            does not wait for it where the backend is asynchronous.

    Args:
        model: Network; called as `model(inputs, training=training)`.
        loss: `loss(outputs, targets) -> scalar` in `keras.ops`.
        groups: Pairs of an optimizer and the variables that it updates.
        clip: Largest global norm of the gradient over all groups; 0: no clipping.
        training: `training` argument of the model: False freezes BatchNorm and turns dropout off.
        regularizer: `regularizer(values) -> scalar` of the updated variables in the order of the
            groups; None: none.
        donate: Whether a step may overwrite the memory of the variables, which halves it (JAX;
            TensorFlow always does). Arrays taken from `variable.value` before are invalid then.
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
        tensorflow = name() == "tensorflow"
        self.launch = self._make_tensorflow() if tensorflow else self._make_jax()
        self._run_all: Callable[..., Any] | None = None

    def __call__(self, inputs: Any, targets: Any) -> float:
        """Runs one step.

        Args:
            inputs: Inputs of the model, numpy arrays or tensors.
            targets: Second argument of the loss, arrays or a structure of them.

        Returns:
            The loss before the update, regularizer included.
        """
        return float(self.launch(inputs, targets))

    def prepare(self, inputs: Any, targets: Any) -> dict[str, int]:
        """Compiles the step for arguments of these shapes without running it.

        TensorFlow traces it, which may happen in another thread in float32 only: the Keras dtype
        policy is thread-local. On JAX signals are handled during the compilation.

        Returns:
            On JAX the memory of the program in bytes: `arguments`, which contain the variables and
            the optimizers' slots, and `temporary`; empty on TensorFlow, which does not tell.
        """
        if name() == "tensorflow":
            self.launch.get_concrete_function(inputs, targets)
            return {}
        lowered = self._program.lower(self._jax_state(), self._jax_constants(), inputs, targets)
        memory = in_background(lowered.compile).result().memory_analysis()
        return {
            "arguments": memory.argument_size_in_bytes,
            "temporary": memory.temp_size_in_bytes,
        }

    def sweep(self, sources: Sequence[Stack], picks: Any, rates: Any) -> Any:
        """Runs many steps as one program, without the host between them.

        It is traced once per shape of its arguments, the number of steps included. TensorFlow
        compiles it with XLA on an accelerator, JAX always; on a CPU it is as fast as single steps.

        Args:
            sources: One or more stacks of training images: inputs of the model and targets, arrays
                [N, ...] each. The batch of a step has one image of every stack.
            picks: int32 [steps, stacks], indices of the images.
            rates: float32 [steps, groups], learning rates.

        Returns:
            The losses before the updates, [steps], as an array of the backend.
        """
        if self._run_all is None:
            tensorflow = name() == "tensorflow"
            self._run_all = self._sweep_tensorflow() if tensorflow else self._sweep_jax()
        return self._run_all(list(sources), picks, rates)

    def prepare_sweep(self, sources: Sequence[Stack], steps: int) -> None:
        """Compiles a sweep without running it, on JAX; it may run in another thread.

        Args:
            sources: As for `sweep`, arrays or their shapes (`backend.shape`).
            steps: Number of steps.
        """
        if name() != "jax":
            return
        if self._run_all is None:
            self._run_all = self._sweep_jax()
        self._sweep_program.lower(
            self._jax_state(),
            self._jax_constants(),
            list(sources),
            shape((steps, len(sources)), "int32"),
            shape((steps, len(self.groups)), "float32"),
        ).compile()

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

    def _sweep_tensorflow(self) -> Callable[..., Any]:
        import tensorflow as tf

        @tf.function(autograph=False, jit_compile=bool(devices()))
        def run(sources, picks, rates):
            count = tf.shape(picks)[0]

            def body(step, losses):
                for group, (optimizer, _) in enumerate(self.groups):
                    optimizer.learning_rate = rates[step, group]
                loss = self._updated(*_picked(sources, picks[step], tf.concat))
                return step + 1, losses.write(step, tf.cast(loss, tf.float32))

            _, losses = tf.while_loop(
                lambda step, _: step < count,
                body,
                (0, tf.TensorArray(tf.float32, count)),
                parallel_iterations=1,
            )
            return losses.stack()

        return lambda sources, picks, rates: run(
            sources, tf.constant(picks, tf.int32), tf.constant(rates, tf.float32)
        )

    def _updated(self, inputs: Any, targets: Any) -> Any:
        """Updates all variables once and returns the loss before the update."""
        import tensorflow as tf

        scaler = self.groups[0][0]
        scales = isinstance(scaler, keras.optimizers.LossScaleOptimizer)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([v.value for v in self.variables])
            outputs = self.model(inputs, training=self.training)
            total = self._objective(outputs, targets, [v.value for v in self.variables])
            objective = scaler.scale_loss(total) if scales else total
        gradients = tape.gradient(objective, [v.value for v in self.variables])
        gradients = gradients if scales else self._clipped(gradients)
        start = 0
        for optimizer, variables in self.groups:
            part = gradients[start : start + len(variables)]
            _update(optimizer, part, variables)
            start += len(variables)
        return total

    def _make_tensorflow(self) -> Callable[[Any, Any], Any]:
        import tensorflow as tf

        # Not with reduce_retracing: where one side of the input differs from an earlier one, a step
        # with a dilated convolution then fails at run time in its padding (TensorFlow 2.21).
        return tf.function(self._updated, autograph=False)

    def _make_jax(self) -> Callable[[Any, Any], Any]:
        import jax

        self._program = jax.jit(self._pure_step(), donate_argnums=(0,) if self.donate else ())

        def run(inputs, targets):
            total, state = self._program(self._jax_state(), self._jax_constants(), inputs, targets)
            self._set_jax_state(state)
            return total

        return run

    def _sweep_jax(self) -> Callable[..., Any]:
        import jax
        from jax import numpy as jnp

        step = self._pure_step()
        slots = [
            next(i for i, v in enumerate(o.variables) if v is o.learning_rate)
            for o, _ in self.groups
        ]

        @partial(jax.jit, donate_argnums=(0,) if self.donate else ())
        def pure(state, constants, sources, picks, rates):
            def body(state, now):
                pick, rate = now
                values, states, fixed = state
                for group, slot in enumerate(slots):
                    states[group] = [*states[group]]
                    states[group][slot] = rate[group].astype(states[group][slot].dtype)
                inputs, targets = _picked(sources, pick, jnp.concatenate)
                total, state = step((values, states, fixed), constants, inputs, targets)
                return state, total

            state, losses = jax.lax.scan(body, state, (picks, rates))
            return losses, state

        self._sweep_program = pure

        def run(sources, picks, rates):
            picks, rates = jnp.asarray(picks, "int32"), jnp.asarray(rates, "float32")
            losses, state = pure(self._jax_state(), self._jax_constants(), sources, picks, rates)
            self._set_jax_state(state)
            return losses

        return run

    def _pure_step(self) -> Callable[..., Any]:
        """Returns the step as a function `(state, constants, inputs, targets) -> loss, state`."""
        import jax

        model, everything = self.model, self.model.trainable_variables
        updated = {id(v) for v in self.variables}
        for variable in self.variables:
            if not any(variable is v for v in everything):
                raise UsageError("Updated variables must be trainable ones of the model")

        def objective(values, others, fixed, inputs, targets):
            mine, rest = iter(values), iter(others)
            by_id = dict(zip([id(v) for v in self.variables], mine, strict=True))
            trainable = [by_id[id(v)] if id(v) in updated else next(rest) for v in everything]
            outputs, fixed = model.stateless_call(trainable, fixed, inputs, training=self.training)
            return self._objective(outputs, targets, values), fixed

        def step(state, others, inputs, targets):
            values, states, fixed = state
            (total, fixed), gradients = jax.value_and_grad(objective, has_aux=True)(
                values, others, fixed, inputs, targets
            )
            gradients = self._clipped(gradients)
            new_values, new_states, start = [], [], 0
            for (optimizer, variables), slots in zip(self.groups, states, strict=True):
                stop = start + len(variables)
                part, slots = optimizer.stateless_apply(
                    slots, gradients[start:stop], values[start:stop]
                )
                new_values += part
                new_states.append(list(slots))
                start = stop
            return total, (new_values, new_states, list(fixed))

        return step

    def _jax_state(self) -> tuple[list[Any], list[list[Any]], list[Any]]:
        """Returns what a step changes: variables, optimizer slots, BatchNorm statistics."""
        return (
            [v.value for v in self.variables],
            [[v.value for v in optimizer.variables] for optimizer, _ in self.groups],
            [v.value for v in self.model.non_trainable_variables],
        )

    def _jax_constants(self) -> list[Any]:
        updated = {id(v) for v in self.variables}
        return [v.value for v in self.model.trainable_variables if id(v) not in updated]

    def _set_jax_state(self, state: tuple[list[Any], list[list[Any]], list[Any]]) -> None:
        values, states, fixed = state
        pairs = [
            (self.variables, values),
            (self.model.non_trainable_variables, fixed),
            *((o.variables, slots) for (o, _), slots in zip(self.groups, states, strict=True)),
        ]
        for variables, new in pairs:
            for variable, value in zip(variables, new, strict=True):
                variable.assign(value)


def _update(optimizer: Any, gradients: list[Any], variables: list[Any]) -> None:
    """Updates variables; by Adam without any extra with one fused TensorFlow operation each.

    Tracing a step takes two thirds of the time then, with which every short fine-tuning starts,
    and a step is a few percent faster.
    """
    extras = ("weight_decay", "clipnorm", "clipvalue", "global_clipnorm", "use_ema", "amsgrad")
    if (
        type(optimizer) is not keras.optimizers.Adam
        or any(getattr(optimizer, extra, None) for extra in extras)
        or optimizer.gradient_accumulation_steps
        or not isinstance(optimizer.learning_rate, keras.Variable)  # a schedule
    ):
        optimizer.apply_gradients(zip(gradients, variables, strict=True))
        return
    import tensorflow as tf

    count = tf.cast(optimizer.iterations.value + 1, tf.float32)
    momentums, velocities = (
        [slot for slot in optimizer.variables if slot.name.endswith(kind)]
        for kind in ("_momentum", "_velocity")
    )
    for gradient, variable, momentum, velocity in zip(
        gradients, variables, momentums, velocities, strict=True
    ):
        if gradient is None:
            continue
        tf.raw_ops.ResourceApplyAdam(
            var=variable.value.handle,
            m=momentum.value.handle,
            v=velocity.value.handle,
            beta1_power=tf.pow(optimizer.beta_1, count),
            beta2_power=tf.pow(optimizer.beta_2, count),
            lr=tf.convert_to_tensor(optimizer.learning_rate.value),
            beta1=optimizer.beta_1,
            beta2=optimizer.beta_2,
            epsilon=optimizer.epsilon,
            grad=gradient,
        )
    optimizer.iterations.assign_add(1)


def _picked(sources: list[Stack], pick: Any, concatenate: Callable[..., Any]) -> Stack:
    """Joins one image of every stack to a batch."""
    chosen = [
        keras.tree.map_structure(lambda array, at=at: array[pick[at]][None], source)
        for at, source in enumerate(sources)
    ]
    if len(chosen) == 1:
        return chosen[0]
    return keras.tree.map_structure(lambda *arrays: concatenate(arrays, 0), *chosen)
