"""Parent weights as one file: half-precision arrays, the architecture, and where they come from.

The file is a numpy `.npz` without pickles. Every variable of the network is stored under its
layer's and its own name; the entry `__card__` holds a JSON text with the architecture and the
provenance. The shipped parent lies beside this module's package, with its hash.
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
from typing import TYPE_CHECKING, Any

import numpy as np

from deeplab_gygo.config import ModelConfig, from_dict, to_plain
from deeplab_gygo.errors import StorageError, WeightsError

if TYPE_CHECKING:
    from deeplab_gygo.models.deeplab import DeepLabV3Plus

logger = logging.getLogger(__name__)

FORMAT = "deeplab_gygo.parent.1"
SHIPPED = "parent.npz"


def shipped_parent() -> Path:
    """Returns the path of the parent that the package ships.

    Raises:
        WeightsError: This installation carries none.
    """
    path = Path(str(resources.files("deeplab_gygo") / "parents" / SHIPPED))
    if not path.is_file():
        raise WeightsError(
            "The package ships a parent",
            met="no such file",
            where=path,
            remedy="Reinstall the package, or give --weights",
        )
    return path


def file_hash(path: str | Path) -> str:
    """Returns the SHA-256 of a file in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def variables_by_name(parent: DeepLabV3Plus) -> dict[str, Any]:
    """Returns every variable of the network under a name that every process gives it."""
    named = {}
    for part in parent.parts:
        for layer in part.layers:
            for variable in layer.variables:
                if "seed_generator" in variable.path:
                    continue  # state of dropout's random numbers, not a weight
                named[f"{part.name}/{layer.name}/{variable.name}"] = variable
    return named


def save_parent(
    path: str | Path,
    parent: DeepLabV3Plus,
    card: dict[str, Any] | None = None,
    *,
    values: dict[str, np.ndarray] | None = None,
    half: bool = True,
) -> Path:
    """Writes a parent.

    Args:
        path: File to write; the folder must exist. Written beside and renamed.
        parent: Network.
        card: Provenance: data, terms, scores; stored as it is.
        values: Values to store instead of the network's, by name (a moving average).
        half: Store kernels as float16, which halves the file.

    Returns:
        The path.

    Raises:
        StorageError: The file cannot be written.
    """
    path = Path(path)
    arrays = {}
    for name, variable in variables_by_name(parent).items():
        array = np.asarray((values or {}).get(name, variable.numpy()), np.float32)
        # Variances of BatchNorm span many magnitudes, and are few: they stay exact.
        arrays[name] = array.astype(np.float16) if half and array.ndim > 1 else array
    text = json.dumps({"format": FORMAT, "model": to_plain(parent.config), "card": card or {}})
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


def read_parent_file(path: str | Path) -> tuple[ModelConfig, dict[str, np.ndarray], dict[str, Any]]:
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
            arrays = {key: archive[key] for key in archive.files if key != "__card__"}
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
    # Files from before these parts were thought of do not name them, and have none.
    model = {"memory": False, "refine": False, **head["model"]}
    return from_dict(ModelConfig, model, path), arrays, head["card"]


def assign(
    parent: DeepLabV3Plus,
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
    variables = variables_by_name(parent)
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
            f"Weights fit the architecture {parent.config.backbone}",
            met=met,
            where=where,
            remedy="Use weights of the same architecture",
        )
    for name, variable in variables.items():
        if name in arrays:
            variable.assign(arrays[name].astype(np.float32))


def load_parent(path: str | Path | None = None) -> tuple[DeepLabV3Plus, dict[str, Any]]:
    """Builds a parent from its file.

    Args:
        path: File written by `save_parent`; None takes the shipped parent.

    Returns:
        The network and the card.

    Raises:
        WeightsError: The file is missing, damaged or of another architecture.
    """
    # Keras is needed only here: a file is checked without it.
    from deeplab_gygo.models.deeplab import DeepLabV3Plus

    path = shipped_parent() if path is None else Path(path)
    config, arrays, card = read_parent_file(path)
    parent = DeepLabV3Plus(config)
    assign(parent, arrays, path)
    return parent, card
