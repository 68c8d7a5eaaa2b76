"""Signals that are deferred to where a training may be interrupted."""

import signal
import threading

import pytest

from deeplab_gygo.training.interrupts import SIGNALS, DeferredInterrupts


class Stopped(BaseException):
    """Raised by the handlers of these tests."""


@pytest.fixture
def received():
    """Handles all signals by an exception; yields the numbers that were handled."""
    numbers = []

    def handler(number, _):
        numbers.append(number)
        raise Stopped

    before = {number: signal.signal(number, handler) for number in SIGNALS}
    yield numbers
    for number in SIGNALS:
        assert signal.getsignal(number) is handler, "handlers are restored"
        signal.signal(number, before[number])


def test_ctrl_c_and_the_signals_of_the_system_are_deferred():
    names = {"SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"}
    assert {number.name for number in SIGNALS} == {n for n in names if hasattr(signal, n)}


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_waits_for_the_end_of_the_context(received, number):
    done = []
    with pytest.raises(Stopped):
        with DeferredInterrupts():
            signal.raise_signal(number)
            done.append("block")
        done.append("after")
    assert done == ["block"] and received == [number]


def test_a_signal_before_or_within_an_allowed_block_interrupts_it(received):
    for is_within in (False, True):
        done = []
        with pytest.raises(Stopped), DeferredInterrupts() as interrupts:
            if not is_within:
                signal.raise_signal(signal.SIGTERM)
            done.append("block")
            with interrupts.allowed():
                if is_within:
                    signal.raise_signal(signal.SIGTERM)
                done.append("allowed")
        assert done == ["block"]
    assert len(received) == 2


def test_all_signals_after_the_first_are_ignored(received):
    done = []
    with pytest.raises(Stopped):
        with DeferredInterrupts() as interrupts:
            try:
                with interrupts.allowed():
                    signal.raise_signal(signal.SIGINT)
            finally:
                signal.raise_signal(signal.SIGINT)
                signal.raise_signal(signal.SIGTERM)
                done.append("saved")
    assert done == ["saved"] and received == [signal.SIGINT]


def test_an_error_is_not_hidden_by_a_deferred_signal(received):
    with pytest.raises(ValueError), DeferredInterrupts():
        signal.raise_signal(signal.SIGINT)
        raise ValueError
    assert received == []


def test_a_handler_that_raises_nothing_ends_nothing():
    handled = []
    before = signal.signal(signal.SIGTERM, lambda number, _: handled.append(number))
    try:
        with DeferredInterrupts() as interrupts, interrupts.allowed():
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert handled == [signal.SIGTERM] * 2


def test_ignored_signals_and_other_threads_are_not_touched():
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with DeferredInterrupts():
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    entered = []

    def work():
        with DeferredInterrupts() as interrupts, interrupts.allowed():
            entered.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert entered == [True]
