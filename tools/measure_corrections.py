"""Measures what further annotated frames gain: each on the frame of the lowest confidence.

Every sequence is segmented from its first mask, then from this and the true mask of the frame of
the lowest confidence, and so on, as a person corrects a clip.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from deeplab_gygo.datasets.registry import open_dataset
from deeplab_gygo.evaluation import evaluate_sequence
from deeplab_gygo.evaluation.measures import jaccard
from deeplab_gygo.inference.config import preset
from deeplab_gygo.inference.segmenter import DeepLabSegmenter
from deeplab_gygo.inference.segmenter_base import SegmenterBase
from deeplab_gygo.io.sequence import Sequence
from deeplab_gygo.models.weight_file import load_parent


def measure(segmenter: SegmenterBase, sequence: Sequence, count: int) -> list[dict[str, float]]:
    """Segments a sequence from 1 to `count` annotated frames.

    Args:
        segmenter: The segmenter.
        sequence: A sequence with one object and a mask of every frame.
        count: Largest number of annotated frames.

    Returns:
        For each number of annotated frames: J and F by the DAVIS protocol, J of the frames that
        none of the `count` annotations shows (the same frames in every row), and the frame added.
    """
    truth = {index: sequence.annotation(index) for index in range(len(sequence))}
    chosen, runs = [0], []
    for _ in range(count):
        given = sequence.with_annotations({index: truth[index] for index in chosen})
        predictions = list(segmenter.run(given, backwards=True))
        runs.append((chosen[-1], [prediction.mask for prediction in predictions]))
        others = [p for p in predictions if p.index not in chosen]
        chosen.append(min(others, key=lambda p: p.confidence).index)
    rows = []
    for added, masks in runs:
        score = evaluate_sequence(
            masks, truth.values(), name=sequence.name, frame_names=sequence.frame_names
        )
        (row,) = score.objects()
        left = [index for index in truth if index not in chosen[:count]]
        jaccards = [jaccard(masks[index] > 0, truth[index] > 0) for index in left]
        rows.append(
            {
                "J": row.region.mean,
                "F": row.contour.mean,
                "J_of_others": float(np.mean(jaccards)),
                "added": added,
            }
        )
    return rows


def main() -> None:
    """Runs the measurement."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="davis2016")
    parser.add_argument("--root", required=True)
    parser.add_argument("--split", default="val_dev")
    parser.add_argument("--preset", default="balanced")
    parser.add_argument("--count", type=int, default=3, help="annotated frames")
    parser.add_argument("--out", type=Path, required=True, help="JSON file")
    options = parser.parse_args()
    parent, _ = load_parent(None)
    segmenter = DeepLabSegmenter(parent, preset(options.preset))
    dataset = open_dataset(options.dataset, options.root)
    rows = {}
    for name in dataset.names(options.split):
        rows[name] = measure(segmenter, dataset.sequence(name), options.count)
        segmenter.release()
        print(name, *(f"{row['J']:.3f}" for row in rows[name]), flush=True)
        values = np.array([[row["J"] for row in each] for each in rows.values()])
        options.out.write_text(
            json.dumps(
                {
                    "command": f"tools/measure_corrections.py --dataset {options.dataset} --split "
                    f"{options.split} --preset {options.preset} --count {options.count}",
                    "mean_J": values.mean(axis=0).round(4).tolist(),
                    "sequences": rows,
                },
                indent=1,
            )
            + "\n"
        )


if __name__ == "__main__":
    main()
