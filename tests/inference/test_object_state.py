"""State of an object: memory bank, running area, loss of the object."""

import numpy as np
import pytest

from deeplab_gygo.inference.object_state import MemoryBank, ObjectState
from deeplab_gygo.models.memory import remember

SIDE, POSITIONS = 20, 2 * 3


def _square(side: int) -> np.ndarray:
    plane = np.zeros((SIDE, SIDE), np.float32)
    plane[:side, :side] = 0.9
    return plane


def _object(side: int = 10) -> ObjectState:
    return ObjectState(1, _square(side), usual_area=float(side * side))


def test_update_stores_the_probability_and_counts_frames():
    tracked = _object()
    tracked.update(_square(12), 0.5)
    assert tracked.age == 1
    np.testing.assert_array_equal(tracked.probability, _square(12))


def test_the_running_area_follows_growth_faster_than_shrinking():
    grown, shrunk = _object(), _object()
    grown.update(_square(14), 0.5)
    shrunk.update(_square(2), 0.5)
    assert grown.usual_area == pytest.approx(100 + 0.2 * 96)
    assert shrunk.usual_area == pytest.approx(100 - 0.04 * 96)


def test_an_object_is_lost_below_a_fraction_of_its_running_area():
    tracked = _object()
    assert not tracked.is_lost(0.5, 0.25)
    tracked.update(_square(4), 0.5)
    assert tracked.is_lost(0.5, 0.25) and not tracked.is_lost(0.5, 0.1)
    tracked.update(_square(8), 0.5)
    assert not tracked.is_lost(0.5, 0.25)


def test_an_occluded_object_stays_lost():
    tracked = _object()
    for _ in range(25):
        tracked.update(_square(3), 0.5)
        assert tracked.is_lost(0.5, 0.25)


def test_an_object_without_area_is_never_lost():
    assert not ObjectState(1, np.zeros((SIDE, SIDE), np.float32)).is_lost(0.5, 0.25)


def _memory(value: float) -> tuple[np.ndarray, np.ndarray]:
    key = np.full((1, 2, 3, 5), value, np.float32)
    return remember(key, np.full((8, 12, 1), value, np.float32), 4)


def _stored(memory: MemoryBank) -> list[float]:
    """One value per frame in the memory."""
    keys, values = memory.contents()
    assert keys.shape[1] == values.shape[1] and keys.shape[1] % POSITIONS == 0
    np.testing.assert_array_equal(keys[0, :, 0], values[0, :, 0])
    return keys[0, ::POSITIONS, 0].tolist()


def test_the_oldest_later_frame_is_dropped_and_the_annotated_one_never():
    memory = MemoryBank([_memory(0)], capacity=2)
    seen = [_stored(memory)]
    for index in (1, 2, 3, 4):
        memory.add(_memory(index))
        seen.append(_stored(memory))
    assert seen == [[0], [0, 1], [0, 1, 2], [0, 2, 3], [0, 3, 4]]


def test_a_memory_without_capacity_holds_the_annotated_frame():
    memory = MemoryBank([_memory(7)], capacity=0)
    memory.add(_memory(1))
    assert _stored(memory) == [7]
