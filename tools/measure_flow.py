"""How well optical flow moves true masks to the next frame: J of the moved mask, and milliseconds.

    python tools/measure_flow.py --set STANDINS/table table 1 --set DAVIS train 6 --out FILE

Each `--set` is a folder in the layout of DAVIS-2016, a split, and the distance of the frames that
are taken. Beside the flow as it is: masks that stay where they are (`none`), a single search from
no motion (`single`), flow without one kind of start, and on smaller frames.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import cv2
import numpy as np
from compare_online import difference

from deeplab_gygo.datasets.registry import open_dataset
from deeplab_gygo.evaluation import jaccard
from deeplab_gygo.models import optical_flow
from deeplab_gygo.models.optical_flow import OpticalFlow, moved

VARIANTS = {
    "several starts": {},
    "without zooms": {"ZOOMS": ()},
    "without turns": {"TURNS": ()},
    "short side 144": {"SHORT_SIDE": 144},
    "short side 120": {"SHORT_SIDE": 120},
    "window 9": {"WINDOW": 9},
}
"""Constants of the module by the name of a variant."""


def pairs(root: Path, split: str, stride: int) -> Iterator[tuple[str, list[np.ndarray]]]:
    """Yields the sequence, and images and masks of two frames that follow each other."""
    dataset = open_dataset("davis2016", root)
    for name in dataset.names(split):
        sequence = dataset.sequence(name)
        indices = range(0, len(sequence), stride)
        for first, second in zip(indices, indices[1:], strict=False):
            masks = [dataset.annotation(name, index) > 0 for index in (first, second)]
            if all(mask.any() for mask in masks):
                yield name, [sequence.frame(first).image, sequence.frame(second).image, *masks]


def moved_mask(variant: str, before: np.ndarray, now: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Returns the mask of the frame before in the next one, bool [H, W]."""
    if variant == "none":
        return mask
    preset = cv2.DISOPTICAL_FLOW_PRESET_MEDIUM if variant == "single" else None
    with mock.patch.dict(vars(optical_flow), VARIANTS.get(variant, {})):
        flow = OpticalFlow(before, optical_flow.SHORT_SIDE, preset)
        return moved(mask.astype(np.float32), flow.advance(now)) > 0.5


def measure(root: Path, split: str, stride: int) -> dict[str, dict]:
    """Returns mean J of every sequence, gain over `single`, and milliseconds, by variant."""
    rows = {}
    for variant in ("none", "single", *VARIANTS):
        values: dict[str, list[float]] = {}
        seconds = []
        for name, (before, now, mask, truth) in pairs(root, split, stride):
            started = time.perf_counter()
            found = moved_mask(variant, before, now, mask)
            seconds.append(time.perf_counter() - started)
            values.setdefault(name, []).append(jaccard(found, truth))
        scores = {name: {"J": float(np.mean(found))} for name, found in values.items()}
        row = {"J": float(np.mean([score["J"] for score in scores.values()]))}
        rows[variant] = {
            **row,
            "pairs": len(seconds),
            "milliseconds": 1e3 * float(np.median(seconds)),
        }
        if variant == "single":
            single = scores
        elif variant != "none":
            rows[variant]["gain over single"] = difference(scores, single, "J")
        print(f"{root.name} every {stride}: {variant}: {rows[variant]}", flush=True)
    return rows


def main() -> None:
    """Runs the tool."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--set", nargs=3, action="append", required=True, metavar=("ROOT", "SPLIT", "STRIDE")
    )
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    rows = {
        f"{Path(root).name} {split}, every {stride}": measure(Path(root), split, int(stride))
        for root, split, stride in options.set
    }
    options.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
