"""The pace of a training: losses looked at late, waiting measured, no step left half done."""

import os
import signal
import time

import numpy as np
import pytest

from deeplab_gygo.errors import DeepLabGygoError
from deeplab_gygo.training.interrupts import deferred_interrupts
from deeplab_gygo.training.throughput import Pace


class _Loss:
    """A loss that knows whether it was waited for."""

    def __init__(self, value):
        self.value, self.is_known = value, False

    def __float__(self):
        self.is_known = True
        return float(self.value)


def test_the_last_steps_are_not_waited_for():
    pace, losses = Pace(in_flight=2), [_Loss(value) for value in (1.0, 2.0, 3.0, 4.0)]
    for step, loss in enumerate(losses, start=1):
        pace.add(step, loss)
    assert [loss.is_known for loss in losses] == [True, True, False, False]
    assert pace.take()["loss"] == 1.5
    pace.settle()
    assert pace.take()["loss"] == 3.5
    assert "loss" not in pace.take()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_loss_that_is_not_finite_is_named_by_its_step(value):
    pace = Pace(in_flight=2)
    for step in range(1, 8):
        pace.add(step, 1.0)
    pace.add(8, value)
    with pytest.raises(DeepLabGygoError, match="step 8"):
        pace.settle()


def test_waiting_for_input_is_a_part_of_the_time():
    def feed():
        for number in range(3):
            time.sleep(0.03)
            yield number

    pace = Pace()
    started = time.monotonic()
    assert list(pace.timed(feed())) == [0, 1, 2]
    elapsed = time.monotonic() - started
    pace.count(2 * elapsed)  # as if the steps took as long again
    assert pace.take()["input_wait"] == pytest.approx(0.5, abs=0.05)
    pace.count(2 * elapsed)  # no more waiting
    assert pace.take()["input_wait"] == 0.0
    assert pace.input_wait == pytest.approx(0.25, abs=0.05)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_block_ends_before_a_request_to_stop_is_acted_on(number):
    class Stopped(Exception):
        pass

    def stop(*_):
        raise Stopped

    before, done = signal.signal(number, stop), []
    try:
        with pytest.raises(Stopped):
            with deferred_interrupts():
                os.kill(os.getpid(), number)
                time.sleep(0.01)
                done.append("half")
                done.append("whole")
            done.append("after")
        assert signal.getsignal(number) is stop
    finally:
        signal.signal(number, before)
    assert done == ["half", "whole"]


def test_without_a_request_nothing_changes():
    before = signal.getsignal(signal.SIGINT)
    with deferred_interrupts():
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before
