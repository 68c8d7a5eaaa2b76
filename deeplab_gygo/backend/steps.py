"""Compiled steps of training: one at a time, or all of a fine-tuning as one program."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import keras

from deeplab_gygo.backend.running import devices, name
from deeplab_gygo.errors import UsageError

Stack = tuple[Any, Any]
"""Inputs of a model and targets, arrays [N, ...] each, for N pictures."""


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

    def launch(self, inputs: Any, targets: Any) -> Any:
        """Runs one step without waiting for its end, where the backend computes on its own.

        Args:
            inputs: As for a call.
            targets: As for a call.

        Returns:
            The same loss as a scalar of the backend; `float` waits for it.
        """
        return self._run(inputs, targets)

    def prepare(self, inputs: Any, targets: Any) -> None:
        """Traces the step for arguments like these and runs nothing, on TensorFlow.

        It may run in a thread of its own, while the backend computes something else, where all
        numbers are float32: Keras keeps the policy of a thread with the thread.

        Args:
            inputs: As for a call.
            targets: As for a call.
        """
        if name() == "tensorflow":
            self._run.get_concrete_function(inputs, targets)

    def sweep(self, sources: Sequence[Stack], picks: Any, rates: Any) -> Any:
        """Runs many steps as one program: no step waits for the host.

        It is traced once for the life of the process for each shape of its arguments, the number
        of steps among them. On an accelerator TensorFlow compiles it with XLA, which JAX always
        does; on a CPU it gains nothing over single steps.

        Args:
            sources: Pictures to learn from, one or more stacks: inputs of the model and targets,
                arrays [N, ...] each. A step learns from one picture of every stack.
            picks: int32 [steps, stacks], which picture of each stack.
            rates: float32 [steps, groups], the learning rate of every group.

        Returns:
            The losses before the updates, [steps], as an array of the backend.
        """
        if self._run_all is None:
            tensorflow = name() == "tensorflow"
            self._run_all = self._sweep_tensorflow() if tensorflow else self._sweep_jax()
        return self._run_all(list(sources), picks, rates)

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

    # === TensorFlow ===

    def _make_tensorflow(self) -> Callable[[Any, Any], Any]:
        import tensorflow as tf

        return tf.function(self._updated, reduce_retracing=True, autograph=False)

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
        """Updates all variables once and returns the loss before."""
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
            update = _update_by_adam if _is_plain_adam(optimizer) else _update
            update(optimizer, part, variables)
            start += len(variables)
        return total

    # === JAX ===

    def _make_jax(self) -> Callable[[Any, Any], Any]:
        import jax

        pure = jax.jit(self._pure_step(), donate_argnums=(0,) if self.donate else ())

        def run(inputs, targets):
            total, state = pure(self._jax_state(), self._jax_constants(), inputs, targets)
            self._set_jax_state(state)
            return total

        return run

    def _sweep_jax(self) -> Callable[..., Any]:
        import jax
        from jax import numpy as jnp

        step = self._pure_step()
        places = [
            next(i for i, v in enumerate(o.variables) if v is o._learning_rate)
            for o, _ in self.groups
        ]

        @partial(jax.jit, donate_argnums=(0,) if self.donate else ())
        def pure(state, constants, sources, picks, rates):
            def body(state, now):
                pick, rate = now
                values, states, fixed = state
                for group, place in enumerate(places):
                    states[group] = [*states[group]]
                    states[group][place] = rate[group].astype(states[group][place].dtype)
                inputs, targets = _picked(sources, pick, jnp.concatenate)
                total, state = step((values, states, fixed), constants, inputs, targets)
                return state, total

            state, losses = jax.lax.scan(body, state, (picks, rates))
            return losses, state

        def run(sources, picks, rates):
            picks, rates = jnp.asarray(picks, "int32"), jnp.asarray(rates, "float32")
            losses, state = pure(self._jax_state(), self._jax_constants(), sources, picks, rates)
            self._set_jax_state(state)
            return losses

        return run

    def _pure_step(self) -> Callable[..., Any]:
        """Makes the step as a function `(state, constants, inputs, targets) -> loss, state`."""
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
        """Returns what a step changes: updated variables, optimizers' slots, statistics."""
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
    optimizer.apply_gradients(zip(gradients, variables, strict=True))


def _is_plain_adam(optimizer: keras.optimizers.Optimizer) -> bool:
    """Says whether an optimizer does nothing but Adam."""
    extras = ("weight_decay", "clipnorm", "clipvalue", "global_clipnorm", "use_ema", "amsgrad")
    return (
        type(optimizer) is keras.optimizers.Adam
        and not any(getattr(optimizer, extra, None) for extra in extras)
        and not optimizer.gradient_accumulation_steps
        and all(hasattr(optimizer, slots) for slots in ("_momentums", "_velocities"))
    )


def _update_by_adam(optimizer: Any, gradients: list[Any], variables: list[Any]) -> None:
    """Does what Keras's Adam does by one operation of TensorFlow a variable.

    The slots are the optimizer's. A step is traced in half the time, which is what a short
    fine-tuning begins with.
    """
    import tensorflow as tf

    count = tf.cast(optimizer.iterations.value + 1, tf.float32)
    slots = zip(optimizer._momentums, optimizer._velocities, strict=True)
    for gradient, variable, (momentum, velocity) in zip(gradients, variables, slots, strict=True):
        if gradient is None:
            continue
        tf.raw_ops.ResourceApplyAdam(
            var=variable.value.handle,
            m=momentum.value.handle,
            v=velocity.value.handle,
            beta1_power=tf.pow(optimizer.beta_1, count),
            beta2_power=tf.pow(optimizer.beta_2, count),
            lr=tf.convert_to_tensor(optimizer._learning_rate.value),
            beta1=optimizer.beta_1,
            beta2=optimizer.beta_2,
            epsilon=optimizer.epsilon,
            grad=gradient,
        )
    optimizer.iterations.assign_add(1)


def _picked(sources: list[Stack], pick: Any, concatenate: Callable[..., Any]) -> Stack:
    """Takes one picture of every stack and joins them to a batch."""
    chosen = [
        keras.tree.map_structure(lambda array, at=at: array[pick[at]][None], source)
        for at, source in enumerate(sources)
    ]
    if len(chosen) == 1:
        return chosen[0]
    return keras.tree.map_structure(lambda *arrays: concatenate(arrays, 0), *chosen)
