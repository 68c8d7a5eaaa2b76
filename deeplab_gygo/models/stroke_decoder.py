"""The decoder of strokes: a head and a refinement of their own beside the encoder of a parent.

Their guide is the mask to correct and the strokes of a person (`models.stroke_marks`), in place of
the previous mask and the score of a target model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from deeplab_gygo.errors import WeightsError
from deeplab_gygo.models.config import KEY_LAYER, ModelConfig
from deeplab_gygo.models.weight_file import load_parent, read_parent_file, shipped_parent
from deeplab_gygo.models.weight_reader import open_weights

if TYPE_CHECKING:
    import keras

    from deeplab_gygo.models.deeplab import DeepLabV3Plus

NAME = "strokes.npz"
"""File of the shipped decoder of strokes, beside the shipped parent."""


class Decoder(NamedTuple):
    """The decoder of a network, to be saved alone.

    Attributes:
        config: Architecture of the whole.
        parts: Head, and refinement where the architecture has one.
    """

    config: ModelConfig
    parts: list[keras.Model]


def encoder_digest(arrays: Mapping[str, np.ndarray]) -> str:
    """Returns the SHA-256 of the weights of an encoder, without those of the memory's keys.

    Args:
        arrays: Of a parent's file, by name.
    """
    digest = hashlib.sha256()
    for name in sorted(arrays):
        if name.startswith("encoder/") and KEY_LAYER not in name:
            digest.update(name.encode() + np.ascontiguousarray(arrays[name], np.float32).tobytes())
    return digest.hexdigest()


def load_stroke_network(path: str | Path | None = None) -> DeepLabV3Plus:
    """Builds the shipped parent's encoder with a decoder of strokes.

    Args:
        path: File of a training with `trainable: strokes`; None takes the shipped one.

    Raises:
        WeightsError: The file is missing or damaged, or was trained on another encoder.
    """
    parent = shipped_parent()
    with open_weights(parent.with_name(NAME) if path is None else path) as file:
        _, arrays, _ = read_parent_file(parent)
        if file.card.get("encoder_sha256") != encoder_digest(arrays):
            raise WeightsError(
                "A decoder of strokes belongs to the encoder that it was trained on",
                met="another encoder than that of the shipped parent",
                where=file.path,
                remedy="Train it with init_from: the shipped parent, and trainable: strokes",
            )
        return load_parent(parent)[0].with_decoder(file)
