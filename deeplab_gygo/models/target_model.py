"""Target model: a linear classifier of one object against its background, in closed form.

Robinson et al., "Learning Fast and Robust Target Models for Video Object Segmentation" (FRTM), CVPR
2020, adapt a small model on frozen features with a second-order optimizer, and the decoder turns
its coarse score into a mask. Here the model is linear and solved for in one step: a ridge
regression of the coded mask on the encoder's features. It takes some hundredths of a second, has no
learning rate and no number of steps, ignores the position of the object, and does not drift.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from deeplab_gygo import backend

RIDGE = 1e-4
"""Weight of the squared coefficients, for features of unit variance and unit mean length. A larger
one tells like objects apart less well (`experiments/results/parent_scenes_choices.json`)."""

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
            features: Encoder features "high" of every frame, [1, h, w, C], numpy arrays or any
                backend's tensors.
            coded: Masks of the frames, coded as guides: float32 [h * block, w * block, 1], +1
                object, -1 background.

        Returns:
            The model; None where no position is mostly object, or none mostly background, in any
            frame: the object is too small for the stride of the features.
        """
        planes = [backend.to_numpy(plane)[0] for plane in features]
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
        parts = [
            normal_equations(position[None], mask[None], mean, spread)
            for position, mask in zip(positions, masks, strict=True)
        ]
        solved = ridge_solution(sum(parts) / len(parts), mean, spread, RIDGE, np.linalg.solve)[0]
        return cls(solved[:-1].astype(np.float32), float(solved[-1]))

    @property
    def values(self) -> np.ndarray:
        """Weight and bias as `target_guide` takes them: float32 [1, C + 1], the bias last."""
        return np.append(self.weight, np.float32(self.bias)).astype(np.float32)[None]


def normal_equations(
    positions: Any, masks: Any, mean: Any, spread: Any, ops: ModuleType = np
) -> Any:
    """Computes the normal equations of the weighted least squares of frames.

    Args:
        positions: Features, float [B, n, C].
        masks: Coded masks, float [B, n] in -1..1. Unambiguous positions weigh more; object and
            background have at least `MIN_CLASS_WEIGHT` of the loss each.
        mean: Mean of the features, broadcast to [B, n, C].
        spread: Their standard deviation, likewise.
        ops: `numpy`, or `keras.ops` for tensors.

    Returns:
        Matrix and right-hand side side by side, float [B, C + 1, C + 2].
    """
    inside = masks > 0
    share = ops.mean(ops.where(inside, 1.0, 0.0), axis=1, keepdims=True)
    balance = ops.clip(share, MIN_CLASS_WEIGHT, 1 - MIN_CLASS_WEIGHT)
    factor = ops.where(
        inside, balance / ops.maximum(share, 1e-9), (1 - balance) / ops.maximum(1 - share, 1e-9)
    )
    weights = ops.abs(masks) * factor
    weights = weights / ops.maximum(ops.sum(weights, axis=1, keepdims=True), 1e-9)
    design = (positions - mean) / (spread * positions.shape[-1] ** 0.5)
    design = ops.concatenate([design, ops.ones_like(design[..., :1])], axis=-1)
    weighted = ops.transpose(design * weights[..., None], (0, 2, 1))
    labels = ops.sign(masks)[..., None]
    return ops.concatenate([ops.matmul(weighted, design), ops.matmul(weighted, labels)], axis=-1)


def ridge_solution(
    equations: Any,
    mean: Any,
    spread: Any,
    ridge: float,
    solve: Callable[[Any, Any], Any],
    ops: ModuleType = np,
) -> Any:
    """Solves normal equations with a weight of the squared coefficients.

    Args:
        equations: Of `normal_equations`, float [B, C + 1, C + 2].
        mean: As given there, float [..., C].
        spread: Likewise.
        ridge: Weight of the squared coefficients.
        solve: `solve(matrices, right-hand sides)` of the same library.
        ops: `numpy`, or `keras.ops` for tensors.

    Returns:
        Weights of the features as they are, and the bias last: float [B, C + 1].
    """
    count = equations.shape[1] - 1
    normal = equations[..., :-1] + ridge * ops.eye(count + 1)
    solved = solve(normal, equations[..., -1:])[..., 0]
    weight = solved[:, :count] / (spread * count**0.5)
    bias = solved[:, count:] - ops.sum(weight * mean, axis=-1, keepdims=True)
    return ops.concatenate([weight, bias], axis=-1)


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
