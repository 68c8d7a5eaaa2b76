"""Programs of JAX: compiled ahead in threads, and variables that are made without computing."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any

import keras
import numpy as np

from deeplab_gygo.backend.running import name

_running: set[Future[Any]] = set()  # calls of `in_background`


class JaxProgram:
    """A function of arrays and of the current values of variables, compiled once per shape.

    It is compiled in threads, so that several programs are compiled side by side and signals are
    handled meanwhile.

    Args:
        function: Function of arrays, or of dicts and lists of them.
        variables: Variables that it reads.
    """

    def __init__(self, function: Callable[..., Any], variables: Sequence[keras.Variable] = ()):
        import jax

        self._variables = list(variables)
        self._compiled: dict[Any, Future[None]] = {}
        self._lock = threading.Lock()

        def pure(values: list[Any], arguments: tuple[Any, ...]) -> Any:
            pairs = list(zip(self._variables, values, strict=True))
            with keras.StatelessScope(state_mapping=pairs):
                return function(*arguments)

        self._program = jax.jit(pure)

    def __call__(self, *arguments: Any) -> Any:
        """Calls the function; waits where it is not compiled for these shapes yet."""
        self.prepare(*arguments).result()
        return self._program(self._values(), arguments)

    def prepare(self, *arguments: Any) -> Future[None]:
        """Compiles the function in a thread for arguments of these shapes.

        Args:
            *arguments: Arrays, or shapes as `shape` makes them.

        Returns:
            What ends with the compilation.
        """
        import jax

        leaves, structure = jax.tree.flatten(arguments)
        key = structure, tuple((leaf.shape, leaf.dtype) for leaf in leaves)
        with self._lock:
            known = self._compiled.get(key)
            if known is not None:
                return known
            # Shapes alone: the arrays need not live as long as the compilation.
            shapes = structure.unflatten([shape(leaf.shape, leaf.dtype) for leaf in leaves])
            started = self._compiled[key] = in_background(partial(self._compile, key, shapes))
        return started

    def _compile(self, key: Any, shapes: tuple[Any, ...]) -> None:
        try:
            # Later calls for these shapes find the compiled program in JAX's own cache.
            self._program.lower(self._values(), shapes).compile()
        except BaseException:
            with self._lock:
                del self._compiled[key]  # raised by the call that waits; another one tries again
            raise

    def output_shapes(self, *arguments: Any) -> Any:
        """Returns the shapes of the outputs for arguments of these shapes."""
        import jax

        return jax.eval_shape(self._program, self._values(), arguments)

    def _values(self) -> list[Any]:
        return [variable.value for variable in self._variables]


def prepare(call: Callable[..., Any], *arguments: Any) -> None:
    """Begins to compile a compiled function for arguments of these shapes, where that helps (JAX).

    Args:
        call: Result of `compiled_function`, or a `partial` of it.
        *arguments: Arrays, or shapes as `shape` makes them.
    """
    call, first = _opened(call)
    if isinstance(call, JaxProgram):
        call.prepare(*first, *arguments)


def output_shapes(call: Callable[..., Any], *arguments: Any) -> Any:
    """Returns the shapes of the outputs of a compiled function of JAX; arguments as `prepare`."""
    call, first = _opened(call)
    return call.output_shapes(*first, *arguments)


def shape(sizes: Sequence[int], dtype: Any) -> Any:
    """Returns the shape and the dtype of an array that does not exist yet (JAX)."""
    import jax

    return jax.ShapeDtypeStruct(tuple(sizes), np.dtype(dtype))


def _opened(call: Any) -> tuple[Any, tuple[Any, ...]]:
    return (call.func, call.args) if isinstance(call, partial) else (call, ())


def in_background(function: Callable[[], Any]) -> Future[Any]:
    """Calls a function in a thread that does not keep the process alive.

    The main thread handles signals while it waits, which a compiler does not for minutes.

    Returns:
        Its result to come.
    """
    future: Future[Any] = Future()
    _running.add(future)
    future.add_done_callback(_running.discard)

    def call() -> None:
        try:
            future.set_result(function())
        except BaseException as error:  # raised again where the result is waited for
            future.set_exception(error)

    threading.Thread(target=call, daemon=True).start()
    return future


def wait_for_background() -> None:
    """Waits for all calls of `in_background`, those that they begin among them.

    Raises:
        Exception: Whatever the first one that failed meanwhile raised.
    """
    while waiting := list(_running):
        for future in waiting:
            future.result()


def without_values(build: Callable[[], Any]) -> Any:
    """Calls a function that makes Keras variables which are all set afterwards.

    On JAX their initial values are not computed: every initializer would be compiled and run for
    itself. Until they are set, by `set_values`, the variables cannot be used.

    Args:
        build: Function without arguments.

    Returns:
        Its result.
    """
    if name() != "jax":
        return build()
    import jax

    results: list[Any] = []
    jax.eval_shape(lambda: results.append(build()))
    return results[0]


def set_values(variables: Sequence[keras.Variable], values: Sequence[Any]) -> None:
    """Sets variables, all in one transfer where the backend can (JAX).

    Args:
        variables: Variables.
        values: Arrays of their shapes, of numpy or, on JAX, of the backend.
    """
    if name() == "jax":
        pairs = zip(variables, values, strict=True)
        values = put([np.asarray(x, v.dtype) if isinstance(x, np.ndarray) else x for v, x in pairs])
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def values_of(variables: Sequence[keras.Variable]) -> list[Any]:
    """Returns the current values of variables, for `set_values`: arrays that do not change.

    They are numpy arrays on TensorFlow; on JAX they stay on the device.
    """
    if name() == "jax":
        return [variable.value for variable in variables]
    return [np.array(variable.numpy()) for variable in variables]


def put(arrays: Any, dtype: str | None = None) -> Any:
    """Puts arrays, in lists, tuples or dicts, on the device, in one transfer on JAX.

    Args:
        arrays: Numpy arrays.
        dtype: Dtype on the device; None for their own.

    Returns:
        Tensors of the backend in the same structure.
    """
    if name() != "jax":
        convert = partial(keras.ops.convert_to_tensor, dtype=dtype)
        return keras.tree.map_structure(convert, arrays)
    import jax

    if dtype is not None:
        arrays = keras.tree.map_structure(lambda array: array.astype(np.dtype(dtype)), arrays)
    return jax.device_put(arrays)


def make_optimizers(
    make: Callable[[float], keras.optimizers.Optimizer],
    groups: Sequence[tuple[float, list[keras.Variable]]],
) -> list[keras.optimizers.Optimizer]:
    """Makes the optimizers of parameter groups, with their slots.

    Args:
        make: Makes an optimizer of a learning rate.
        groups: Learning rate and variables of every group.

    Returns:
        One optimizer per group.
    """
    if name() != "jax":
        return [make(rate) for rate, _ in groups]  # built with the step

    def build() -> list[keras.optimizers.Optimizer]:
        optimizers = [make(rate) for rate, _ in groups]
        for optimizer, (_, variables) in zip(optimizers, groups, strict=True):
            optimizer.build(variables)
        return optimizers

    optimizers = without_values(build)
    # Keras starts every slot, and the count of the steps, at zero.
    for optimizer, (rate, _) in zip(optimizers, groups, strict=True):
        slots = optimizer.variables
        start = [np.full(slot.shape, rate * (slot is optimizer.learning_rate)) for slot in slots]
        set_values(slots, start)
    return optimizers
