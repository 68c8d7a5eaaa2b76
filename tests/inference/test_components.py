"""Components that are no part of the object are removed, and nothing else."""

import numpy as np

from deeplab_gygo.inference.components import keep_near, keep_supported, main_component


def _square(top: int, left: int, side: int) -> np.ndarray:
    plane = np.zeros((100, 100), np.float32)
    plane[top : top + side, left : left + side] = 0.9
    return plane


def test_the_main_component_is_the_largest_with_those_near_it():
    largest, near, far = _square(12, 12, 28), _square(12, 43, 5), _square(70, 70, 20)
    np.testing.assert_array_equal(main_component(largest + near + far, 0.5), largest + near)
    np.testing.assert_array_equal(main_component(largest, 0.5), largest)
    nothing = np.full((100, 100), 0.1, np.float32)
    np.testing.assert_array_equal(main_component(nothing, 0.5), nothing)


def test_many_small_components_are_one_object():
    dots = np.zeros((100, 100), np.float32)
    dots[::20, ::20] = 0.9
    np.testing.assert_array_equal(main_component(dots, 0.5), dots)


def test_components_away_from_the_previous_mask_are_removed():
    previous = _square(12, 12, 30) > 0
    object_, near, far = _square(14, 14, 28), _square(12, 45, 5), _square(12, 55, 9)
    found = keep_near(object_ + near + far, previous, 0.5)
    np.testing.assert_array_equal(found, object_ + near)


def test_nothing_is_removed_where_the_object_has_moved_away_or_was_not_there():
    previous, moved = _square(5, 5, 10) > 0, _square(60, 60, 30)
    np.testing.assert_array_equal(keep_near(moved, previous, 0.5), moved)
    np.testing.assert_array_equal(keep_near(moved, np.zeros_like(previous), 0.5), moved)


def test_components_that_are_mostly_new_are_taken_back():
    """The contour of what was found may change; a reflection below it may not grow."""
    found = np.full((60, 60), 0.1, np.float32)
    found[5:25, 10:30] = 0.9
    found[40:44, 10:20] = 0.8  # a fragment of the reflection
    found[30:34, 40:50] = 0.7
    closer = np.full((60, 60), 0.05, np.float32)
    closer[4:26, 9:33] = 0.95
    closer[36:55, 10:30] = 0.95
    closer[30:35, 40:50] = 0.95  # mostly known
    kept = keep_supported(closer, found, 0.5)
    expected = closer.copy()
    expected[36:55, 10:30] = found[36:55, 10:30]
    np.testing.assert_array_equal(kept, expected)
    alone = np.where(np.indices((60, 60))[0] > 30, 0.95, 0.05).astype(np.float32)
    assert keep_supported(alone, found, 0.5) is alone
