"""Exponential moving average of weights."""

import keras
import numpy as np

from deeplab_gygo.training.ema import UPDATE_EVERY, MovingAverage


def _averaged(on_device: bool, momentum: float = 0.99, steps: int = 60):
    rng = np.random.default_rng(0)
    variables = {
        "kernel": keras.Variable(rng.normal(size=(3, 4)).astype(np.float32)),
        "bias": keras.Variable(np.zeros(4, np.float32)),
    }
    average = MovingAverage(variables, momentum, on_device)
    first = average.values()
    for step in range(1, steps + 1):
        for variable in variables.values():
            variable.assign(rng.normal(1.0, 0.1, variable.shape).astype(np.float32))
        average.update(step)
    return first, average, variables


def test_host_and_device_agree():
    (_, host, _), (_, device, _) = _averaged(False), _averaged(True)
    for name, values in host.values().items():
        np.testing.assert_allclose(device.values()[name], values, rtol=1e-6)


def test_the_average_is_smooth_and_forgets_the_initial_weights():
    first, average, variables = _averaged(False, momentum=0.9, steps=300)
    values = average.values()
    assert np.abs(values["kernel"] - 1.0).max() < 0.2
    assert np.abs(first["kernel"] - 1.0).max() > 0.5
    # A copy: later updates of the variable do not change it.
    variables["bias"].assign(np.full(4, 9.0, np.float32))
    assert average.values()["bias"].max() < 2


def test_updates_are_due_at_multiples_of_the_interval():
    _, average, variables = _averaged(False, steps=UPDATE_EVERY)
    before = average.values()
    variables["bias"].assign(np.full(4, 9.0, np.float32))
    average.update(UPDATE_EVERY + 1)
    np.testing.assert_array_equal(average.values()["bias"], before["bias"])
    average.update(2 * UPDATE_EVERY)
    assert not np.array_equal(average.values()["bias"], before["bias"])


def test_values_round_trip():
    _, average, variables = _averaged(True)
    kept = average.values()
    other = MovingAverage(variables, 0.99, on_device=True)
    other.set_values(kept)
    for name, values in kept.items():
        np.testing.assert_array_equal(other.values()[name], values)


def test_without_momentum_nothing_is_averaged():
    _, average, _ = _averaged(False, momentum=0.0)
    assert average.values() == {}
