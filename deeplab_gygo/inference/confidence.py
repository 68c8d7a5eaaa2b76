"""Confidence of masks: the J to expect, from probabilities alone."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

EMPTY = 0.5
"""Confidence of an empty mask without any suspected pixel: the object is absent, or was missed."""

DOUBTFUL = 0.94
"""Confidence below which a frame is named for review. Of the thresholds in
experiments/results/parent_passing_choices.json (`doubtful`) the one that finds frames of J below .8
best; most of those that it names are such frames."""


def expected_jaccard(probability: np.ndarray, threshold: float = 0.5) -> float:
    r"""Estimates the J of the mask of a probability map.

    If pixels were independent and the probabilities $p$ true, the expected intersection of the
    mask $M = \{p > t\}$ with the truth would be $\sum_M p$ and the expected union
    $|M| + \sum_{\bar M} p$; their ratio is returned.

    Args:
        probability: float32 [H, W] in 0..1.
        threshold: Probability above which a pixel is object.

    Returns:
        0..1; `EMPTY` where nothing is predicted and nothing suspected.
    """
    inside = probability > threshold
    union = float(np.count_nonzero(inside)) + float(probability[~inside].sum())
    if union < 1.0:
        return EMPTY
    return float(probability[inside].sum()) / union


def doubtful_frames(confidence: Mapping[str, float], below: float = DOUBTFUL) -> list[str]:
    """Names the frames to review.

    Args:
        confidence: 0..1 by the name of the frame, in the order of time.
        below: Confidence below which a frame is doubtful.

    Returns:
        One sentence that names the runs of doubtful frames; empty where there are none.
    """
    runs: list[list[str]] = []
    before = False
    for name, value in confidence.items():
        doubtful = value < below
        if doubtful and before:
            runs[-1].append(name)
        elif doubtful:
            runs.append([name])
        before = doubtful
    if not runs:
        return []
    spans = [run[0] if len(run) == 1 else f"{run[0]} to {run[-1]}" for run in runs]
    count = sum(len(run) for run in runs)
    return [f"{count} of {len(confidence)} masks are doubtful, review {', '.join(spans)}"]
