"""Backbones: classification networks that return features at four strides."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import keras

from deeplab_gygo.errors import UsageError
from deeplab_gygo.models.imagenet import load_imagenet
from deeplab_gygo.models.inverted_residual import (
    MOBILENET_V2,
    InvertedResidualSpec,
    build_inverted_residual,
    efficientnet_lite,
)
from deeplab_gygo.models.resnet import build_resnet50

INVERTED_RESIDUAL: dict[str, InvertedResidualSpec] = {
    # Width and depth factors: efficientnet_lite_builder.py (tensorflow/tpu).
    "efficientnet_lite0": efficientnet_lite(1.0, 1.0),
    "efficientnet_lite1": efficientnet_lite(1.0, 1.1),
    "efficientnet_lite2": efficientnet_lite(1.1, 1.2),
    "mobilenet_v2": MOBILENET_V2,
}
"""Backbones of inverted residual blocks."""

_BUILDERS: dict[str, Callable[..., keras.Model]] = {
    **{name: partial(build_inverted_residual, spec=s) for name, s in INVERTED_RESIDUAL.items()},
    "resnet50": build_resnet50,
}
BACKBONES = tuple(_BUILDERS)


def build_backbone(
    name: str,
    *,
    output_stride: int = 16,
    weights: str | Path | None = None,
    input_shape: tuple[int | None, int | None, int] = (None, None, 3),
) -> keras.Model:
    """Builds a network that computes features of an image at four strides.

    The image is float32 [B, H, W, 3], RGB in 0..255 (another dtype is cast); normalization is part
    of the network. The features are a dict of float arrays [B, H', W', C]:

    - "fine": stride 2, the last features of that stride (16 channels; ResNet-50: 64);
    - "low": stride 4, the last features of that stride (24 channels; ResNet-50: 256);
    - "mid": stride 8, likewise;
    - "high": the end of the last stage, at the output stride (320 channels, Lite2 352,
      ResNet-50 2048).

    Features at stride s have ceil(H / s) rows and ceil(W / s) columns.

    Layers are named by their stage: `stem_...`, `stage3_block1_depthwise`; see `layers_up_to`.

    Args:
        name: One of `BACKBONES`.
        output_stride: Stride of "high": 8, 16 or 32. The weights are the same for all three.
        weights: None for random ones, "imagenet", or a file: for EfficientNet-Lite a PyTorch state
            dict as its packages ship it, for the others a `.h5` file of keras.applications without
            top.
        input_shape: Height, width, 3; a size may be None.

    Raises:
        UsageError: An argument has another value.
        WeightsError: The weights file is damaged or belongs to another network.
        DependencyError: The package with the weights is not installed.
        InputError: The weights could not be downloaded.
    """
    if name not in _BUILDERS:
        raise UsageError(f"A backbone must be one of {', '.join(BACKBONES)}", met=name)
    model = _BUILDERS[name](name=name, output_stride=output_stride, input_shape=input_shape)
    if weights is not None:
        load_imagenet(name, model, path=None if weights == "imagenet" else weights)
    return model


def layers_up_to(model: keras.Model, stage: int) -> list[keras.layers.Layer]:
    """Returns the layers of a backbone from the stem to the end of a stage, for freezing.

    EfficientNet-Lite and MobileNetV2 have the stages 1 to 7; strides 4, 8, 16 and 32 begin at the
    stages 2, 3, 4 and 6. ResNet-50 has the stages 2 to 5 (the literature's conv2 to conv5), of
    strides 4, 8, 16 and 32.

    Args:
        model: A model of `build_backbone`, or one made of some of its outputs.
        stage: Last stage; 0 for the stem alone.

    Returns:
        The layers in the order of the model, with input and normalization.

    Raises:
        UsageError: The model has no such stage.
    """
    stages = {layer: _stage_of(layer) for layer in model.layers}
    if not 0 <= stage <= max(stages.values()):
        raise UsageError(
            f"A stage of {model.name} must be from 0 to {max(stages.values())}", met=stage
        )
    return [layer for layer, number in stages.items() if number <= stage]


def _stage_of(layer: keras.layers.Layer) -> int:
    """Returns the stage in the name of a layer; 0 for the stem and the layers before it."""
    match = re.match(r"stage(\d+)_", layer.name)
    return int(match.group(1)) if match else 0
