"""Compares settings of online fine-tuning on chosen sequences: what the defaults rest on.

Every `--settings` is a group of `name=value` of the online options of a `--method`:

    python tools/compare_online.py --dataset davis2016 --root DAVIS --split train \
        --sequences boat dance-jump mallard-fly scooter-gray soccerball --stride 3 --frames 15 \
        --out online_choices.json \
        --settings mode=zero-shot --settings guide=none --settings guide=none anchor=0

Frames are taken `--stride` apart, which makes motion faster and the comparison shorter; `--whole`
takes all of them, which zero-shot's second pass needs. J is over all frames taken but the annotated
one.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from deeplab_gygo.datasets.registry import Dataset, open_dataset
from deeplab_gygo.evaluation.measures import boundary_measure, jaccard
from deeplab_gygo.evaluation.ranking import rank_correlation
from deeplab_gygo.inference.prediction import Prediction, Segmenter
from deeplab_gygo.io.config_file import from_dict
from deeplab_gygo.io.sequence import Sequence
from deeplab_gygo.methods import METHODS, find_method, make_segmenter
from deeplab_gygo.models.weight_file import load_parent


def predictions(
    segmenter: Segmenter, sequence: Sequence, dataset: Dataset, indices: list[int]
) -> Iterator[Prediction]:
    """Segments chosen frames, one by one, or all of them as one clip; the first is left out."""
    if len(indices) == len(sequence):
        yield from islice(segmenter.run(sequence), 1, None)
        return
    segmenter.begin(sequence.frame(indices[0]), dataset.annotation(sequence.name, indices[0]))
    for index in indices[1:]:
        yield segmenter.step(sequence.frame(index))


def measure(segmenter: Segmenter, dataset: Dataset, name: str, indices: list[int]) -> dict:
    """Segments chosen frames of a sequence and returns J and seconds."""
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
    """Builds the online options of a method from words; an unknown name is an error."""
    settings = dict(word.split("=", 1) for word in words)
    values = {
        name: [float(v) for v in text.split(",")] if "," in text else yaml.safe_load(text)
        for name, text in settings.items()
    }
    return from_dict(find_method(method).resolve("options"), values, "--settings")


def main() -> None:
    """Measures every setting and writes the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="davis2016")
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--split", default="train")
    parser.add_argument("--sequences", nargs="*", help="of the split; all of it when left out")
    parser.add_argument("--stride", type=int, default=3)
    parser.add_argument("--frames", type=int, default=15)
    parser.add_argument("--whole", action="store_true", help="all frames of every sequence")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--method", choices=METHODS[:3], default="deeplab")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="JSON file; rows are added to what is in it")
    parser.add_argument("--settings", nargs="+", action="append", required=True)
    options = parser.parse_args()
    dataset = open_dataset(options.dataset, options.root)
    names = options.sequences or dataset.names(options.split)
    rows = json.loads(options.out.read_text()) if options.out and options.out.is_file() else []
    for settings in options.settings:
        parent, _ = load_parent(options.weights)
        config = typed(settings, options.method)
        segmenter = make_segmenter(options.method, parent, config, options.seed)
        scores = {}
        for name in names:
            indices = list(range(len(dataset.sequence(name))))
            if not options.whole:
                indices = indices[:: options.stride][: options.frames]
            scores[name] = measure(segmenter, dataset, name, indices)
        mean = {
            key: float(np.mean([s[key] for s in scores.values()]))
            for key in ("J", "F", "last_quarter_J", "adaptation_seconds", "frame_seconds")
        }
        told = [[v for s in scores.values() for v in s[k]] for k in ("confidence", "frame_J")]
        mean["rank_correlation"] = rank_correlation(*told)
        rows.append(
            {
                "settings": settings,
                "stride": 1 if options.whole else options.stride,
                "mean": mean,
                **scores,
            }
        )
        print(json.dumps({"settings": settings, **{k: round(v, 3) for k, v in mean.items()}}))
        print("   ", {name: round(score["J"], 2) for name, score in scores.items()}, flush=True)
        if options.out:
            options.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
