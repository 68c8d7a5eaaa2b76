"""Replays the measured seconds of clips on 1 to 512 workers: how a batch scales, on paper.

    python tools/simulate_cluster.py            # experiments/results/cluster_simulation.json
    python tools/simulate_cluster.py --render   # the tables of docs/cluster.md from that file

Clips are drawn from those that were measured, with replacement, and handed out as a batch does, the
longest first, by one process. A worker is ready after its start; at random it ends, loses the
clip that it has, which is begun again elsewhere, and is started anew. What each of these takes of
the efficiency is found by leaving it out: the largest is the bottleneck.
"""

from __future__ import annotations

import argparse
import heapq
import json
import math
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from update_results import RESULTS, ROOT, hardware_words, markdown, write_block

from deeplab_gygo.io.atomic import replacing

RESULT = RESULTS / "cluster_simulation.json"
PAGE = ROOT / "docs" / "cluster.md"
SIZING = ("<!-- sizing: made by tools/simulate_cluster.py -->", "<!-- end of sizing -->")
SCALING = ("<!-- scaling: made by tools/simulate_cluster.py -->", "<!-- end of scaling -->")

PRESETS = ("zero-shot", "one-shot", "fast", "balanced", "best")
SETS = ("davis-val_dev", "gygo_like-val")
WORKERS = tuple(2**k for k in range(10))
CLIPS = (200, 20_000)

SLOW_HAND_OUT = 0.05
"""Seconds to hand out a clip that a batch may take at most, to compare with."""

CORE_PRICE = 0.05
"""Dollars for an hour of a core with 2 GB of memory; an example, not a quotation."""


@dataclass(frozen=True)
class Cluster:
    """What a batch loses time by.

    Attributes:
        start_seconds: Until a worker is ready for its first clip: process, network, programs.
        hand_out_seconds: Of the process that hands clips out, for each; one after the other. The
            default is the whole time, on both sides, of a clip that does nothing, rounded up:
            8.5 ms by `tools/measure_batch.py overhead` with Ray on two busy cores.
        failures_per_hour: Ends of a worker by itself, of its process or machine, in an hour.
        seed: Of the draws of clips and failures.
    """

    start_seconds: float
    hand_out_seconds: float = 0.01
    failures_per_hour: float = 0.01
    seed: int = 0


def simulate(seconds: Sequence[float], workers: int, cluster: Cluster) -> float:
    """Returns the seconds until all clips are finished.

    Args:
        seconds: Time of each clip.
        workers: Number of workers.
        cluster: What else takes time.
    """
    rng = random.Random(cluster.seed)
    waiting = [-each for each in seconds]  # a heap: the longest first
    heapq.heapify(waiting)
    ready = [(cluster.start_seconds, k) for k in range(workers)]
    heapq.heapify(ready)
    rate = cluster.failures_per_hour / 3600
    fails = [rng.expovariate(rate) if rate else math.inf for _ in range(workers)]
    free, end, lost = 0.0, 0.0, []  # of the process that hands out; of the last clip; begun again
    while waiting or lost:
        if not waiting:  # a worker is idle until one of the others has ended
            heapq.heappush(waiting, heapq.heappop(lost)[1])
        now, worker = heapq.heappop(ready)
        while lost and lost[0][0] <= now:
            heapq.heappush(waiting, heapq.heappop(lost)[1])
        clip = heapq.heappop(waiting)
        begin = free = max(now, free) + cluster.hand_out_seconds
        done = begin - clip
        if fails[worker] < done:
            failed = max(fails[worker], begin)
            heapq.heappush(lost, (failed, clip))
            done = failed + cluster.start_seconds
            fails[worker] = done + rng.expovariate(rate)
        else:
            end = max(end, done)
        heapq.heappush(ready, (done, worker))
    return end


def efficiency(seconds: Sequence[float], workers: int, cluster: Cluster) -> float:
    """Returns the work of all clips by what all workers could have done in the time."""
    return math.fsum(seconds) / (workers * simulate(seconds, workers, cluster))


def row(seconds: Sequence[float], workers: int, cluster: Cluster) -> dict[str, Any]:
    """Returns efficiency, duration and what is lost to what of a batch."""
    whole = efficiency(seconds, workers, cluster)
    without = {
        "start of the workers": replace(cluster, start_seconds=0.0),
        "handing out": replace(cluster, hand_out_seconds=0.0),
        "failures": replace(cluster, failures_per_hour=0.0),
    }
    losses = {
        name: max(efficiency(seconds, workers, other) - whole, 0.0)
        for name, other in without.items()
    }
    nothing = Cluster(0.0, 0.0, 0.0)
    losses["the last clips, while other workers idle"] = 1 - efficiency(seconds, workers, nothing)
    took = math.fsum(seconds) / (workers * whole)
    return {
        "clips": len(seconds),
        "workers": workers,
        "seconds": round(took, 1),
        "efficiency": round(whole, 4),
        "clips_an_hour": round(3600 * len(seconds) / took, 1),
        "losses": {name: round(value, 4) for name, value in losses.items()},
        "bottleneck": max(losses, key=lambda name: losses[name]),
    }


def measured(preset: str, sets: Sequence[str] = SETS) -> list[tuple[int, float]]:
    """Returns frames made by the network, and seconds, of the clips measured with a preset."""
    found = []
    for name in sets:
        path = RESULTS / f"{name}--{preset}.json"
        data = json.loads(path.read_text(encoding="utf-8"))
        for each in data["sequences"]:
            frames = each["frames"] - 1  # the given mask is none of the network
            found.append((frames, frames / each["amortized_fps"]))
    return found


