"""Measures corrections that keep what is known against segmenting all frames anew.

Every clip is segmented from the mask of its first frame; then the true mask of the frame of the
lowest confidence is added, and the clip is corrected in both ways:

    python tools/measure_quick_corrections.py --set standins/table 5 --set standins/weak 5 \
        --out out/corrections_quick.json
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np

from deeplab_gygo.datasets.registry import open_dataset
from deeplab_gygo.evaluation.measures import jaccard
from deeplab_gygo.inference.model import Model, load
from deeplab_gygo.inference.session import Session
from deeplab_gygo.io.sequence import Sequence


def measure(model: Model, sequence: Sequence, preset: str) -> dict[str, object]:
    """Corrects a clip in both ways.

    Returns:
        The corrected frame; J before and after, of the frames between that are not annotated; CPU
        seconds of the process, fine-tuning included; and predictions.
    """
    count = len(sequence)
    truth = [sequence.annotation(index) > 0 for index in range(count)]
    clip = sequence.with_annotations(None)
    with tempfile.TemporaryDirectory() as folder:
        first = Path(folder) / "first"
        with model.session(clip, preset=preset, folder=first) as session:
            session.annotate(0, truth[0].astype(np.uint8))
            before = _propagated(session, anew=False)
            confidence = [session.result(index).confidence for index in range(1, count)]
            chosen = 1 + int(np.argmin(confidence))
            left = [index for index in range(1, count) if index != chosen]
            row: dict[str, object] = {"frame": chosen, "frames": count, "first": before}
            row["first"]["J"] = _score(session, truth, left)
            kept = Path(folder) / "kept"
            shutil.copytree(first, kept)
            for way in ("quick", "anew"):  # the same cached features for both
                shutil.rmtree(first)
                shutil.copytree(kept, first)
                session.annotate(chosen, truth[chosen].astype(np.uint8))
                row[way] = _propagated(session, anew=way == "anew")
                row[way]["J"] = _score(session, truth, left)
    return row


def _propagated(session: Session, *, anew: bool) -> dict[str, float]:
    cpu = time.process_time()
    count = sum(1 for _ in session.propagate(anew=anew))
    seconds = time.process_time() - cpu
    return {"cpu_seconds": round(seconds, 2), "predictions": count}


def _score(session: Session, truth: list[np.ndarray], indices: list[int]) -> float:
    found = [jaccard(session.result(index).mask > 0, truth[index]) for index in indices]
    return round(float(np.mean(found)), 4)


def summary(rows: dict[str, dict]) -> dict[str, object]:
    """Returns means, and the mean difference of J with its standard error."""
    gained = np.array([row["quick"]["J"] - row["anew"]["J"] for row in rows.values()])
    result: dict[str, object] = {
        way: {
            name: round(float(np.mean([row[way][name] for row in rows.values()])), 4)
            for name in ("J", "cpu_seconds", "predictions")
        }
        for way in ("first", "quick", "anew")
    }
    error = gained.std(ddof=1) / np.sqrt(len(gained)) if len(gained) > 1 else float("nan")
    return result | {
        "clips": len(rows),
        "quick_minus_anew": round(float(gained.mean()), 4),
        "standard_error": round(float(error), 4),
    }


def main() -> None:
    """Runs the measurement."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--set", nargs=2, action="append", required=True, metavar=("FOLDER", "CLIPS"),
        help="dataset of the layout of DAVIS 2016 with a split of the name of its folder, and how "
        "many clips of it, or their names separated by commas",
    )  # fmt: skip
    parser.add_argument("--preset", default="fast")
    parser.add_argument("--out", type=Path, required=True, help="JSON file")
    options = parser.parse_args()
    model, rows = load(), {}
    words = " ".join(f"--set {Path(folder).name} {clips}" for folder, clips in options.set)
    for folder, clips in options.set:
        dataset, name = open_dataset("davis2016", folder), Path(folder).name
        chosen = dataset.names(name)[: int(clips)] if clips.isdigit() else clips.split(",")
        for clip in chosen:
            row = rows[clip] = measure(model, dataset.sequence(clip), options.preset)
            print(clip, row, flush=True)
            text = json.dumps(
                {
                    "command": "tools/measure_quick_corrections.py "
                    f"{words} --preset {options.preset}",
                    "mean": summary(rows),
                    "clips": rows,
                },
                indent=1,
            )
            options.out.write_text(text + "\n", encoding="utf-8")
    print(json.dumps(summary(rows), indent=1))


if __name__ == "__main__":
    main()
