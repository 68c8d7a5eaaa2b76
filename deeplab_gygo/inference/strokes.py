"""Masks from clicks, scribbles and boxes on one frame.

A decoder that is trained on strokes (`synthesis.strokes`) takes them and the mask to correct as its
guide; what still contradicts a stroke is corrected around it, where the color is alike. The marked
pixels themselves are never contradicted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from deeplab_gygo.inference.components import main_component
from deeplab_gygo.inference.geometry import Geometry, sigmoid
from deeplab_gygo.inference.network import Features, ForwardPass
from deeplab_gygo.models.config import DECODER_STRIDE
from deeplab_gygo.models.deeplab import DeepLabV3Plus
from deeplab_gygo.models.stroke_marks import MARK_WIDTH, Box, Stroke, box_strokes, draw

SIZE = 480
"""Short side of a frame as the network sees it, pixels."""

MARK_LOGIT = 3.0
"""Least logits of a marked pixel, with its sign."""

REACH = 0.5
"""Standard deviation of a correction, relative to the root of the area of the mask."""

COLOR_REACH = 25.0
"""Its standard deviation in color, CIE Lab of 8 bits."""

MAX_CORRECTIONS = 32
"""Points that are corrected around: those of a stroke are sampled, and the newest strokes count."""

CORRECTION_STRIDE = 2
"""Stride of a correction: it is smooth but at edges of color."""

_NOISE = 0.05  # variance of a correction at its own pixel
_MIN_AREA = 400.0  # pixels


@dataclass(frozen=True)
class EncodedFrame:
    """A frame with what all its strokes share.

    Attributes:
        size: Height and width of the frame, pixels.
        geometry: Sizes on the way of the frame, shrunk to the working size, through the network.
        features: Of the encoder.
        colors: float32 [h / 2, w / 2, 3], the smoothed frame in CIE Lab of 8 bits.
    """

    size: tuple[int, int]
    geometry: Geometry
    features: Features
    colors: np.ndarray


class StrokeSegmenter:
    """Segments what strokes show.

    Args:
        network: Network with a decoder of strokes, see `models.stroke_decoder`.

    Example:
        >>> from deeplab_gygo.models.stroke_decoder import load_stroke_network
        >>> segmenter = StrokeSegmenter(load_stroke_network())
        >>> image = np.full((48, 64, 3), 90, np.uint8)
        >>> image[12:36, 16:48] = (200, 40, 40)
        >>> frame = segmenter.encode(image)
        >>> mask = segmenter.segment(frame, [Stroke(True, ((30.0, 24.0),))])
        >>> mask.shape, int(mask[24, 30]), int(mask[2, 2])
        ((48, 64), 1, 0)
    """

    def __init__(self, network: DeepLabV3Plus):
        self._stride = network.stride
        self._network = ForwardPass(network, frozen=True, fused=False)

    def encode(self, image: np.ndarray) -> EncodedFrame:
        """Encodes a frame, uint8 [H, W, 3] RGB."""
        size = image.shape[0], image.shape[1]
        working = Geometry.fit(size, SIZE, self._stride).working
        if working != size:
            image = cv2.resize(image, working[::-1], interpolation=cv2.INTER_AREA)
        geometry = Geometry.fit(working, SIZE, self._stride)
        features = self._network.encode(geometry.image(image)[None])
        colors = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_RGB2LAB), (0, 0), 2)
        coarse = [-(-side // CORRECTION_STRIDE) for side in working]
        colors = cv2.resize(colors, coarse[::-1], interpolation=cv2.INTER_AREA)
        return EncodedFrame(size, geometry, features, colors.astype(np.float32))

    def propose(self, frame: EncodedFrame) -> np.ndarray:
        """Returns the salient object of a frame: uint8 [H, W], 0 or 1."""
        logits = _enlarged(self._logits(frame, [], None), frame.size)
        found = main_component(sigmoid(logits), 0.5)
        return (found > 0.5).astype(np.uint8)

    def segment(
        self,
        frame: EncodedFrame,
        strokes: Sequence[Stroke],
        box: Box | None = None,
        start: np.ndarray | None = None,
    ) -> np.ndarray:
        """Segments the object that strokes or a box show, or corrects its mask.

        Args:
            frame: The frame.
            strokes: All of the object, in their order.
            box: Around the object; None for none.
            start: bool or uint8 [H, W], the mask of the object so far; None for none.

        Returns:
            uint8 [H, W], 0 or 1: the components that a stroke inside touches; those of the mask so
            far, or without strokes those in the box, that no stroke outside touches.
        """
        if box is not None and not any(stroke.inside for stroke in strokes):
            guided = [*box_strokes(box, 1.0), *strokes]
        else:
            guided = strokes
        logits = self._logits(frame, guided, start)
        logits = _corrected(
            logits, _scaled(strokes, frame.size, frame.geometry.frame), frame.colors
        )
        marks = draw(strokes, frame.size)
        mask = _enlarged(logits, frame.size) > 0
        if box is not None:
            mask &= _box_mask(box, frame.size)
        blank = start is None or not start.any()
        kept = mask if blank and not (marks > 0).any() else start
        return _touched(mask, marks, kept).astype(np.uint8)

    def _logits(
        self, frame: EncodedFrame, strokes: Sequence[Stroke], start: np.ndarray | None
    ) -> np.ndarray:
        """Returns logits at the working size, float32 [h, w]."""
        geometry = frame.geometry
        height, width = (side // DECODER_STRIDE for side in geometry.padded)
        inner = tuple(side / DECODER_STRIDE for side in geometry.working)
        marks = draw(_scaled(strokes, frame.size, inner), (height, width), MARK_WIDTH)
        prior = np.zeros((height, width, 1), np.float32)
        if start is not None and start.any():
            known = (start != 0).astype(np.float32)
            if geometry.frame != frame.size:
                known = cv2.resize(known, geometry.frame[::-1], interpolation=cv2.INTER_AREA)
            prior = np.where(geometry.guide(known) > 0, np.float32(1), np.float32(-1))
        guide = np.concatenate([prior, marks[..., None].astype(np.float32)], axis=-1)
        return geometry.logits(self._network.logits(frame.features, [guide], None))


def _corrected(logits: np.ndarray, strokes: Sequence[Stroke], colors: np.ndarray) -> np.ndarray:
    """Corrects logits around strokes that they contradict: kriging in position and color."""
    marks = draw(strokes, logits.shape)
    rows, columns = _sampled(strokes, marks)
    if not len(rows):
        return logits
    sides = marks[rows, columns].astype(np.float32)
    missing = np.maximum(MARK_LOGIT - sides * logits[rows, columns], 0) * sides
    reach = REACH * np.sqrt(max(float(np.count_nonzero(logits > 0)), _MIN_AREA)) / CORRECTION_STRIDE
    height, width = colors.shape[:2]
    rows = np.minimum(rows // CORRECTION_STRIDE, height - 1)
    columns = np.minimum(columns // CORRECTION_STRIDE, width - 1)
    down = np.arange(height, dtype=np.float32)[:, None]
    across = np.arange(width, dtype=np.float32)[None]
    fields = []
    for row, column in zip(rows, columns, strict=True):
        distance = ((down - row) ** 2 + (across - column) ** 2) / (2 * reach**2)
        difference = ((colors - colors[row, column]) ** 2).sum(axis=2) / (2 * COLOR_REACH**2)
        fields.append(np.exp(-distance - difference))
    between = np.stack([field[rows, columns] for field in fields])
    weights = np.linalg.solve(between + _NOISE * np.eye(len(rows)), missing)
    field = np.tensordot(weights.astype(np.float32), np.stack(fields), 1)
    return logits + _enlarged(field, logits.shape)


def _sampled(strokes: Sequence[Stroke], marks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns rows and columns of points of strokes, of each about as many."""
    newest = strokes[-MAX_CORRECTIONS:]
    each = MAX_CORRECTIONS // max(1, len(newest))
    points = []
    for stroke in newest:
        count = min(each, len(stroke.points))
        points += [stroke.points[round(k)] for k in np.linspace(0, len(stroke.points) - 1, count)]
    found = np.round(np.array(points, np.float64).reshape(-1, 2)).astype(int)
    inside = (found >= 0).all(axis=1) & (found < np.array(marks.shape[::-1])).all(axis=1)
    rows, columns = found[inside, 1], found[inside, 0]
    marked = marks[rows, columns] != 0
    return rows[marked], columns[marked]


