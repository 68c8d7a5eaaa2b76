r"""Measures the GPU kernels of `deeplab_gygo.backend.kernels` against plain operations, warm.

    python tools/measure_kernels.py --out experiments/results/kernels.json

The shapes are those of the encoder at 480x864, one frame and batches of four. Calls run in a loop
inside one compiled program, because a kernel is shorter than a call from Python. `bytes` are the
minimum: every input is read once, every output written once; `training` is the forward pass and the
gradients of input, kernel and bias. The fraction of the bandwidth refers to a copy of 1 GiB in the
same run; layers that fit the GPU's cache may exceed it. `plain` is the convolution of Keras,
`shifted` the same as loops of XLA.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kernel_tasks import SPECS, Task, tasks
from tabulate import tabulate


def seconds_of_call(
    function: Callable[..., Any], arguments: tuple[Any, ...], calls: int, repeats: int
) -> float:
    """Returns the median seconds of a call inside one compiled program, after a warm-up."""
    import jax
    import jax.numpy as jnp

    outputs = jax.eval_shape(function, *arguments)

    @jax.jit
    def loop(arguments):
        def once(_, carry):
            # The barrier orders the calls; without it the compiler merges them.
            given, _ = jax.lax.optimization_barrier(carry)
            return given, function(*given)

        nothing = jax.tree.map(lambda o: jnp.zeros(o.shape, o.dtype), outputs)
        return jax.lax.fori_loop(0, calls, once, (arguments, nothing))[1]

    jax.block_until_ready(loop(arguments))
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(loop(arguments))
        times.append((time.perf_counter() - start) / calls)
    return statistics.median(times)


def bandwidth(elements: int, calls: int, repeats: int) -> float:
    """Measures the bytes per second that a copy of a large float32 array reads and writes."""
    import jax.numpy as jnp

    values = jnp.zeros((elements,), jnp.float32)
    # A sum with a constant, since a mere copy might be optimized away.
    return 2 * values.nbytes / seconds_of_call(lambda v: v + 1.0, (values,), calls, repeats)


def difference(task: Task) -> float:
    """Returns the largest difference of `kernel` and `plain`, relative to the largest value."""
    import jax
    import numpy as np

    worst = 0.0
    ends = [jax.tree.leaves(jax.jit(task.forms[n])(*task.arguments)) for n in ("kernel", "plain")]
    for found, wanted in zip(*ends, strict=True):
        found, wanted = (np.asarray(v.astype("float32"), np.float64) for v in (found, wanted))
        largest = max(float(np.abs(wanted).max()), 1e-30)
        worst = max(worst, float(np.abs(found - wanted).max()) / largest)
    return worst


def measured(task: Task, options: argparse.Namespace, copied: float) -> dict[str, Any]:
    """Measures a task; the row of a failed form has its error instead of seconds."""
    row: dict[str, Any] = {"task": task.name, "shape": task.shape, "bytes": task.bytes}
    row |= {"seconds": {}, "errors": {}}
    for name, form in task.forms.items():
        try:
            seconds = seconds_of_call(form, task.arguments, options.calls, options.repeats)
            row["seconds"][name] = seconds
        except Exception as error:  # the other shapes are still measured
            row["errors"][name] = f"{type(error).__name__}: {str(error)[:400]}"
    seconds = row["seconds"]
    if "kernel" in seconds:
        row["bytes_per_second"] = task.bytes / seconds["kernel"]
        row["fraction"] = row["bytes_per_second"] / copied
    if "kernel" in seconds and "plain" in seconds:
        row["ratio"] = seconds["plain"] / seconds["kernel"]
        row["difference"] = difference(task)
    return row


def table(report: dict[str, Any]) -> str:
    """Formats a report as text: microseconds, and the speedup of the kernel."""
    header = ["task", "shape", "kernel", "plain", "shifted", "speedup", "GB/s", "% of copy", "diff"]
    rows = []
    for row in report["rows"]:
        cells = [row["task"], row["shape"]]
        for name in ("kernel", "plain", "shifted"):
            seconds = row["seconds"].get(name)
            cells.append(f"{1e6 * seconds:.1f}" if seconds else row["errors"].get(name, "-"))
        if "ratio" in row:
            cells += [f"{row['ratio']:.2f}", f"{row['bytes_per_second'] / 1e9:.0f}"]
            cells += [f"{100 * row['fraction']:.0f}", f"{row['difference']:.1e}"]
        rows.append(cells)
    copied = f"copy: {report['copy_bytes_per_second'] / 1e9:.0f} GB/s, times in microseconds"
    return tabulate(rows, header, disable_numparse=True) + "\n" + copied


def main() -> None:
    """Measures and writes the results as JSON; status 2 without a GPU."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--backbone", choices=SPECS, default=SPECS[0], help="network of the layers")
    parser.add_argument("--output-stride", type=int, choices=(8, 16), default=16)
    parser.add_argument("--dtype", default="bfloat16", choices=("bfloat16", "float16", "float32"))
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4], help="batch sizes")
    parser.add_argument("--calls", type=int, default=50, help="calls per program")
    parser.add_argument("--repeats", type=int, default=15, help="programs per median")
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
    rows = [measured(task, options, copied) for task in tasks(options)]
    write(rows, copied, options, devices[0].device_kind if devices else None)


def write(
    rows: list[dict[str, Any]], copied: float, options: argparse.Namespace, gpu: str | None
) -> None:
    """Writes the report and prints its table."""
    import jaxlib

    from deeplab_gygo.runs.environment import hardware, versions

    report = {
        "rehearsal": options.interpret,
        "rows": rows,
        "copy_bytes_per_second": copied,
        "calls": options.calls,
        "repeats": options.repeats,
        "command": " ".join(sys.argv),
        "hardware": hardware(gpu),
        "versions": versions() | {"jaxlib": jaxlib.__version__},
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(table(report))


if __name__ == "__main__":
    # Keras builds the network only; with JAX it needs no TensorFlow.
    os.environ.setdefault("KERAS_BACKEND", "jax")
    main()
