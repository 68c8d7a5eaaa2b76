"""Stages of tools/gpu_check.sh, each a process of its own: `gpu_stages.py NAME --seconds N`."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gpu_results import record, recorded

NEEDED = ("jax", "keras", "absl", "h5py", "ml_dtypes", "namex", "numpy", "optree", "packaging")
NEEDED += ("rich", "cv2", "yaml", "tqdm", "PIL", "jsonargparse", "tabulate")
WELCOME = ("jax_cuda13_plugin", "av", "torch", "torchvision")
"""Modules without which a stage fails, or a kind of input."""

REHEARSAL = bool(os.environ.get("GPU_CHECK_REHEARSE"))
BATCH, CROP = (2, (64, 96)) if REHEARSAL else (32, (416, 544))
"""Examples of a training step and their height and width, pixels."""

WINDOWS = (  # batch, size, channels, side, stride, rate
    [(1, (7, 9), 20, 3, 1, 1), (1, (7, 9), 20, 5, 2, 1)]
    if REHEARSAL
    else [
        (32, (104, 136), 96, 3, 2, 1),
        (32, (80, 104), 144, 5, 2, 1),
        (32, (26, 34), 480, 5, 1, 1),
        (32, (26, 34), 672, 5, 1, 2),
        (3, (61, 107), 240, 3, 1, 6),
        (1, (240, 432), 32, 3, 1, 1),
    ]
)


def run(words: list[str], seconds: float, watch: Callable[[], Any] = lambda: None) -> tuple:
    """Runs a command with a time limit.

    Args:
        words: The command.
        seconds: Limit, after which it and its children are killed.
        watch: Called again and again until it returns something.

    Returns:
        Its status, -9 for a killed one; its output; what `watch` returned, with the seconds until
        then, or None.
    """
    start, seen = time.monotonic(), None
    log = Path(os.environ["GPU_CHECK_WORK"]) / f"log{time.time_ns()}"
    with log.open("wb") as file:
        child = subprocess.Popen(
            words, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            while child.poll() is None and time.monotonic() - start < seconds:
                if seen is None and (found := watch()):
                    seen = (found, time.monotonic() - start)
                time.sleep(0.02)
        finally:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)
            status = child.wait()
    text = log.read_text(encoding="utf-8", errors="replace")
    print(text[-6000:], flush=True)
    return status, text, seen


def missing() -> None:
    """Ends with status 1 where a module is missing that most stages need."""
    absent, others = ([n for n in names if find_spec(n) is None] for names in (NEEDED, WELCOME))
    if others:
        print(f"without {', '.join(others)}")
    if absent:
        sys.exit(f"missing Python modules: {', '.join(absent)}; install them, or carry wheels")


def versions(_: float) -> None:
    """Records versions, the card, the bandwidth of a copy and the rate of matrix products."""
    import jax
    import jax.numpy as jnp
    from measure_kernels import bandwidth, compiled_loop, seconds_of_call

    found = {}
    for name in ("jax", "jaxlib", "jax-cuda13-plugin", "keras", "numpy", "torch", "triton"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    record("versions", "packages", found)
    record("versions", "devices", [d.device_kind for d in jax.devices()])
    elements, side = (1 << 12, 64) if REHEARSAL else (1 << 28, 8192)
    record("versions", "copy", bandwidth(elements, 10, 3) / 1e12, "TB/s")
    a, b = (jax.random.normal(jax.random.key(s), (side, side), jnp.bfloat16) for s in (0, 1))
    loop = compiled_loop(jnp.matmul, (a, b), 10)
    seconds = seconds_of_call(loop, (a, b), 10, 3)
    record("versions", "matrix product, bfloat16", 2 * side**3 / seconds / 1e12, "Tflop/s")


def errors(_: float) -> None:
    """Records the relative errors of the kernels against float64."""
    from kernel_errors import LIMITS, relative_errors

    from deeplab_gygo.backend.kernels.depthwise import depthwise
    from deeplab_gygo.backend.kernels.window import Window

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        jobs = {}
        for dtype in ("float32", "bfloat16"):
            for index, sizes in enumerate(WINDOWS):
                window, relu6 = Window(*sizes), index % 2 == 1
                form = partial(
                    depthwise, stride=window.stride, rate=window.rate, relu6=relu6,
                    interpret=REHEARSAL,
                )  # fmt: skip
                job = pool.submit(
                    relative_errors, form, window, dtype, relu6=relu6, seed=time.time_ns()
                )
                jobs[job] = f"error {sizes} {'relu6 ' if relu6 else ''}{dtype}", LIMITS[dtype]
        for job in as_completed(jobs):
            name, limit = jobs[job]
            try:
                found = job.result()
                right = all(value <= limit for value in found.values())
                shown = {end: float(f"{value:.1e}") for end, value in found.items()}
                record("errors", name, shown, "right" if right else "WRONG", limit=limit)
            except Exception as error:  # the other shapes are still checked
                record("errors", name, f"{type(error).__name__}: {str(error)[:300]}", "FAILED")


def kernels(seconds: float) -> None:
    """Records the kernels against XLA's convolutions."""
    _measured_kernels("kernels", [], seconds)


def sweep(seconds: float) -> None:
    """Records every layer's fastest tiling."""
    _measured_kernels("sweep", ["--sweep"], seconds)


