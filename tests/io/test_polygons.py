"""Areas from outlines, and outlines from areas."""

import numpy as np
import pytest

from deeplab_gygo.io.polygons import ellipse, fill, fill_box, joined, outlines, rotated

SIZE = (23, 31)


def _inside(points, size):
    """Counts the sides to the right of the center of every pixel: the even-odd rule."""
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    odd = np.zeros(size, bool)
    for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, axis=0), strict=True):
        crosses = (y0 <= y) != (y1 <= y)
        with np.errstate(divide="ignore", invalid="ignore"):
            odd ^= crosses & (x0 + (y - y0) / (y1 - y0) * (x1 - x0) <= x)
    return odd


@pytest.mark.parametrize("seed", range(30))
def test_pixels_whose_center_is_inside_are_filled(seed):
    rng = np.random.default_rng(seed)
    points = rng.uniform(-10, 40, (rng.integers(3, 12), 2))
    assert (fill(points, SIZE) == _inside(points, SIZE)).all()
    rows, columns, area = fill_box(points, SIZE)
    assert fill(points, SIZE).sum() == area.sum()
    assert area.shape == (rows.stop - rows.start, columns.stop - columns.start)


def test_edges_between_two_polygons_belong_to_one():
    corners = np.array([(2, 3), (20, 3.5), (11.5, 20), (25, 18)])
    first, second = fill(corners[[0, 1, 2]], SIZE), fill(corners[[1, 3, 2]], SIZE)
    assert not (first & second).any()
    assert ((first | second) == fill(corners[[0, 1, 3, 2]], SIZE)).all()


@pytest.mark.parametrize("density", [0.02, 0.3, 0.5, 0.8, 1.0])
def test_outlines_give_the_area_again(density):
    rng = np.random.default_rng(3)
    for _ in range(20):
        area = rng.random(rng.integers(1, 20, 2)) < density
        loops = outlines(area)
        again = np.zeros_like(area)
        for loop in loops:
            again ^= fill(loop.astype(float), area.shape)
            sides = np.abs(np.diff(loop, axis=0, append=loop[:1]))
            assert (np.count_nonzero(sides, axis=1) == 1).all()  # along a row or a column
        assert (again == area).all()
        if loops:
            assert (fill(joined(loops).astype(float), area.shape) == area).all()
        else:
            assert not area.any()


def test_an_ellipse_has_its_area():
    area = fill(ellipse(np.array([50, 40]), np.array([30, 10])), (80, 100)).sum()
    assert area == pytest.approx(np.pi * 300, rel=0.01)
    upright = fill(ellipse(np.array([50, 40]), np.array([30, 10]), 90), (80, 100))
    assert upright[15, 50] and not upright[40, 25]
    assert rotated(np.array([(1.0, 0.0)]), 90) == pytest.approx(np.array([(0, 1)]))  # down


@pytest.mark.parametrize(
    ("points", "problem"),
    [
        ([(0, 0), (np.nan, 1), (1, 1)], "no number up to"),
        ([(0, 0), (2e6, 1), (1, 1)], "no number up to"),
        (np.zeros((1_000_001, 2)), "more than 1000000 points"),
        ([(0, -1e6), (9, 1e6)] * 30_000, "crosses rows of pixels"),
    ],
)
def test_outlines_without_an_end_are_refused(points, problem):
    with pytest.raises(ValueError, match=problem):
        fill(np.array(points, float), (2_000, 10))


def test_outlines_outside_of_the_image_fill_nothing():
    for shift in ((100, 0), (-100, 0), (0, 100), (0, -100)):
        points = np.array([(0, 0), (9, 0), (9, 9)], float) + shift
        assert not fill(points, SIZE).any()
