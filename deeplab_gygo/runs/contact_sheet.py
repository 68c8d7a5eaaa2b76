"""A contact sheet: frames side by side with predicted and true outlines."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import zip_longest

import cv2
import numpy as np

from deeplab_gygo.errors import UsageError
from deeplab_gygo.evaluation.measures import jaccard
from deeplab_gygo.io.masks import VOID
from deeplab_gygo.io.overlay import draw_outline
from deeplab_gygo.io.sequence import Frame

TRUTH_COLOR = (40, 220, 60)
PREDICTION_COLOR = (255, 50, 40)
_TILE = 240  # pixels; width of a tile
_GAP = 6  # pixels between tiles
_BACKGROUND = 24  # gray level
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def contact_sheet(
    frames: Iterable[Frame],
    masks: Iterable[np.ndarray],
    truths: Iterable[np.ndarray | None] | None = None,
    columns: int = 5,
    tile_width: int = _TILE,
) -> np.ndarray:
    """Arranges frames in a grid with names and outlines: prediction red, ground truth green.

    Args:
        frames: The frames.
        masks: uint8 [H, W] of object ids, one a frame.
        truths: uint8 [H, W], one a frame, 255 void beside ids; None where a frame has none. With
            truths every tile shows its J, the mean over the objects.
        columns: Tiles in a row.
        tile_width: Width of a tile in pixels; its height follows from the frame.

    Returns:
        uint8 [H, W, 3] RGB.

    Raises:
        UsageError: There are no frames, or not as many masks or truths.
    """
    if columns < 1 or tile_width < 16:
        raise UsageError(
            "A contact sheet has at least one column of tiles of 16 pixels",
            met=f"columns={columns}, tile_width={tile_width}",
        )
    missing = object()
    groups = [frames, masks] if truths is None else [frames, masks, truths]
    tiles = []
    for group in zip_longest(*groups, fillvalue=missing):
        if any(item is missing for item in group):
            raise UsageError("Every frame of a contact sheet has a mask, and a truth or None")
        frame, mask, truth = (*group, None)[:3]
        tiles.append(_tile(frame, np.asarray(mask), truth, tile_width))
    if not tiles:
        raise UsageError("A contact sheet needs at least one frame", met="none")
    return _arrange(tiles, columns)


def _tile(frame: Frame, mask: np.ndarray, truth: np.ndarray | None, width: int) -> np.ndarray:
    """Draws one frame with outlines and a caption."""
    image = frame.image
    size = (width, max(1, round(width * image.shape[0] / image.shape[1])))
    picture = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    caption, color = frame.name, (255, 255, 255)
    if truth is not None:
        truth = np.asarray(truth)
        outline_objects(picture, truth, TRUTH_COLOR)
        caption = f"{frame.name}  J {mean_jaccard(mask, truth):.3f}"
    outline_objects(picture, mask, PREDICTION_COLOR)
    scale = width / 480
    (_, height), base = cv2.getTextSize(caption, _FONT, scale, 1)
    strip = np.full((height + 2 * base + 2, width, 3), _BACKGROUND, np.uint8)
    cv2.putText(strip, caption, (3, height + base), _FONT, scale, color, 1, cv2.LINE_AA)
    return np.vstack([picture, strip])


def outline_objects(picture: np.ndarray, mask: np.ndarray, color, width: int = 1) -> None:
    """Outlines every object of a full-size mask on a small picture, in place.

    Args:
        picture: uint8 [h, w, 3] RGB, contiguous.
        mask: uint8 [H, W] of object ids; 255 beside other ids is void.
        color: sRGB triple.
        width: Width of the line in pixels.
    """
    labels = [label for label in np.unique(mask) if label != 0]
    if labels != [VOID]:  # 255 beside ids is void; alone it is the object
        labels = [label for label in labels if label != VOID]
    for label in labels:
        share = cv2.resize(
            (mask == label).astype(np.float32), picture.shape[1::-1], interpolation=cv2.INTER_AREA
        )
        draw_outline(picture, share >= 0.5, color, width)


def mean_jaccard(mask: np.ndarray, truth: np.ndarray) -> float:
    """Returns J of a frame, the mean over its objects.

    Args:
        mask: uint8 [H, W] of object ids.
        truth: uint8 [H, W]; 255 beside other ids is void, alone it is the object.

    Returns:
        J in [0, 1].

    Raises:
        InputError: The masks differ in size.
    """
    labels = [int(label) for label in np.unique(truth) if label != 0]
    if not labels or labels == [VOID]:
        return jaccard(mask != 0, truth != 0)
    void = truth == VOID
    labels = [label for label in labels if label != VOID]
    return float(np.mean([jaccard(mask == label, truth == label, void) for label in labels]))


def _arrange(tiles: list[np.ndarray], columns: int) -> np.ndarray:
    """Puts tiles of one width, and perhaps several heights, into rows."""
    columns = min(columns, len(tiles))
    height = max(tile.shape[0] for tile in tiles)
    width = tiles[0].shape[1]
    rows = -(-len(tiles) // columns)
    shape = (rows * (height + _GAP) + _GAP, columns * (width + _GAP) + _GAP, 3)
    sheet = np.full(shape, _BACKGROUND, np.uint8)
    for index, tile in enumerate(tiles):
        y = _GAP + index // columns * (height + _GAP)
        x = _GAP + index % columns * (width + _GAP)
        sheet[y : y + tile.shape[0], x : x + width] = tile
    return sheet
