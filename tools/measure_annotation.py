"""Measures the effort of a person, simulated: J against seconds, clicks and propagation against
polygons on every tenth frame.

The first mask is drawn by clicks, each in the middle of the largest error. Then, round by round,
the clip is propagated and the frame of the lowest confidence is corrected by clicks on its result.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import cv2
import numpy as np

from deeplab_gygo.datasets.registry import open_dataset
from deeplab_gygo.evaluation.measures import jaccard
from deeplab_gygo.inference.clicks import clicked
from deeplab_gygo.inference.model import Model, load
from deeplab_gygo.inference.strokes import StrokeSegmenter
from deeplab_gygo.io.sequence import Sequence
from deeplab_gygo.models.stroke_decoder import load_stroke_network

CLICK_SECONDS = 2.4
"""Of one click on an object: Bearman et al., "What's the point", ECCV 2016, section 4."""

POLYGON_SECONDS = 79.2
"""Of one polygon: 22 hours per 1000, Lin et al., "Microsoft COCO", ECCV 2014, section 4.3."""

REVIEW_SECONDS = 5.0
"""Of going to a frame and looking at it: an assumption, on the side of the polygons too."""

FIRST_CLICKS, CORRECTION_CLICKS, ROUNDS, POLYGON_INTERVAL = 6, 3, 5, 10


def drawn(
    segmenter: StrokeSegmenter,
    sequence: Sequence,
    index: int,
    truth: np.ndarray,
    clicks: int,
    start: np.ndarray | None = None,
) -> tuple[np.ndarray, int]:
    """Returns the mask of a frame, bool [H, W], after at most so many clicks, and their number."""
    frame = segmenter.encode(sequence.frame(index).image)
    masks = list(clicked(segmenter, frame, truth, clicks, start))
    unchanged = np.zeros_like(truth) if start is None else start
    return (masks[-1] if masks else unchanged), len(masks)


def with_propagation(
    model: Model, segmenter: StrokeSegmenter, sequence: Sequence, preset: str, rounds: int
) -> list[dict[str, float]]:
    """Annotates a clip by clicks and propagation.

    Returns:
        After every round J over all frames but the first, seconds of the person and of the
        computer, the frame that was clicked on, and J of the mask that came of it.
    """
    truth = [sequence.annotation(index) > 0 for index in range(len(sequence))]
    mask, clicks = drawn(segmenter, sequence, 0, truth[0], FIRST_CLICKS)
    person, chosen, rows = REVIEW_SECONDS + clicks * CLICK_SECONDS, 0, []
    with model.session(sequence.with_annotations(None), preset=preset) as session:
        for _ in range(rounds + 1):
            started = time.monotonic()
            session.annotate(chosen, mask.astype(np.uint8))
            for _ in session.propagate():
                pass
            results = [session.result(index) for index in range(len(sequence))]
            scores = [jaccard(r.mask > 0, t) for r, t in zip(results, truth, strict=True)]
            rows.append(
                {
                    "J": round(float(np.mean(scores[1:])), 4),
                    "person_seconds": round(person, 1),
                    "computer_seconds": round(time.monotonic() - started, 1),
                    "frame": chosen,
                    "drawn_J": round(float(jaccard(mask, truth[chosen])), 4),
                }
            )
            left = [result for result in results if result.index not in session.annotated]
            if not left:
                break
            chosen = min(left, key=lambda result: result.confidence).index
            mask, clicks = drawn(
                segmenter, sequence, chosen, truth[chosen], CORRECTION_CLICKS,
                results[chosen].mask > 0,
            )  # fmt: skip
            person += REVIEW_SECONDS + clicks * CLICK_SECONDS
    return rows


def with_polygons(sequence: Sequence, interval: int) -> dict[str, float]:
    """Annotates every so many frames by polygons, taken as true, and interpolates the others.

    Signed distances to the contour are interpolated.
    """
    count = len(sequence)
    truth = [sequence.annotation(index) > 0 for index in range(count)]
    drawn = sorted({*range(0, count, interval), count - 1})
    distances = {index: _signed_distance(truth[index]) for index in drawn}
    scores = []
    for index in range(1, count):
        before = max(k for k in drawn if k <= index)
        after = min(k for k in drawn if k >= index)
        share = (index - before) / max(after - before, 1)
        between = (1 - share) * distances[before] + share * distances[after]
        scores.append(jaccard(between > 0, truth[index]))
    seconds = len(drawn) * (POLYGON_SECONDS + REVIEW_SECONDS)
    return {
        "J": round(float(np.mean(scores)), 4),
        "person_seconds": round(seconds, 1),
        "polygons": len(drawn),
    }


def _signed_distance(mask: np.ndarray) -> np.ndarray:
    inside = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5)
    outside = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 5)
    return inside - outside


def summary(clips: dict[str, dict]) -> dict:
    """Returns the means over clips: of every round, those that ended before with their last row."""
    rounds = max(len(each["propagation"]) for each in clips.values())
    rows = []
    for k in range(rounds):
        chosen = [each["propagation"][min(k, len(each["propagation"]) - 1)] for each in
                  clips.values()]  # fmt: skip
        names = ("J", "person_seconds", "computer_seconds")
        rows.append({name: round(float(np.mean([r[name] for r in chosen])), 4) for name in names})
    polygons = {
        name: round(float(np.mean([each["polygons"][name] for each in clips.values()])), 4)
        for name in ("J", "person_seconds")
    }
    return {"propagation": rows, "polygons": polygons}


def main() -> None:
    """Runs the measurement."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="davis2016")
    parser.add_argument("--root", required=True)
    parser.add_argument("--split", default="val_dev")
    parser.add_argument("--clips", nargs="*", help="names; all of the split if left out")
    parser.add_argument("--preset", default="fast")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--out", type=Path, help="JSON file")
    options = parser.parse_args()
    model = load()
    segmenter = StrokeSegmenter(load_stroke_network())
    dataset = open_dataset(options.dataset, options.root)
    clips: dict[str, dict] = {}
    for name in options.clips or dataset.names(options.split):
        sequence, started = dataset.sequence(name), time.monotonic()
        rows = with_propagation(model, segmenter, sequence, options.preset, options.rounds)
        clips[name] = {
            "propagation": rows,
            "polygons": with_polygons(sequence, POLYGON_INTERVAL),
            "seconds": round(time.monotonic() - started, 1),
        }
        print(name, *(f"{row['J']:.3f}" for row in rows), clips[name]["polygons"], flush=True)
        text = json.dumps(
            {
                "command": f"tools/measure_annotation.py --dataset {options.dataset} --split "
                f"{options.split} --preset {options.preset} --rounds {options.rounds}",
                "seconds": {
                    "click": CLICK_SECONDS, "polygon": POLYGON_SECONDS, "review": REVIEW_SECONDS
                },
                "mean": summary(clips),
                "clips": clips,
            },
            indent=1,
        )  # fmt: skip
        if options.out is not None:
            options.out.write_text(text + "\n", encoding="utf-8")
    print(json.dumps(summary(clips), indent=1))


if __name__ == "__main__":
    main()
