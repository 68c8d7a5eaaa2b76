"""Compares online options on chosen sequences, which determined the defaults.

Every `--settings` is a group of `name=value` of the online options of a `--method`:

    python tools/compare_online.py --dataset davis2016 --root DAVIS --split train \
        --sequences boat dance-jump mallard-fly scooter-gray soccerball --stride 3 --frames 15 \
        --out online_choices.json \
        --settings mode=zero-shot --settings guide=none --settings guide=none steps=40

Every `--stride`-th frame is taken, which makes motion faster and the comparison shorter; `--whole`
takes all of them, as the second pass of zero-shot requires. J is the mean over all taken frames but
the annotated one; on a frame without the object it is 1 for an empty mask and 0 for any other, as
in the DAVIS benchmark.

Every setting but the first is also compared with the first: mean difference of J and F, and its
standard error from the paired differences of the sequences.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from ranking import rank_correlation

from deeplab_gygo.datasets.registry import Dataset, open_dataset
from deeplab_gygo.evaluation.measures import boundary_measure, jaccard
from deeplab_gygo.inference.prediction import Prediction, Segmenter
from deeplab_gygo.io.config_file import from_dict
from deeplab_gygo.io.sequence import Sequence
from deeplab_gygo.methods import METHODS, find_method, make_segmenter
from deeplab_gygo.models.weight_file import load_parent, shipped_parent


def predictions(
    segmenter: Segmenter, sequence: Sequence, dataset: Dataset, indices: list[int]
) -> Iterator[Prediction]:
    """Segments chosen frames one by one, or all frames as one clip; yields all but the first."""
    first = dataset.annotation(sequence.name, indices[0])
    if len(indices) == len(sequence):
        clip = sequence.with_annotations({0: first})
        yield from islice(segmenter.run(clip), 1, None)
        return
    segmenter.begin(sequence.frame(indices[0]), first)
    for index in indices[1:]:
        yield segmenter.step(sequence.frame(index))


def measure(segmenter: Segmenter, dataset: Dataset, name: str, indices: list[int]) -> dict:
    """Segments chosen frames of a sequence and returns J, F, confidence and seconds."""
    values, edges, confidence = [], [], []
    network = 0.0
    for prediction in predictions(segmenter, dataset.sequence(name), dataset, indices):
        network += prediction.seconds
        truth = dataset.annotation(name, prediction.index) > 0
        values.append(jaccard(prediction.mask > 0, truth))
        edges.append(boundary_measure(prediction.mask > 0, truth))
        confidence.append(prediction.confidence)
    return {
        "J": float(np.mean(values)),
        "F": float(np.mean(edges)),
        "confidence": [round(value, 4) for value in confidence],
        "frame_J": [round(value, 4) for value in values],
        "last_quarter_J": float(np.mean(values[-max(1, len(values) // 4) :])),
        "adaptation_seconds": segmenter.adaptation.seconds,
        "frame_seconds": network / len(values),
    }


def typed(words: list[str], method: str) -> Any:
    """Builds the online options of a method from words; refuses unknown names."""
    settings = dict(word.split("=", 1) for word in words)
    values = {
        name: [float(v) for v in text.split(",")] if "," in text else yaml.safe_load(text)
        for name, text in settings.items()
    }
    return from_dict(find_method(method).resolve("options"), values, "--settings")


def difference(scores: dict[str, dict], reference: dict[str, dict], key: str) -> dict:
    """Compares a measure of two settings, sequence by sequence.

    Args:
        scores: Measures by sequence.
        reference: Measures of the setting to compare with, of the same sequences.
        key: "J" or "F".

    Returns:
        Mean difference and its standard error, None for a single sequence.
    """
    pairs = np.array([scores[name][key] - reference[name][key] for name in scores])
    error = float(pairs.std(ddof=1) / np.sqrt(len(pairs))) if len(pairs) > 1 else None
    return {"mean": float(pairs.mean()), "standard_error": error}


def averages(scores: dict[str, dict]) -> dict:
    """Averages the measures of all sequences."""
    mean = {
        key: float(np.mean([s[key] for s in scores.values()]))
        for key in ("J", "F", "last_quarter_J", "adaptation_seconds", "frame_seconds")
    }
    pairs = [[v for s in scores.values() for v in s[k]] for k in ("confidence", "frame_J")]
    return {**mean, "rank_correlation": rank_correlation(*pairs)}


def report(settings: list[str], mean: dict, scores: dict, differences: dict) -> None:
    """Prints the results of a setting."""
    print(json.dumps({"settings": settings, **{k: round(v, 3) for k, v in mean.items()}}))
    print("   ", {name: round(score["J"], 2) for name, score in scores.items()})
    for key, value in differences.items():
        error = value["standard_error"]
        spread = "" if error is None else f" +- {error:.4f} (standard error)"
        print(f"    {key} against the first setting: {value['mean']:+.4f}{spread}")
    sys.stdout.flush()


def parse() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="davis2016")
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--split", default="train")
    parser.add_argument("--sequences", nargs="*", help="of the split [all]")
    parser.add_argument("--stride", type=int, default=3)
    parser.add_argument("--frames", type=int, default=15)
    parser.add_argument("--whole", action="store_true", help="all frames of every sequence")
    parser.add_argument("--weights", type=Path)
    parser.add_argument(
        "--method",
        choices=[name for name, m in METHODS.items() if m.architecture],
        default="deeplab",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="JSON file; rows are appended")
    parser.add_argument("--settings", nargs="+", action="append", required=True)
    return parser.parse_args()


def main() -> None:
    """Measures every setting and writes the results as JSON."""
    options = parse()
    dataset = open_dataset(options.dataset, options.root)
    names = options.sequences or dataset.names(options.split)
    rows = json.loads(options.out.read_text()) if options.out and options.out.is_file() else []
    reference: dict[str, dict] = {}
    for settings in options.settings:
        parent, _ = load_parent(options.weights or shipped_parent(options.method))
        config = typed(settings, options.method)
        segmenter = make_segmenter(options.method, parent, config, options.seed)
        scores = {}
        for name in names:
            indices = list(range(len(dataset.sequence(name))))
            if not options.whole:
                indices = indices[:: options.stride][: options.frames]
            scores[name] = measure(segmenter, dataset, name, indices)
        mean = averages(scores)
        reference = reference or scores
        differences = {
            key: difference(scores, reference, key) for key in ("J", "F") if scores is not reference
        }
        rows.append(
            {
                "settings": settings,
                "stride": 1 if options.whole else options.stride,
                "mean": mean,
                "difference": differences,
                **scores,
            }
        )
        report(settings, mean, scores, differences)
        if options.out:
            options.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
