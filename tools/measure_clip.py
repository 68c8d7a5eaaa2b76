"""Measures time and peak memory of `deeplab-gygo segment` on clips of several lengths.

A clip repeats the frames of a folder forwards and backwards and is segmented in a new process; the
values are those of its run record. Example:

    python tools/measure_clip.py --frames DAVIS/JPEGImages/480p/dog \
        --mask DAVIS/Annotations/480p/dog/00000.png --lengths 25 500 --out memory.json
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from deeplab_gygo.io.frame_folder import sequence_from_folder


def make_clip(frames: Path, length: int, folder: Path) -> Path:
    """Copies `length` frames, forwards and backwards, into a new folder and returns it."""
    names = sequence_from_folder(frames).frame_names
    files = {path.stem: path for path in frames.iterdir()}
    back_and_forth = names + names[-2:0:-1]
    folder.mkdir(parents=True)
    for index in range(length):
        source = files[back_and_forth[index % len(back_and_forth)]]
        shutil.copyfile(source, folder / f"{index:05d}{source.suffix}")
    return folder


def segment(clip: Path, mask: Path, out: Path, options: list[str]) -> dict:
    """Segments a clip in a new process and returns its measurements."""
    command = [sys.executable, "-m", "deeplab_gygo", "segment", str(clip)]
    command += ["--mask", str(mask), "--out", str(out), "--quiet", *options]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    record = json.loads((out / "run.json").read_text(encoding="utf-8"))
    total, adaptation = record["total_seconds"], record["adaptation_seconds"]
    return {
        "frames": record["frames"],
        "total_seconds": total,
        "adaptation_seconds": adaptation,
        "steps": record["steps"],
        "amortized_fps": record["frames"] / total,
        "median_frame_seconds": statistics.median(record["frame_seconds"]),
        "median_network_seconds": statistics.median(record["network_seconds"]),
        "peak_memory_mb": record["peak_memory_mb"],
        "hardware": record["hardware"],
        "versions": record["versions"],
    }


def main() -> None:
    """Measures and writes the results as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=Path, required=True, help="folder of frames")
    parser.add_argument("--mask", type=Path, required=True, help="mask of the first frame")
    parser.add_argument("--lengths", type=int, nargs="+", default=[25], help="numbers of frames")
    parser.add_argument("--repeats", type=int, default=1, help="runs per length")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    options, passed = parser.parse_known_args()
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for length in dict.fromkeys(options.lengths):
            clip = make_clip(options.frames, length, Path(folder) / f"clip{length}")
            for repeat in range(options.repeats):
                out = Path(folder) / f"out{length}-{repeat}"
                results.append(segment(clip, options.mask, out, passed))
                print(json.dumps({k: v for k, v in results[-1].items() if k != "versions"}))
                shutil.rmtree(out)
    report = {"options": passed, "lengths": options.lengths, "runs": results}
    options.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
