"""Target model: a linear classifier of one object against its background, in closed form.

Robinson et al., "Learning Fast and Robust Target Models for Video Object Segmentation" (FRTM), CVPR
2020, adapt a small model on frozen features with a second-order optimizer, and the decoder turns
its coarse score into a mask. Here the model is linear and solved for in one step: a ridge
regression of the coded mask on the encoder's features. It takes some hundredths of a second, has no
learning rate and no number of steps, ignores the position of the object, and does not drift.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from deeplab_gygo import backend

RIDGE = 1e-4
"""Weight of the squared coefficients, for features of unit variance and unit mean length. On
held-back sequences the sign of the score has J .604, .618, .623, .618 and .528 with 1e-5 to 1e-1,
fitted to 12 views; a smaller weight tells like objects apart better."""

MIN_CLASS_WEIGHT = 0.1
"""Least share of the loss of the object, and of its background, whatever their areas."""


class TargetModel(NamedTuple):
    """A linear model of one object on the encoder's features.

    Attributes:
        weight: float32 [C], weights of the features at the output stride.
        bias: Score of zero features.
    """

    weight: np.ndarray
    bias: float

    @classmethod
    def fit(cls, features: Sequence[Any], coded: Sequence[np.ndarray]) -> TargetModel | None:
        """Fits the model to annotated frames.

        Args:
            features: Encoder features "high" of every frame, [1, h, w, C], any backend's tensors.
            coded: Masks of the frames, coded as guides: float32 [h * block, w * block, 1], +1
                object, -1 background.

        Returns:
            The model; None where no position is mostly object, or none mostly background, in any
            frame: the object is too small for the stride of the features.
        """
        planes = [ops.convert_to_numpy(ops.cast(plane, "float32"))[0] for plane in features]
        positions = [plane.reshape(-1, plane.shape[-1]).astype(np.float64) for plane in planes]
        masks = []
        for mask, plane in zip(coded, planes, strict=True):
            block = mask.shape[0] // plane.shape[0]
            blocks = mask.reshape(plane.shape[0], block, plane.shape[1], block)
            masks.append(blocks.mean(axis=(1, 3), dtype=np.float64).reshape(-1))
        everywhere = np.concatenate(masks)
        if not (everywhere > 0).any() or not (everywhere < 0).any():
            return None
        values = np.concatenate(positions)
        mean, spread = values.mean(axis=0), values.std(axis=0) + 1e-3
        count = values.shape[1]
        normal, moment = np.zeros((count + 1, count + 1)), np.zeros(count + 1)
        for position, mask in zip(positions, masks, strict=True):
            design = np.ones((len(position), count + 1))
            design[:, :count] = (position - mean) / (spread * np.sqrt(count))
            weighted = design.T * _loss_weights(mask)
            normal += weighted @ design
            moment += weighted @ np.sign(mask)
        normal, moment = normal / len(positions), moment / len(positions)
        solved = np.linalg.solve(normal + RIDGE * np.eye(count + 1), moment)
        weight = solved[:count] / (spread * np.sqrt(count))
        return cls(weight.astype(np.float32), float(solved[count] - weight @ mean))

    @property
    def values(self) -> np.ndarray:
        """Weight and bias as `target_guide` takes them: float32 [1, C + 1], the bias last."""
        return np.append(self.weight, np.float32(self.bias)).astype(np.float32)[None]


def _loss_weights(mask: np.ndarray) -> np.ndarray:
    """Weights of the positions of a frame, sum 1: unambiguous ones more, classes balanced."""
    inside = mask > 0
    share = float(inside.mean())
    balance = np.clip(share, MIN_CLASS_WEIGHT, 1 - MIN_CLASS_WEIGHT)
    weights = np.abs(mask) * np.where(
        inside, balance / max(share, 1e-9), (1 - balance) / max(1 - share, 1e-9)
    )
    return weights / max(weights.sum(), 1e-9)


def target_guide(features: Any, model: Any, block: int) -> Any:
    """Computes the scores of target models as guides; to be compiled or traced.

    Args:
        features: Encoder features "high", [B, h, w, C].
        model: `TargetModel.values`, float32 [1, C + 1], or one per item, [B, C + 1].
        block: Side of the block of guide positions that one position of the features covers.

    Returns:
        float32 [B, h * block, w * block, 1] in -1..1, computed in float32.
    """
    features, model = ops.cast(features, "float32"), ops.cast(model, "float32")
    score = ops.sum(features * model[:, None, None, :-1], axis=-1, keepdims=True)
    score = ops.clip(score + model[:, None, None, -1:], -1.0, 1.0)
    shape = ops.shape(score)
    return backend.resize(score, block * shape[1], block * shape[2])


def joined_guide(previous: Any, score: Any) -> Any:
    """Joins the previous mask and the score of a target model to the decoder's guide.

    Args:
        previous: float32 [..., H/4, W/4, 1], the coded previous mask; None for unknown.
        score: float32 of the same shape, of `target_guide`; None for unknown.

    Returns:
        float32 [..., H/4, W/4, 2], a tensor of the backend; None if both are unknown.
    """
    if previous is None and score is None:
        return None
    blank = ops.zeros_like(score if previous is None else previous)
    planes = [blank if plane is None else plane for plane in (previous, score)]
    return ops.concatenate(planes, axis=-1)
