"""Removal of connected components that are no part of the object."""

from __future__ import annotations

import cv2
import numpy as np

REACH = 0.2
"""Distance from the previous mask within which a component is a part of the object, relative to the
root of the area of that mask."""

MAIN_REACH = 0.5
"""Likewise, from the largest component: a highlight or an occluder may divide an object."""

SUPPORT = 0.5
"""Fraction of a component of a close-up that was found in the whole frame: close-ups draw contours
and must not add parts, as reflections are (experiments/results/close_up_choices.json)."""

MIN_KEPT_AREA = 0.2
"""Fraction of the predicted area below which nothing is removed: the object has moved."""


def keep_near(
    probability: np.ndarray, reference: np.ndarray, threshold: float, reach: float = REACH
) -> np.ndarray:
    """Removes components far from a reference mask.

    Args:
        probability: float32 [H, W] in 0..1.
        reference: bool or uint8 [H, W], the reference, such as the previous mask.
        threshold: Probability above which a pixel is object.
        reach: Distance within which a component is kept, relative to the root of the area of the
            reference.

    Returns:
        float32 [H, W]: 0 inside the removed components, unchanged elsewhere. Nothing is removed
        where less than `MIN_KEPT_AREA` of the prediction would remain, or the reference is empty.
    """
    predicted = (probability > threshold).astype(np.uint8)
    area = np.count_nonzero(reference)
    count, labels = cv2.connectedComponents(predicted, connectivity=8)
    if not area or count <= 2:  # All of a single component is kept, wherever it is.
        return probability
    radius = max(1, round(reach * float(np.sqrt(area))))
    distance = cv2.distanceTransform((reference == 0).astype(np.uint8), cv2.DIST_L2, 3)
    reached = np.zeros(count, bool)
    reached[labels[distance <= radius]] = True
    reached[0] = True
    removed = ~reached[labels]
    if np.count_nonzero(predicted[~removed]) < MIN_KEPT_AREA * np.count_nonzero(predicted):
        return probability
    return np.where(removed, np.float32(0), probability)


def keep_supported(
    probability: np.ndarray, found: np.ndarray, threshold: float, share: float = SUPPORT
) -> np.ndarray:
    """Takes components that are mostly new back to what was found before.

    Args:
        probability: float32 [H, W] in 0..1.
        found: The same, as it was found before.
        threshold: Probability above which a pixel is object.
        share: Least fraction of a component that was object before.

    Returns:
        float32 [H, W]: `found` inside the components that are mostly new, else `probability`.
    """
    predicted = (probability > threshold).astype(np.uint8)
    count, labels = cv2.connectedComponents(predicted, connectivity=8)
    if count <= 2:  # All of a single component is kept.
        return probability
    areas = np.bincount(labels.ravel(), minlength=count)
    before = np.bincount(labels[found > threshold], minlength=count)
    is_new = before < share * areas
    is_new[0] = False
    return np.where(is_new[labels], found, probability)


def main_component(probability: np.ndarray, threshold: float) -> np.ndarray:
    """Removes components far from the largest one; arguments and result as `keep_near`."""
    predicted = (probability > threshold).astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(predicted, connectivity=8)
    if count <= 2:
        return probability
    largest = labels == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    return keep_near(probability, largest, threshold, MAIN_REACH)
