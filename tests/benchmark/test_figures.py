"""Values of curves, points and strips."""

import base64

import cv2
import numpy as np
import pytest

from deeplab_gygo.benchmark import figures, strips
from deeplab_gygo.benchmark.results import SequenceResult
from deeplab_gygo.evaluation import Statistics
from deeplab_gygo.evaluation.quoted import QuotedValue

NONE = Statistics(0.0, 0.0, 0.0)


def _sequence(values, counted=None):
    counted = counted or [True] * len(values)
    names = tuple(str(index) for index in range(len(values)))
    return SequenceResult("a", NONE, NONE, names, tuple(counted), tuple(values), record=None)


def test_mean_curve_averages_at_equal_relative_times():
    falling = _sequence([1.0, 0.5, 0.0])
    steady = _sequence([9.0, 0.5, 0.5, 0.5, 0.5, 9.0], [False, *[True] * 4, False])
    curve = figures.mean_curve([falling, steady])
    assert curve[[0, 20, 40]] == pytest.approx([0.75, 0.5, 0.25])


def test_mean_curve_interpolates_unmeasured_frames():
    curve = figures.mean_curve([_sequence([1.0, float("nan"), 0.0])])
    assert curve[20] == pytest.approx(0.5)
    assert np.isnan(figures.mean_curve([_sequence([float("nan")] * 3)])).all()


def test_j_against_fps_has_measured_and_quoted_points(rendered):
    results, _, bench = rendered
    quoted = [
        QuotedValue("Q", "s", "s", mode="one-shot", J=0.99, fps=2.0),
        QuotedValue("no speed", "s", "s", mode="one-shot", J=0.99),
    ]
    axes = figures.draw(results, quoted, bench.config.rows)["j_against_fps"].axes[0]
    titles = [result.row.title for result in results if not result.reason]
    assert [line.get_label() for line in axes.lines[:3]] == titles
    points = [tuple(line.get_xydata()[0]) for line in axes.lines]
    assert points[0] == pytest.approx((results[0].fps, results[0].region.mean))
    assert points[3:] == [(2.0, 0.99)]
    assert [text.get_text() for text in axes.texts] == ["Q one-shot (quoted)"]
    assert axes.get_xscale() == "log"


def test_every_row_has_its_own_style(bench):
    styles = figures.styles_of(bench.config.rows)
    assert list(styles) == ["copy", "zero", "one", "osmn"]
    assert len({(style.color, style.line) for style in styles.values()}) == 4
    assert styles["zero"].marker != styles["one"].marker


def test_nothing_is_drawn_without_results(bench):
    assert figures.draw([], [], []) == {}


def _picture(tile):
    data = np.frombuffer(base64.b64decode(tile.image.partition(",")[2]), np.uint8)
    return cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1].astype(int)


def _near(picture, color):
    return int((np.abs(picture - np.array(color)).sum(axis=-1) < 150).sum())


def test_sequences_are_chosen_from_the_worst_to_the_best():
    names = list("abcdefghij")
    assert strips.chosen(names, 4) == ["a", "d", "g", "j"]
    assert strips.chosen(names, 0) == names
    assert strips.chosen(names[:2], 4) == ["a", "b"]


def test_strips_show_both_contours_at_five_times(rendered):
    results, _, bench = rendered
    made = strips.make_strips(results, results[0].dataset.open(bench.data), "bag")
    titles = [result.row.title for result in results if not result.reason]
    assert [strip.title for strip in made] == titles
    _, zero, exact = made
    assert [tile.frame for tile in exact.tiles] == ["00000", "00002", "00004", "00006", "00008"]
    assert [tile.percent for tile in exact.tiles] == [0, 25, 50, 75, 100]
    assert [tile.is_given for tile in exact.tiles] == [True, False, False, False, False]
    assert not zero.tiles[0].is_given  # predicted
    assert zero.tiles[2].J == pytest.approx(22 / 34)
    assert exact.tiles[2].J == 1.0
    shifted, same = _picture(zero.tiles[2]), _picture(exact.tiles[2])
    # The ground truth is drawn below the prediction: it shows where they differ.
    assert _near(shifted, strips.TRUTH_COLOR) > _near(same, strips.TRUTH_COLOR) + 200
    assert _near(shifted, strips.PREDICTION_COLOR) > 50
