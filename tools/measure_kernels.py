r"""Measures the GPU kernels of `deeplab_gygo.backend.kernels` against plain operations, warm.

    python tools/measure_kernels.py --out experiments/results/kernels.json
    python tools/measure_kernels.py --sweep --batches 4 --out /tmp/tilings.json

The shapes are those of the encoder at 480x864, one frame and batches of four. Calls run in a loop
inside one compiled program, because a kernel is shorter than a call from Python; `launch` is the
time of a kernel with hardly any work, which is part of every time here. `bytes` are the minimum:
every input is read once, every output written once; `training` is the forward pass and the
gradients of input, kernel and bias. The fraction of the bandwidth refers to a copy of 1 GiB in the
same run. `plain` is the convolution of Keras, `shifted` the same as loops of XLA. The error is that
of the kernel against float64: the norm of the difference divided by the norm, the worst of the
output, or of the three gradients.

`--sweep` times every candidate of a tiling and prints the fastest as entries of
`deeplab_gygo/backend/kernels/tilings.py`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

from kernel_errors import relative_errors
from kernel_tasks import SPECS, Task, described, sweeps, tasks, windows
from tabulate import tabulate

_CHAINED = 5
"""Calls of an iteration of the loop that is timed."""

_NO_GRAPHS = {"xla_gpu_graph_min_graph_size": 1_000_000}
"""Option of XLA: calls that do not depend on each other would run side by side in a CUDA graph."""

_GAIN = 0.97
"""A tiling is worth an entry where it takes less than this part of the default's time."""


