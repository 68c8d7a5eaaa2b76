"""Model card of an export: architecture, endpoints, provenance, parity, versions."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import keras
import numpy as np

import deeplab_gygo
from deeplab_gygo.io.config_file import to_plain
from deeplab_gygo.models.deeplab import DeepLabV3Plus

CARD_FORMAT = "deeplab_gygo.model_card.1"

_FRAMES = {
    "dtype": "uint8",
    "shape": ["N", "H", "W", 3],
    "meaning": "RGB frames in 0..255, of any height and width; all of a call have one size",
}
_PREVIOUS = {
    "dtype": "float32",
    "shape": ["N", "H", "W"],
    "meaning": "the object's probability in the frame before each frame, in 0..1, at the frames' "
    "size; for the first call the annotated mask as 0 and 1",
}
_PROBABILITY = {
    "dtype": "float32",
    "shape": ["N", "H", "W"],
    "meaning": "probability in 0..1 that a pixel belongs to the object, at the frames' size",
}

_RESIZE = (
    "area average where the frames are larger, none where they are smaller; the border is repeated "
    "up to a multiple of the stride; logits are resized back bilinearly"
)
_UNLIKE = [
    "no optical flow: the package moves the previous mask to the new frame before it is the guide",
    "small objects are not enlarged",
    "no component filter: components that do not touch the previous mask are kept",
    "the caller decides when an object is lost and `guided` is no longer of use; the package does "
    "by the usual area of the object",
    "no test-time augmentation; a target model guides only an export that is fine-tuned on an "
    "annotated frame",
    "only the annotated frame is in the memory, and only of an export that is fine-tuned on one",
    "one object only: several are merged by the caller, by soft aggregation",
]
"""Steps of the package around the network that an export does not have."""


def model_card(
    parent: DeepLabV3Plus,
    provenance: Mapping[str, Any],
    *,
    size: int,
    threshold: float,
    sequence_name: str | None,
    target_model: bool,
    written: Mapping[str, Any],
    files: Mapping[str, str],
    parity: Mapping[str, Any],
) -> dict[str, Any]:
    """Builds the card of an exported network.

    Args:
        parent: Exported network.
        provenance: Card of the weights: data, terms and scores, as far as it has them, and the
            result of fine-tuning as `adaptation`.
        size: Short side at which the network sees frames, pixels.
        threshold: Probability above which a pixel is object.
        sequence_name: Sequence whose first frame the weights were fine-tuned on; None for a parent.
        target_model: Whether the target model of that frame guides every frame.
        written: `format`, its name; `use`, an example of a call; `packages`, the versions of the
            packages that wrote it, by name.
        files: SHA-256 in hexadecimal by path inside the export.
        parity: Result of the comparison with the Python path.

    Returns:
        Plain values for JSON.
    """
    import tensorflow as tf

    config = parent.config
    return {
        "format": CARD_FORMAT,
        "name": f"DeepLabV3+ on {config.backbone}",
        "task": "segmentation of one foreground object (a product) in frames of a video",
        "kind": "parent" if sequence_name is None else "fine-tuned",
        "fine_tuned_on": sequence_name,
        "adaptation": provenance.get("adaptation"),
        "scope": "any clip with one product in view"
        if sequence_name is None
        else f"only the object annotated in the first frame of {sequence_name}; for another object "
        "export its own fine-tuned network, or the parent",
        "file_format": written["format"],
        "use": written["use"],
        "signatures": _signatures(config.guide, threshold, sequence_name is not None, target_model),
        "threshold": threshold,
        "internal_size": {"short_side": size, "stride": parent.stride, "resize": _RESIZE},
        "unlike_the_package": _UNLIKE,
        "architecture": to_plain(config),
        "parent": _origin(provenance),
        "parity": dict(parity),
        "versions": {
            "deeplab_gygo": deeplab_gygo.__version__,
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
            **written["packages"],
        },
        "sha256": dict(files),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _signatures(
    guide: bool, threshold: float, fine_tuned: bool, target_model: bool
) -> dict[str, Any]:
    outputs = {
        "probability": _PROBABILITY,
        "mask": {
            "dtype": "uint8",
            "shape": ["N", "H", "W"],
            "meaning": f"1 where the probability is above {threshold}, else 0",
        },
    }
    alone = "every frame independently, without a previous mask; the package's "
    if target_model:
        alone += "fine-tune mode with guide target, after an object was lost"
    else:
        alone += "fine-tune mode with guide none" if fine_tuned else "zero-shot mode"
    signatures = {
        "serving_default": {"inputs": {"frames": _FRAMES}, "outputs": outputs, "use": alone}
    }
    if guide:
        use = "target" if target_model else "previous"
        mode = f"{'fine-tune' if fine_tuned else 'one-shot'} mode with guide {use}"
        signatures["guided"] = {
            "inputs": {"frames": _FRAMES, "previous": _PREVIOUS},
            "outputs": outputs,
            "use": "propagation frame by frame, each call with the probability of the call before; "
            f"the package's {mode}",
        }
    return signatures


def _origin(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Moves data, terms and scores of a card to the top level and keeps the rest."""
    rest = {key: value for key, value in provenance.items() if key != "adaptation"}
    training = dict(rest.pop("training", None) or {})
    training.pop("data_root", None)  # a path on the machine that trained
    data = rest.pop("data", None) or training.get("sources")
    scores = rest.pop("scores", None) or rest.pop("validation", None)
    origin = {"data": data, "terms": rest.pop("terms", None), "scores": scores}
    return {**origin, **rest, **({"training": training} if training else {})}
