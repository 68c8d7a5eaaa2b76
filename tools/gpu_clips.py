"""Stages of tools/gpu_check.sh that segment two clips by `batch` and read their records."""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from gpu_results import record

REHEARSAL = bool(os.environ.get("GPU_CHECK_REHEARSE"))


def dataset() -> tuple[Path, list[str]]:
    """Returns a dataset in the layout of DAVIS 2016 and the names of two sequences; draws one."""
    given = os.environ.get("GPU_CHECK_DATA", "")
    root = Path(given or Path(os.environ["GPU_CHECK_WORK"]) / "clips").resolve()
    if not given and not root.exists():
        _draw(root)
    names = os.environ.get("GPU_CHECK_SEQUENCES", "").split() if given else []
    names = names or sorted(path.name for path in (root / "JPEGImages/480p").iterdir())[:2]
    return root, names


def _draw(root: Path) -> None:
    """Draws two clips of a textured disk that moves over noise."""
    import cv2

    (height, width), count = ((96, 128), 5) if REHEARSAL else ((480, 854), 60)
    generator = np.random.default_rng(0)
    for name in ("disk_a", "disk_b"):
        folders = [root / kind / "480p" / name for kind in ("JPEGImages", "Annotations")]
        for folder in folders:
            folder.mkdir(parents=True)
        small = generator.integers(0, 160, (height // 16, width // 16, 3), np.uint8)
        ground = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
        for index in range(count):
            center = (width // 4 + index * width // (3 * count), height // 2)
            mask = np.zeros((height, width), np.uint8)
            cv2.circle(mask, center, height // 4, 255, -1)
            image = np.where(mask[..., None] > 0, np.uint8([40, 90, 230]), ground)
            cv2.imwrite(str(folders[0] / f"{index:05d}.jpg"), image)
            cv2.imwrite(str(folders[1] / f"{index:05d}.png"), mask)


def cold(seconds: float) -> None:
    """Records the first clip of a machine and the second of the same process."""
    _clips("cold", "first mask, cold", ["--preset", "fast"], seconds)


def cached(seconds: float) -> None:
    """Records the same in another process, with the programs of the first in the cache."""
    _clips("cached", "first mask, programs cached", ["--preset", "fast"], seconds)


def best(seconds: float) -> None:
    """Records the preset for the best masks."""
    _clips("best", "best: first mask, cold", ["--preset", "best"], seconds)


def zero_shot(seconds: float) -> None:
    """Records segmentation without a mask."""
    words = ["--preset", "fast", "--mode", "zero-shot"]
    _clips("zero_shot", "zero_shot: first mask, cold", words, seconds)


def _clips(stage: str, first: str, words: list[str], seconds: float) -> None:
    from gpu_stages import run

    label = "fast" if stage in ("cold", "cached") else stage
    work, (root, names) = Path(os.environ["GPU_CHECK_WORK"]), dataset()
    os.environ["DEEPLAB_GYGO_CACHE"] = str(work / "cache")
    out, split = work / f"out_{time.time_ns()}", work / "clips.txt"
    split.write_text("\n".join(names) + "\n", encoding="utf-8")
    command = [sys.executable, "-m", "deeplab_gygo", "batch", "--dataset", "davis2016"]
    command += ["--root", str(root), "--split", str(split), "--outputs", "masks", "-q"]
    command += ["--steps", "2"] if REHEARSAL and label != "zero_shot" else []
    # A given mask is written too, and a zero-shot run writes its first mask.
    given = 0 if label == "zero_shot" else 1
    start = time.monotonic()
    status, text, seen = run(
        [*command, *words, "--out", str(out)], seconds,
        lambda: sum(1 for _ in out.rglob("*.png")) > given,
    )  # fmt: skip
    total = time.monotonic() - start
    record(stage, first, seen and seen[1], "s")
    record(stage, f"{label}: command of {len(names)} clips", total, "s", status=status)
    if status:
        record(stage, f"{label}: output", text[-600:])
    records = {}
    for name in names:
        if (out / name / "run.json").exists():
            records[name] = json.loads((out / name / "run.json").read_text(encoding="utf-8"))
    if names[-1] in records and len(records) > 1:
        _warm(stage, label, records[names[-1]])
    scores = [_score(root, name, out / name / "masks") for name in records]
    for key in dict.fromkeys(key for score in scores for key in score):
        values = [score[key] for score in scores if key in score]
        record(stage, key if "CPU" in key else f"{label}: {key}", float(np.mean(values)))


def _warm(stage: str, label: str, found: dict[str, Any]) -> None:
    """Records the second clip of a process."""
    frames, network = found["frame_seconds"], found["network_seconds"]
    record(stage, f"{label}: adaptation", found["adaptation_seconds"], "s")
    record(stage, f"{label}: frames", found["amortized_fps"], "/s", frames=found["frames"])
    if label == "fast" and frames:
        record(stage, "first mask, warm process", found["adaptation_seconds"] + frames[0], "s")
    if network:
        alone = 1 / max(statistics.median(network), 1e-9)
        record(stage, f"{label}: frames of the network alone", alone, "/s")


def _score(root: Path, name: str, masks: Path) -> dict[str, float]:
    """Returns the mean J of a clip against its annotations, and beside that of the CPU's masks."""
    from deeplab_gygo.io.masks import read_mask

    def overlap(first: Path, second: Path) -> float:
        a, b = (read_mask(path) > 0 for path in (first, second))
        union = np.count_nonzero(a | b)
        return np.count_nonzero(a & b) / union if union else 1.0

    annotations, scores = root / "Annotations/480p" / name, {}
    files = [path for path in sorted(masks.glob("*.png"))[1:] if (annotations / path.name).exists()]
    if files:
        scores["J"] = float(np.mean([overlap(p, annotations / p.name) for p in files]))
    others = Path(os.environ.get("GPU_CHECK_CPU_MASKS", "nowhere")) / name / "masks"
    files = [path for path in files if (others / path.name).exists()]
    if files:
        of_cpu = np.mean([overlap(others / p.name, annotations / p.name) for p in files])
        scores["J minus that of the CPU"] = scores["J"] - float(of_cpu)
        scores["J between CPU and device"] = float(
            np.mean([overlap(p, others / p.name) for p in files])
        )
    return scores
