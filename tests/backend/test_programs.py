"""Programs that are compiled in threads, and variables that are made without computing."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import keras
import numpy as np
import pytest

from deeplab_gygo import backend

PROBE = Path(__file__).with_name("jax_programs_probe.py")


@pytest.fixture(scope="module")
def report():
    environment = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, str(PROBE)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


def test_a_network_and_its_optimizer_are_made_without_a_program(report):
    assert report["building"] == 0


def test_a_prepared_program_is_not_compiled_again_and_sees_current_values(report):
    assert report["calling"] == {"prepared": 1, "called": 0, "values": [3.0, 16.0], "shape": [3]}


def test_every_call_says_why_a_function_cannot_be_compiled(report):
    assert report["failing"] == ["AttributeError"] * 2


def test_signals_are_handled_while_a_thread_works():
    release = threading.Event()
    future = backend.in_background(release.wait)
    timer = threading.Timer(0.1, os.kill, [os.getpid(), signal.SIGINT])
    timer.start()
    started = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            future.result(timeout=10)
        assert time.monotonic() - started < 2
    finally:
        release.set()
    assert future.result(timeout=10) is True


def test_waiting_covers_calls_that_begin_others_and_raises_their_errors():
    done = []
    backend.in_background(lambda: backend.in_background(lambda: done.append(1)))
    backend.wait_for_background()
    assert done == [1]

    def fail() -> None:
        time.sleep(0.05)
        raise ValueError("broken")

    backend.in_background(fail)
    with pytest.raises(ValueError, match="broken"):
        backend.wait_for_background()


def test_values_come_back_as_they_were_set():
    variable = keras.Variable(np.zeros((2, 3), np.float32))
    value = np.arange(6, dtype=np.float32).reshape(2, 3)
    backend.set_values([variable], [value])
    (kept,) = backend.values_of([variable])
    variable.assign(value + 1)
    np.testing.assert_array_equal(kept, value)
    backend.set_values([variable], [kept])
    np.testing.assert_array_equal(variable.numpy(), value)
    np.testing.assert_array_equal(backend.to_numpy(backend.put({"a": [value]}))["a"][0], value)
