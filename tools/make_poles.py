"""Makes clips in which the object passes behind a pole: what is divided must be found again.

    python tools/make_poles.py --root DAVIS --sequences hike lucia --out POLES

Every clip is a sequence of DAVIS with its annotations, into which a pole is painted: upright, over
everything, and still against the background, where the middle of the object is halfway through the
clip. What it covers is no longer the object's. POLES has the layout of DAVIS-2016, so that
`tools/compare_online.py` reads it. Real frames, painted poles: its results are to be called so.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from make_twins import background_motion, make_all
from PIL import Image

from deeplab_gygo.data.datasets import open_dataset

WIDTH = 0.35
"""Width of the pole, as a part of the root of the object's area."""

GRAIN = 12.0
"""Standard deviation of the pole's brightness, of 255: it is not of one color."""

SLANT = 0.05
"""Columns that the pole leans a row."""

EDGE = 0.7
"""Blur of the pole's edges, pixels."""


def places(frames: list[np.ndarray], masks: list[np.ndarray], middle: int) -> list[np.ndarray]:
    """Follows the background.

    Args:
        frames: uint8 [H, W, 3] RGB each.
        masks: bool [H, W] each, the object.
        middle: Index of the frame to start from.

    Returns:
        float64 [3, 3] for every frame, from its place in the middle one to the one there.
    """
    steps = [background_motion(frames[i], frames[i + 1], masks[i]) for i in range(len(frames) - 1)]
    found = {middle: np.eye(3)}
    for i in range(middle, len(steps)):
        found[i + 1] = steps[i] @ found[i]
    for i in range(middle - 1, -1, -1):
        found[i] = np.linalg.inv(steps[i]) @ found[i + 1]
    return [found[i] for i in range(len(frames))]


def pole(mask: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Paints the pole of the middle frame, on a sheet three times as high and wide.

    Args:
        mask: bool [H, W], the object in that frame.
        rng: Of the grain.

    Returns:
        uint8 [3H, 3W, 3] RGB and float32 [3H, 3W] in 0..1, its place.
    """
    height, width = (3 * side for side in mask.shape)
    rows, columns = np.nonzero(mask)
    thick = max(3.0, WIDTH * float(np.sqrt(len(rows))))
    across = np.arange(width)[None] - (columns.mean() + width // 3)
    across = across + SLANT * (np.arange(height)[:, None] - (rows.mean() + height // 3))
    part = np.clip(2 * across / thick, -1, 1)
    # Round and lit from the side, with grain along it.
    light = 110 + 50 * part + cv2.GaussianBlur(rng.normal(0, 4 * GRAIN, (height, width)), (0, 0), 2)
    color = np.clip(light[..., None] * np.array([1.0, 0.97, 0.9]), 0, 255)
    alpha = cv2.GaussianBlur((np.abs(across) < thick / 2).astype(np.float32), (0, 0), EDGE)
    return color.astype(np.uint8), alpha


def make(root: Path, name: str, out: Path) -> None:
    """Makes one clip, JPEG frames and PNG annotations."""
    dataset = open_dataset("davis2016", root, "480p")
    images, annotations = out / "JPEGImages" / "480p" / name, out / "Annotations" / "480p" / name
    for folder in (images, annotations):
        folder.mkdir(parents=True)
    sequence = dataset.sequence(name)
    frames = [(frame.name, frame.image) for frame in sequence]
    masks = [dataset.annotation(name, i) > 0 for i in range(len(frames))]
    middle = len(frames) // 2
    size = masks[0].shape[::-1]
    color, alpha = pole(masks[middle], np.random.default_rng(0))
    shift = np.array([[1, 0, -size[0]], [0, 1, -size[1]], [0, 0, 1]], np.float64)
    moves = places([image for _, image in frames], masks, middle)
    for (stem, image), mask, move in zip(frames, masks, moves, strict=True):
        turn = (move @ shift)[:2]
        over = cv2.warpAffine(alpha, turn, size)
        painted = cv2.warpAffine(color, turn, size)
        image = image * (1 - over[..., None]) + painted * over[..., None]
        Image.fromarray(np.rint(image).astype(np.uint8)).save(images / f"{stem}.jpg", quality=95)
        mask = mask & (over <= 0.5)
        Image.fromarray(255 * mask.astype(np.uint8)).save(annotations / f"{stem}.png")


def main() -> None:
    """Makes the clips."""
    make_all(make, __doc__.splitlines()[0])


if __name__ == "__main__":
    main()
