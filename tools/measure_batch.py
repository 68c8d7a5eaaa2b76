"""Measures batches of many clips and workers; prints JSON.

    python tools/measure_batch.py overhead              time that a worker adds to a clip
    python tools/measure_batch.py list --clips 20000    first clip and memory with a long list
    python tools/measure_batch.py speed --clips 24      clips a minute of two workers against one

Each takes `--cluster processes` for processes instead of Ray. `speed` runs the network, one core a
worker, and leaves out the start: the time counts from when every worker has finished a clip.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from deeplab_gygo.io.array_sequence import ArraySequence
from deeplab_gygo.runs.batch import Batch
from deeplab_gygo.runs.clip import Clip
from deeplab_gygo.runs.environment import hardware, peak_memory_mb, versions
from deeplab_gygo.runs.item import Item
from deeplab_gygo.runs.plan import plan_videos
from deeplab_gygo.runs.result_files import RECORD_NAME
from deeplab_gygo.runs.run_record import RunRecord
from deeplab_gygo.runs.settings import RunSettings, make_settings
from deeplab_gygo.runs.workers import WorkerOptions

SIZE = (240, 320)
HASHES = {"input": "0", "mask": "0", "weights": "0"}


class NoRunner:
    """Does nothing with a clip but note when it did."""

    def __init__(self, settings: RunSettings, journal: Path):
        self._settings, self._journal = settings, journal
        # Read once: the environment of a record takes longer than handing a clip out.
        self._place = {"versions": versions(), "hardware": hardware()}

    def run(self, clip: Clip, out: Path, *, keep_bars: bool = True) -> RunRecord:
        note(self._journal)
        settings = self._settings
        out.mkdir(parents=True)
        (out / RECORD_NAME).touch()  # a batch on a cluster looks for it
        return RunRecord(settings.identity, settings.seed, HASHES, masks=1, frames=1, **self._place)


class TimedRunner:
    """Segments with the network and notes when a clip is finished."""

    def __init__(self, settings: RunSettings, journal: Path):
        from deeplab_gygo.cli.options import start_runner

        self._runner, self._journal = start_runner(settings, debug=False), journal

    def run(self, clip: Clip, out: Path, *, keep_bars: bool = True) -> RunRecord:
        record = self._runner.run(clip, out, keep_bars=keep_bars)
        note(self._journal)
        return record


def note(journal: Path) -> None:
    """Appends the time and the process to a file that all workers share."""
    with open(journal, "a", encoding="utf-8") as file:
        file.write(f"{time.time()} {os.getpid()}\n")


def read_journal(journal: Path) -> list[tuple[float, int]]:
    """Returns times, in order, and processes."""
    rows = [line.split() for line in journal.read_text("utf-8").splitlines()]
    return sorted((float(moment), int(process)) for moment, process in rows)


def open_nothing(*copies: Path) -> Clip:
    """Opens a clip of one small frame."""
    return Clip(ArraySequence([np.zeros((8, 8, 3), np.uint8)], name="none"))


def measure_overhead(folder: Path, clips: int, cluster: str | None) -> dict[str, Any]:
    """Measures the time of a clip that takes none, here and in one worker."""
    items = [Item(f"clip{index}", open_nothing) for index in range(clips)]
    found = {}
    for name, options in (
        ("in_process", WorkerOptions()),
        ("worker", WorkerOptions(1, cpus=1, cluster=cluster or "ray")),
    ):
        journal = folder / f"{name}.txt"
        run(items, RunSettings(progress=False), folder / name, NoRunner, journal, options)
        moments = [moment for moment, _ in read_journal(journal)]
        found[name] = 1000 * (moments[-1] - moments[0]) / (clips - 1)
    return {
        "clips": clips,
        "in_process_ms": found["in_process"],
        "worker_ms": found["worker"],
        "overhead_ms": found["worker"] - found["in_process"],
    }


def measure_list(folder: Path, clips: int, cluster: str | None, workers: int) -> dict[str, Any]:
    """Measures the time until the first clip of a long list begins, and the memory of all."""
    frames = folder / "video"
    make_clip(frames, 1, seed=0)
    rows = [f"clips/clip{index},{frames}-mask.png,clip{index}" for index in range(clips)]
    (folder / "clips").mkdir()
    for index in range(clips):
        (folder / "clips" / f"clip{index}").symlink_to(frames)
    (folder / "list.csv").write_text("\n".join(["video,mask,id", *rows]) + "\n")
    journal, begun = folder / "list.txt", time.time()
    planned = plan_videos(folder / "list.csv")
    seconds = time.time() - begun
    # What opens a clip costs the worker, not the one that hands it out.
    items = [replace(item, open=open_nothing) for item in planned]
    options = WorkerOptions(workers, cpus=1, cluster=cluster)
    run(items, RunSettings(progress=False), folder / "out", NoRunner, journal, options)
    moments = [moment for moment, _ in read_journal(journal)]
    return {
        "clips": len(planned),
        "plan_seconds": seconds,
        "first_clip_seconds": moments[0] - begun,
        "all_seconds": time.time() - begun,
        "driver_mb": peak_memory_mb(),
    }


def measure_speed(folder: Path, clips: int, cluster: str | None, frames: int) -> dict[str, Any]:
    """Measures the clips a minute of one worker and of two, each with one core."""
    rows, per_minute = [], {}
    for index in range(clips + 2):  # each worker warms up with one
        make_clip(folder / f"clip{index}", frames, seed=index)
        rows.append(f"clip{index},clip{index}-mask.png")
    settings = make_settings(preset_name="fast", outputs=("masks",), progress=False)
    masks = []
    for workers in (1, 2):
        (folder / "list.csv").write_text("\n".join(["video,mask", *rows[: clips + workers]]) + "\n")
        items, journal = plan_videos(folder / "list.csv"), folder / f"{workers}.txt"
        out, options = folder / f"out{workers}", WorkerOptions(workers, cpus=1, cluster=cluster)
        run(items, settings, out, TimedRunner, journal, options)
        finished = read_journal(journal)
        first = {process: moment for moment, process in reversed(finished)}
        assert len(first) == workers, f"{len(first)} workers of {workers}"
        start, end = max(first.values()), finished[-1][0]
        per_minute[workers] = 60 * sum(moment > start for moment, _ in finished) / (end - start)
        masks.append({path.relative_to(out): path.read_bytes() for path in out.rglob("*.png")})
    return {
        "clips": clips,
        "frames": frames,
        "one_worker_per_minute": per_minute[1],
        "two_workers_per_minute": per_minute[2],
        "speed_up": per_minute[2] / per_minute[1],
        "same_masks": all(masks[1][name] == mask for name, mask in masks[0].items()),
    }


def run(
    items: list[Item], settings: RunSettings, out: Path, kind: Callable[..., Any], journal: Path,
    options: WorkerOptions,
) -> None:  # fmt: skip
    """Runs a batch in which every clip is noted in a journal."""
    result = Batch(
        items, settings, out, make_runner=partial(kind, journal=journal), workers=options
    ).run()
    if result.failures_file is not None:
        sys.exit(Path(result.failures_file).read_text("utf-8"))


def make_clip(folder: Path, frames: int, seed: int) -> None:
    """Writes frames of a moving ellipse on noise, and beside them the mask of the first."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    ground = rng.integers(60, 140, (*SIZE, 3), np.uint8)
    folder.mkdir(parents=True)
    for index in range(frames):
        x, y = 100 + 4 * index, 110 + 10 * np.sin(index / 3 + seed)
        inside = ((columns - x) / 60) ** 2 + ((rows - y) / 45) ** 2 < 1
        image = ground.copy()
        image[inside] = rng.integers(180, 250, 3, np.uint8)
        Image.fromarray(image).save(folder / f"{index:05d}.jpg", quality=92)
        if index == 0:
            mask = folder.with_name(f"{folder.name}-mask.png")
            Image.fromarray(inside.astype(np.uint8) * 255).save(mask)


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("overhead", "list", "speed"))
    parser.add_argument("--clips", type=int, help="number of clips [200, 20000, 24]")
    parser.add_argument("--frames", type=int, default=16, help="of a clip, for speed [16]")
    parser.add_argument("--workers", type=int, default=2, help="for list [2]")
    parser.add_argument("--cluster", help="as of `batch`")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place, cluster = Path(folder), given.cluster
        if given.what == "overhead":
            found = measure_overhead(place, given.clips or 200, cluster)
        elif given.what == "list":
            found = measure_list(place, given.clips or 20_000, cluster, given.workers)
        else:
            found = measure_speed(place, given.clips or 24, cluster, given.frames)
    rounded = {k: round(v, 3) if isinstance(v, float) else v for k, v in found.items()}
    cluster = given.cluster or "ray"
    print(json.dumps({"what": given.what, "cluster": cluster, **rounded, "hardware": hardware()}))


if __name__ == "__main__":
    # Under this name workers can import the runners.
    import measure_batch

    measure_batch.main()
