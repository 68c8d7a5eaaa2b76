"""Square framing: the object inside, and no shaking."""

import numpy as np
import pytest

from deeplab_gygo.io.framing import MARGIN, steady_squares

SIZE = (200, 400)


def boxes(centers, height=40, width=30):
    return [
        (round(y - height / 2), round(x - width / 2), round(y + height / 2), round(x + width / 2))
        for y, x in centers
    ]


def check_inside(side, corners, given):
    for (top, left), box in zip(corners, given, strict=True):
        if box is not None:
            assert top <= box[0] and left <= box[1]
            assert box[2] <= top + side and box[3] <= left + side


def test_an_object_that_trembles_has_one_square_with_a_margin():
    rng = np.random.default_rng(0)
    given = boxes(np.array([90, 200]) + rng.normal(0, 1, (50, 2)))
    side, corners = steady_squares(given, SIZE)
    assert len(set(corners)) == 1 and side % 2 == 0
    check_inside(side, corners, given)
    top, left = corners[0]
    low, high = np.min(given, axis=0), np.max(given, axis=0)
    free = [low[0] - top, low[1] - left, top + side - high[2], left + side - high[3]]
    assert min(free) >= MARGIN * 40 and max(free) < 20


def test_an_object_that_crosses_is_followed_smoothly():
    rng = np.random.default_rng(0)
    path = np.stack([np.full(80, 100), np.linspace(40, 360, 80)], axis=1)
    given = boxes(path + rng.normal(0, 1.5, path.shape))
    side, corners = steady_squares(given, SIZE)
    assert side < 70
    check_inside(side, corners, given)
    shaking = np.abs(np.diff(np.array(corners, float), 2, axis=0)).mean()
    assert shaking < 0.4 < np.abs(np.diff([box[:2] for box in given], 2, axis=0)).mean() / 2
    middle = np.array(corners)[:, 1] + side / 2
    assert np.abs(middle - path[:, 1]).max() < 5


def test_an_abrupt_turn_stays_inside():
    path = [(100, 50)] * 30 + [(100, 350)] * 30
    given = boxes(path)
    side, corners = steady_squares(given, SIZE)
    assert side < 60
    check_inside(side, corners, given)


def test_frames_without_the_object_lie_on_the_path_between():
    path = [(100, 40 + 8 * k) for k in range(40)]
    given = boxes(path)
    given[10:30] = [None] * 20
    side, corners = steady_squares(given, SIZE)
    assert np.diff(np.array(corners)[:, 1]) == pytest.approx(8, abs=2)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_short_clips_and_none_at_all(count):
    side, corners = steady_squares(boxes([(100, 40 + 90 * k) for k in range(count)]), SIZE)
    assert len(corners) == count and side >= 40
    assert steady_squares([None] * count, SIZE) == (200, [(0, 100)] * count)
