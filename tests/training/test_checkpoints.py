"""Checkpoint files and deferred interrupts."""

import signal

import numpy as np
import pytest

from deeplab_gygo.errors import InputError
from deeplab_gygo.training.checkpoints import (
    CHECKPOINT_NAME,
    deferred_interrupts,
    load_checkpoint,
    save_checkpoint,
)


def test_a_checkpoint_round_trips(tmp_path):
    assert load_checkpoint(tmp_path) is None
    groups = {
        "network": {"head/kernel": np.arange(6, dtype=np.float32).reshape(2, 3)},
        "optimizer": {"0.0": np.array(7, np.int64)},
    }
    state = {"step": 3, "seconds": 1.5, "best": 0.25, "identity": "abc"}
    save_checkpoint(tmp_path, {"network": {"head/kernel": np.zeros(1)}}, {"step": 1})
    save_checkpoint(tmp_path, groups, state)
    loaded, loaded_state = load_checkpoint(tmp_path)
    assert loaded_state == state and loaded.keys() == groups.keys()
    for group, arrays in groups.items():
        for name, values in arrays.items():
            np.testing.assert_array_equal(loaded[group][name], values)
            assert loaded[group][name].dtype == values.dtype
    assert [path.name for path in tmp_path.iterdir()] == [CHECKPOINT_NAME]


def test_a_damaged_checkpoint_is_refused_with_its_path(tmp_path):
    save_checkpoint(tmp_path, {"network": {"a": np.zeros(100)}}, {"step": 1})
    path = tmp_path / CHECKPOINT_NAME
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError, match=CHECKPOINT_NAME):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupts_are_deferred_to_the_end_of_the_block(number):
    class Stopped(Exception):
        pass

    def stop(*_):
        raise Stopped

    before, done = signal.signal(number, stop), []
    try:
        with pytest.raises(Stopped):
            with deferred_interrupts():
                signal.raise_signal(number)
                done.append("block")
            done.append("after")
        assert signal.getsignal(number) is stop
    finally:
        signal.signal(number, before)
    assert done == ["block"]


def test_handlers_are_restored_without_an_interrupt():
    before = signal.getsignal(signal.SIGINT)
    with deferred_interrupts():
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before
