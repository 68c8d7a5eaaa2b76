"""Initial weights of a trunk: reading from ImageNet or parent files, assigning to a network."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import h5py
import keras
import numpy as np

from deeplab_gygo.baselines.shared.trunks import trunk_stage
from deeplab_gygo.baselines.shared.vgg import CROP
from deeplab_gygo.errors import UsageError, WeightsError
from deeplab_gygo.methods import method_of_architecture
from deeplab_gygo.models.backbones import build_backbone
from deeplab_gygo.models.config import ModelConfig
from deeplab_gygo.models.h5_file import check_h5
from deeplab_gygo.models.imagenet import download_application
from deeplab_gygo.models.weight_file import file_hash, read_parent_file

IMAGENET = "imagenet"

Arrays = dict[str, np.ndarray]
"""float32 arrays by `<layer>/<variable>`, in a parent with the name of its part in front."""

_TRUNK_PART = {"deeplab": "encoder", "osmn": "segmentation", "osvos": "osvos"}
"""Part of a parent file that holds the trunk, by method."""

_DENSE = {"fc1": "fc6", "fc2": "fc7"}
"""Dense layers by their names in keras.applications and in the paper."""


class TrunkWeights:
    """Weights of a trunk, read once and assigned to all networks that contain it.

    Args:
        trunk: Name of the trunk.
        source: `imagenet` (VGG-16: from keras.applications; EfficientNet-Lite0: as for a
            backbone), the path of a parent of this package (.npz), of a file of
            keras.applications' VGG16 (.h5), or of a state dict of EfficientNet-Lite0 (.pth).
        classifier: Whether fc6 and fc7 of VGG-16 are needed too.

    Attributes:
        description: Origin of the weights, for the model card.

    Raises:
        InputError: The weights could not be downloaded.
        WeightsError: A file is missing, damaged, or of another network.
        DependencyError: The package with the weights is not installed.
        UsageError: The parent has another trunk.
    """

    def __init__(self, trunk: str, source: str | Path, *, classifier: bool = False):
        self._source = source
        self._decoder: Arrays = {}
        if Path(source).suffix == ".npz":
            self._read_parent(trunk, Path(source))
            return
        path = None if source == IMAGENET else Path(source)
        self.description = "ImageNet" if path is None else f"{path.name} ({_short_hash(path)})"
        if trunk == "vgg16":
            self._arrays = (
                _download_vgg(classifier) if path is None else read_vgg_file(path, classifier)
            )
        else:
            self._arrays = _backbone_arrays(trunk, source)

    def _read_parent(self, trunk: str, path: Path) -> None:
        model, arrays, _ = read_parent_file(path)
        if model.trunk_name != trunk:
            raise UsageError(
                f"A trunk {trunk} is initialized from a parent with the same trunk",
                met=model.trunk_name,
                where=path,
                remedy="Give another parent, or `imagenet`",
            )
        part = f"{_TRUNK_PART[method_of_architecture(model).name]}/"
        self._arrays = {k.removeprefix(part): v for k, v in arrays.items() if k.startswith(part)}
        if isinstance(model, ModelConfig):
            self._decoder = {k: v for k, v in arrays.items() if not k.startswith(part)}
        self.description = f"parent {path.name} ({_short_hash(path)})"

    def assign_trunk(self, network: keras.Model) -> None:
        """Sets the variables of the trunk, and of fc6 and fc7, in a network.

        Raises:
            WeightsError: An array is missing or has another shape.
        """
        for layer in network.layers:
            if trunk_stage(layer.name) is not None or layer.name in _DENSE.values():
                self._assign(layer, self._arrays)

    def assign_decoder(self, models: list[keras.Model]) -> None:
        """Sets the variables of head and refinement of DeepLabV3+ if the source has them.

        Args:
            models: Models named as the parts of a parent.

        Raises:
            WeightsError: They have another architecture than the parent's.
        """
        for model in models if self._decoder else []:
            for layer in model.layers:
                self._assign(layer, self._decoder, f"{model.name}/")

    def _assign(self, layer: keras.layers.Layer, arrays: Arrays, part: str = "") -> None:
        for variable in layer.variables:
            if "seed_generator" in variable.path:
                continue  # state of dropout, not a weight
            name = f"{part}{layer.name}/{variable.name}"
            met = arrays[name].shape if name in arrays else "none"
            if met != tuple(variable.shape):
                raise WeightsError(
                    f"Initial weights have {name} of the shape {tuple(variable.shape)}",
                    met=met,
                    where=self._source,
                    remedy="Give weights of the same network, for the visual modulator of VGG-16 "
                    "those with its dense layers",
                )
            variable.assign(arrays[name].astype(np.float32))


def read_vgg_file(path: str | Path, classifier: bool) -> Arrays:
    """Reads a weights file of keras.applications' VGG16 without building the model.

    Args:
        path: `vgg16_weights_tf_dim_ordering_tf_kernels.h5`, or the one ending in `_notop.h5`.
        classifier: Whether fc6 and fc7 are read too.

    Returns:
        Kernels and biases by our names, as far as the file has them.

    Raises:
        WeightsError: The file is missing or is another kind of file.
    """
    path, layers = Path(path), {}
    rule = "Weights of VGG-16 are a file of keras.applications (.h5)"
    check_h5(path, rule)
    try:
        with h5py.File(path, "r") as file:
            for name in file:
                if not _vgg_name(name) or (name in _DENSE and not classifier):
                    continue
                values: list[np.ndarray] = []
                file[name].visititems(
                    lambda _, item, into=values: (
                        into.append(item[()]) if isinstance(item, h5py.Dataset) else None
                    )
                )
                layers[name] = sorted(values, key=np.ndim, reverse=True)
        return _vgg_arrays(layers)
    except (OSError, ValueError, KeyError) as error:
        met = f"{type(error).__name__}: {error}"
        raise WeightsError(rule, met=met, where=path) from error


def _download_vgg(classifier: bool) -> Arrays:
    """Downloads the ImageNet weights of keras.applications."""
    build = partial(keras.applications.VGG16, include_top=classifier, input_shape=(CROP, CROP, 3))
    model = download_application("VGG16", build)
    return _vgg_arrays(
        {layer.name: layer.get_weights() for layer in model.layers if _vgg_name(layer.name)}
    )


def _vgg_arrays(layers: dict[str, list[np.ndarray]]) -> Arrays:
    """Converts kernels and biases from the layout and names of keras.applications to ours.

    Its first dense layer takes the 7x7 positions of pool5 flattened, channels last, so a reshape
    makes its kernel that of a 7x7 convolution. Its input is BGR, as ours after normalization.
    """
    arrays = {}
    for name, (kernel, bias) in layers.items():
        if name in _DENSE:
            channels = layers["block5_conv3"][1].size
            side = round((len(kernel) / channels) ** 0.5) if name == "fc1" else 1
            kernel = kernel.reshape(side, side, -1, kernel.shape[1])
        arrays[f"{_vgg_name(name)}/kernel"] = kernel
        arrays[f"{_vgg_name(name)}/bias"] = bias
    return arrays


def _vgg_name(name: str) -> str | None:
    """Returns our name of a layer of keras.applications' VGG16; None for an unused one."""
    match = re.fullmatch(r"block(\d)_conv(\d)", name)
    return f"conv{match.group(1)}_{match.group(2)}" if match else _DENSE.get(name)


def _backbone_arrays(trunk: str, source: str | Path) -> Arrays:
    backbone = build_backbone(trunk, weights=source)
    return {
        f"{layer.name}/{variable.name}": variable.numpy()
        for layer in backbone.layers
        for variable in layer.variables
    }


def _short_hash(path: Path) -> str:
    if not path.is_file():
        raise WeightsError("Weights are an existing file", met="no such file", where=path)
    return f"SHA-256 {file_hash(path)[:12]}"
