"""Where the time of a frame goes: parts of the host, programs of the device, kernels of one trace.

    OUT=out/profile python tools/gpu_profile.py DAVIS camel --presets fast best fast:zero-shot

The second segmentation of the clip is measured, when all is compiled.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

import jax
import numpy as np
from gpu_results import record

from deeplab_gygo.datasets.registry import open_dataset
from deeplab_gygo.inference import segmenter, segmenter_base
from deeplab_gygo.inference.frame_store import FrameStore
from deeplab_gygo.inference.geometry import Geometry
from deeplab_gygo.inference.network import ForwardPass
from deeplab_gygo.inference.propagation import Propagation
from deeplab_gygo.models.optical_flow import OpticalFlow
from deeplab_gygo.runs import runner
from deeplab_gygo.runs.clip import open_dataset_clip
from deeplab_gygo.runs.settings import make_settings

REPEATS = 30
MOST_KERNELS = 25

PARTS = (
    (Propagation, "_fused", "frame, its program and transfers"),
    (Propagation, "_program", "arguments of the frame"),
    (Propagation, "remember", "memory"),
    (Propagation, "inputs", "inputs of a window (thread)"),
    (OpticalFlow, "advance_all", "flow of a window (thread)"),
    (ForwardPass, "encode", "call of the encoder (thread)"),
    (Geometry, "guide", "coded mask"),
    (FrameStore, "put", "state of the run (thread)"),
    (segmenter, "keep_near", "component filter"),
    (segmenter, "moved", "previous mask moved"),
    (segmenter_base, "expected_jaccard", "confidence"),
)
"""Owner and name of every function that is timed, and what it is called in the table."""

Seconds = dict[str, list[float]]
Calls = dict[str, tuple[Any, ...]]


def main() -> None:
    """Profiles one clip with every preset."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", help="dataset in the layout of DAVIS 2016")
    parser.add_argument("sequence")
    parser.add_argument("--presets", nargs="+", default=["fast"], metavar="PRESET[:MODE]")
    parser.add_argument("--seconds", type=float, default=1e9, help="no preset begins after them")
    options = parser.parse_args()
    seconds, calls = defaultdict(list), {}
    for owner, name, label in PARTS:
        setattr(owner, name, _timed(getattr(owner, name), seconds[label]))
    _keep_calls(calls)
    start = time.monotonic()
    for name in options.presets:
        if time.monotonic() - start > options.seconds:
            break
        preset, _, mode = name.partition(":")
        profile(name, preset, mode, options.root, options.sequence, seconds, calls)


def profile(
    label: str, preset: str, mode: str, root: str, sequence: str, seconds: Seconds, calls: Calls
) -> None:
    """Records the profile of one preset and mode."""
    settings = make_settings(preset_name=preset, mode=mode or None, outputs=("masks",))
    engine = runner.SequenceRunner(settings)
    clip = open_dataset_clip(
        open_dataset("davis2016", root), sequence, needs_mask=mode != "zero-shot"
    )
    with tempfile.TemporaryDirectory() as scratch:
        for turn in ("first", "second"):
            for values in seconds.values():
                values.clear()
            began = time.monotonic()
            found = engine.run(clip, Path(scratch) / turn)
            total = time.monotonic() - began
            record("profile", f"{label}: {turn} run", found.frames / total, "/s", seconds=total)
    record("profile", f"{label}: adaptation", found.adaptation_seconds, "s")
    for part, values in seconds.items():
        if values:
            record(
                "profile", f"{label}: {part}", 1e3 * statistics.median(values), "ms",
                calls=len(values), seconds=sum(values),
            )  # fmt: skip
    for name in ("frame", "encoder"):
        call, *arguments = calls[name]
        _queued(call, arguments, 3)
        record("profile", f"{label}: {name} program", _queued(call, arguments, REPEATS), "ms")
        with _trace() as kernels:
            _queued(call, arguments, REPEATS)
        for kernel, (count, milliseconds) in kernels().items():
            record(
                "profile", f"{label}: {name} kernel {kernel}", milliseconds / REPEATS, "ms",
                launches=count / REPEATS,
            )  # fmt: skip


def _timed(function: Callable[..., Any], into: list[float]) -> Callable[..., Any]:
    @wraps(function)
    def call(*arguments: Any, **options: Any) -> Any:
        began = time.perf_counter()
        try:
            return function(*arguments, **options)
        finally:
            into.append(time.perf_counter() - began)

    return call


def _keep_calls(calls: Calls) -> None:
    """Keeps the last call of the program of a frame, and of the encoder."""
    program, encode = Propagation._program, ForwardPass.encode

    def kept_program(self: Propagation, *arguments: Any) -> Any:
        call, values = program(self, *arguments)
        calls["frame"] = call, *values
        return call, values

    def kept_encode(self: ForwardPass, images: np.ndarray) -> Any:
        calls["encoder"] = encode, self, images
        return encode(self, images)

    Propagation._program, ForwardPass.encode = kept_program, kept_encode


def _queued(call: Callable[..., Any], arguments: list[Any], count: int) -> float:
    """Returns the milliseconds of a call among many that do not wait for each other."""
    began = time.perf_counter()
    for _ in range(count):
        result = call(*arguments)
    jax.block_until_ready(result)
    return 1e3 * (time.perf_counter() - began) / count


@contextmanager
def _trace() -> Any:
    """Yields what returns launches and milliseconds of the longest kernels after the body."""
    folder = tempfile.mkdtemp()
    try:
        with jax.profiler.trace(folder):
            found: list[dict[str, tuple[int, float]]] = []
            yield lambda: found[0]
        path = next(Path(folder).rglob("*.xplane.pb"))
        sums: dict[str, tuple[int, float]] = {}
        for plane in jax.profiler.ProfileData.from_file(str(path)).planes:
            if "GPU" not in plane.name:
                continue
            for line in plane.lines:
                if not line.name.startswith("Stream"):
                    continue
                for event in line.events:
                    count, total = sums.get(event.name, (0, 0.0))
                    sums[event.name] = count + 1, total + event.duration_ns / 1e6
        longest = sorted(sums, key=lambda name: -sums[name][1])[:MOST_KERNELS]
        found.append({name: sums[name] for name in longest})
        everything = sum(count for count, _ in sums.values()), sum(t for _, t in sums.values())
        found[0]["(all)"] = everything
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
