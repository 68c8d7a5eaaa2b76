"""Statistics of confidence against true J."""

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


def detection(
    confidence: ArrayLike, quality: ArrayLike, below: float, wanted: float
) -> dict[str, float]:
    """Computes how well frames of low confidence are those of low J.

    Args:
        confidence: Values [N].
        quality: True J [N].
        below: Confidence below which a frame is called.
        wanted: J below which it should be.

    Returns:
        The two thresholds, the `share` of frames that should be called, `precision` and `recall`;
        NaN where no frame is called, or none should be.
    """
    called, bad = np.asarray(confidence) < below, np.asarray(quality) < wanted
    right = float(np.count_nonzero(called & bad))
    counts = {"precision": np.count_nonzero(called), "recall": np.count_nonzero(bad)}
    rates = {name: right / count if count else float("nan") for name, count in counts.items()}
    return {"below": below, "wanted_J": wanted, "share": float(np.mean(bad)), **rates}
