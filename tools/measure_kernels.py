r"""Times the GPU kernels of `deeplab_gygo.kernels` against their twins in plain operations, warm.

    python tools/measure_kernels.py --out experiments/results/kernels.json

The shapes are those of the encoder at 480x864, one frame and windows of four. A call is one of many
in a loop inside one compiled program, because a kernel is over before Python has started the next.
`bytes` are those that must be moved: every input read once, every output written once; for
`training`, the forward pass and then the gradients of input, kernel and bias. The fraction of the
bandwidth is of what a copy of 1 GiB reached in the same run; layers that fit the GPU's cache may
exceed it. `shifted` is the twin of XLA's own loops; `plain` is the convolution that Keras asks for.
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
            # The barrier ties a call to the one before it, or the compiler would make one of all.
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
    """Measures the bytes a second that a copy of a large float32 array reads and writes."""
    import jax.numpy as jnp

    values = jnp.zeros((elements,), jnp.float32)
    # A sum with a constant, since a mere copy might be left out.
    return 2 * values.nbytes / seconds_of_call(lambda v: v + 1.0, (values,), calls, repeats)


def difference(task: Task) -> float:
    """Returns the largest difference of kernel and twin, relative to the twin's largest value."""
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
    """Measures a task; where a form fails, its error stands in the row instead of its seconds."""
    row: dict[str, Any] = {"task": task.name, "shape": task.shape, "bytes": task.bytes}
    row |= {"seconds": {}, "errors": {}}
    for name, form in task.forms.items():
        try:
            seconds = seconds_of_call(form, task.arguments, options.calls, options.repeats)
            row["seconds"][name] = seconds
        except Exception as error:  # the other shapes are still worth their time on the GPU
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
    """Writes a report as text; microseconds, and how many times as fast the kernel is."""
    head = f"{'task':<19}{'shape':<37}{'kernel':>9}{'plain':>10}{'shifted':>10}{'times':>7}"
    lines = [head + f"{'GB/s':>8}{'of copy':>9}{'differs':>10}"]
    for row in report["rows"]:
        line = f"{row['task']:<19}{row['shape']:<37}"
        for name, width in (("kernel", 9), ("plain", 10), ("shifted", 10)):
            seconds = row["seconds"].get(name)
            word = "failed" if name in row["errors"] else "-"
            line += f"{1e6 * seconds:>{width}.1f}" if seconds else f"{word:>{width}}"
        if "ratio" in row:
            line += f"{row['ratio']:>7.2f}{row['bytes_per_second'] / 1e9:>8.0f}"
            line += f"{100 * row['fraction']:>7.0f} %{row['difference']:>10.1e}"
        lines.append(line)
        lines += [f"  {name}: {error}" for name, error in row["errors"].items()]
    lines.append(f"copy: {report['copy_bytes_per_second'] / 1e9:.0f} GB/s, times in microseconds")
    return "\n".join(lines)


def main() -> None:
    """Measures and writes the figures as JSON; status 2 where there is no GPU."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--backbone", choices=SPECS, default=SPECS[0], help="whose layers")
    parser.add_argument("--output-stride", type=int, choices=(8, 16), default=16)
    parser.add_argument("--dtype", default="bfloat16", choices=("bfloat16", "float16", "float32"))
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4], help="frames at once")
    parser.add_argument("--calls", type=int, default=50, help="calls in a timed program")
    parser.add_argument("--repeats", type=int, default=15, help="timed programs, of which a median")
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
        print("Rehearsal by the interpreter: the times mean nothing.")
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
    # Keras is loaded for the table of the network only, and with JAX it needs no TensorFlow.
    os.environ.setdefault("KERAS_BACKEND", "jax")
    main()
