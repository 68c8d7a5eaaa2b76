"""Losses, input wait and scalar logs of a training."""

import csv

import numpy as np
import pytest

from deeplab_gygo.errors import DeepLabGygoError
from deeplab_gygo.training.monitoring import ScalarLog, ThroughputMeter


class _Loss:
    """A loss that records whether it was read."""

    def __init__(self, value):
        self.value, self.is_read = value, False

    def __float__(self):
        self.is_read = True
        return float(self.value)


def test_the_losses_of_the_last_steps_are_not_read():
    meter = ThroughputMeter(in_flight=2)
    losses = [_Loss(value) for value in (1.0, 2.0, 3.0, 4.0)]
    for step, loss in enumerate(losses, start=1):
        meter.add_loss(step, loss)
    assert [loss.is_read for loss in losses] == [True, True, False, False]
    assert meter.summary()["loss"] == 1.5
    meter.synchronize()
    assert meter.summary()["loss"] == 3.5
    assert "loss" not in meter.summary()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_loss_that_is_not_finite_is_reported_with_its_step(value):
    meter = ThroughputMeter(in_flight=2)
    for step in range(1, 8):
        meter.add_loss(step, 1.0)
    meter.add_loss(8, value)
    with pytest.raises(DeepLabGygoError, match="step 8"):
        meter.synchronize()


def test_input_wait_is_a_fraction_of_the_time():
    now = [0.0]

    def feed():
        for number in range(3):
            now[0] += 2.0  # seconds to make a batch
            yield number

    meter = ThroughputMeter(clock=lambda: now[0])
    received = []
    for batch in meter.timed(feed()):
        received.append(batch)
        now[0] += 6.0  # seconds to train on it
        meter.add_time(8.0)
    assert received == [0, 1, 2]
    assert meter.summary()["input_wait"] == 6.0 / 24.0
    meter.add_time(24.0)  # without waiting
    assert meter.summary()["input_wait"] == 0.0
    assert meter.input_wait == 6.0 / 48.0


def test_scalars_are_appended_over_runs(tmp_path):
    for step in (1, 2):
        log = ScalarLog(tmp_path)
        log.write(step, {"loss": 0.5 / step, "rate": 1e-3})
        log.close()
    with open(tmp_path / "log.csv", newline="") as stream:
        rows = [(int(r["step"]), r["name"], float(r["value"])) for r in csv.DictReader(stream)]
    assert rows == [(1, "loss", 0.5), (1, "rate", 1e-3), (2, "loss", 0.25), (2, "rate", 1e-3)]
