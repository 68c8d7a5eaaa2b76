"""Measures masks drawn by simulated clicks: J after every click.

Of every clip the first frame is drawn from nothing, and the frame of the lowest confidence of a
propagation without fine-tuning is corrected:

    python tools/measure_strokes.py --set standins/table 16 --set standins/like 14 --out FILE

Photos with masks, in folders `images` and `masks`, are drawn from nothing (`--photos FOLDER
COUNT`).
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from deeplab_gygo.datasets.registry import open_dataset
from deeplab_gygo.evaluation.measures import jaccard
from deeplab_gygo.inference.clicks import clicked
from deeplab_gygo.inference.model import Model, load
from deeplab_gygo.inference.strokes import StrokeSegmenter
from deeplab_gygo.io.sequence import Sequence
from deeplab_gygo.models.stroke_decoder import load_stroke_network
from deeplab_gygo.synthesis.cache import MemoryCache
from deeplab_gygo.synthesis.stills import find_stills

FIRST_CLICKS, CORRECTION_CLICKS = 6, 3
SHORT_SIDE = 480
"""Larger photos are reduced to this short side, pixels."""

MIN_AREA = 0.002
"""Least area of an object that is corrected, of the frame."""


def scores(
    segmenter: StrokeSegmenter,
    image: np.ndarray,
    truth: np.ndarray,
    clicks: int,
    start: np.ndarray | None = None,
) -> dict[str, object]:
    """Returns J before the first click and after each, and the median seconds of a click."""
    frame = segmenter.encode(image)
    found = np.zeros_like(truth) if start is None else start
    values, seconds, began = [jaccard(found, truth)], [], time.monotonic()
    for mask in clicked(segmenter, frame, truth, clicks, start):
        seconds.append(time.monotonic() - began)
        values.append(jaccard(mask, truth))
        began = time.monotonic()
    values += values[-1:] * (clicks + 1 - len(values))  # it was good enough before
    middle = round(float(np.median(seconds)), 3) if seconds else None
    return {"J": [round(float(value), 4) for value in values], "seconds": middle}


def of_clip(model: Model, segmenter: StrokeSegmenter, sequence: Sequence) -> dict[str, object]:
    """Draws the first frame of a clip, and corrects the one of the lowest confidence."""
    truth = [sequence.annotation(index) > 0 for index in range(len(sequence))]
    first = sequence.with_annotations({0: truth[0].astype(np.uint8)})
    row = {"first": scores(segmenter, sequence.frame(0).image, truth[0], FIRST_CLICKS)}
    seen = [
        result
        for result in model.segment(first, mode="one-shot")
        if result.index and truth[result.index].mean() > MIN_AREA
    ]
    if seen:
        chosen = min(seen, key=lambda result: result.confidence)
        image = sequence.frame(chosen.index).image
        row["corrected"] = scores(
            segmenter, image, truth[chosen.index], CORRECTION_CLICKS, chosen.mask > 0
        ) | {"frame": chosen.index}
    return row


def measured(
    options: argparse.Namespace, model: Model, segmenter: StrokeSegmenter
) -> Iterator[tuple[str, str, dict]]:
    """Yields the set, the name and the scores of every clip and photo."""
    for folder, clips in options.set:
        dataset, split = open_dataset("davis2016", folder), Path(folder).name
        split = split if split in ("table", "like", "weak", "small") else "train"
        names = dataset.names(split)[: int(clips)] if clips.isdigit() else clips.split(",")
        for name in names:
            yield split, name, of_clip(model, segmenter, dataset.sequence(name))
    for folder, count in options.photos:
        cache = MemoryCache(0)
        for still in find_stills(Path(folder), short_side=SHORT_SIDE)[: int(count)]:
            image, mask = still.read(cache)
            row = scores(segmenter, image, mask > 0, FIRST_CLICKS)
            yield Path(folder).name, still.name, {"first": row}


def means(rows: dict[str, dict]) -> dict[str, dict]:
    """Returns the mean J after every click, and its standard error, of every set."""
    result: dict[str, dict] = {}
    for kind in ("first", "corrected"):
        for group in dict.fromkeys(name.split("/")[0] for name in rows):
            found = [
                row[kind]["J"]
                for name, row in rows.items()
                if name.startswith(f"{group}/") and kind in row
            ]
            if found:
                values = np.array(found)
                error = values.std(axis=0, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else 0
                result.setdefault(kind, {})[group] = {
                    "count": len(values),
                    "J": values.mean(axis=0).round(3).tolist(),
                    "standard_error": np.round(np.broadcast_to(error, values.shape[1]), 3).tolist(),
                }
    return result


def main() -> None:
    """Runs the measurement."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--set", nargs=2, action="append", default=[], metavar=("FOLDER", "CLIPS"),
        help="dataset of the layout of DAVIS 2016; how many clips of the split of its name, or "
        "names of its split train, separated by commas",
    )  # fmt: skip
    parser.add_argument(
        "--photos", nargs=2, action="append", default=[], metavar=("FOLDER", "COUNT")
    )
    parser.add_argument("--weights", type=Path, help="decoder of strokes [the shipped one]")
    parser.add_argument("--out", type=Path, required=True, help="JSON file")
    options = parser.parse_args()
    segmenter, rows = StrokeSegmenter(load_stroke_network(options.weights)), {}
    for group, name, row in measured(options, load(), segmenter):
        rows[f"{group}/{name}"] = row
        print(group, name, row, flush=True)
    text = json.dumps({"mean": means(rows), "clips": rows}, indent=1)
    options.out.write_text(text + "\n", encoding="utf-8")
    print(json.dumps(means(rows), indent=1))


if __name__ == "__main__":
    main()
