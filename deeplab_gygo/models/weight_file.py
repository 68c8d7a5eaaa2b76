"""Weight files: arrays by variable name, the architecture, and the provenance, in one `.npz`.

Every variable of the network is stored under its part's, its layer's and its own name. The entry
`__card__` holds a JSON text with the architecture and the provenance ("card"), which names the
method; a file without that name is of DeepLabV3+. No pickles are written or read.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from deeplab_gygo.errors import WeightsError
from deeplab_gygo.io.atomic import replacing
from deeplab_gygo.io.config_file import to_plain
from deeplab_gygo.methods import find_method, method_of_architecture
from deeplab_gygo.models.quantized import quantize
from deeplab_gygo.models.weight_reader import (
    CARD_NAME,
    FORMAT,
    Card,
    check_shapes,
    open_weights,
)

if TYPE_CHECKING:
    import keras

logger = logging.getLogger(__name__)

Storage = Literal["float32", "float16", "int8"]
_PACKAGE = Path(__file__).parents[1]
_FOLDERS = (_PACKAGE / "weights", _PACKAGE.parent / "experiments" / "weights")
"""Weights of the installed package, and of the baselines in a checkout of the repository."""


class Network(Protocol):
    """Network of a method, as weight files see it.

    Attributes:
        config: Architecture, the dataclass that the method names.
    """

    config: Any

    @property
    def parts(self) -> list[keras.Model]:
        """Models that hold the variables; their names begin those of the variables."""


def shipped_parent(method: str = "deeplab") -> Path:
    """Returns the path of the weights that come with the package or, for baselines, a checkout.

    Args:
        method: A key of `methods.METHODS` with weights.

    Raises:
        WeightsError: This installation has none.
    """
    name = find_method(method).weights
    for folder in _FOLDERS:
        if (folder / name).is_file():
            return folder / name
    remedy = "Reinstall the package, or give --weights"
    if method != "deeplab":
        remedy = (
            f"Give --weights: experiments/weights/{name} of the repository, or a file made by "
            "`deeplab-gygo train`"
        )
    raise WeightsError(
        f"Weights of {method} are installed or named by --weights",
        met="no such file",
        where=name,
        remedy=remedy,
    )


def file_hash(path: str | Path) -> str:
    """Returns the SHA-256 of a file in hexadecimal."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def variables_by_name(network: Network) -> dict[str, keras.Variable]:
    """Returns every variable of a network under a name that is the same in every process."""
    return named_variables(*network.parts)


def named_variables(*models: keras.Model) -> dict[str, keras.Variable]:
    """Returns every variable of Keras models under such a name."""
    named: dict[str, keras.Variable] = {}

    def collect(model: keras.Model, prefix: str) -> None:
        for layer in model.layers:
            if hasattr(layer, "layers"):  # a model within a model
                collect(layer, f"{prefix}{layer.name}/")
                continue
            for variable in layer.variables:
                if "seed_generator" not in variable.path:  # state of dropout, not a weight
                    named[f"{prefix}{layer.name}/{variable.name}"] = variable

    for model in models:
        collect(model, f"{model.name}/")
    return named


