"""Roofline of compiled functions: operations and bytes, and the limits of the machine.

Operations are multiplications and additions of convolutions and matrix products; others are
negligible. Bytes are those that these operations read and write without any cache between them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from deeplab_gygo import backend


class Work(NamedTuple):
    """Work of one call.

    Attributes:
        operations: Floating-point operations.
        bytes: Bytes read and written.
    """

    operations: float
    bytes: float

    @classmethod
    def total(cls, works: Iterable[Work]) -> Work:
        """Adds up the work of several calls."""
        return cls(*map(sum, zip(*works, strict=True)))

    def times(self, calls: int) -> Work:
        """Returns the work of several calls."""
        return Work(calls * self.operations, calls * self.bytes)

    def seconds(self, machine: Machine) -> float:
        """Returns the minimum time of the work: the larger one of the two limits."""
        return max(self.operations / machine.operations, self.bytes / machine.bytes)


class Machine(NamedTuple):
    """Measured limits of a machine.

    Attributes:
        operations: Floating-point operations per second of a matrix product.
        bytes: Bytes read and written per second by a sum of two large arrays.
    """

    operations: float
    bytes: float


def measure_machine(precision: str = "float32", repeats: int = 7) -> Machine:
    """Measures the peak operations and bytes per second of the device of the backend.

    If the matrix product of a 16-bit precision is slower than that of float32, as on processors
    without such instructions, the peak is that of float32.

    Args:
        precision: `float32`, `bfloat16` or `float16`.
        repeats: Number of products and sums; the fastest counts.

    Returns:
        The limits.
    """
    import keras

    side, length = 2048, 1 << 26
    kinds = dict.fromkeys((precision, "float32"))
    squares = [keras.ops.ones((side, side), dtype=kind) for kind in kinds]
    row = keras.ops.ones((length,), dtype="float32")
    multiply = backend.compiled_function(lambda a: keras.ops.matmul(a, a))
    add = backend.compiled_function(lambda a: a + a)
    best = [
        min(_seconds(call, values) for _ in range(repeats))
        for call, values in (*((multiply, square) for square in squares), (add, row))
    ]
    # The sum reads one array and writes one.
    return Machine(2.0 * side**3 / min(best[:-1]), 2.0 * 4 * length / best[-1])


def _seconds(call: Callable[[Any], Any], values: Any) -> float:
    start = time.perf_counter()
    backend.wait(call(values))
    return time.perf_counter() - start


def work_of(function: Callable[..., Any], inputs: Any) -> Work:
    """Counts the work of a function, compiled for inputs of these shapes.

    Args:
        function: Function in `keras.ops` or Keras models.
        inputs: Arrays, or a dict of them.

    Returns:
        Work of one call; on JAX the cost analysis of the compiler.
    """
    if backend.name() == "jax":
        import jax

        cost = jax.jit(function).lower(inputs).compile().cost_analysis()
        cost = cost[0] if isinstance(cost, list) else cost
        return Work(float(cost["flops"]), float(cost["bytes accessed"]))
    import tensorflow as tf

    specs = tf.nest.map_structure(lambda a: tf.TensorSpec(a.shape, a.dtype), inputs)
    graph = tf.function(function).get_concrete_function(specs).graph
    total = Work(0.0, 0.0)
    for operation in _operations(graph):
        work = _of_operation(operation)
        total = Work(total.operations + work.operations, total.bytes + work.bytes)
    return total


def _operations(graph: Any) -> list[Any]:
    """Returns the operations of a graph and of the functions that it calls."""
    found = list(graph.get_operations())
    for function in getattr(graph, "_functions", {}).values():
        found += list(getattr(getattr(function, "graph", None), "get_operations", list)())
    return found


_FILTERS = {  # operation: index of its filter among the inputs, or "out" for a filter gradient
    "Conv2D": 1,
    "DepthwiseConv2dNative": 1,
    "Conv2DBackpropInput": 1,
    "DepthwiseConv2dNativeBackpropInput": 1,
    "Conv2DBackpropFilter": "out",
    "DepthwiseConv2dNativeBackpropFilter": "out",
}


def _of_operation(operation: Any) -> Work:
    kind = operation.type
    if kind in _FILTERS:
        if _FILTERS[kind] == "out":
            planes, taps = operation.inputs[2], _taps(operation.outputs[0], kind)
        elif kind.endswith("BackpropInput"):
            planes, taps = operation.inputs[2], _taps(operation.inputs[1], kind)
        else:
            planes, taps = operation.outputs[0], _taps(operation.inputs[1], kind)
        return Work(2.0 * _size(planes) * taps, _moved(operation))
    if kind in ("MatMul", "BatchMatMulV2"):
        inner = operation.inputs[0].shape[-2 if _transposed(operation) else -1]
        return Work(2.0 * _size(operation.outputs[0]) * (inner or 0), _moved(operation))
    return Work(0.0, 0.0)


def _taps(kernel: Any, kind: str) -> float:
    """Returns the number of multiplications per value of the larger side."""
    shape = [int(side) for side in kernel.shape]
    return float(np.prod(shape[:2] if kind.startswith("Depthwise") else shape[:3]))


def _transposed(operation: Any) -> bool:
    names = {"MatMul": "transpose_a", "BatchMatMulV2": "adj_x"}
    return bool(operation.get_attr(names[operation.type]))


def _moved(operation: Any) -> float:
    tensors = [*operation.inputs, *operation.outputs]
    return float(sum(_size(t) * t.dtype.size for t in tensors if t.dtype.is_floating))


def _size(tensor: Any) -> float:
    sides = tensor.shape.as_list() if tensor.shape.rank is not None else []
    return float(np.prod([side or 0 for side in sides])) if sides else 0.0
