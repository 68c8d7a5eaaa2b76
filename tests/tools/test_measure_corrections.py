"""What further annotated frames gain: which frames are added, and what is measured."""

import numpy as np
import pytest

from deeplab_gygo.inference.prediction import Prediction
from deeplab_gygo.io.array_sequence import ArraySequence

SIZE = (24, 32)


def _truth(index):
    mask = np.zeros(SIZE, np.uint8)
    mask[6:18, 4 + index : 16 + index] = 1
    return mask


class Stale:
    """Returns given masks, and elsewhere the nearest given one before; surest where it is right."""

    def run(self, sequence, *, backwards):
        assert backwards
        for index in range(len(sequence)):
            given = max(i for i in sequence.annotations if i <= index)
            mask = sequence.annotation(given)
            confidence = 1 - 0.1 * (index - given)
            yield Prediction(index, f"{index:05d}", mask.astype(np.float32), mask, 0.0, confidence)


def test_the_least_sure_frame_is_annotated_next(tool):
    frames = np.zeros((7, *SIZE, 3), np.uint8)
    sequence = ArraySequence(frames, annotations={index: _truth(index) for index in range(7)})
    rows = tool("measure_corrections").measure(Stale(), sequence, 3)
    assert [row["added"] for row in rows] == [0, 6, 5]
    shifted = [1 - 2 * k / (12 + k) for k in range(7)]  # J of a mask that is k columns off
    assert rows[0]["J_of_others"] == pytest.approx(np.mean(shifted[1:5]))
    assert rows[2]["J_of_others"] == rows[0]["J_of_others"]  # the frames of no mask
    assert rows[0]["J"] == pytest.approx(np.mean(shifted[1:6]))  # without first and last
    assert rows[2]["J"] > rows[1]["J"] == rows[0]["J"]