def shapes_of(variables: dict[str, keras.Variable]) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of variables by name."""
    return {name: tuple(variable.shape) for name, variable in variables.items()}


def save_parent(
    path: str | Path,
    network: Network,
    card: Card | None = None,
    *,
    values: dict[str, np.ndarray] | None = None,
    storage: Storage = "float16",
) -> Path:
    """Writes the weights of a network.

    Args:
        path: File to write, in one atomic step.
        network: Network.
        card: Provenance; the method and, for a network with a `trunk_source`, the trunk and the
            origin of its first weights are added.
        values: Values to store instead of the network's, by name (a moving average).
        storage: Dtype of kernels; `int8` has one scale per output channel. Vectors, BatchNorm
            statistics among them, are float32 always: variances span many magnitudes.

    Returns:
        The path.

    Raises:
        StorageError: The file cannot be written.
    """
    path, card = Path(path), dict(card or {})
    card["method"] = method_of_architecture(network.config).name
    if source := getattr(network, "trunk_source", None):
        card.setdefault("trunk", f"{network.config.trunk_name}, {source}")
    arrays = {}
    for name, variable in variables_by_name(network).items():
        array = np.asarray((values or {}).get(name, variable.numpy()), np.float32)
        half = storage == "float16" and array.ndim > 1
        arrays[name] = array.astype(np.float16) if half else array
    if storage == "int8":
        arrays = quantize(arrays)
    text = json.dumps({"format": FORMAT, "model": to_plain(network.config), "card": card})
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{CARD_NAME: np.frombuffer(text.encode(), np.uint8)}, **arrays)
    with replacing(path) as side:
        side.write_bytes(buffer.getvalue())
    return path


def read_parent_file(
    path: str | Path, *, header_only: bool = False
) -> tuple[Any, dict[str, np.ndarray], Card]:
    """Reads architecture, arrays and card of a weight file without building the network.

    Args:
        path: File written by `save_parent`.
        header_only: Whether to leave the arrays out, which is quick.

    Returns:
        Architecture, arrays by name, provenance.

    Raises:
        WeightsError: The file is missing, damaged, or not a weight file of this package.
    """
    with open_weights(path) as file:
        return file.config, {} if header_only else file.read(), file.card


def assign(
    network: Network,
    arrays: dict[str, np.ndarray],
    where: str | Path,
    *,
    allow_missing: bool = False,
) -> None:
    """Sets the variables of a network from arrays by name.

    Args:
        network: Network.
        arrays: Values by name.
        where: Their source, for messages.
        allow_missing: Leave variables without an array unchanged: new parts of the architecture.

    Raises:
        WeightsError: Names or shapes differ: the weights belong to another architecture.
    """
    assign_variables(
        variables_by_name(network), arrays, network.config, where, allow_missing=allow_missing
    )


def assign_variables(
    variables: dict[str, keras.Variable],
    arrays: dict[str, np.ndarray],
    config: Any,
    where: str | Path,
    *,
    allow_missing: bool = False,
) -> None:
    """Sets variables by name; otherwise as `assign`, with the architecture for messages."""
    expected = shapes_of(variables)
    missing = sorted(expected.keys() - arrays.keys())
    if allow_missing and missing:
        logger.info("%d arrays start afresh: %s", len(missing), ", ".join(missing))
        expected = {name: shape for name, shape in expected.items() if name in arrays}
    check_shapes(expected, {n: a.shape for n, a in arrays.items()}, config, where)
    from deeplab_gygo import backend  # files are read without Keras

    found = sorted(variables.keys() & arrays.keys())
    backend.set_values(
        [variables[name] for name in found], [arrays[name].astype(np.float32) for name in found]
    )


def dropout_states(parts: Sequence[keras.Model]) -> list[keras.Variable]:
    """Returns the random states of the dropout layers of networks; they are no weights."""
    return [v for part in parts for v in part.variables if "seed_generator" in v.path]


def reset_dropout(parts: Sequence[keras.Model]) -> None:
    """Sets the random states of dropout layers to zero; dropout is off in inference."""
    from deeplab_gygo import backend  # files are read without Keras

    states = dropout_states(parts)
    backend.set_values(states, [np.zeros(v.shape, v.dtype) for v in states])


def load_parent(path: str | Path | None = None, *, inference_only: bool = True) -> tuple[Any, Card]:
    """Builds a network from its weight file.

    Args:
        path: File written by `save_parent`; None takes the shipped parent.
        inference_only: Whether DeepLabV3+ may leave its encoder out until `build_encoder`, which
            starts faster; False builds every part as a Keras model.

    Returns:
        The network, of the class that its method names, and the card.

    Raises:
        WeightsError: The file is missing, damaged or of another architecture.
    """
    from deeplab_gygo import backend  # files are read without Keras

    path = shipped_parent() if path is None else Path(path)
    with open_weights(path) as file:
        kind = method_of_architecture(file.config).resolve("network")
        if inference_only and hasattr(kind, "from_file"):
            return kind.from_file(file), file.card
        network = backend.without_values(partial(kind, file.config))
        arrays = file.read(shapes_of(variables_by_name(network)))
    assign(network, arrays, path)
    reset_dropout(network.parts)
    if "trunk" in file.card:
        source = file.card["trunk"].removeprefix(f"{file.config.trunk_name}, ")
        network.trunk_source = source
    return network, file.card
