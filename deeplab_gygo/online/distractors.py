"""Things that are not the object, to be pasted into views of the annotated frame.

A network that is fine-tuned on one frame has never been shown what may come into view later, and
takes every salient thing for the object. Pasted things, labeled as background, tell it that being
salient is not enough. They are rendered by this package (tools/make_distractors.py).
"""

from __future__ import annotations

import io
from functools import lru_cache
from importlib import resources

import cv2
import numpy as np

SHEET = "distractors.webp"
"""Pictures side by side in squares, with alpha."""

CELL = 160
"""Side of a square of the sheet, pixels."""

_SIZE = (0.5, 1.3)  # of a thing, relative to the root of the object's area
_IN_FRONT = 0.2  # of the things lie over the object, the others behind it
_MIRRORED = 0.5


@lru_cache(maxsize=1)
def distractor_pictures() -> tuple[np.ndarray, ...]:
    """Returns the things: uint8 [h, w, 4] RGBA each, cut to what is visible."""
    from PIL import Image

    data = (resources.files("deeplab_gygo") / "assets" / SHEET).read_bytes()
    sheet = np.asarray(Image.open(io.BytesIO(data)).convert("RGBA"))
    rows, columns = sheet.shape[0] // CELL, sheet.shape[1] // CELL
    things = []
    for index in range(rows * columns):
        top, left = CELL * (index // columns), CELL * (index % columns)
        cell = sheet[top : top + CELL, left : left + CELL]
        x, y, width, height = cv2.boundingRect((cell[..., 3] > 127).astype(np.uint8))
        if width:
            things.append(np.ascontiguousarray(cell[y : y + height, x : x + width]))
    return tuple(things)


def paste_distractor(
    image: np.ndarray, mask: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Pastes one thing beside, behind or, seldom, in front of the object.

    Args:
        image: uint8 [H, W, 3] RGB.
        mask: uint8 [H, W], 0 or 1.
        rng: Source of randomness.

    Returns:
        Picture and mask of the same shapes; the mask lacks what the thing covers.
    """
    things = distractor_pictures()
    thing = _varied(things[int(rng.integers(len(things)))], rng)
    root = max(8.0, float(np.sqrt(np.count_nonzero(mask))))
    wanted = root * float(np.exp(rng.uniform(*np.log(_SIZE))))
    scale = wanted / float(np.sqrt(np.count_nonzero(thing[..., 3] > 127)))
    height, width = mask.shape
    center = rng.uniform((0, 0), (width, height))
    turn = cv2.getRotationMatrix2D(
        (thing.shape[1] / 2, thing.shape[0] / 2), float(rng.normal(0, 15)), scale
    )
    turn[:, 2] += center - (thing.shape[1] / 2, thing.shape[0] / 2)
    # Colors are multiplied by alpha before resampling, or the edge takes on what is behind it.
    alpha = thing[..., 3:].astype(np.float32) / 255.0
    layer = np.concatenate([thing[..., :3] * alpha, alpha], axis=2)
    layer = cv2.warpAffine(layer, turn, (width, height), flags=cv2.INTER_AREA)
    over = layer[..., 3]
    if rng.random() < _IN_FRONT:
        mask = np.where(over > 0.5, 0, mask).astype(np.uint8)
    else:
        free = 1.0 - cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 1.0)
        layer *= free[..., None]
        over = layer[..., 3]
    pasted = image * (1.0 - over[..., None]) + layer[..., :3]
    return np.clip(pasted, 0, 255).astype(np.uint8), mask


def _varied(thing: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Mirrors and recolors a thing: a few pictures become many."""
    if rng.random() < _MIRRORED:
        thing = np.ascontiguousarray(thing[:, ::-1])
    hsv = cv2.cvtColor(thing[..., :3], cv2.COLOR_RGB2HSV_FULL)
    hsv[..., 0] += np.uint8(rng.integers(256))  # the circle of hues wraps at 256
    rgb = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL).astype(np.float32) * rng.uniform(0.5, 1.2)
    return np.dstack([np.clip(rgb, 0, 255).astype(np.uint8), thing[..., 3]])