def compiled_loop(function: Callable[..., Any], arguments: tuple[Any, ...], calls: int) -> Any:
    """Compiles a program that calls a function again and again.

    An iteration has several calls, so that counting the iterations, a kernel of its own, takes
    little of the time. Each has arguments of its own, which the GPU's cache does not hold all.
    """
    import jax
    import jax.numpy as jnp

    outputs, chained = jax.eval_shape(function, *arguments), min(calls, _CHAINED)

    def loop(sets):
        def once(_, carry):
            # The barrier keeps the compiler from taking the calls out of the loop.
            given, _ = jax.lax.optimization_barrier(carry)
            return given, tuple(function(*one) for one in given)

        nothing = jax.tree.map(lambda o: jnp.zeros(o.shape, o.dtype), (outputs,) * chained)
        return jax.lax.fori_loop(0, calls // chained, once, (sets, nothing))[1]

    shapes = jax.tree.map(lambda v: jax.ShapeDtypeStruct(v.shape, v.dtype), arguments)
    lowered = jax.jit(loop).lower((shapes,) * chained)
    try:
        return lowered.compile(compiler_options=_NO_GRAPHS)
    except jax.errors.JaxRuntimeError as error:
        if "No such compile option" not in str(error):
            raise
        return lowered.compile()


def seconds_of_call(loop: Any, arguments: tuple[Any, ...], calls: int, repeats: int) -> float:
    """Returns the median seconds of a call inside a compiled loop, after a warm-up."""
    import jax
    import jax.numpy as jnp

    chained, times = min(calls, _CHAINED), []
    sets = tuple(jax.tree.map(jnp.copy, arguments) for _ in range(chained))
    jax.block_until_ready(loop(sets))
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(loop(sets))
        times.append(time.perf_counter() - start)
    return statistics.median(times) / (calls - calls % chained)


def bandwidth(elements: int, calls: int, repeats: int) -> float:
    """Measures the bytes per second that a copy of a large float32 array reads and writes."""
    import jax

    values = jax.random.normal(jax.random.key(0), (elements,))
    # A sum with a constant, since a mere copy might be optimized away.
    loop = compiled_loop(lambda v: v + 1.0, (values,), calls)
    return 2 * values.nbytes / seconds_of_call(loop, (values,), calls, repeats)


def launch_seconds(options: argparse.Namespace) -> float:
    """Measures the time of the kernel for one pixel."""
    from deeplab_gygo.backend.kernels.window import Window

    task = tasks(Window(1, (1, 1), 16, 3, 1, 1), options)[0]
    loop = compiled_loop(task.forms["kernel"], task.arguments, options.calls)
    return seconds_of_call(loop, task.arguments, options.calls, options.repeats)


def measured(
    task: Task, loops: dict[str, Future], options: argparse.Namespace, copied: float
) -> dict[str, Any]:
    """Measures a task; the row of a failed form has its error instead of seconds."""
    shape = described(task.window, options.dtype)
    row: dict[str, Any] = {"task": task.name, "shape": shape, "bytes": task.bytes}
    row |= {"seconds": {}, "failed": {}}
    for name, loop in loops.items():
        try:
            seconds = seconds_of_call(
                loop.result(timeout=0), task.arguments, options.calls, options.repeats
            )
            row["seconds"][name] = seconds
        except Exception as error:  # the other shapes are still measured
            row["failed"][name] = f"{type(error).__name__}: {str(error)[:400]}"
    seconds = row["seconds"]
    fastest = min(seconds, key=seconds.get) if options.sweep and seconds else "kernel"
    if fastest in seconds:
        row["fastest"] = fastest
        row["fraction"] = task.bytes / seconds[fastest] / copied
    against = "0" if options.sweep else "plain"
    if fastest in seconds and against in seconds:
        row["ratio"] = seconds[against] / seconds[fastest]
    return row


def with_errors(rows: list[dict[str, Any]], window: Any, options: argparse.Namespace) -> None:
    """Adds the relative errors of the kernel to the rows of a layer."""
    from deeplab_gygo.backend.kernels.depthwise import depthwise

    form = partial(depthwise, stride=window.stride, rate=window.rate, interpret=options.interpret)
    found = relative_errors(form, window, options.dtype, relu6=True, seed=time.time_ns())
    for row in rows:
        ends = ["output"] if row["task"] == "forward" else ["input", "kernel", "bias"]
        row["relative_errors"] = {end: found[end] for end in ends}


def table(report: dict[str, Any]) -> str:
    """Formats a report as text: microseconds, and the speedup of the kernel."""
    rows = []
    names = list(dict.fromkeys(n for r in report["rows"] for n in (*r["seconds"], *r["failed"])))
    for row in report["rows"]:
        cells = [row["task"], row["shape"]]
        for name in names:
            seconds = row["seconds"].get(name)
            cells.append(f"{1e6 * seconds:.1f}" if seconds else row["failed"].get(name, "-")[:60])
        cells.append(f"{row['ratio']:.2f}" if "ratio" in row else "-")
        cells.append(f"{100 * row['fraction']:.0f}" if "fraction" in row else "-")
        errors = row.get("relative_errors", {}).values()
        cells.append(f"{max(errors):.1e}" if errors else "-")
        rows.append(cells)
    copied = f"copy: {report['copy_bytes_per_second'] / 1e9:.0f} GB/s, times in microseconds"
    copied += f", launch: {1e6 * report['launch_seconds']:.1f}"
    header = ["task", "shape", *names, "speedup", "% of copy", "error"]
    return tabulate(rows, header, disable_numparse=True) + "\n" + copied


def entries(rows: list[dict[str, Any]], shapes: dict[str, Any]) -> str:
    """Formats the fastest tilings as entries of `MEASURED`, where they beat the default."""
    from deeplab_gygo.backend.kernels.tilings import CANDIDATES, Tiling

    lines = []
    for row in rows:
        if row.get("ratio", 0.0) > 1 / _GAIN:
            window, tiling = shapes[row["shape"]], CANDIDATES[row["task"]][int(row["fastest"])]
            key = (row["task"], window.side, window.stride, window.channels)
            changed = {f.name: getattr(tiling, f.name) for f in fields(tiling)}
            changed = [f"{n}={v}" for n, v in changed.items() if v != getattr(Tiling(), n)]
            lines.append(f"    {key}: Tiling({', '.join(changed)}),")
    return "\n".join(["MEASURED = {", *lines, "}"])


def main() -> None:
    """Measures and writes the results as JSON; status 2 without a GPU."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--backbone", choices=SPECS, default=SPECS[0], help="network of the layers")
    parser.add_argument("--output-stride", type=int, choices=(8, 16), default=16)
    parser.add_argument("--size", type=int, nargs=2, default=[480, 864], help="height, width")
    parser.add_argument("--dtype", default="bfloat16", choices=("bfloat16", "float16", "float32"))
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4], help="batch sizes")
    parser.add_argument("--calls", type=int, default=50, help="calls per program")
    parser.add_argument("--repeats", type=int, default=15, help="programs per median")
    parser.add_argument("--compile-seconds", type=float, help="limit of all compilations")
    parser.add_argument("--sweep", action="store_true", help="compare the candidates of a tiling")
    parser.add_argument("--interpret", action="store_true", help="rehearse without a GPU")
    options = parser.parse_args()
    try:
        import jax
    except ModuleNotFoundError:
        parser.error("the kernels need JAX: pip install jax[cuda13]")
    devices = [device for device in jax.devices() if device.platform in ("gpu", "cuda")]
    if not devices and not options.interpret:
        parser.error(
            f"the kernels need an NVIDIA GPU that JAX sees; met: {jax.devices()}. To rehearse the "
            "command on this machine, give --interpret"
        )
    if options.interpret:
        options.calls = options.repeats = 1
        print("Rehearsal by the interpreter: the times are meaningless.")
    copied = bandwidth(1 << (12 if options.interpret else 28), min(options.calls, 10), 5)
    report = environment(options, copied, devices[0].device_kind if devices else None)
    measure(options, report)
    print(table(report))
    if options.sweep:
        shapes = {described(w, options.dtype): w for w in windows(options)}
        print(entries(report["rows"], shapes))


def measure(options: argparse.Namespace, report: dict[str, Any]) -> None:
    """Measures every shape and writes the report after each."""
    rows, make = report["rows"], sweeps if options.sweep else tasks
    # Compilation runs outside of Python's lock. All of it comes before the first measurement,
    # because XLA times the algorithms of its convolutions on the same GPU.
    pool, found = ThreadPoolExecutor(os.cpu_count()), []
    listed = [task for window in windows(options) for task in make(window, options)]
    for task in sorted(listed, key=lambda task: task.name != "forward"):
        jobs = {
            name: pool.submit(compiled_loop, form, task.arguments, options.calls)
            for name, form in task.forms.items()
        }
        found.append((task, jobs))
    wait([job for _, jobs in found for job in jobs.values()], options.compile_seconds)
    pool.shutdown(wait=False, cancel_futures=True)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    for window in dict.fromkeys(task.window for task, _ in found):
        own = [(task, jobs) for task, jobs in found if task.window == window]
        made = [measured(*one, options, report["copy_bytes_per_second"]) for one in own]
        if not options.sweep and any("kernel" in row["seconds"] for row in made):
            with_errors(made, window, options)
        rows.extend(made)
        options.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def environment(options: argparse.Namespace, copied: float, gpu: str | None) -> dict[str, Any]:
    """Returns a report without rows."""
    import jaxlib

    from deeplab_gygo.runs.environment import hardware, versions

    return {
        "rehearsal": options.interpret,
        "rows": [],
        "copy_bytes_per_second": copied,
        "launch_seconds": launch_seconds(options),
        "calls": options.calls,
        "repeats": options.repeats,
        "command": " ".join(sys.argv),
        "hardware": hardware(gpu),
        "versions": versions() | {"jaxlib": jaxlib.__version__},
    }


if __name__ == "__main__":
    # Keras builds the network only; with JAX it needs no TensorFlow.
    os.environ.setdefault("KERAS_BACKEND", "jax")
    main()
