"""A target model: what tells one object from its background, solved for and not trained.

Robinson et al., "Learning Fast and Robust Target Models for Video Object Segmentation" (FRTM), CVPR
2020, adapt a small model on frozen features by a second-order method and let the decoder make a
mask of its coarse score. Here the model is linear, so that the best one is found in one step: a
ridge regression of the coded mask on the encoder's features. It takes a few hundredths of a second,
has no rate and no number of steps, knows nothing of where the object was, and does not drift.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from deeplab_gygo import backend

RIDGE = 1e-5
"""Weight of the squared coefficients, of features brought to a spread of one and a mean length of
one. In trials on held-back sequences without fine-tuning (not kept), 1e-4 to 1e-6 were alike, 1e-3
lost .004 of J and 1e-2 .008."""

LEAST_SHARE = 0.1
"""Share of the loss that the object and its background have at least, however small they are."""


class TargetModel(NamedTuple):
    """A linear model of one object on the encoder's features.

    Attributes:
        weight: float32 [C], of the features at the output stride.
        bias: Score where all features are 0.
    """

    weight: np.ndarray
    bias: float

    @classmethod
    def fit(cls, features: Sequence[Any], coded: Sequence[np.ndarray]) -> TargetModel | None:
        """Solves for the model that knows an object best on pictures whose masks are known.

        Args:
            features: The encoder's "high", one [1, h, w, C] a picture, any backend's tensors.
            coded: The masks as guides, float32 [h * block, w * block, 1] each: +1 object, -1
                background.

        Returns:
            The model; None where no place is mostly object, or none is mostly background, in all
            of the pictures: the object is smaller than the features can tell.
        """
        planes = [ops.convert_to_numpy(ops.cast(plane, "float32"))[0] for plane in features]
        places = [plane.reshape(-1, plane.shape[-1]).astype(np.float64) for plane in planes]
        masks = [
            _at_places(mask, plane.shape[:2]) for mask, plane in zip(coded, planes, strict=True)
        ]
        everywhere = np.concatenate(masks)
        if not (everywhere > 0).any() or not (everywhere < 0).any():
            return None
        values = np.concatenate(places)
        mean, spread = values.mean(axis=0), values.std(axis=0) + 1e-3
        count = values.shape[1]
        normal, moment = np.zeros((count + 1, count + 1)), np.zeros(count + 1)
        for place, mask in zip(places, masks, strict=True):
            known = np.ones((len(place), count + 1))
            known[:, :count] = (place - mean) / (spread * np.sqrt(count))
            weighted = known.T * _loss_weights(mask)
            normal += weighted @ known
            moment += weighted @ np.sign(mask)
        normal, moment = normal / len(places), moment / len(places)
        solved = np.linalg.solve(normal + RIDGE * np.eye(count + 1), moment)
        weight = solved[:count] / (spread * np.sqrt(count))
        return cls(weight.astype(np.float32), float(solved[count] - weight @ mean))

    @property
    def values(self) -> np.ndarray:
        """Returns what `target_guide` takes: float32 [1, C + 1], the bias last."""
        return np.append(self.weight, np.float32(self.bias)).astype(np.float32)[None]


def _at_places(coded: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Averages a coded mask over the places of the features: float64 [h * w]."""
    block = coded.shape[0] // size[0]
    cells = coded.reshape(size[0], block, size[1], block)
    return cells.mean(axis=(1, 3), dtype=np.float64).reshape(-1)


def _loss_weights(mask: np.ndarray) -> np.ndarray:
    """Weighs the places of a picture, 1 in all: clear ones more, and neither side too little."""
    inside = mask > 0
    share = float(inside.mean())
    balance = np.clip(share, LEAST_SHARE, 1 - LEAST_SHARE)
    weights = np.abs(mask) * np.where(
        inside, balance / max(share, 1e-9), (1 - balance) / max(1 - share, 1e-9)
    )
    return weights / max(weights.sum(), 1e-9)


def target_guide(features: Any, model: Any, block: int) -> Any:
    """Says of every place how far it is the object's, as a guide; to be compiled or traced.

    Args:
        features: The encoder's "high", [B, h, w, C].
        model: `TargetModel.values`, float32 [1, C + 1].
        block: Places of a guide along a place of the features.

    Returns:
        float32 [B, h * block, w * block, 1] in -1..1, computed in float32.
    """
    features, model = ops.cast(features, "float32"), ops.cast(model, "float32")
    score = ops.sum(features * model[:, None, None, :-1], axis=-1, keepdims=True)
    score = ops.clip(score + model[0, -1], -1.0, 1.0)
    shape = ops.shape(score)
    return backend.resize(score, block * shape[1], block * shape[2])