def _touched(mask: np.ndarray, marks: np.ndarray, kept: np.ndarray | None) -> np.ndarray:
    """Returns the components of a mask that are of the object.

    Args:
        mask: bool [H, W].
        marks: int8 [H, W], 1 inside, -1 outside.
        kept: Components that overlap it are kept unless a mark outside touches them.
    """
    mask = mask | (marks > 0)
    count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    chosen = np.zeros(count, bool)
    if kept is not None:
        chosen[labels[kept != 0]] = True
        chosen[labels[marks < 0]] = False
    chosen[labels[marks > 0]] = True
    chosen[0] = False
    return chosen[labels] & ~(marks < 0)


def _box_mask(box: Box, size: tuple[int, int]) -> np.ndarray:
    """Returns the pixels of a box, at least one in each direction: bool [H, W]."""
    mask = np.zeros(size, bool)
    spans = []
    for start, stop, side in ((box[1], box[3], size[0]), (box[0], box[2], size[1])):
        first = min(max(round(min(start, stop)), 0), side - 1)
        spans.append(slice(first, max(first + 1, min(round(max(start, stop)), side))))
    mask[spans[0], spans[1]] = True
    return mask


def _scaled(strokes: Sequence[Stroke], size: tuple[int, int], to: Sequence[float]) -> list[Stroke]:
    """Scales strokes from frames of one size to those of another."""
    down, across = to[0] / size[0], to[1] / size[1]

    def move(x: float, y: float) -> tuple[float, float]:
        # Pixel centers are at integers.
        return (x + 0.5) * across - 0.5, (y + 0.5) * down - 0.5

    return [
        replace(
            stroke,
            points=tuple(move(x, y) for x, y in stroke.points),
            width=stroke.width * min(down, across),
        )
        for stroke in strokes
    ]


def _enlarged(logits: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if logits.shape == size:
        return logits
    return cv2.resize(logits, size[::-1], interpolation=cv2.INTER_LINEAR)