def replay(preset: str, cluster: Cluster) -> dict[str, Any]:
    """Returns the content of the file of results."""
    clips = [seconds for _, seconds in measured(preset)]
    rng = random.Random(cluster.seed)
    pools = [rng.choices(clips, k=count) for count in CLIPS]
    return {
        "about": __doc__.split("\n\n")[2].strip().replace("\n", " "),
        "preset": preset,
        "measured_clips": len(clips),
        "mean_seconds": round(math.fsum(clips) / len(clips), 2),
        "longest_seconds": round(max(clips), 2),
        "cluster": asdict(cluster),
        "rows": [row(pool, workers, cluster) for pool in pools for workers in WORKERS],
        "slow_hand_out": row(
            pools[-1], WORKERS[-1], replace(cluster, hand_out_seconds=SLOW_HAND_OUT)
        ),
    }


def sizing_table() -> str:
    """Returns clips an hour and the cost of a thousand by preset, from measured seconds."""
    rows = []
    for preset in PRESETS:
        clips = measured(preset, SETS[:1])
        seconds = math.fsum(each for _, each in clips) / len(clips)
        rows.append(
            [
                f"`--mode {preset}`" if preset in PRESETS[:2] else f"`--preset {preset}`",
                f"{sum(frames for frames, _ in clips) / len(clips):.0f}",
                f"{seconds:.0f}",
                f"{3600 / seconds:.0f}",
                f"{1000 * seconds / 3600:.1f}",
                f"${1000 * seconds / 3600 * CORE_PRICE:.2f}",
            ]
        )
    header = ("options", "frames a clip", "seconds a clip", "clips an hour and core",
              "core hours for 1000 clips", "cost of 1000 clips")  # fmt: skip
    data = json.loads((RESULTS / f"{SETS[0]}--{PRESETS[-1]}.json").read_text(encoding="utf-8"))
    about = (
        f"Means over the {len(data['sequences'])} sequences of val_dev at 480p, one thread each, "
        f"on a busy machine ({hardware_words(data['hardware'])}): lower bounds. Cost at "
        f"${CORE_PRICE:.2f} for an hour of a core with 2 GB of memory, an example: put in your own."
    )
    return f"{markdown(header, rows)}\n\n{about}{_gpu_words()}"


def _gpu_words() -> str:
    """Returns a sentence on a GPU, where its measurement has what it needs."""
    data = json.loads((RESULTS / "gpu.json").read_text(encoding="utf-8"))
    rates = [
        r["value"] for r in data["rows"] if r["measure"].startswith("frames of a clip, `fast`")
    ]
    if not rates:
        return ""
    clips = measured("fast", SETS[:1])
    seconds = sum(frames for frames, _ in clips) / len(clips) / rates[0]
    return (
        f" One {data['hardware']['gpu']} makes {rates[0]:.0f} frames a second of such clips with "
        f"`--preset fast`: {3600 / seconds:.0f} clips an hour, {1000 * seconds / 3600:.2f} GPU "
        "hours for 1000."
    )


def scaling_table(data: dict[str, Any]) -> str:
    """Returns the efficiency by number of workers of a file of results."""
    rows = {(row["clips"], row["workers"]): row for row in data["rows"]}
    cells = [
        [str(workers)]
        + [
            text
            for count in CLIPS
            for one in [rows[count, workers]]
            for text in (f"{one['clips_an_hour']:.0f}", f"{one['efficiency']:.1%}")
        ]
        + [rows[CLIPS[-1], workers]["bottleneck"]]
        for workers in WORKERS
    ]
    header = ("workers", *(f"{what}, {count:,} clips" for count in CLIPS
                           for what in ("clips an hour", "efficiency")),
              f"largest loss, {CLIPS[-1]:,} clips")  # fmt: skip
    cluster = data["cluster"]
    about = (
        f"Simulated: {data['measured_clips']} clips measured with `--preset {data['preset']}`, of "
        f"{data['mean_seconds']:.0f} s in the mean and {data['longest_seconds']:.0f} s at most, "
        f"replayed on workers of one core; {cluster['start_seconds']:.1f} s for the start of a "
        f"worker, {1000 * cluster['hand_out_seconds']:.0f} ms to hand out a clip, and "
        f"{cluster['failures_per_hour']:g} ends of a worker an hour, each of which loses its clip. "
        f"With {1000 * SLOW_HAND_OUT:.0f} ms to hand out a clip the efficiency of {WORKERS[-1]} "
        f"workers is {data['slow_hand_out']['efficiency']:.1%}."
    )
    return f"{markdown(header, cells)}\n\n{about}"


def main() -> None:
    """Simulates, or writes the tables of the documentation."""
    started = json.loads((RESULTS / "startup_fast.json").read_text(encoding="utf-8"))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--render", action="store_true", help="write the tables of docs/cluster.md")
    parser.add_argument("--preset", choices=PRESETS, default="fast")
    for name, default in asdict(Cluster(started["median_seconds"]["first_step"])).items():
        flag = f"--{name.replace('_', '-')}"
        parser.add_argument(flag, type=type(default), default=default, help=f"[{default}]")
    options = vars(parser.parse_args())
    if options.pop("render"):
        data = json.loads(RESULT.read_text(encoding="utf-8"))
        write_block(PAGE, *SIZING, sizing_table())
        write_block(PAGE, *SCALING, scaling_table(data))
        return
    data = replay(options.pop("preset"), Cluster(**options))
    with replacing(RESULT) as side:
        side.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    for one in data["rows"]:
        print(
            f"{one['clips']} clips, {one['workers']} workers: {one['seconds']:.0f} s, efficiency "
            f"{one['efficiency']:.3f}; largest loss: {one['bottleneck']}"
        )


if __name__ == "__main__":
    main()
