"""Run by test_programs.py in a process of its own, on JAX; prints its findings as a JSON object."""

import json

import jax
import keras
import numpy as np

from deeplab_gygo import backend

compiled = []
jax.monitoring.register_event_duration_secs_listener(
    lambda event, *_, **__: compiled.append(event) if "backend_compile" in event else None
)


def network() -> keras.Model:
    inputs = keras.Input((None, None, 3))
    features = keras.layers.Conv2D(4, 3, kernel_initializer="orthogonal")(inputs)
    features = keras.layers.BatchNormalization()(features)
    return keras.Model(inputs, keras.layers.Conv2D(2, 1)(features))


def building() -> int:
    """Returns how many programs are compiled until a network and its optimizer can be used."""
    before = len(compiled)
    model = backend.without_values(network)
    backend.set_values(model.variables, [np.ones(v.shape, v.dtype) for v in model.variables])
    groups = [(0.5, model.trainable_variables)]
    (optimizer,) = backend.make_optimizers(keras.optimizers.Adam, groups)
    values = backend.to_numpy(backend.values_of([*model.variables, *optimizer.variables]))
    found = len(compiled) - before
    usual = keras.optimizers.Adam(0.5)
    usual.build(model.trainable_variables)
    expected = [np.ones(v.shape) for v in model.variables]
    expected += backend.to_numpy([v.value for v in usual.variables])
    for value, same in zip(values, expected, strict=True):
        np.testing.assert_array_equal(value, same)
    return found


def calling() -> dict:
    """Returns how often a function is compiled that was prepared, and what it gives."""
    weight = keras.Variable(np.float32(2.0))
    call = backend.compiled_function(lambda parts, x: weight * parts["a"][0] + x, [weight])
    before = len(compiled)
    scalar = backend.shape((), "float32")
    backend.prepare(call, {"a": [backend.shape((3,), "float32")]}, scalar)
    backend.wait_for_background()
    prepared = len(compiled) - before
    first = call({"a": [np.ones(3, np.float32)]}, np.float32(1.0))
    weight.assign(5.0)
    second = call({"a": [first]}, np.float32(1.0))
    return {
        "prepared": prepared,
        "called": len(compiled) - before - prepared,
        "values": [float(first[0]), float(second[0])],
        "shape": list(backend.output_shapes(call, {"a": [first]}, scalar).shape),
    }


def failing() -> list[str]:
    """Returns the errors of two calls of a function that cannot be traced."""
    call, errors = backend.compiled_function(lambda x: x.missing), []
    for _ in range(2):
        try:
            call(np.ones(3, np.float32))
        except AttributeError as error:
            errors.append(type(error).__name__)
    return errors


report = {"building": building(), "calling": calling(), "failing": failing()}
print(json.dumps(report))
