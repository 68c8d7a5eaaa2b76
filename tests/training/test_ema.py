"""The moving average of weights is the same on the host and on the device."""

import keras
import numpy as np

from deeplab_gygo.training.ema import EVERY, MovingAverage


def _follow(on_device: bool, momentum: float = 0.99, steps: int = 60):
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
    (_, host, _), (_, device, _) = _follow(False), _follow(True)
    for name, values in host.values().items():
        np.testing.assert_allclose(device.values()[name], values, rtol=1e-6)


def test_the_average_is_smoother_than_the_weights_and_forgets_its_start():
    first, average, variables = _follow(False, momentum=0.9, steps=300)
    values = average.values()
    assert np.abs(values["kernel"] - 1.0).max() < 0.2
    assert np.abs(first["kernel"] - 1.0).max() > 0.5
    # A copy: the next step of the network leaves it alone.
    variables["bias"].assign(np.full(4, 9.0, np.float32))
    assert average.values()["bias"].max() < 2


def test_updates_come_at_their_steps_only():
    _, average, variables = _follow(False, steps=EVERY)
    before = average.values()
    variables["bias"].assign(np.full(4, 9.0, np.float32))
    average.update(EVERY + 1)
    np.testing.assert_array_equal(average.values()["bias"], before["bias"])
    average.update(2 * EVERY)
    assert not np.array_equal(average.values()["bias"], before["bias"])


def test_values_are_kept_and_set_as_they_are():
    _, average, variables = _follow(True)
    kept = average.values()
    other = MovingAverage(variables, 0.99, on_device=True)
    other.set_values(kept)
    for name, values in kept.items():
        np.testing.assert_array_equal(other.values()[name], values)


def test_without_momentum_nothing_is_averaged():
    _, average, _ = _follow(False, momentum=0.0)
    assert average.values() == {}
