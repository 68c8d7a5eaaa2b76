"""The state of an object: its usual size, and when it counts as lost."""

import numpy as np

from deeplab_gygo.inference.object_state import Target

SIDE = 20


def _square(side: int) -> np.ndarray:
    plane = np.zeros((SIDE, SIDE), np.float32)
    plane[:side, :side] = 0.9
    return plane


def _target(side: int = 10) -> Target:
    return Target(1, None, _square(side), usual_area=float(side * side))


def test_updating_keeps_the_last_probability_and_the_mask_before_it():
    target = _target()
    target.update(_square(12), 0.5)
    assert target.age == 1
    np.testing.assert_array_equal(target.previous, _square(12))
    np.testing.assert_array_equal(target.before, _square(10) > 0.5)


def test_growth_is_believed_slowly_and_shrinking_more_slowly():
    grown, shrunk = _target(), _target()
    grown.update(_square(14), 0.5)
    shrunk.update(_square(2), 0.5)
    assert 100 < grown.usual_area < 196
    assert 4 < shrunk.usual_area < 100
    assert (grown.usual_area - 100) / 96 > 3 * (100 - shrunk.usual_area) / 96


def test_an_object_is_lost_below_a_part_of_its_usual_size_and_found_above():
    target = _target()
    assert not target.is_lost(0.5, 0.25)
    target.update(_square(4), 0.5)
    assert target.is_lost(0.5, 0.25) and not target.is_lost(0.5, 0.1)
    target.update(_square(8), 0.5)
    assert not target.is_lost(0.5, 0.25)


def test_an_object_that_stays_hidden_is_still_lost_after_a_while():
    target = _target()
    for _ in range(25):
        target.update(_square(3), 0.5)
        assert target.is_lost(0.5, 0.25)


def test_an_object_of_no_size_is_never_lost():
    assert not Target(1, None, np.zeros((SIDE, SIDE), np.float32)).is_lost(0.5, 0.25)
