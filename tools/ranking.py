"""Rank statistics of confidence against true J."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def ranks(values: ArrayLike) -> np.ndarray:
    """Returns the ranks of values from 1 on, float64 [N]; ties share their mean rank."""
    array = np.asarray(values, np.float64)
    _, inverse, counts = np.unique(array, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2.0)[inverse]


def rank_correlation(one: ArrayLike, other: ArrayLike) -> float:
    """Computes Spearman's rank correlation.

    Args:
        one: Values [N].
        other: Values [N].

    Returns:
        -1..1; NaN if one of them has fewer than two different values.
    """
    first, second = ranks(one), ranks(other)
    first, second = first - first.mean(), second - second.mean()
    norm = np.sqrt(np.sum(first**2) * np.sum(second**2))
    return float(np.sum(first * second) / norm) if norm > 0 else float("nan")


def found_early(confidence: ArrayLike, quality: ArrayLike, fraction: float = 0.2) -> float:
    """Computes the fraction of the worst frames among the least confident ones.

    Args:
        confidence: Values [N].
        quality: True J [N].
        fraction: Fraction of the frames that are reviewed, and that count as the worst.

    Returns:
        0..1; chance gives `fraction`.
    """
    count = max(1, round(fraction * np.size(confidence)))
    reviewed = set(np.argsort(np.asarray(confidence), kind="stable")[:count].tolist())
    worst = set(np.argsort(np.asarray(quality), kind="stable")[:count].tolist())
    return len(reviewed & worst) / count
