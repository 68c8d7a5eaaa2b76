"""From probabilities to masks: several objects, stray components."""

from __future__ import annotations

import cv2
import numpy as np

REACH = 0.2
"""How far a part may lie from the previous mask, as a part of the root of its area."""

PARTS_REACH = 0.5
"""How far parts of one object may lie from its largest one, likewise: a highlight, or something in
front of it, may divide it."""

LEAST_KEPT = 0.2
"""Below this part of the object's predicted area, stray parts are kept: the object has jumped."""


def soft_aggregate(probabilities: np.ndarray) -> np.ndarray:
    r"""Makes the probabilities of several objects compete (Oh et al., STM, ICCV 2019, eq. 5).

    With $p_0 = \prod_k (1 - p_k)$ for the background, the merged probability is the share of the
    odds, $\frac{p_k / (1 - p_k)}{\sum_j p_j / (1 - p_j)}$ over $j = 0 \dots N$.

    Args:
        probabilities: float32 [N, H, W] in 0..1, one plane an object.

    Returns:
        float32 [N + 1, H, W]; plane 0 is the background, and the planes sum to 1.
    """
    bounded = np.clip(probabilities.astype(np.float32), 1e-5, 1.0 - 1e-5)
    background = np.clip(np.prod(1.0 - bounded, axis=0, keepdims=True), 1e-5, 1.0 - 1e-5)
    stacked = np.concatenate([background, bounded])
    odds = stacked / (1.0 - stacked)
    return odds / odds.sum(axis=0, keepdims=True)


def keep_connected(
    probability: np.ndarray, previous: np.ndarray, threshold: float, reach: float = REACH
) -> np.ndarray:
    """Drops predicted parts that do not touch the previous mask, grown by its own size.

    Nothing is dropped where there was no previous object, or where the object has jumped.

    Args:
        probability: float32 [H, W] in 0..1.
        previous: bool or uint8 [H, W], the previous mask.
        threshold: Probability above which a pixel is object.
        reach: How far a part may lie from the previous mask, as a part of the root of its area.

    Returns:
        float32 [H, W]: 0 inside dropped parts, unchanged elsewhere.
    """
    return connected(probability, previous, threshold, reach)[0]


def connected(
    probability: np.ndarray,
    previous: np.ndarray,
    threshold: float,
    reach: float = REACH,
    usual: float = 0.0,
) -> tuple[np.ndarray, bool]:
    """Does what `keep_connected` does, and says whether the object has jumped.

    An object that passes behind something comes out on the other side of it, further away than a
    part may lie. So what is missing of the object is looked for beyond that, up to `PARTS_REACH` of
    its usual size, but no more than is missing.

    Args:
        probability: float32 [H, W] in 0..1.
        previous: bool or uint8 [H, W], the previous mask.
        threshold: Probability above which a pixel is object.
        reach: How far a part may lie from the previous mask, as a part of the root of its area.
        usual: Area that the object has where it is not hidden, pixels; 0 looks for nothing.

    Returns:
        The probability, 0 inside dropped parts; and whether (nearly) all that is predicted lies
        away from the previous mask, so that nothing was dropped. That is False where there was no
        previous object, or nothing is predicted.
    """
    predicted = (probability > threshold).astype(np.uint8)
    stray = _stray(predicted, previous, reach, usual)
    if stray is None:
        return probability, False
    if is_little(predicted[~stray], predicted):
        return probability, True
    return np.where(stray, np.float32(0), probability), False


def main_part(probability: np.ndarray, threshold: float) -> np.ndarray:
    """Drops predicted parts that lie apart from the largest one.

    Args:
        probability: float32 [H, W] in 0..1.
        threshold: Probability above which a pixel is object.

    Returns:
        float32 [H, W]: 0 inside dropped parts, unchanged elsewhere; nothing is dropped where the
        largest part is little of what is predicted.
    """
    predicted = (probability > threshold).astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(predicted, connectivity=8)
    if count <= 2:
        return probability
    largest = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    return keep_connected(probability, labels == largest, threshold, PARTS_REACH)


def keep_recognized(
    probability: np.ndarray,
    likeness: np.ndarray,
    threshold: float,
    least: float,
    *,
    always_one: bool = False,
) -> np.ndarray:
    """Drops predicted parts that do not look like what is remembered of the object.

    Args:
        probability: float32 [H, W] in 0..1.
        likeness: float32 [H, W] in -1..1: +1 where a place looks like the remembered object, -1
            like its background.
        threshold: Probability above which a pixel is object.
        least: Mean likeness that a part must have.
        always_one: Keep the most alike part however little it is: the object was there a moment
            ago.

    Returns:
        float32 [H, W]: 0 inside dropped parts, unchanged elsewhere.
    """
    predicted = (probability > threshold).astype(np.uint8)
    count, labels = cv2.connectedComponents(predicted, connectivity=8)
    sizes = np.bincount(labels.ravel(), minlength=count)
    means = np.bincount(labels.ravel(), likeness.ravel(), minlength=count) / np.maximum(sizes, 1)
    strange = means < least
    strange[0] = False
    if always_one and count > 1:
        strange[1 + int(np.argmax(means[1:]))] = False
    return np.where(strange[labels], np.float32(0), probability)


def _stray(
    predicted: np.ndarray, previous: np.ndarray, reach: float, usual: float
) -> np.ndarray | None:
    """Finds parts that do not touch the previous mask: bool [H, W]; None where there is none."""
    area = np.count_nonzero(previous)
    if not area or not predicted.any():
        return None
    count, labels, stats, _ = cv2.connectedComponentsWithStats(predicted, connectivity=8)
    radius = max(1, round(reach * float(np.sqrt(area))))
    distance = cv2.distanceTransform((previous == 0).astype(np.uint8), cv2.DIST_L2, 3)
    reached = np.zeros(count, bool)
    reached[labels[distance <= radius]] = True
    reached[0] = True
    further = PARTS_REACH * float(np.sqrt(usual))
    if further > radius and not reached.all():
        stray = ~reached[labels]
        nearest = np.full(count, np.inf, np.float32)
        np.minimum.at(nearest, labels[stray], distance[stray])
        sizes = stats[:, cv2.CC_STAT_AREA]
        missing = usual - int(sizes[1:][reached[1:]].sum())
        for part in np.argsort(nearest, kind="stable"):
            if nearest[part] <= further and sizes[part] <= missing:
                reached[part] = True
                missing -= int(sizes[part])
    return ~reached[labels]


def is_little(kept: np.ndarray, predicted: np.ndarray) -> bool:
    """Says whether what is kept of a prediction is so little that the rest was the object.

    Args:
        kept: bool or uint8, pixels that are kept.
        predicted: bool or uint8, all pixels that were predicted.

    Returns:
        Whether it is less than `LEAST_KEPT` of them.
    """
    return np.count_nonzero(kept) < LEAST_KEPT * np.count_nonzero(predicted)


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Returns intersection over union of two masks, bool or uint8 [H, W]; 1 for two empty ones."""
    union = np.count_nonzero((one != 0) | (other != 0))
    return np.count_nonzero((one != 0) & (other != 0)) / union if union else 1.0
