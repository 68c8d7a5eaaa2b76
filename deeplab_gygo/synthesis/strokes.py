"""Training examples of strokes: what a person would draw on an object, and the mask it corrects.

Clicks are in the middle of what is wrong, as in the evaluation of interactive segmentation (Xu et
al., "Deep interactive object selection", CVPR 2016). The mask of the step before is a part of the
input (Sofiiuk et al., "Reviving iterative training with mask guidance for interactive
segmentation", ICIP 2022). Everything is drawn on the grid of the decoder.
"""

from __future__ import annotations

import cv2
import numpy as np

from deeplab_gygo.models.guide import deform_guide, encode_guide, guide_at_stride
from deeplab_gygo.models.stroke_marks import MARK_WIDTH, Stroke, box_strokes, draw
from deeplab_gygo.synthesis.augment import VOID
from deeplab_gygo.synthesis.clips import ClipSource, sample_target_view
from deeplab_gygo.synthesis.config import AugmentConfig

MAX_ROLLOUT = 2
"""Most clicks that the training adds where the network's own prediction is wrong."""

_UNGUIDED = 0.08  # probability of no stroke at all, where the images identify the object
_BOX = 0.08  # probability of a box
_PRIOR = 0.45  # probability of a mask to correct
_DISPLACED = 0.15  # probability that this mask is displaced by a good part of the frame
_MAX_CORRECTIONS = 3  # clicks on such a mask
_INSIDE, _OUTSIDE = (1, 1, 1, 2, 3), (0, 0, 1, 2)  # numbers of clicks without it, equally often
_CENTRAL = 0.7  # probability of a click in the middle of the object
_SCRIBBLE = 0.2  # probability of a line in place of a click inside
_NEAR = 0.6  # probability that a click outside is near the object

Point = tuple[float, float]


def stroke_clip(
    source: ClipSource,
    step: int,
    clip: int,
    seed: int,
    size: tuple[int, int],
    augment: AugmentConfig,
) -> list[dict[str, np.ndarray]]:
    """Makes the examples of one clip, a pure function of (seed, step, clip) and the source.

    Args:
        source: Source of the clip; its frames are independent examples.
        step: Training step.
        clip: Position of the clip in the batch.
        seed: Seed of the training.
        size: Height and width of the crops, pixels.
        augment: Augmentation.

    Returns:
        One example per frame: `image` uint8 [*size, 3] RGB; `guide` float32 [h, w, 2] at the stride
        of the decoder: the mask to correct (+1, -1, all 0 for none) and the strokes (+1 inside, -1
        outside, 0 elsewhere); `truth` float32 [h, w, 1], the coded target; `rollout` float32,
        0..`MAX_ROLLOUT`; `mask` uint8 [*size], 0, 1, or 255 where nothing is learned.
    """
    rng = np.random.default_rng([seed, step, clip])
    raw = source.sample(rng)
    examples = []
    for frame in raw.frames:
        image, masks = sample_target_view(frame, size, augment, rng)
        target = (masks[0] == 1).astype(np.uint8)
        truth = guide_at_stride(encode_guide(target, size))
        mask = np.where(masks[0] == VOID, VOID, target).astype(np.uint8)
        shown = (truth[..., 0] > 0).astype(np.uint8)
        if not shown.any():  # there is nothing to point at
            mask[:] = VOID
        examples.append(
            {
                "image": image,
                "guide": _guide(target, shown, raw.salient, rng),
                "truth": truth,
                "rollout": np.float32(rng.integers(MAX_ROLLOUT + 1)),
                "mask": mask,
            }
        )
    return examples


def _guide(
    target: np.ndarray, shown: np.ndarray, salient: bool, rng: np.random.Generator
) -> np.ndarray:
    """Samples the mask to correct and the strokes, float32 [h, w, 2]."""
    prior, strokes = np.zeros(shown.shape, np.float32), []
    kind = rng.random()
    if not shown.any() or (salient and kind < _UNGUIDED):
        pass
    elif kind < _UNGUIDED + _BOX:
        left, top, width, height = cv2.boundingRect(shown)
        room = 0.1 * rng.random(4) * (width, height, width, height)
        box = left - room[0], top - room[1], left + width + room[2], top + height + room[3]
        strokes = box_strokes(box, MARK_WIDTH)
    elif kind < _UNGUIDED + _BOX + _PRIOR:
        wrong = deform_guide(target, rng, strength=float(rng.uniform(0.6, 2.2)))
        if rng.random() < _DISPLACED:
            shift = rng.normal(0, 0.15, 2) * target.shape
            wrong = np.roll(wrong, shift.astype(int), (0, 1))
        coded = guide_at_stride(encode_guide(wrong, target.shape))
        found = (coded[..., 0] > 0).astype(np.uint8)
        prior = found * np.float32(2) - np.float32(1)
        strokes = _corrections(found, shown, int(rng.integers(_MAX_CORRECTIONS + 1)), rng)
    else:
        strokes = _first_strokes(shown, rng)
    return np.stack([prior, draw(strokes, shown.shape).astype(np.float32)], axis=-1)


def _corrections(
    found: np.ndarray, shown: np.ndarray, count: int, rng: np.random.Generator
) -> list[Stroke]:
    """Samples clicks in the largest errors of a mask, each of which mends what is around it."""
    found, strokes = found.copy(), []
    for _ in range(count):
        errors = shown & (1 - found), found & (1 - shown)
        depths = [float(_depth(error).max()) for error in errors]
        inside = depths[0] >= depths[1]
        if max(depths) < 1:
            break
        x, y = _point(errors[not inside], rng, central=True)
        strokes.append(Stroke(inside, ((x, y),), MARK_WIDTH))
        radius = max(2, int(max(depths)))
        cv2.circle(found, (int(x), int(y)), radius, int(inside), cv2.FILLED)
    return strokes


def _first_strokes(shown: np.ndarray, rng: np.random.Generator) -> list[Stroke]:
    """Samples clicks and scribbles inside, and clicks outside."""
    strokes = []
    for _ in range(int(rng.choice(_INSIDE))):
        points = [_point(shown, rng, central=bool(rng.random() < _CENTRAL))]
        if rng.random() < _SCRIBBLE:
            points.append(_point(shown, rng, central=False))
        strokes.append(Stroke(True, tuple(points), MARK_WIDTH))
    outside = 1 - shown
    for _ in range(int(rng.choice(_OUTSIDE))):
        place = outside
        if rng.random() < _NEAR:
            reach = int(rng.integers(4, 10))
            place = outside & cv2.dilate(shown, np.ones((3, 3), np.uint8), iterations=reach)
        place = cv2.erode(place, np.ones((3, 3), np.uint8))
        if place.any():
            point = _point(place, rng, central=False)
            strokes.append(Stroke(False, (point,), MARK_WIDTH))
    return strokes


def _point(region: np.ndarray, rng: np.random.Generator, *, central: bool) -> Point:
    """Samples a point of a region, uint8 [h, w], that is not empty."""
    depth = _depth(region)
    deepest = float(depth.max())
    rows, columns = np.nonzero(depth >= (0.6 * deepest if central else min(1.5, deepest)))
    chosen = rng.integers(len(rows))
    return float(columns[chosen]), float(rows[chosen])


def _depth(region: np.ndarray) -> np.ndarray:
    """Returns distances to the border of a region and of the picture."""
    return cv2.distanceTransform(np.pad(region, 1), cv2.DIST_L2, 3)[1:-1, 1:-1]
