"""Region similarity, contour accuracy and statistics against hand, oracle and official values."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from deeplab_gygo.errors import InputError
from deeplab_gygo.evaluation.measures import boundary_measure, jaccard, statistics

HAND = json.loads((Path(__file__).parent / "hand_cases.json").read_text(encoding="utf-8"))


def drawn(rows: list[str]) -> np.ndarray:
    return np.array([[character == "#" for character in row] for row in rows], dtype=np.uint8)


def literal_boundary_measure(prediction: np.ndarray, truth: np.ndarray, radius: float) -> float:
    """F spelled out: every boundary pixel looks for another one by distance."""

    def boundary(mask: np.ndarray) -> list[tuple[int, int]]:
        height, width = mask.shape
        return [
            (y, x)
            for y in range(height)
            for x in range(width)
            if any(
                y + down < height and x + right < width and mask[y, x] != mask[y + down, x + right]
                for down, right in ((0, 1), (1, 0), (1, 1))
            )
        ]

    def matched(ones: list[tuple[int, int]], others: list[tuple[int, int]]) -> float:
        near = [any(math.hypot(y - v, x - u) <= radius for v, u in others) for y, x in ones]
        return sum(near) / len(near)

    predicted, true = boundary(prediction), boundary(truth)
    if not predicted or not true:
        return float(not predicted and not true)
    precision, recall = matched(predicted, true), matched(true, predicted)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def random_mask(random: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """A few ellipses, some of them over the edge of the frame, and loose pixels."""
    mask = np.zeros(shape, dtype=np.uint8)
    for _ in range(random.integers(0, 4)):
        center = (int(random.integers(0, shape[1])), int(random.integers(0, shape[0])))
        axes = (int(random.integers(1, shape[1] + 1)), int(random.integers(1, shape[0] // 2 + 2)))
        cv2.ellipse(mask, center, axes, float(random.uniform(0, 180)), 0, 360, 1, -1)
    mask[random.random(shape) < 0.01] ^= 1
    return mask


@pytest.mark.parametrize("case", HAND["masks"], ids=lambda case: case["name"])
def test_hand_worked_masks(case):
    prediction, truth = drawn(case["prediction"]), drawn(case["truth"])
    assert jaccard(prediction, truth) == pytest.approx(case["J"], abs=1e-12)
    assert boundary_measure(prediction, truth) == pytest.approx(case["F"], abs=1e-12)
    assert boundary_measure(truth, prediction) == pytest.approx(case["F"], abs=1e-12)


@pytest.mark.parametrize("case", HAND["statistics"], ids=lambda case: f"{len(case['values'])}")
def test_hand_worked_statistics(case):
    found = statistics(case["values"])
    assert found.mean == pytest.approx(case["mean"], abs=1e-12)
    assert found.recall == pytest.approx(case["recall"], abs=1e-12)
    assert found.decay == pytest.approx(case["decay"], abs=1e-12)


@pytest.mark.parametrize("seed", range(40))
def test_boundary_measure_equals_its_literal_definition(seed):
    random = np.random.default_rng(seed)
    shape = (int(random.integers(1, 28)), int(random.integers(1, 28)))
    prediction, truth = random_mask(random, shape), random_mask(random, shape)
    for radius in (1, 2, 3.5, 5):
        expected = literal_boundary_measure(prediction, truth, radius)
        found = boundary_measure(prediction, truth, bound=radius)
        assert found == pytest.approx(expected, abs=1e-12)


def test_tolerance_at_480p_is_eight_pixels():
    truth, prediction = (np.zeros((480, 854), dtype=np.uint8) for _ in range(2))
    truth[:, :400] = 1
    prediction[:, :408] = 1
    assert boundary_measure(prediction, truth) == 1.0
    prediction[:, 408] = 1
    assert boundary_measure(prediction, truth) == 0.0


def test_any_value_but_zero_is_object():
    truth = np.array([[0, 255, 7], [0, 1, 0], [0, 0, 0]], dtype=np.uint8)
    assert jaccard(truth > 0, truth) == 1.0
    assert boundary_measure(truth.astype(np.float32), truth) == 1.0


def test_void_pixels_do_not_count_in_jaccard():
    truth, prediction = (
        drawn(["##..", "##..", "....", "...."]),
        drawn(["####", "##..", "....", "...."]),
    )
    void = drawn(["...#", "....", "....", "...."])
    assert jaccard(prediction, truth) == 4 / 6
    assert jaccard(prediction, truth, void) == 4 / 5
    assert jaccard(prediction, truth, drawn(["####"] * 4)) == 1.0


def test_void_pixels_are_background_for_boundaries():
    truth, prediction = np.zeros((2, 40, 40), dtype=np.uint8)
    truth[10:20, 5:15] = 1
    prediction[10:20, 5:15] = 1
    prediction[30:35, 30:35] = 1
    void = np.zeros_like(truth)
    assert boundary_measure(prediction, truth) < 1.0
    void[28:38, 28:38] = 1
    assert boundary_measure(prediction, truth, void) == 1.0


def test_inputs_are_not_changed():
    truth, void = drawn(["#.", ".."]), drawn([".#", ".."])
    before = truth.copy(), void.copy()
    jaccard(truth, truth, void)
    boundary_measure(truth, truth, void)
    assert np.array_equal(truth, before[0]) and np.array_equal(void, before[1])


@pytest.mark.parametrize("measure", [jaccard, boundary_measure])
@pytest.mark.parametrize(
    "shapes", [((4, 4), (4, 5)), ((4, 4, 3), (4, 4, 3)), ((0, 0), (0, 0)), ((4,), (4,))]
)
def test_unusable_masks_are_refused(measure, shapes):
    with pytest.raises(InputError):
        measure(np.zeros(shapes[0], dtype=np.uint8), np.zeros(shapes[1], dtype=np.uint8))


def test_a_void_mask_of_another_size_is_refused():
    with pytest.raises(InputError, match="void"):
        jaccard(np.zeros((4, 4)), np.zeros((4, 4)), np.zeros((4, 1)))


@pytest.mark.parametrize("bound", [0, -1, math.nan, math.inf])
def test_unusable_tolerance_is_refused(bound):
    with pytest.raises(InputError, match="tolerance"):
        boundary_measure(np.ones((4, 4)), np.ones((4, 4)), bound=bound)


def test_decay_of_more_than_256_frames():
    # With edges at 0, 100, 200, 300, 400 the first bin is all ones and the last all zeros;
    # frame numbers of 8 bits would wrap round.
    values = np.zeros(401)
    values[:101] = 1.0
    found = statistics(values)
    assert found.decay == 1.0
    assert found.mean == pytest.approx(101 / 401)
    assert statistics(values[::-1]).decay == -1.0


def test_padding_at_the_ends_changes_nothing():
    values = [0.9, 0.8, 0.6, 0.4, 0.3, 0.1, 0.7]
    assert statistics([math.nan, *values, math.nan]) == statistics(values)


def test_a_gap_keeps_its_place_in_time():
    found = statistics([1.0, math.nan, 0.5, 0.25, 0.0])
    assert found.mean == pytest.approx(1.75 / 4)
    assert found.recall == 0.25
    assert found.decay == pytest.approx(1.0 - 0.125)


@pytest.mark.parametrize("values", [[], [math.nan], [math.nan] * 5])
def test_nothing_measured_gives_nan(values):
    found = statistics(values)
    assert math.isnan(found.mean) and math.isnan(found.recall) and math.isnan(found.decay)


def test_statistics_take_one_row():
    with pytest.raises(InputError):
        statistics(np.zeros((2, 3)))


def test_official_synthetic_values(golden):
    cases = json.loads((golden / "davis_metrics.json").read_text(encoding="utf-8"))["synthetic"]
    assert cases
    for case in cases:
        truth, prediction = (np.zeros(case["shape"], dtype=np.uint8) for _ in range(2))
        for mask, pixels in ((truth, case["gt"]), (prediction, case["mask"])):
            for y, x in pixels:
                mask[y, x] = 1
        assert jaccard(prediction, truth) == pytest.approx(case["J"], abs=1e-12), case["name"]
        found = boundary_measure(prediction, truth)
        assert found == pytest.approx(case["F"], abs=1e-12), case["name"]


def test_official_statistics(golden):
    cases = json.loads((golden / "davis_metrics.json").read_text(encoding="utf-8"))["statistics"]
    assert cases
    for case in cases:
        found = statistics(case["values"])
        for name in ("mean", "recall", "decay"):
            assert getattr(found, name) == pytest.approx(case[name], abs=1e-12), case["values"]


def test_official_values_of_real_masks(golden):
    cases = json.loads((golden / "davis_metrics.json").read_text(encoding="utf-8"))["frames"]
    truths = {
        case["frame"]: cv2.imread(str(golden / case["mask"]), cv2.IMREAD_GRAYSCALE)
        for case in cases
        if case["kind"] == "identical"
    }
    assert len(cases) == 110 and len(truths) == 10
    for case in cases:
        truth = truths[case["frame"]]
        prediction = cv2.imread(str(golden / case["mask"]), cv2.IMREAD_GRAYSCALE)
        assert np.count_nonzero(truth) == case["gt_pixels"]
        assert np.count_nonzero(prediction) == case["mask_pixels"]
        assert jaccard(prediction, truth) == pytest.approx(case["J"], abs=1e-12), case["mask"]
        found = boundary_measure(prediction, truth)
        assert found == pytest.approx(case["F"], abs=1e-12), case["mask"]


def test_evaluation_needs_no_network_library():
    program = (
        "import sys, deeplab_gygo.evaluation;"
        "heavy = {'keras', 'tensorflow', 'jax', 'torch', 'skimage', 'pandas', 'scipy'};"
        "print(*sorted(heavy & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    assert found.stdout.split() == []
