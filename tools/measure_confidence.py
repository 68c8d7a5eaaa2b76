"""Measures how well the confidence of a batch finds and ranks its frames of low J.

    python tools/measure_confidence.py --results OUT --dataset davis2016 --root DAVIS \
        --out experiments/results/confidence.json

Reads the record (run.json) and the masks of every sequence under OUT. Frames count as in the
official protocol: all but the first and the last.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from ranking import detection, found_early, rank_correlation

from deeplab_gygo.datasets.registry import open_dataset
from deeplab_gygo.errors import InputError
from deeplab_gygo.evaluation.measures import jaccard
from deeplab_gygo.evaluation.result_files import MASK_SUBFOLDER
from deeplab_gygo.inference.confidence import DOUBTFUL
from deeplab_gygo.io.atomic import replacing
from deeplab_gygo.io.masks import read_mask

GOOD = 0.8
"""J below which a frame is one to find."""

REVIEWED = 0.2
"""Fraction of the frames that a person reviews in `found_early`."""


def frame_rows(folder: Path, dataset) -> list[tuple[float, float]]:
    """Returns confidence and J of the counted frames of one result."""
    record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    if not record.get("confidence"):
        raise InputError("A record names the confidence of frames", met="none", where=folder)
    sequence, rows = dataset.sequence(record["name"]), []
    for name, confidence in list(record["confidence"].items()):
        index = sequence.frame_names.index(name)
        if index in (0, len(sequence) - 1):
            continue
        mask = read_mask(folder / MASK_SUBFOLDER / f"{name}.png", mask_format="ids")
        truth = dataset.annotation(record["name"], index)
        rows.append((confidence, jaccard(mask > 0, truth > 0)))
    return rows


def main() -> None:
    """Measures all results of a folder, prints and stores the values."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--dataset", default="davis2016")
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--out", type=Path, help="JSON file to write")
    options = parser.parse_args()
    dataset = open_dataset(options.dataset, options.root)
    folders = sorted(path.parent for path in options.results.rglob("run.json"))
    if not folders:
        raise SystemExit(f"{options.results}: no results (run.json)")
    sequences = {str(f.relative_to(options.results)): frame_rows(f, dataset) for f in folders}
    every = np.array([row for rows in sequences.values() for row in rows])
    found = {
        "frames": len(every),
        "rank_correlation": rank_correlation(every[:, 0], every[:, 1]),
        "reviewed": REVIEWED,
        "doubtful": detection(every[:, 0], every[:, 1], DOUBTFUL, GOOD),
        "worst_found": found_early(every[:, 0], every[:, 1], REVIEWED),
        "mean_confidence": float(every[:, 0].mean()),
        "mean_J": float(every[:, 1].mean()),
        "within_sequences": {
            name: rank_correlation(*np.array(rows).T) for name, rows in sequences.items()
        },
    }
    text = json.dumps(found, indent=1)
    print(text)
    if options.out:
        with replacing(options.out) as side:
            side.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
