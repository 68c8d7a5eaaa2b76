"""Parent weights as one file: small arrays, the architecture, and where they come from.

The file is a numpy `.npz` without pickles. Every variable of the network is stored under its
layer's and its own name; the entry `__card__` holds a JSON text with the architecture and the
provenance. The provenance of OSMN and OSVOS names the method; a file without is of DeepLabV3+. The
shipped parent lies beside this module's package, with its hash.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import zipfile
import zlib
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import numpy as np

from deeplab_gygo.errors import StorageError, WeightsError
from deeplab_gygo.io.config_file import from_dict, to_plain
from deeplab_gygo.methods import METHODS, find_method, method_of_architecture
from deeplab_gygo.models.config import ModelConfig
from deeplab_gygo.models.quantized import dequantize, quantize

logger = logging.getLogger(__name__)

Storage = Literal["float32", "float16", "int8"]

FORMAT = "deeplab_gygo.parent.1"
SHIPPED = "parent.npz"

ENCODER = "encoder/"
"""Beginning of the names of what belongs to the encoder of DeepLabV3+."""


def shipped_parent(method: str = "deeplab") -> Path:
    """Returns the path of the parent that the package ships.

    Args:
        method: A key of `methods.METHODS` with weights.

    Raises:
        WeightsError: This installation carries none.
    """
    name = SHIPPED if method == "deeplab" else f"{method}.npz"
    path = Path(str(resources.files("deeplab_gygo") / "weights" / name))
    if not path.is_file():
        remedy = "Reinstall the package, or give --weights"
        if method != "deeplab":
            remedy = "Train a parent with `deeplab-gygo train` and give it as --weights"
        raise WeightsError(
            f"The package ships a parent of {method}, or --weights names one",
            met="no such file",
            where=path,
            remedy=remedy,
        )
    return path


def file_hash(path: str | Path) -> str:
    """Returns the SHA-256 of a file in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def variables_by_name(parent: Any) -> dict[str, Any]:
    """Returns every variable of the networks under a name that every process gives it."""
    return named_variables(*parent.parts)


def named_variables(*parts: Any) -> dict[str, Any]:
    """Returns every variable of some Keras models under such a name."""
    named: dict[str, Any] = {}
    for part in parts:
        _name_variables(part, f"{part.name}/", named)
    return named


def _name_variables(model: Any, prefix: str, named: dict[str, Any]) -> None:
    for layer in model.layers:
        if hasattr(layer, "layers"):  # a model within a model
            _name_variables(layer, f"{prefix}{layer.name}/", named)
            continue
        for variable in layer.variables:
            if "seed_generator" in variable.path:
                continue  # state of dropout's random numbers, not a weight
            named[f"{prefix}{layer.name}/{variable.name}"] = variable


def save_parent(
    path: str | Path,
    parent: Any,
    card: dict[str, Any] | None = None,
    *,
    values: dict[str, np.ndarray] | None = None,
    storage: Storage = "float16",
) -> Path:
    """Writes a parent.

    Args:
        path: File to write; the folder must exist. Written beside and renamed.
        parent: Network.
        card: Provenance: data, terms, scores. For OSMN and OSVOS the method and, unless it says so
            itself, the trunk and where its first weights are from are added.
        values: Values to store instead of the network's, by name (a moving average).
        storage: How kernels are stored; `int8` has a scale for every output channel and is for
            files that must be small.

    Returns:
        The path.

    Raises:
        StorageError: The file cannot be written.
    """
    path, card = Path(path), dict(card or {})
    if not isinstance(parent.config, ModelConfig):
        card["method"] = method_of_architecture(parent.config).name
        card.setdefault("trunk", f"{parent.config.trunk_name}, {parent.trunk_source}")
    arrays = {}
    for name, variable in variables_by_name(parent).items():
        array = np.asarray((values or {}).get(name, variable.numpy()), np.float32)
        # Variances of BatchNorm span many magnitudes, and are few: they stay exact.
        half = storage == "float16" and array.ndim > 1
        arrays[name] = array.astype(np.float16) if half else array
    if storage == "int8":
        arrays = quantize(arrays)
    text = json.dumps({"format": FORMAT, "model": to_plain(parent.config), "card": card})
    buffer = io.BytesIO()
    np.savez_compressed(buffer, __card__=np.frombuffer(text.encode(), np.uint8), **arrays)
    side = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        side.write_bytes(buffer.getvalue())
        os.replace(side, path)
    except OSError as error:
        side.unlink(missing_ok=True)
        raise StorageError(
            "Weights can be written", met=error.strerror, where=path, remedy="Free some space"
        ) from error
    return path


