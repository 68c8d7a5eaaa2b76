"""Zero-shot J and F of a parent on photos with masks, each segmented alone.

    python tools/measure_stills.py FOLDER --count 240 --out FILE [--weights FILE] \
        --skip experiments/results/parent_world_choices.json

FOLDER has `images/` and `masks/`. The photos are evenly spaced in the order of their names.
`--skip` leaves out the photos under `ecssd_left_out` of a result file: they are training material.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

import deeplab_gygo
from deeplab_gygo.evaluation import boundary_measure, jaccard
from deeplab_gygo.synthesis.stills import find_stills, read_still

LARGEST = 100_000  # Short side, pixels: photos are measured at their own size.


def measure(folder: Path, weights: Path | None, count: int, skip: Path | None) -> dict[str, list]:
    """Returns [J, F] by the name of the photo."""
    photos = find_stills(folder, short_side=LARGEST)
    if skip is not None:
        left_out = json.loads(skip.read_text(encoding="utf-8"))["ecssd_left_out"]
        names = {match[0] for matches in left_out.values() for match in matches}
        photos = [photo for photo in photos if photo.name not in names]
    model = deeplab_gygo.load(weights)
    rows = {}
    for photo in photos[:: max(1, len(photos) // count)][:count]:
        image, mask = read_still(photo.image_path, photo.mask_path, LARGEST)
        # One frame has no other frames to learn from, and one view as the training has it.
        (found,) = model.segment([image], zero_shot_anchor_frames=0, zero_shot_tta_scale=0.0,
                                 tta_flip=False)  # fmt: skip
        truth = mask > 0
        scores = jaccard(found.mask, truth), boundary_measure(found.mask, truth)
        rows[photo.name] = [round(float(score), 4) for score in scores]
    return rows


def main() -> None:
    """Runs the tool."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--weights", type=Path, help="parent file; the shipped one by default")
    parser.add_argument("--count", type=int, default=60, help="number of photos")
    parser.add_argument("--skip", type=Path, help="result file that names photos to leave out")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    options = parser.parse_args()
    rows = measure(options.folder, options.weights, options.count, options.skip)
    options.out.write_text(json.dumps(rows, indent=0) + "\n", encoding="utf-8")
    scores = np.array(list(rows.values()))
    mean, error = scores.mean(0), scores.std(0, ddof=1) / np.sqrt(len(scores))
    print(f"{len(rows)} photos: J {mean[0]:.4f} (standard error {error[0]:.4f}), F {mean[1]:.4f}")


if __name__ == "__main__":
    main()
