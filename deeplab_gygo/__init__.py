"""DeepLabV3+ video object segmentation with online fine-tuning: one clip, one mask, every frame.

    import deeplab_gygo

    model = deeplab_gygo.load()
    for prediction in model.segment("clip.mp4", "first.png"):
        print(prediction.name, prediction.mask.shape, prediction.confidence)

Importing the package is cheap: Keras and the network are imported by the first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from deeplab_gygo._version import __version__

if TYPE_CHECKING:
    from deeplab_gygo.errors import DeepLabGygoError
    from deeplab_gygo.evaluation import evaluate
    from deeplab_gygo.inference.config import OnlineConfig
    from deeplab_gygo.inference.model import Model, load
    from deeplab_gygo.inference.prediction import Prediction
    from deeplab_gygo.inference.session import Session
    from deeplab_gygo.io.masks import read_mask
    from deeplab_gygo.io.video import open_video
    from deeplab_gygo.runs.api import segment

__all__ = [
    "DeepLabGygoError",
    "Model",
    "OnlineConfig",
    "Prediction",
    "Session",
    "__version__",
    "evaluate",
    "load",
    "open_video",
    "read_mask",
    "segment",
]

_MODULES = {
    "DeepLabGygoError": "errors",
    "Model": "inference.model",
    "OnlineConfig": "inference.config",
    "Prediction": "inference.prediction",
    "Session": "inference.session",
    "evaluate": "evaluation",
    "load": "inference.model",
    "open_video": "io.video",
    "read_mask": "io.masks",
    "segment": "runs.api",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'deeplab_gygo' has no attribute {name!r}")
    value = getattr(import_module(f"deeplab_gygo.{_MODULES[name]}"), name)
    globals()[name] = value  # The next access finds it without this function.
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
