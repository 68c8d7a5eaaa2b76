#!/usr/bin/env python
"""Ends runs by signals at random moments, runs them again, and compares with an undisturbed run.

    python tools/measure_kills.py batch --count 60 --out out/kills_batch.json -- --method copy
    python tools/measure_kills.py train --count 10 --out out/kills_train.json -- --config FILE

The words after `--` are options of the command. `batch` segments clips that are made here. Counted
are: results that differ from those of the undisturbed run, and files and folders that are left over
after the second run.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import cv2
import numpy as np

SIGNALS = ("SIGKILL", "SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT")
TIMES = {"run.json", "summary.json", "checkpoint.npz", "log.csv", "events"}
"""Files with measured times, or folders of such: compared by name alone, except by arrays."""


def make_clips(folder: Path, clips: int = 6, frames: int = 12) -> Path:
    """Makes folders of frames with a mask of the first, and their list; returns the list."""
    rows = []
    for clip in range(clips):
        place = folder / f"clip{clip}"
        place.mkdir(parents=True)
        for frame in range(frames):
            image = np.full((96, 128, 3), 60 + 10 * clip, np.uint8)
            cv2.circle(image, (30 + 4 * frame, 50), 20, (40, 90, 220), -1)
            cv2.imwrite(str(place / f"{frame:05d}.png"), image)
        mask = np.zeros((96, 128), np.uint8)
        cv2.imwrite(str(folder / f"mask{clip}.png"), cv2.circle(mask, (30, 50), 20, 255, -1))
        rows.append({"video": str(place), "mask": str(folder / f"mask{clip}.png")})
    path = folder / "clips.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)) + "\n")
    return path


def content_of(folder: Path) -> dict[str, object]:
    """Returns what must be equal in two runs, by relative path."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.suffix == ".npz" and path.name != "checkpoint.npz":
            with np.load(path) as arrays:
                found[name] = [(k, arrays[k].tobytes()) for k in arrays.files if k != "__card__"]
        elif path.is_file() and not TIMES & set(path.relative_to(folder).parts):
            found[name] = path.read_bytes()
        elif not {"events"} & set(path.relative_to(folder).parts):
            found[name] = None
    return found


def run(command: list[str], stop: tuple[str, float] | None = None) -> tuple[int, float]:
    """Runs a command, and sends it a signal after some seconds; returns status and seconds."""
    started = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if stop is not None:
        try:
            process.wait(stop[1])
        except subprocess.TimeoutExpired:
            process.send_signal(getattr(signal, stop[0]))
    return process.wait(), time.monotonic() - started


def main() -> None:
    """Runs the tool."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=("batch", "train"))
    parser.add_argument("--count", type=int, default=60, help="number of runs that are ended")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.usage = "%(prog)s [options] {batch,train} --out FILE -- [options of the command]"
    own, _, words = " ".join(sys.argv[1:]).partition(" -- ")
    options = parser.parse_args(own.split())
    rng, scratch = random.Random(options.seed), Path(tempfile.mkdtemp())
    program = [sys.executable, "-m", "deeplab_gygo", options.command, "--quiet", *words.split()]
    if options.command == "batch":
        program += ["--videos", str(make_clips(scratch / "clips"))]

    def command(folder: Path) -> list[str]:
        return [*program, "--out", str(folder)]

    seconds = float("inf")
    for place in ("whole", "again"):  # the first run of a machine reads its libraries from disk
        status, taken = run(command(scratch / place))
        seconds = min(seconds, taken)
        if status:
            sys.exit(f"the undisturbed run ended with status {status}")
    whole = content_of(scratch / "whole")
    rows = []
    for number in range(options.count):
        place = scratch / f"run{number}"
        place.mkdir()
        kind, moment = SIGNALS[number % len(SIGNALS)], rng.uniform(0.2, 1.0) * seconds
        first, _ = run(command(place / "out"), (kind, moment))
        left = [path.name for path in place.rglob(".*")]
        second, _ = run(command(place / "out"))
        found = content_of(place / "out") if (place / "out").is_dir() else {}
        names = sorted(n for n in whole.keys() | found.keys() if whole.get(n) != found.get(n))
        others = [path.name for path in place.iterdir() if path.name != "out"]
        row = {"signal": kind, "after": round(moment, 2), "status": first, "left": left,
               "second_status": second, "different": names[:10], "left_over": others}  # fmt: skip
        rows.append(row)
        shutil.rmtree(place)
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps({"seconds": seconds, "runs": rows}, indent=1) + "\n")
    shutil.rmtree(scratch)
    for kind in SIGNALS:
        mine = [row for row in rows if row["signal"] == kind]
        print(
            f"{kind}: {len(mine)} runs, status {dict(Counter(row['status'] for row in mine))}, "
            f"{sum(bool(row['left']) for row in mine)} left something at once, "
            f"{sum(bool(row['left_over'] or row['second_status']) for row in mine)} in the end, "
            f"{sum(bool(row['different']) for row in mine)} differ"
        )


if __name__ == "__main__":
    main()
