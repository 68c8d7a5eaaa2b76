"""What is remembered of a sequence: the annotated frame always, later ones for a while."""

import numpy as np
import pytest

from deeplab_gygo.inference.memory_bank import FrameMemory

PLACES = 2 * 3


def _key(value: float) -> np.ndarray:
    return np.full((1, 2, 3, 5), value, np.float32)


def _coded(value: float) -> np.ndarray:
    return np.full((8, 12, 1), value, np.float32)


def _remembered(memory: FrameMemory) -> list[float]:
    """One value for each frame that is remembered."""
    keys, values = memory.contents()
    assert keys.shape[1] == values.shape[1] and keys.shape[1] % PLACES == 0
    np.testing.assert_array_equal(keys[0, :, 0], values[0, :, 0])
    return keys[0, ::PLACES, 0].tolist()


def test_the_oldest_of_the_later_frames_is_forgotten_and_the_first_never():
    memory = FrameMemory(capacity=2, block=4)
    memory.begin(_key(0), _coded(0))
    seen = [_remembered(memory)]
    for index in (1, 2, 3, 4):
        memory.add(_key(index), _coded(index))
        seen.append(_remembered(memory))
    assert seen == [[0], [0, 1], [0, 1, 2], [0, 2, 3], [0, 3, 4]]


def test_a_memory_without_room_keeps_the_annotated_frame_alone():
    memory = FrameMemory(capacity=0, block=4)
    memory.begin(_key(7), _coded(7))
    memory.add(_key(1), _coded(1))
    assert _remembered(memory) == [7]
    keys, values = memory.contents()
    assert keys.shape == (1, PLACES, 5) and values.shape == (1, PLACES, 16)


def test_another_beginning_forgets_everything():
    memory = FrameMemory(capacity=3, block=4)
    assert memory.first is None
    memory.begin(_key(0), _coded(0))
    memory.add(_key(1), _coded(1))
    memory.begin(_key(5), _coded(5))
    assert _remembered(memory) == [5]


@pytest.mark.parametrize("block", [1, 2])
def test_cells_have_the_side_that_was_asked_for(block):
    memory = FrameMemory(capacity=1, block=block)
    memory.begin(_key(0), np.zeros((2 * block, 3 * block, 1), np.float32))
    assert memory.contents()[1].shape == (1, PLACES, block * block)
