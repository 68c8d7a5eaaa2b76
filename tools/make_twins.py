"""Makes clips in which a twin of the object comes out from behind it: what common fate is for.

    python tools/make_twins.py --root DAVIS --sequences hike lucia --out TWINS

Every clip is a sequence of DAVIS with its annotations, into which the object of the first frame is
pasted once more: mirrored, smaller, behind the object, and still against the background, whose
motion is a similarity estimated from frame to frame. TWINS has the layout of DAVIS-2016, so that
`tools/compare_online.py` reads it, and a folder `Twins` of masks of what is seen of the twin, for
`tools/measure_tracking.py`. Real frames, pasted twins: its results are to be called so.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from tqdm import tqdm

from deeplab_gygo.data.datasets import open_dataset

SMALLER = 0.75
"""Size of the twin, as a part of the object's: it must hide behind the object at first."""

EDGE = 1.0
"""Blur of the edges at which frames and twins are joined, pixels."""

TWIN_MASKS = "Twins"
"""Folder of what is seen of the twins, beside `Annotations`."""

CLEARANCE = 15
"""Pixels around the object that say nothing of the background's motion."""


def background_motion(one: np.ndarray, other: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Estimates how the background moves from one frame to the next.

    Args:
        one: uint8 [H, W, 3] RGB.
        other: The frame after it.
        mask: bool [H, W], the object in the first of them.

    Returns:
        float64 [3, 3], a similarity of columns and rows; the identity where nothing is found.
    """
    grays = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in (one, other)]
    kernel = np.ones((CLEARANCE, CLEARANCE), np.uint8)
    around = (cv2.dilate(mask.astype(np.uint8), kernel) == 0).astype(np.uint8)
    points = cv2.goodFeaturesToTrack(grays[0], 600, 0.005, 7, mask=around)
    if points is None:
        return np.eye(3)
    moved, found, _ = cv2.calcOpticalFlowPyrLK(*grays, points, None, winSize=(25, 25), maxLevel=4)
    found = found.ravel() > 0
    similarity, _ = cv2.estimateAffinePartial2D(
        points[found], moved[found], ransacReprojThreshold=2
    )
    return np.eye(3) if similarity is None else np.vstack([similarity, [0, 0, 1]])


def behind(mask: np.ndarray) -> np.ndarray:
    """Places the twin: float64 [3, 3], mirrored and smaller about the middle of bool [H, W]."""
    rows, columns = np.nonzero(mask)
    x, y = columns.mean(), rows.mean()
    return np.array(
        [[-SMALLER, 0, x + SMALLER * x], [0, SMALLER, y - SMALLER * y], [0, 0, 1]], np.float64
    )


def with_twin(
    frame: np.ndarray, mask: np.ndarray, first: np.ndarray, shape: np.ndarray, place: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Pastes a twin behind the object.

    Args:
        frame: uint8 [H, W, 3] RGB.
        mask: bool [H, W], the object in it.
        first: uint8 [H, W, 3], the frame that the twin is cut from.
        shape: bool [H, W], the object there.
        place: float64 [3, 3], from there to its place in this frame.

    Returns:
        uint8 [H, W, 3]; and bool [H, W], what is seen of the twin.
    """
    size = mask.shape[::-1]
    soft = [cv2.GaussianBlur(m.astype(np.float32), (0, 0), EDGE) for m in (shape, mask)]
    twin = cv2.warpAffine(first, place[:2], size, borderMode=cv2.BORDER_REPLICATE)
    alpha = (cv2.warpAffine(soft[0], place[:2], size) * (1 - soft[1]))[..., None]
    pasted = np.clip(np.rint(frame * (1 - alpha) + twin * alpha), 0, 255).astype(np.uint8)
    return pasted, (alpha[..., 0] > 0.5) & ~mask


def make(root: Path, name: str, out: Path) -> None:
    """Makes one clip, JPEG frames and PNG annotations."""
    dataset = open_dataset("davis2016", root, "480p")
    images, masks, twins = (
        out / kind / "480p" / name for kind in ("JPEGImages", "Annotations", TWIN_MASKS)
    )
    for folder in (images, masks, twins):
        folder.mkdir(parents=True)
    before = first = shape = None
    for frame in dataset.sequence(name):
        mask = dataset.annotation(name, frame.index) > 0
        image, twin = frame.image, np.zeros_like(mask)
        if first is None:
            first, shape, place = image, mask, behind(mask)
        else:
            place = background_motion(before[0], frame.image, before[1]) @ place
            image, twin = with_twin(image, mask, first, shape, place)
        before = frame.image, mask
        Image.fromarray(image).save(images / f"{frame.name}.jpg", quality=95)
        for folder, plane in ((masks, mask), (twins, twin)):
            Image.fromarray(255 * plane.astype(np.uint8)).save(folder / f"{frame.name}.png")


def make_all(make_clip: Callable[[Path, str, Path], None], about: str) -> None:
    """Makes the clips that the command line names.

    Args:
        make_clip: Called with the folder of DAVIS, the name of a sequence, and the new folder.
        about: What the command is for.
    """
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--root", type=Path, required=True, help="folder of DAVIS-2016")
    parser.add_argument("--sequences", nargs="+", required=True, help="names of its sequences")
    parser.add_argument("--out", type=Path, required=True, help="new folder")
    options = parser.parse_args()
    (options.out / "ImageSets").mkdir(parents=True)
    for name in tqdm(options.sequences, unit="clip"):
        make_clip(options.root, name, options.out)
    lines = "".join(f"{name}\n" for name in options.sequences)
    (options.out / "ImageSets" / "train.txt").write_text(lines, encoding="utf-8")


def main() -> None:
    """Makes the clips."""
    make_all(make, __doc__.splitlines()[0])


if __name__ == "__main__":
    main()
