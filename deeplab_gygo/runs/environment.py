"""What a run leaned on: versions, machine, memory. Nothing heavy is imported to find out."""

from __future__ import annotations

import json
import os
import platform
import resource
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import deeplab_gygo

_DISTRIBUTIONS = (
    "keras",
    "tensorflow",
    "tensorflow-cpu",
    "jax",
    "numpy",
    "opencv-python-headless",
    "opencv-python",
    "av",
    "pillow",
)


def versions() -> dict[str, str]:
    """Returns the versions of this package, Python, the platform and what the results lean on.

    They are read from the installed metadata; nothing is imported. The backend is what
    `KERAS_BACKEND` or the configuration file of Keras names.
    """
    found = {
        "deeplab-gygo": deeplab_gygo.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "keras-backend": _keras_backend(),
    }
    for name in _DISTRIBUTIONS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _keras_backend() -> str:
    """Reads the backend as Keras does: loaded module, environment, file, TensorFlow."""
    keras = sys.modules.get("keras")
    if keras is not None and hasattr(keras, "config"):
        return str(keras.config.backend())
    if os.environ.get("KERAS_BACKEND"):
        return os.environ["KERAS_BACKEND"]
    home = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras"))
    try:
        return str(json.loads((home / "keras.json").read_text("utf-8"))["backend"])
    except (OSError, ValueError, KeyError, TypeError):
        return "tensorflow"


def hardware(device: str | None = None) -> dict[str, Any]:
    """Describes the machine.

    Args:
        device: Name of the accelerator that computed, where there is one.

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
        pass  # Not Linux: what `platform` says is all there is.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"cpu": model, "cores": cores, "gpu": device}


def peak_memory_mb() -> float:
    """Returns the largest resident memory of this process so far, MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts in KiB, macOS in bytes (getrusage(2) of each).
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)
