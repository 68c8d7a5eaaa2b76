"""Curves, labels and strips show what they say they show."""

import base64

import cv2
import numpy as np
import pytest

from deeplab_gygo.benchmark import figures, labels, strips
from deeplab_gygo.benchmark.availability import find_dataset
from deeplab_gygo.benchmark.results import SequenceResult
from deeplab_gygo.benchmark.style import looks_of
from deeplab_gygo.evaluation import Statistics
from deeplab_gygo.evaluation.quoted import QuotedValue

NONE = Statistics(0.0, 0.0, 0.0)


def _sequence(values, counted=None):
    counted = counted or [True] * len(values)
    names = tuple(str(index) for index in range(len(values)))
    return SequenceResult("a", NONE, NONE, names, tuple(counted), tuple(values), record=None)


def test_the_curve_averages_sequences_at_equal_parts_of_their_time():
    falling = _sequence([1.0, 0.5, 0.0])
    steady = _sequence([9.0, 0.5, 0.5, 0.5, 0.5, 9.0], [False, *[True] * 4, False])
    curve = figures.mean_curve([falling, steady])
    assert curve[[0, 20, 40]] == pytest.approx([0.75, 0.5, 0.25])


def test_frames_that_were_not_measured_are_bridged():
    curve = figures.mean_curve([_sequence([1.0, float("nan"), 0.0])])
    assert curve[20] == pytest.approx(0.5)
    assert np.isnan(figures.mean_curve([_sequence([float("nan")] * 3)])).all()


def test_labels_at_the_end_of_lines_keep_their_order_and_distance():
    placed = labels.spread([0.5, 0.51, 0.9, 0.49], 0.1, 0, 1)
    order = np.argsort(placed)
    assert list(order) == [3, 0, 1, 2]
    assert np.diff(np.sort(placed)).min() >= 0.1 - 1e-9
    assert placed[2] == pytest.approx(0.9)  # what has room stays
    crowded = labels.spread([0.99] * 20, 0.1, 0, 1)
    assert min(crowded) >= -1e-9 and max(crowded) <= 1 + 1e-9
    assert labels.spread([], 0.1, 0, 1) == []


def test_labels_of_near_points_do_not_lie_on_each_other():
    figure, axes = figures._axes(5, 3)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    texts = ["a long label", "another long label", "a third long label"]
    labels.place_labels(
        axes, [(0.5 + 0.001 * at, 0.5, text, {"color": "k"}) for at, text in enumerate(texts)]
    )
    renderer = figure._get_renderer()
    boxes = [t.get_window_extent(renderer) for t in axes.texts if t.get_text() in texts]
    assert len(boxes) == 3
    for at, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[at + 1 :])


def test_a_reference_far_below_is_named_at_the_edge(rendered):
    results, _, bench = rendered
    looks = looks_of(bench.config.rows)
    quoted = [QuotedValue("Q", "s", "s", mode="one-shot", J=0.99, fps=2.0)]
    methods = [r for r in results if r.row.name != "zero"]
    axes = figures.j_against_fps(methods, quoted, looks).axes[0]
    copied = next(r for r in results if r.row.name == "copy").region.mean
    assert copied < axes.get_ylim()[0] < 0.99
    words = [text.get_text() for text in axes.texts]
    assert f"First mask copied: J {copied:.2f} ↓" in words
    assert "Q one-shot" in words
    assert axes.get_xscale() == "log"


def test_every_row_has_its_own_look(bench):
    looks = looks_of(bench.config.rows)
    assert list(looks) == ["copy", "zero", "one", "osmn"]
    assert len({(look.color, str(look.line)) for look in looks.values()}) == 4
    assert looks["zero"].marker != looks["one"].marker


def test_nothing_measured_draws_nothing(bench):
    assert figures.j_against_fps([], [], {}) is None
    assert figures.j_over_time([], {}) is None
    assert figures.j_of_sequences([], [], {}) is None


# === Strips ===


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


def test_strips_show_both_outlines_at_five_times(rendered):
    results, _, bench = rendered
    data = find_dataset(results[0].dataset, bench.data)
    (made,) = strips.make_strips(results, data, ["bag"])
    assert [strip.title for strip in made.strips] == [
        result.row.title for result in results if result.is_measured
    ]
    copied, zero, exact = made.strips
    assert [tile.frame for tile in exact.tiles] == ["00000", "00002", "00004", "00006", "00008"]
    assert [tile.percent for tile in exact.tiles] == [0, 25, 50, 75, 100]
    assert [tile.is_given for tile in exact.tiles] == [True, False, False, False, False]
    assert not zero.tiles[0].is_given  # it is predicted there
    assert zero.tiles[2].J == pytest.approx(22 / 34)
    assert exact.tiles[2].J == 1.0
    shifted, same = _picture(zero.tiles[2]), _picture(exact.tiles[2])
    # The truth is drawn below: it is seen where the result differs.
    assert _near(shifted, strips.TRUTH_COLOR) > 1.5 * _near(same, strips.TRUTH_COLOR)
    assert _near(shifted, strips.PREDICTION_COLOR) > 50


def test_the_part_that_is_shown_holds_all_outlines_in_the_aspect_of_the_frame():
    masks = [np.zeros((60, 100), np.uint8) for _ in range(2)]
    masks[0][0:6, 90:100] = 1
    rows, columns = strips._view(masks)
    assert (rows.stop - rows.start, columns.stop - columns.start) == (21, 35)  # .35 of the frame
    assert rows.start == 0 and columns.stop == 100
    masks[1][50:58, 2:5] = 2
    assert strips._view(masks) == (slice(0, 60), slice(0, 100))
