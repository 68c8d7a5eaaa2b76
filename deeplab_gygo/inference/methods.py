"""Every system as a segmenter, by its name."""

from __future__ import annotations

from typing import Any

from deeplab_gygo.config_systems import MODEL_CONFIGS, ONLINE_CONFIGS, SYSTEMS
from deeplab_gygo.errors import UsageError
from deeplab_gygo.online.network import Encode
from deeplab_gygo.online.osmn_segmenter import OsmnSegmenter
from deeplab_gygo.online.osvos_segmenter import OsvosSegmenter
from deeplab_gygo.online.prediction import Segmenter
from deeplab_gygo.online.references import CopySegmenter, FlowSegmenter, GrabCutSegmenter
from deeplab_gygo.online.segmenter import DeepLabSegmenter

_TRAINED = {"osmn": OsmnSegmenter, "osvos": OsvosSegmenter}
_REFERENCES = {"copy": CopySegmenter, "flow": FlowSegmenter, "grabcut": GrabCutSegmenter}


def make_segmenter(
    system: str, parent: Any, config: Any, seed: int = 0, encode: Encode | None = None
) -> Segmenter:
    """Makes the segmenter of a system.

    Args:
        system: One of `config_systems.SYSTEMS`.
        parent: Its network; None for a reference, which has none.
        config: Its online options, of the kind that `config_systems.ONLINE_CONFIGS` names.
        seed: Of everything random.
        encode: What encodes in place of the network's own encoder (`export.engines`); DeepLabV3+
            only. None for that.

    Returns:
        The segmenter.

    Raises:
        UsageError: There is no such system, or the network or the options are of another one.
    """
    if system not in SYSTEMS:
        raise UsageError(f"A system is one of {', '.join(SYSTEMS)}", met=system, where="--system")
    if not isinstance(config, ONLINE_CONFIGS[system]):
        raise UsageError(
            f"The system {system} takes the options of {ONLINE_CONFIGS[system].__name__}",
            met=type(config).__name__,
        )
    if system in _REFERENCES:
        return _REFERENCES[system](config)
    if not isinstance(getattr(parent, "config", None), MODEL_CONFIGS[system]):
        raise UsageError(
            f"The system {system} runs on a network of its own",
            met=type(parent).__name__,
            remedy="Give weights of this system",
        )
    if system == "deeplab":
        return DeepLabSegmenter(parent, config, seed, encode)
    return _TRAINED[system](parent, config, seed)
