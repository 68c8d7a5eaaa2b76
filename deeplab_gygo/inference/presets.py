"""Presets: the numbers that a system starts from, by name."""

from __future__ import annotations

from typing import Any

from deeplab_gygo.config_systems import ONLINE_CONFIGS
from deeplab_gygo.errors import UsageError

DEFAULT_PRESET = "balanced"
"""Of DeepLabV3+; the others' follows from the trunk of their weights."""

PRESETS: dict[str, dict[str, Any]] = {
    "fast": {
        "steps": 40,
        "common_fate": False,
        "agree": 0,
        "second": 0.0,
        "flip": False,
    },
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

`agree`, `second` and `flip` of `fast` are for mode `zero-shot`, where it segments every frame by
itself.

`tools/plot_pareto.py --check` says whether every one of them is on the measured front.
"""

ORIGINAL, LIGHT = "original", "light"

SYSTEM_PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "deeplab": PRESETS,
    "osmn": {
        ORIGINAL: {},
        LIGHT: {
            "rate": 2e-3,
            "trained": "decoder",
            "loss": "cross-entropy",
            "dice": 1.0,
            "weight_decay": 0.0,
            "views": 12,
        },
    },
    "osvos": {
        ORIGINAL: {},
        LIGHT: {
            "steps": 200,
            "rate": 5e-4,
            "optimizer": "adam",
            "loss": "cross-entropy",
            "dice": 1.0,
            "weight_decay": 0.0,
            "threshold": 0.5,
            "frozen_stages": 2,
            "bias_multiplier": 1.0,
            "fuse_multiplier": 1.0,
            "views": 12,
        },
    },
}
"""By system; the references have none. `original` are the numbers of the authors' code, for
VGG-16, `light` what EfficientNet-Lite0 needs instead: its rates are no sum's over pixels.
The light ones were chosen on held-back sequences (experiments/results/osmn_choices.json and
osvos_choices.json): OSMN whose modulators learn from one frame forgets what they modulate, and
class-balanced weights enlarge OSVOS's object the more, the longer it learns."""

ALL_PRESETS = tuple(dict.fromkeys(name for names in SYSTEM_PRESETS.values() for name in names))
"""Every name that some system has."""


def default_preset(system: str, trunk: str = "") -> str:
    """Returns the preset that a system starts from unless another is asked for.

    Args:
        system: One of `config_systems.SYSTEMS`.
        trunk: Trunk of its weights, which OSMN and OSVOS have to suit.

    Returns:
        A name; empty for a system without presets.
    """
    if system == "deeplab":
        return DEFAULT_PRESET
    if system not in SYSTEM_PRESETS:
        return ""
    return ORIGINAL if trunk == "vgg16" else LIGHT


def preset(name: str, system: str = "deeplab") -> Any:
    """Makes the configuration of a preset.

    Args:
        name: One of `SYSTEM_PRESETS` of the system; empty for its defaults.
        system: One of `config_systems.SYSTEMS`.

    Returns:
        A new configuration, all fields resolved.

    Raises:
        UsageError: There is no such preset.
    """
    check_preset(name, system)
    return ONLINE_CONFIGS[system](**(SYSTEM_PRESETS[system][name] if name else {}))


def check_preset(name: str, system: str = "deeplab") -> None:
    """Raises `UsageError` unless the system has a preset of this name; the empty one is none."""
    known = SYSTEM_PRESETS.get(system, {})
    if not name or name in known:
        return
    if not known:
        raise UsageError(
            f"The system {system} has no presets",
            met=name,
            where="--preset",
            remedy="Leave --preset out",
        )
    rule = "A preset is" if system == "deeplab" else f"A preset of the system {system} is"
    raise UsageError(f"{rule} one of {', '.join(known)}", met=name, where="--preset")
