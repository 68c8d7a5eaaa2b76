"""Reading of weight files: the card against its schema, then names, sizes and values of the arrays.

Nothing is unpacked before the list of members is checked, and the arrays of a network not before
their names and sizes are those of its architecture.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from deeplab_gygo.errors import WeightsError
from deeplab_gygo.io.arrays import ArrayArchive, open_npz
from deeplab_gygo.io.config_file import from_dict
from deeplab_gygo.io.plain_values import shown
from deeplab_gygo.io.reading import check_regular, parse_json
from deeplab_gygo.io.scratch import held
from deeplab_gygo.methods import METHODS, find_method, method_of_architecture
from deeplab_gygo.models.quantized import SCALE, dequantize

Card = dict[str, Any]
"""Provenance: data, terms, training configuration, scores."""

Shapes = Mapping[str, tuple[int, ...]]
"""Shapes of variables by name."""

FORMAT = "deeplab_gygo.parent.1"

CARD_NAME = "__card__"

MAX_CARD_BYTES = 1 << 20
"""Limit on architecture and provenance."""

MAX_BYTES = 1 << 30
"""Limit on the arrays of a file together, bytes unpacked."""

_DTYPES = (np.float16, np.float32, np.int8, np.uint8)  # of arrays; the last one of the card
_HEADER_BYTES = 4200  # most that a member has beside the numbers of its array
# Trained weights can hardly be compressed; blank ones, of a network at its start, can.
_FREE_BYTES, _MAX_RATIO = 64 << 20, 16

_RULE = "Weights are a file written by this package (.npz)"
_REMEDY = "Give a file made by `deeplab-gygo train`, or leave --weights out"


class WeightFile:
    """An open weight file; made by `open_weights`.

    Attributes:
        path: Its path.
        config: Architecture.
        card: Provenance.
    """

    def __init__(self, path: Path, archive: ArrayArchive):
        self.path, self._archive = path, archive
        array = archive.read(CARD_NAME, MAX_CARD_BYTES)
        self.config, self.card = _parsed_card(array.tobytes(), path)

    def read(self, shapes: Shapes | None = None) -> dict[str, np.ndarray]:
        """Reads the arrays, float16 or float32.

        Args:
            shapes: Those of the architecture's variables; None leaves names and shapes unchecked.

        Returns:
            Arrays by name.

        Raises:
            WeightsError: The file is damaged, its arrays are not those of the architecture, or
                have values that are not finite.
        """
        sizes = {name: size for name, size in self._archive.sizes.items() if name != CARD_NAME}
        if shapes is not None:
            self._check_sizes(sizes, shapes)
        stored = {name: self._archive.read(name) for name in sizes}
        for name, array in stored.items():
            scaled = name + SCALE in stored
            if array.dtype == np.uint8 or scaled != (array.dtype == np.int8):
                raise WeightsError(_RULE, met=f"{name} of {array.dtype}", where=self.path)
        try:
            with np.errstate(all="ignore"):  # values that are not finite are reported below
                arrays = _with_two_planes(dequantize(stored))
        except ValueError as error:
            raise WeightsError(_RULE, met=error, where=self.path, remedy=_REMEDY) from error
        self._check_values(arrays)
        if shapes is not None:
            check_shapes(shapes, {n: a.shape for n, a in arrays.items()}, self.config, self.path)
        return arrays

    def _check_sizes(self, sizes: dict[str, int], shapes: Shapes) -> None:
        names = {name.removesuffix(SCALE) for name in sizes}
        wrong = [
            f"{name} of {size} bytes"
            for name, size in sizes.items()
            # float32, for each value or, of its scales, each channel
            if size > 4 * math.prod(shapes.get(name.removesuffix(SCALE), ())) + _HEADER_BYTES
        ]
        check_fit(shapes.keys() - names, names - shapes.keys(), wrong, self.config, self.path)

    def _check_values(self, arrays: dict[str, np.ndarray]) -> None:
        for name, array in arrays.items():
            if not np.isfinite(array).all():
                raise WeightsError(
                    "Weights are finite",
                    met=f"NaN or infinity in {name}",
                    where=self.path,
                    remedy="Train with a lower learning rate, or give other weights",
                )
            if name.endswith("/moving_variance") and array.min(initial=0) < 0:
                raise WeightsError(
                    "Variances are 0 or more", met=f"less in {name}", where=self.path
                )


@contextmanager
def open_weights(path: str | Path) -> Iterator[WeightFile]:
    """Opens a weight file, and reads its card.

    Args:
        path: File written by `save_parent`, or its URL, which is copied once for the process.

    Yields:
        The file.

    Raises:
        WeightsError: The file is missing or damaged, not a weight file of this package, or would
            unpack to more than a network has.
    """
    path = held(path)
    if not path.exists():
        raise WeightsError("Weights are an existing file", met="no such file", where=path)
    size = check_regular(path, error=WeightsError)
    with open_npz(
        path,
        max_bytes=min(MAX_BYTES, _FREE_BYTES + _MAX_RATIO * size),
        dtypes=_DTYPES,
        rule=_RULE,
        remedy=_REMEDY,
        error=WeightsError,
    ) as archive:
        yield WeightFile(path, archive)


def _parsed_card(text: bytes, path: Path) -> tuple[Any, Card]:
    """Returns architecture and provenance of the text of a card."""
    head = parse_json(text, path, error=WeightsError)
    if not isinstance(head, dict):
        raise WeightsError(_RULE, met=f"a card that is {shown(head)}", where=path, remedy=_REMEDY)
    if head.get("format") != FORMAT:
        met = shown(head.get("format"))
        raise WeightsError(f"Weights have the format {FORMAT}", met=met, where=path)
    for key in ("model", "card"):
        if not isinstance(head.get(key), dict):
            met = f"{key}: {shown(head.get(key))}"
            raise WeightsError("A card has mappings model and card", met=met, where=path)
    card = head["card"]
    method = card.get("method", card.get("system", "deeplab"))
    known = [m.name for m in METHODS.values() if m.architecture]
    if method not in known:
        met = method if isinstance(method, str) else shown(method)
        raise WeightsError(f"Weights are of a method of {', '.join(known)}", met=met, where=path)
    if not isinstance(card.get("trunk", ""), str):
        raise WeightsError("The trunk of a card is a text", met=shown(card["trunk"]), where=path)
    architecture = find_method(method).resolve("architecture")
    return from_dict(architecture, head["model"], path, error=WeightsError), card


def _with_two_planes(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns weights whose guide has two planes.

    In version 0.2 the guide was their mean; the kernels that took it are divided between them.
    """
    for name, array in arrays.items():
        if name.endswith("head/guide_shape1/kernel") and array.ndim == 4 and array.shape[2] == 1:
            sharp = name.replace("guide_shape1", "recall_sharp_conv")
            arrays = {**arrays, name: np.repeat(array / 2, 2, axis=2)}
            if sharp in arrays:
                mask, guide = np.split(arrays[sharp], 2, axis=2)
                arrays[sharp] = np.concatenate([mask, guide / 2, guide / 2], axis=2)
            return arrays
    return arrays


