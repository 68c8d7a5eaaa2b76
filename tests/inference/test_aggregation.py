"""Objects compete; stray parts are dropped."""

import numpy as np

from deeplab_gygo.inference.aggregation import (
    connected,
    is_little,
    keep_connected,
    keep_recognized,
    main_part,
    soft_aggregate,
)


def test_one_object_keeps_its_order_and_planes_sum_to_one():
    probability = np.linspace(0.01, 0.99, 25, dtype=np.float32).reshape(1, 5, 5)
    merged = soft_aggregate(probability)
    np.testing.assert_allclose(merged.sum(axis=0), 1, rtol=1e-5)
    assert (np.diff(merged[1].ravel()) > 0).all()
    np.testing.assert_array_equal(merged[1] > 0.5, probability[0] > 0.5)


def test_the_surer_object_wins_and_certain_ones_do_not_overflow():
    merged = soft_aggregate(np.array([[[1.0, 0.9, 0.0]], [[1.0, 0.6, 0.0]]], np.float32))
    assert np.isfinite(merged).all()
    assert merged[1, 0, 1] > merged[2, 0, 1]
    np.testing.assert_allclose(merged[1, 0, 0], merged[2, 0, 0])
    assert merged[0, 0, 2] > 0.99


def _square(top: int, left: int, side: int) -> np.ndarray:
    plane = np.zeros((100, 100), np.float32)
    plane[top : top + side, left : left + side] = 0.9
    return plane


def test_a_stray_part_is_dropped_and_a_near_one_kept():
    previous = _square(10, 10, 30) > 0.5
    near, stray = _square(12, 42, 5), _square(80, 80, 8)
    kept = keep_connected(_square(12, 12, 28) + near + stray, previous, 0.5)
    np.testing.assert_array_equal(kept, _square(12, 12, 28) + near)


def test_everything_is_kept_when_the_object_has_jumped():
    previous = _square(10, 10, 30) > 0.5
    jumped = _square(60, 60, 30) + _square(12, 12, 3)
    np.testing.assert_array_equal(keep_connected(jumped, previous, 0.5), jumped)


def test_everything_is_kept_after_an_empty_mask():
    found = _square(10, 10, 30) + _square(60, 60, 30)
    np.testing.assert_array_equal(keep_connected(found, np.zeros((100, 100)), 0.5), found)


def test_what_is_missing_is_found_on_the_other_side_of_a_pole():
    previous = _square(10, 10, 30) > 0.5
    hidden, front = _square(12, 12, 25), _square(12, 50, 15)
    found, _ = connected(hidden + front, previous, 0.5, usual=30 * 30)
    np.testing.assert_array_equal(found, hidden + front)
    assert not connected(hidden + front, previous, 0.5)[0][:, 50:].any()


def test_no_more_is_found_than_is_missing_and_nothing_far_away():
    previous = _square(10, 10, 30) > 0.5
    hidden, nearer, larger = _square(12, 12, 25), _square(12, 50, 10), _square(50, 12, 18)
    found, _ = connected(hidden + nearer + larger, previous, 0.5, usual=30 * 30)
    np.testing.assert_array_equal(found, hidden + nearer)  # what is left over is less than larger
    far = _square(12, 60, 10)
    assert not connected(hidden + far, previous, 0.5, usual=30 * 30)[0][:, 60:].any()
    whole = _square(10, 10, 30)
    assert not connected(whole + nearer, previous, 0.5, usual=30 * 30)[0][:, 50:].any()


def test_a_jump_is_told_from_growth_and_from_a_first_appearance():
    previous = _square(10, 10, 30) > 0.5
    assert connected(_square(60, 60, 30), previous, 0.5)[1]
    assert not connected(_square(12, 12, 60), previous, 0.5)[1]
    assert not connected(_square(60, 60, 30), np.zeros((100, 100)), 0.5)[1]
    assert not connected(np.zeros((100, 100), np.float32), previous, 0.5)[1]


def test_only_what_is_like_the_object_comes_back():
    returned, stranger = _square(10, 10, 20), _square(60, 60, 30)
    likeness = np.full((100, 100), -0.8, np.float32)
    likeness[5:35, 5:35] = 0.6
    kept = keep_recognized(returned + stranger, likeness, 0.5, 0.0)
    np.testing.assert_array_equal(kept, returned)
    all_kept = keep_recognized(returned + stranger, likeness, 0.5, -1.0)
    np.testing.assert_array_equal(all_kept, returned + stranger)
    none = np.full((100, 100), -0.8, np.float32)
    none[60:90, 60:90] = -0.5
    assert not keep_recognized(returned + stranger, none, 0.5, 0.0).any()
    one = keep_recognized(returned + stranger, none, 0.5, 0.0, always_one=True)
    np.testing.assert_array_equal(one, stranger)


def test_the_main_part_is_the_largest_with_what_is_near_it():
    largest, near, apart = _square(12, 12, 28), _square(12, 43, 5), _square(70, 70, 20)
    np.testing.assert_array_equal(main_part(largest + near + apart, 0.5), largest + near)
    np.testing.assert_array_equal(main_part(largest, 0.5), largest)
    nothing = np.full((100, 100), 0.1, np.float32)
    np.testing.assert_array_equal(main_part(nothing, 0.5), nothing)


def test_many_small_parts_are_one_object():
    dots = np.zeros((100, 100), np.float32)
    dots[::20, ::20] = 0.9
    np.testing.assert_array_equal(main_part(dots, 0.5), dots)


def test_little_is_less_than_a_fifth():
    predicted = np.ones((10, 10), bool)
    kept = np.zeros((10, 10), bool)
    kept[:2] = True
    assert not is_little(kept, predicted)
    kept[0, 0] = False
    assert is_little(kept, predicted)
