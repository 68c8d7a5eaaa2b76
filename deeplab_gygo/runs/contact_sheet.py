"""A contact sheet: frames in a grid with the outlines of predictions and ground truth."""

from __future__ import annotations

import base64
from collections.abc import Sequence

import cv2
import numpy as np

from deeplab_gygo.evaluation.measures import jaccard
from deeplab_gygo.io.masks import VOID
from deeplab_gygo.io.overlay import draw_outline
from deeplab_gygo.io.sequence import Frame

TRUTH_COLOR = (40, 220, 60)
PREDICTION_COLOR = (255, 50, 40)
_TILE, _CAPTION = 240, 20  # pixels; width of a tile, height of its caption
_COLUMNS = 5
_GAP = 6  # pixels between tiles
_BACKGROUND = 24  # gray level


def contact_sheet(
    frames: Sequence[Frame], masks: Sequence[np.ndarray], truths: Sequence[np.ndarray]
) -> np.ndarray:
    """Arranges frames in a grid with name, J and outlines: prediction red, ground truth green.

    Args:
        frames: One or more frames of one size.
        masks: uint8 [H, W] of object ids, one per frame.
        truths: uint8 [H, W], one per frame; 255 beside other ids is void.

    Returns:
        uint8 [H, W, 3] RGB.

    Raises:
        InputError: A mask and its ground truth differ in size.
    """
    tiles = [_tile(*group) for group in zip(frames, masks, truths, strict=True)]
    columns = min(_COLUMNS, len(tiles))
    height, width = tiles[0].shape[:2]
    rows = -(-len(tiles) // columns)
    shape = (rows * (height + _GAP) + _GAP, columns * (width + _GAP) + _GAP, 3)
    sheet = np.full(shape, _BACKGROUND, np.uint8)
    for index, tile in enumerate(tiles):
        y = _GAP + index // columns * (height + _GAP)
        x = _GAP + index % columns * (width + _GAP)
        sheet[y : y + height, x : x + width] = tile
    return sheet


def _tile(frame: Frame, mask: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Draws one frame with outlines and a caption."""
    size = (_TILE, max(1, round(_TILE * frame.image.shape[0] / frame.image.shape[1])))
    picture = cv2.resize(frame.image, size, interpolation=cv2.INTER_AREA)
    outline_objects(picture, truth, TRUTH_COLOR)
    outline_objects(picture, mask, PREDICTION_COLOR)
    strip = np.full((_CAPTION, _TILE, 3), _BACKGROUND, np.uint8)
    text, place = f"{frame.name}  J {mean_jaccard(mask, truth):.3f}", (3, _CAPTION - 6)
    cv2.putText(strip, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1, cv2.LINE_AA)
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


def jpeg_url(picture: np.ndarray, quality: int = 95) -> str:
    """Returns a picture as the `data:` URL of a JPEG.

    Its chroma is at full resolution, for contours as thin as a pixel.

    Args:
        picture: uint8 [H, W, 3] RGB.
        quality: 1..100.
    """
    options = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    options += [cv2.IMWRITE_JPEG_QUALITY, quality]
    _, data = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), options)
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()
