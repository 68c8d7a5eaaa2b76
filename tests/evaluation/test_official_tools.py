"""The scores are those that the tools of the benchmarks give on the same files.

The expected values were printed by these calls, run on the
folders that `write_case` writes:

    DAVISEvaluation(davis_root=TRUTH, task="semi-supervised", gt_set="val").evaluate(RESULTS)
    vos_benchmark.benchmark.benchmark([TRUTH_FOLDER], [RESULTS], strict=False)

with davis2017-evaluation (github.com/davisvideochallenge/davis2017-evaluation) and vos-benchmark
(github.com/hkchengrex/vos-benchmark).
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from deeplab_gygo.datasets.registry import open_dataset
from deeplab_gygo.evaluation import evaluate
from deeplab_gygo.io.masks import write_mask

HEIGHT, WIDTH, FRAMES = 72, 104, 11


def _ellipse(x: float, y: float, a: float, b: float) -> np.ndarray:
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    return ((columns - x) / a) ** 2 + ((rows - y) / b) ** 2 <= 1


def _pair(sequence: str, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns truth and prediction of a frame, uint8 [72, 104] of ids."""
    truth, found = (np.zeros((HEIGHT, WIDTH), np.uint8) for _ in range(2))
    speed = {"three": 2.5, "one": 3.5, "leaves": 1.5, "rim": 0.5}[sequence]
    for label in {"three": (1, 2, 3), "one": (1,)}.get(sequence, (1, 2)):
        x, y = 14 + 30 * (label - 1) + speed * index, 20 + 15 * (label - 1) - index * (label - 2)
        if sequence == "leaves" and label == 2 and index > 5:
            x += 1000  # outside the frame
        truth[_ellipse(x, y, 13, 9 + label)] = label
        drift = 0.25 * speed * index * (-1) ** label
        if sequence != "three" or label != 3:  # the third object is never found
            found[_ellipse(x + drift, y + 0.4 * index, 13 - 0.3 * index, 8.5 + label)] = label
    if sequence == "rim":
        shape, kernel = (truth > 0).astype(np.uint8), np.ones((5, 5), np.uint8)
        truth[cv2.dilate(shape, kernel) != cv2.erode(shape, kernel)] = 255
    if sequence == "leaves" and index in (6, 9):
        found[40:48, 60:75] = 2  # an object that is not there
    if sequence == "one" and index == 4:
        found[:] = 0  # lost
    return truth, found


def write_case(root: Path, *sequences: str) -> tuple[Path, Path]:
    """Writes a dataset in the layout of DAVIS-2017 and results; returns both folders."""
    data, results = root / "davis", root / "results"
    for sequence in sequences:
        (data / "JPEGImages" / "480p" / sequence).mkdir(parents=True)
        for index in range(FRAMES):
            truth, found = _pair(sequence, index)
            name = f"{index:05d}"
            write_mask(data / "Annotations" / "480p" / sequence / f"{name}.png", truth)
            write_mask(results / sequence / f"{name}.png", found)
            frame = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
            assert cv2.imwrite(f"{data}/JPEGImages/480p/{sequence}/{name}.jpg", frame)
    lists = data / "ImageSets" / "2017"
    lists.mkdir(parents=True)
    (lists / "val.txt").write_text("".join(f"{name}\n" for name in sequences))
    return data, results


DAVIS_MEANS = {
    "J": (0.5691326317146579, 0.75, 0.21289570337451358),
    "F": (0.5442351787229194, 0.6111111111111112, 0.3424776492454466),
}
"""Mean, recall and decay of all four sequences."""

OBJECTS = {
    "leaves_1": (0.7104743099184384, 0.7043893533204143),
    "leaves_2": (0.6792213177104087, 0.7172461112185688),
    "one_1": (0.5244068222337942, 0.46821044880175083),
    "rim_1": (0.6405521269283758, 0.6002219492476035),
    "rim_2": (0.6685517695173616, 0.6286651338178602),
    "three_1": (0.6599445754565026, 0.6193416161121279),
    "three_2": (0.6699101319523816, 0.6158068172650292),
    "three_3": (0.0, 0.0),
}
"""J and F, the same of both tools; vos-benchmark takes the void of `rim` for an object."""

VOS_MEANS = (0.5406595262119209, 0.5208323911196485)
"""J and F of the sequences without void, by vos-benchmark."""

VOS_MEANS_OF_ALL_FRAMES = (0.5549977900196112, 0.5332069148598223)
"""The same with `skip_first_and_last=False`."""


def objects_of(score):
    return {row.label: (row.region.mean, row.contour.mean) for row in score.objects()}


def test_scores_of_davis2017_evaluation(tmp_path):
    data, results = write_case(tmp_path, "three", "one", "leaves", "rim")
    score = evaluate(results, open_dataset("davis2017", data))
    assert objects_of(score) == {k: pytest.approx(v, abs=1e-12) for k, v in OBJECTS.items()}
    assert tuple(score.region) == pytest.approx(DAVIS_MEANS["J"], abs=1e-12)
    assert tuple(score.contour) == pytest.approx(DAVIS_MEANS["F"], abs=1e-12)


@pytest.mark.parametrize(
    ("frames", "expected"), [("official", VOS_MEANS), ("all", VOS_MEANS_OF_ALL_FRAMES)]
)
def test_scores_of_vos_benchmark(tmp_path, frames, expected):
    data, results = write_case(tmp_path, "three", "one", "leaves")
    score = evaluate(results, data / "Annotations" / "480p", frames=frames)
    assert (score.region.mean, score.contour.mean) == pytest.approx(expected, abs=1e-12)
    if frames == "official":
        found = objects_of(score)
        assert found == {k: pytest.approx(OBJECTS[k], abs=1e-12) for k in found}
