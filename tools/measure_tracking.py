"""Measures what following an object drops of it, and of its twin, where the network is right.

    python tools/measure_tracking.py --root DAVIS --split train --out tracking.json
    python tools/measure_tracking.py --root DAVIS --split train --stride 2 --backwards --out ...
    python tools/measure_tracking.py --root TWINS --split train --out tracking_twins.json

The true masks take the place of the network's predictions, frame by frame, together with what is
seen of a twin where there is one (`tools/make_twins.py`). So whatever is dropped of the object is a
mistake of the rules that follow it (distractors, common fate, parts that lie apart), and whatever
stays of the twin too. It takes no network, and minutes. Both are given as parts of the object's
area, means over all frames but the first in which the object is seen.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from make_twins import TWIN_MASKS
from PIL import Image
from tqdm import tqdm

from deeplab_gygo.config import OnlineConfig
from deeplab_gygo.data.datasets import Dataset, open_dataset
from deeplab_gygo.models.geometry import Geometry
from deeplab_gygo.online.distractor_track import DistractorTrack
from deeplab_gygo.online.policies import policy_for
from deeplab_gygo.online.propagation import Propagation
from deeplab_gygo.online.target import Target

STRIDE = 16  # that frames are padded to, of the networks that this stands for


def measure(dataset: Dataset, root: Path, name: str, order: list[int]) -> dict[str, float] | None:
    """Follows the true masks of a sequence.

    Args:
        dataset: Of the sequence.
        root: Its folder, which may have masks of twins.
        name: Of the sequence.
        order: Indices of the frames, in the order in which they are shown.

    Returns:
        Parts of the object's area: "lost" of the object, at the "worst" frame, and, of a twin, what
        was "seen" and what was "dropped". None where the object is not in the first
        frame, or in no other.
    """
    sequence, config = dataset.sequence(name), OnlineConfig(memory=0)
    truth = dataset.annotation(name, order[0]) > 0
    if not truth.any():
        return None
    geometry = Geometry.fit(truth.shape, config.short_side, STRIDE)
    propagation = Propagation(None, config, policy_for(config), geometry)
    target = Target(1, None, truth.astype(np.float32), usual_area=float(np.count_nonzero(truth)))
    target.distractors = DistractorTrack(config.common_fate)
    propagation.begin(target, geometry.image(sequence.frame(order[0]).image))
    lost, seen, dropped = [], [], []
    for index in order[1:]:
        frame = sequence.frame(index)
        truth = dataset.annotation(name, index) > 0
        twin = _twin(root, name, frame.name, truth)
        kept = propagation.apart(
            (truth | twin).astype(np.float32),
            target,
            geometry.image(frame.image),
            lost=target.is_lost(config.threshold, config.lost),
        )
        target.update(kept, config.threshold)
        if not (area := np.count_nonzero(truth)):
            continue
        lost.append(np.count_nonzero(truth & (kept == 0)) / area)
        seen.append(np.count_nonzero(twin) / area)
        dropped.append(np.count_nonzero(twin & (kept == 0)) / area)
    if not lost:
        return None
    measured = {"lost": np.mean(lost), "worst": np.max(lost)}
    if any(seen):
        measured |= {"seen": np.mean(seen), "dropped": np.mean(dropped)}
    return {key: round(float(value), 4) for key, value in measured.items()}


def _twin(root: Path, name: str, stem: str, truth: np.ndarray) -> np.ndarray:
    path = root / TWIN_MASKS / "480p" / name / f"{stem}.png"
    return (np.asarray(Image.open(path)) > 0) & ~truth if path.exists() else np.zeros_like(truth)


def main() -> None:
    """Measures all sequences of a split."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, required=True, help="folder of the layout of DAVIS")
    parser.add_argument("--split", default="train", help="name of the list of sequences")
    parser.add_argument("--sequences", nargs="+", help="these of the split only")
    parser.add_argument("--stride", type=int, default=1, help="frames from one to the next")
    parser.add_argument("--frames", type=int, default=60, help="at most so many")
    parser.add_argument("--backwards", action="store_true", help="the last frame first")
    parser.add_argument("--out", type=Path, required=True, help="JSON file")
    options = parser.parse_args()
    dataset = open_dataset("davis2016", options.root, "480p")
    rows = {}
    for name in tqdm(options.sequences or dataset.names(options.split), unit="clip"):
        order = list(range(len(dataset.sequence(name))))[:: options.stride]
        order = (order[::-1] if options.backwards else order)[: options.frames]
        if measured := measure(dataset, options.root, name, order):
            rows[name] = measured
    keys = ("lost", "seen", "dropped")
    mean = {
        key: round(float(np.mean([row[key] for row in rows.values() if key in row])), 4)
        for key in keys
        if any(key in row for row in rows.values())
    }
    chosen = {key: getattr(options, key) for key in ("stride", "frames", "backwards")}
    text = json.dumps({**chosen, "mean": mean, "sequences": rows}, indent=1)
    options.out.write_text(text + "\n", encoding="utf-8")
    print(json.dumps(mean))


if __name__ == "__main__":
    main()