def _measured_kernels(stage: str, options: list[str], seconds: float) -> None:
    path = Path(os.environ["OUT"]) / f"{stage}.json"
    path.unlink(missing_ok=True)
    words = [sys.executable, "tools/measure_kernels.py", "--repeats", "5", "--batches", "4"]
    words += ["--compile-seconds", str(0.7 * seconds), *(["--interpret"] if REHEARSAL else [])]
    status, text, _ = run([*words, *options, "--out", str(path)], seconds)
    report = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"rows": []}
    if "launch_seconds" in report:
        record(stage, f"{stage}: launch", 1e6 * report["launch_seconds"], "us")
    rows = report["rows"]
    for row in rows:
        shown = {key: row[key] for key in ("fastest", "fraction", "ratio") if key in row}
        if "fastest" in row:
            shown["us"] = 1e6 * row["seconds"][row["fastest"]]
        shown |= row.get("relative_errors", {})
        wanted = {"wanted": ".6"} if row["task"] == "forward" else {}
        record(stage, f"{row['task']} {row['shape']}", shown, **wanted, failed=row["failed"])
    if status:
        record(stage, "status", f"{status}: {text[-300:]}")


def training(seconds: float) -> None:
    """Records compilation and throughput of 60 steps of training."""
    import yaml
    from gpu_clips import dataset

    work, (root, names) = Path(os.environ["GPU_CHECK_WORK"]), dataset()
    shipped = yaml.safe_load(Path("experiments/parent_gpu.yaml").read_text(encoding="utf-8"))
    split = work / "training.txt"
    split.write_text("\n".join(names) + "\n", encoding="utf-8")
    config = {
        "model": shipped["model"],
        "sources": [{"kind": "davis2016", "root": str(root), "split": str(split)}],
        "validation": [], "crop": list(CROP), "batch": BATCH, "steps": 2 if REHEARSAL else 60,
        "precision": "bfloat16", "frozen_stages": -1, "freeze_batch_norm": True,
        "warmup": 10, "head_learning_rate": 6e-4, "backbone_learning_rate": 2e-4,
        "log_every": 1 if REHEARSAL else 10, "checkpoint_every": 1000, "validate_every": 1000,
        "worker_processes": max(1, min(14, (os.cpu_count() or 2) - 2)), "cache_gb": 4,
    }  # fmt: skip
    path = work / "training.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    words = [sys.executable, "-m", "deeplab_gygo", "train", "--config", str(path)]
    words += ["--out", str(work / "training"), "--backbone-weights", "none"]
    log = work / "training" / "log.csv"
    start = time.monotonic()
    status, text, seen = run(
        words, seconds, lambda: log.exists() and log.read_text().count("\n") > 1
    )
    total = time.monotonic() - start
    record("training", "training: first logged steps", seen and seen[1], "s")
    for line in text.splitlines():
        if "the step was compiled in" in line:
            taken = float(line.split("compiled in")[1].split()[0])
            record("training", "training: compilation", taken, "s")
    summaries = [json.loads(x) for x in text.splitlines() if x.startswith('{"parent"')]
    for summary in summaries:
        for key, unit in (("examples_per_second", "/s"), ("input_wait", "")):
            if key in summary:
                name = key.replace("_per_second", "").replace("_", " ")
                record("training", f"training: {name}", summary[key], unit)
    if log.exists():
        record("training", "training: log", log.read_text(encoding="utf-8").splitlines()[-3:])
    record("training", "training: command", total, "s", status=status, tail=text[-500:])


def profile(seconds: float) -> None:
    """Records where the time of a frame goes, by a trace of the device."""
    from gpu_clips import dataset

    root, names = dataset()
    words = [sys.executable, "tools/gpu_profile.py", str(root), names[-1], "--presets", "fast"]
    words += ["--seconds", str(seconds / 3), *([] if REHEARSAL else ["best", "fast:zero-shot"])]
    status, text, _ = run(words, seconds)
    if status:
        record("profile", "status", f"{status}: {text[-300:]}")


def peer(seconds: float) -> None:
    """Records the frames per second of a network of like cost in torch, and the ratio to ours."""
    if find_spec("torch") is None or find_spec("torchvision") is None:
        record("peer", "peer", "torch or torchvision is missing")
        return
    tiny = ["--tiny"] if REHEARSAL else []
    status, text, _ = run([sys.executable, "tools/gpu_peer.py", *tiny], seconds)
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    for name, value in (lines[-1] if lines else {}).items():
        record("peer", f"peer: {name}", value, "/s")
        for ours in ("fast: frames", "fast: frames of the network alone"):
            if (figure := recorded(ours)) is not None:
                record("peer", f"{ours}, by peer: {name}", figure / value)
    if not lines:
        record("peer", "peer", f"status {status}: {text[-300:]}")


def main() -> None:
    """Runs a stage."""
    import gpu_clips

    stages = {"versions": versions, "errors": errors, "kernels": kernels, "training": training}
    stages["sweep"] = sweep
    stages |= {"peer": peer, "profile": profile, "cold": gpu_clips.cold, "cached": gpu_clips.cached}
    stages |= {"best": gpu_clips.best, "zero_shot": gpu_clips.zero_shot}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("stage", choices=("missing", *stages))
    parser.add_argument("--seconds", type=float, default=60.0, help="limit of the stage")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # a command it runs ends with it
    if options.stage == "missing":
        missing()
    else:
        stages[options.stage](options.seconds)


if __name__ == "__main__":
    main()