def read_parent_file(
    path: str | Path,
) -> tuple[Any, dict[str, np.ndarray], dict[str, Any]]:
    """Reads architecture, arrays and card of a parent without building it.

    Args:
        path: File written by `save_parent`.

    Returns:
        Architecture, arrays by name, provenance.

    Raises:
        WeightsError: The file is missing, damaged, or no parent of this package.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError("Weights are an existing file", met="no such file", where=path)
    try:
        with np.load(path, allow_pickle=False) as archive:
            text = archive["__card__"].tobytes().decode()
            stored = {key: archive[key] for key in archive.files if key != "__card__"}
        arrays = dequantize(stored)
        head = json.loads(text)
    except (zipfile.BadZipFile, zlib.error, ValueError, KeyError, EOFError, OSError) as error:
        raise WeightsError(
            "Weights are a parent written by this package (.npz)",
            met=f"{type(error).__name__}: {error}",
            where=path,
            remedy="Give a file made by `deeplab-gygo train`, or leave --weights out",
        ) from error
    if head.get("format") != FORMAT:
        raise WeightsError(f"Weights have the format {FORMAT}", met=head.get("format"), where=path)
    model, method = head["model"], head["card"].get("method", head["card"].get("system", "deeplab"))
    if method not in METHODS or not METHODS[method].architecture:
        known = [m.name for m in METHODS.values() if m.architecture]
        raise WeightsError(f"Weights are of a method of {', '.join(known)}", met=method, where=path)
    if method == "deeplab":
        # Files from before these parts were thought of do not name them, and have none.
        model = {"memory": False, "refine": False, **model}
    _drop_former_refinement(model if method == "deeplab" else model.get("deeplab", {}), arrays)
    return from_dict(find_method(method).resolve("architecture"), model, path), arrays, head["card"]


def _drop_former_refinement(model: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Takes from a file what it has of the first kind of refinement.

    It had no guided filters and changed next to nothing: `refine_channels` without `refine_guides`.
    """
    if "refine_channels" in model and "refine_guides" not in model:
        model["refine"] = False
        for name in [name for name in arrays if "refiner" in name.split("/")]:
            del arrays[name]


def assign(
    parent: Any,
    arrays: dict[str, np.ndarray],
    where: str | Path,
    *,
    grow: bool = False,
) -> None:
    """Sets the variables of a network from arrays by name.

    Args:
        parent: Network.
        arrays: Values by name.
        where: Their source, for messages.
        grow: Leave what the arrays lack as it is: parts that the architecture gained.

    Raises:
        WeightsError: Names or shapes differ: the weights belong to another architecture.
    """
    _assign(variables_by_name(parent), arrays, parent.config, where, grow=grow)


def _assign(
    variables: dict[str, Any],
    arrays: dict[str, np.ndarray],
    config: Any,
    where: str | Path,
    *,
    grow: bool = False,
) -> None:
    lacking = sorted(set(variables) - set(arrays))
    if grow and lacking:
        logger.info("%d arrays start afresh: %s", len(lacking), ", ".join(lacking))
    missing = [] if grow else lacking
    unknown = sorted(set(arrays) - set(variables))
    wrong = [
        f"{name} {tuple(arrays[name].shape)} for {tuple(variable.shape)}"
        for name, variable in variables.items()
        if name in arrays and tuple(arrays[name].shape) != tuple(variable.shape)
    ]
    if missing or unknown or wrong:
        parts = [("missing", missing), ("unknown", unknown), ("of another shape", wrong)]
        met = "; ".join(f"{len(names)} {kind} ({names[0]})" for kind, names in parts if names)
        raise WeightsError(
            f"Weights fit the architecture {method_of_architecture(config).name} on {config.trunk_name}",
            met=met,
            where=where,
            remedy="Use weights of the same architecture",
        )
    for name, variable in variables.items():
        if name in arrays:
            variable.assign(arrays[name].astype(np.float32))


def load_parent(path: str | Path | None = None) -> tuple[Any, dict[str, Any]]:
    """Builds a parent from its file.

    Args:
        path: File written by `save_parent`; None takes the shipped parent.

    Returns:
        The network, of the class that its method has, and the card.

    Raises:
        WeightsError: The file is missing, damaged or of another architecture.
    """
    path = shipped_parent() if path is None else Path(path)
    config, arrays, card = read_parent_file(path)
    parent = _build(config, arrays)
    if getattr(parent, "frozen", None) is None:
        assign(parent, arrays, path)
    else:  # its encoder waits with its own
        others = {k: v for k, v in arrays.items() if not k.startswith(ENCODER)}
        _assign(named_variables(*parent.built_parts), others, config, path)
    if not isinstance(config, ModelConfig):
        parent.trunk_source = card["trunk"].removeprefix(f"{config.trunk_name}, ")
    return parent, card


def _build(config: Any, arrays: dict[str, np.ndarray]) -> Any:
    """Builds a network with random weights, for others to be put into it."""
    network = method_of_architecture(config).resolve("network")
    return network(config, arrays=arrays) if isinstance(config, ModelConfig) else network(config)
