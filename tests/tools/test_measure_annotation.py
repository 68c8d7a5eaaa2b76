"""The effort of a person, simulated: where clicks fall, what they cost, what is beside it."""

from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest

from deeplab_gygo.inference.prediction import Prediction
from deeplab_gygo.io.array_sequence import ArraySequence
from deeplab_gygo.models.stroke_marks import draw

SIZE, LENGTH = (24, 64), 13


def _truth(index):
    mask = np.zeros(SIZE, np.uint8)
    mask[6:18, 4 + 2 * index : 16 + 2 * index] = 1
    return mask


@pytest.fixture
def sequence():
    frames = np.zeros((LENGTH, *SIZE, 3), np.uint8)
    return ArraySequence(frames, annotations={index: _truth(index) for index in range(LENGTH)})


class _Painter:
    """Paints and erases the column of every click."""

    def encode(self, image):
        return None

    def segment(self, frame, strokes, *, start):
        mask = start.copy()
        row, column = np.argwhere(draw(strokes[-1:], SIZE) != 0).mean(axis=0).round().astype(int)
        mask[6:18, column] = strokes[-1].inside
        return mask


class _Nearest:
    """A model whose session copies the nearest annotated frame before."""

    @contextmanager
    def session(self, sequence, *, preset):
        masks = {}

        def result(index):
            near = max((i for i in masks if i <= index), default=min(masks))
            mask = masks[near]
            return Prediction(index, "", mask.astype(np.float32), mask, 0.0, 1 - 0.1 * index)

        yield SimpleNamespace(
            annotate=masks.__setitem__, propagate=lambda: (), result=result, annotated=masks
        )


def test_an_unchanged_mask_costs_no_click(tool, sequence):
    drawn, truth = tool("measure_annotation").drawn, _truth(0) > 0
    mask, clicks = drawn(_Painter(), sequence, 0, truth, 6)
    assert clicks == 6 and mask.sum() == 72
    same, none = drawn(_Painter(), sequence, 0, truth, 6, truth)
    assert none == 0 and (same == truth).all()


def test_the_least_sure_frame_is_corrected_and_time_adds_up(tool, sequence):
    module = tool("measure_annotation")
    rows = module.with_propagation(_Nearest(), _Painter(), sequence, "fast", 2)
    assert [row["frame"] for row in rows] == [0, LENGTH - 1, LENGTH - 2]
    spent = [row["person_seconds"] for row in rows]
    assert spent[0] <= module.REVIEW_SECONDS + 6 * module.CLICK_SECONDS
    for before, after in zip(spent, spent[1:], strict=False):
        assert before < after <= before + module.REVIEW_SECONDS + 3 * module.CLICK_SECONDS + 0.1
    assert rows[2]["J"] > rows[0]["J"]


def test_polygons_are_interpolated_between_every_tenth_frame(tool, sequence):
    module = tool("measure_annotation")
    found = module.with_polygons(sequence, 10)
    assert found["polygons"] == 3  # frames 0, 10 and 12
    cost = module.POLYGON_SECONDS + module.REVIEW_SECONDS
    assert found["person_seconds"] == pytest.approx(3 * cost, abs=0.1)
    assert module.with_polygons(sequence, 1)["J"] == 1.0 > found["J"] > 0
    means = module.summary({"a": {"propagation": [found | {"computer_seconds": 1}] * 2,
                                  "polygons": found}})  # fmt: skip
    assert len(means["propagation"]) == 2 and means["polygons"]["J"] == found["J"]
