"""Presets of online fine-tuning: points on the curve of J against time, by name."""

from __future__ import annotations

from typing import Any

from deeplab_gygo.config import OnlineConfig
from deeplab_gygo.errors import UsageError

DEFAULT_PRESET = "balanced"

PRESETS: dict[str, dict[str, Any]] = {
    "fast": {"steps": 40, "views": 8, "tuned_size": 360},
    "balanced": {},
    "best": {
        "steps": 120,
        "views": 16,
        "tuned_size": 480,
        "flip": True,
        "online_steps": 6,
        "recognize": 0.0,
    },
}
"""Name -> fields of `OnlineConfig` that differ from its defaults, in the order of time.

`tools/plot_pareto.py --check` says whether every one of them is on the measured front.
"""


def preset(name: str) -> OnlineConfig:
    """Makes the configuration of a preset.

    Args:
        name: One of `PRESETS`.

    Returns:
        A new configuration, all fields resolved.

    Raises:
        UsageError: There is no such preset.
    """
    check_preset(name)
    return OnlineConfig(**PRESETS[name])


def check_preset(name: str) -> None:
    """Raises `UsageError` unless there is a preset of this name."""
    if name not in PRESETS:
        raise UsageError(f"A preset is one of {', '.join(PRESETS)}", met=name, where="--preset")
