"""A simulated person: where clicks fall, and when they end."""

import numpy as np
import pytest

from deeplab_gygo.inference.clicks import ENOUGH, click_on_error, clicked
from deeplab_gygo.models.stroke_marks import draw

SIZE = (24, 64)


@pytest.fixture
def truth():
    mask = np.zeros(SIZE, bool)
    mask[6:18, 4:16] = True
    return mask


class _Painter:
    """Paints and erases the column of the newest click."""

    def segment(self, frame, strokes, *, start):
        mask = start.copy()
        _, column = np.argwhere(draw(strokes[-1:], SIZE) != 0).mean(axis=0).round().astype(int)
        mask[6:18, column] = strokes[-1].inside
        return mask


def test_a_click_falls_into_the_middle_of_the_largest_error(truth):
    first = click_on_error(np.zeros(SIZE, bool), truth)
    ((x, y),) = first.points
    assert first.inside and 8 <= x <= 11 and 10 <= y <= 13
    found = truth.copy()
    found[2:22, 40:62] = True
    wrong = click_on_error(found, truth)
    assert not wrong.inside and 45 < wrong.points[0][0] < 57
    assert click_on_error(truth, truth) is None


def test_clicks_end_when_the_mask_is_good_enough(truth):
    masks = list(clicked(_Painter(), None, truth, 50))
    assert len(masks) == 12 and (masks[-1] == truth).all()
    areas = [mask.sum() for mask in masks]
    assert areas == sorted(areas), "each click corrects the mask that the one before left"
    assert len(list(clicked(_Painter(), None, truth, 6))) == 6
    assert not list(clicked(_Painter(), None, truth, 6, truth))
    assert 0.9 < ENOUGH < 1
