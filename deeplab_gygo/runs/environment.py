"""Versions, hardware and peak memory for records, without importing anything heavy."""

from __future__ import annotations

import json
import os
import platform
import sys
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import deeplab_gygo

_DISTRIBUTIONS = (
    "keras", "tensorflow", "tensorflow-cpu", "jax", "numpy", "opencv-python-headless",
    "opencv-python", "av", "pillow",
)  # fmt: skip


def versions() -> dict[str, str]:
    """Reads the versions of this package, Python, the platform and the main dependencies.

    They are read from the installed metadata. The backend is the one that `KERAS_BACKEND` or the
    configuration file of Keras names.
    """
    return {
        "deeplab-gygo": deeplab_gygo.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "keras-backend": keras_backend(),
        **_installed(),
    }


@cache
def _installed() -> dict[str, str]:
    found = {}
    for name in _DISTRIBUTIONS:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def keras_backend() -> str:
    """Returns the backend that Keras runs on, or will: module, environment, file, TensorFlow."""
    keras = sys.modules.get("keras")
    if keras is not None and hasattr(keras, "config"):
        return str(keras.config.backend())
    if os.environ.get("KERAS_BACKEND"):
        return os.environ["KERAS_BACKEND"]
    home = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
    try:
        return str(json.loads((home / "keras.json").read_text("utf-8"))["backend"])
    except (OSError, ValueError, KeyError, TypeError):
        return "tensorflow"


def hardware(device: str | None = None) -> dict[str, Any]:
    """Describes the machine.

    Args:
        device: Name of the accelerator that computed; None for a CPU.

    Returns:
        `cpu` (model), `cores` that this process may use, `gpu` (name or None).
    """
    model = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    except OSError:
        pass  # not Linux
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"cpu": model, "cores": cores, "gpu": device}


def peak_memory_mb() -> float:
    """Returns the largest resident memory of this process so far, MiB; 0 where it is unknown."""
    try:
        import resource  # absent on Windows
    except ImportError:
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts in KiB, macOS in bytes (getrusage(2) of each).
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)