def check_shapes(expected: Shapes, found: Shapes, config: Any, where: str | Path) -> None:
    """Checks names and shapes of arrays.

    Args:
        expected: Those of the variables of a network.
        found: Those of arrays.
        config: Architecture of the network.
        where: Source of the arrays, for messages.

    Raises:
        WeightsError: They differ: the arrays belong to another architecture.
    """
    wrong = [
        f"{name} {found[name]} for {shape}"
        for name, shape in expected.items()
        if name in found and found[name] != shape
    ]
    check_fit(expected.keys() - found.keys(), found.keys() - expected.keys(), wrong, config, where)


def check_fit(
    missing: set[str], unknown: set[str], wrong: list[str], config: Any, where: str | Path
) -> None:
    """Raises `WeightsError` if arrays are missing, unknown, or of another shape."""
    if not (missing or unknown or wrong):
        return
    kinds = [
        ("missing", sorted(missing)),
        ("unknown", sorted(unknown)),
        ("of another shape", wrong),
    ]
    raise WeightsError(
        f"Weights fit the architecture {method_of_architecture(config).name} on "
        f"{config.trunk_name}",
        met="; ".join(f"{len(names)} {kind} ({names[0][:200]})" for kind, names in kinds if names),
        where=where,
        remedy="Use weights of the same architecture",
    )
