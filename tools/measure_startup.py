"""Measures the time from the start of `deeplab-gygo segment` to its first fine-tuning step.

Every repeat is a new process of the command that ends after its first step, or after all steps if
they are one compiled program, as on a GPU. Values are wall seconds and their medians. Example:

    python tools/measure_startup.py --frames DAVIS/JPEGImages/480p/dog \
        --mask DAVIS/Annotations/480p/dog/00000.png --repeats 7 --out startup.json --preset fast
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_CHILD = """
import os, sys, time
from deeplab_gygo.cli import main, segment

start = segment.start_runner

def timed(*arguments):
    marks = [time.time()]
    runner = start(*arguments)
    marks.append(time.time())
    from deeplab_gygo.runs.progress import ClipProgress
    def stop(bars, *step):
        print(*marks, time.time(), file=sys.__stdout__, flush=True)
        os._exit(0)
    ClipProgress.tuned = stop
    return runner

segment.start_runner = timed
sys.exit(main.main(sys.argv[1:]))
"""


def measure(frames: Path, mask: Path, passed: list[str]) -> dict[str, float]:
    """Runs the command once, to its first step.

    Args:
        frames: Folder of frames.
        mask: Mask of the first frame.
        passed: Further options of the command.

    Returns:
        Seconds from the start of the process until the input was read, the network loaded, and the
        first step done.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", _CHILD, "segment", str(frames), "--mask", str(mask)]
        command += ["--outputs", "masks", "--out", str(Path(folder) / "out"), "--quiet", *passed]
        started = time.time()
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    names = ("input_read", "network_loaded", "first_step")
    return {
        name: round(float(mark) - started, 3)
        for name, mark in zip(names, done.stdout.split(), strict=True)
    }


def median_of(runs: list[dict[str, float]]) -> dict[str, float]:
    """Returns the medians of several runs of `measure`, by name."""
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


def main() -> None:
    """Measures and writes the results as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=Path, required=True, help="folder of frames")
    parser.add_argument("--mask", type=Path, required=True, help="mask of the first frame")
    parser.add_argument("--repeats", type=int, default=5, help="processes to start")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    options, passed = parser.parse_known_args()
    runs = []
    for _ in range(options.repeats):
        runs.append(measure(options.frames, options.mask, passed))
        print(json.dumps(runs[-1]), flush=True)
    from deeplab_gygo.runs.environment import hardware, versions

    report = {
        "options": passed,
        "median_seconds": median_of(runs),
        "runs": runs,
        "load_average": os.getloadavg()[0],
        "hardware": hardware(),
        "versions": versions(),
    }
    options.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
