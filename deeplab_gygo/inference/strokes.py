"""Masks from clicks, scribbles and boxes on one frame.

A decoder that is trained on strokes (`synthesis.strokes`) takes them and the mask to correct as its
guide. The marked pixels themselves are never contradicted.
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


@dataclass(frozen=True)
class EncodedFrame:
    """A frame with what all its strokes share.

    Attributes:
        size: Height and width of the frame, pixels.
        geometry: Sizes on the way of the frame, shrunk to the working size, through the network.
        features: Of the encoder.
    """

    size: tuple[int, int]
    geometry: Geometry
    features: Features


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
        return EncodedFrame(size, geometry, features)

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
            far, or without strokes those in the box, of which strokes outside remove all but the
            largest.
        """
        if box is not None and not any(stroke.inside for stroke in strokes):
            # As wide as the decoder sees a stroke, so that those around the box are outside it.
            pixels = DECODER_STRIDE * frame.size[0] / frame.geometry.working[0]
            guided = [*box_strokes(box, MARK_WIDTH * pixels), *strokes]
        else:
            guided = strokes
        logits = self._logits(frame, guided, start)
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


def _touched(mask: np.ndarray, marks: np.ndarray, kept: np.ndarray | None) -> np.ndarray:
    """Returns the components of a mask that are of the object.

    Args:
        mask: bool [H, W].
        marks: int8 [H, W], 1 inside, -1 outside.
        kept: Components that overlap it are kept, the largest of them even where a mark outside
            touches it, of which the network left more than it should; None for none.
    """
    mask = mask | (marks > 0)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(
        mask.astype(np.uint8), connectivity=8
    )
    chosen = np.zeros(count, bool)
    if kept is not None:
        chosen[labels[kept != 0]] = True
        chosen[0] = False
        largest = int(np.argmax(np.where(chosen, stats[:, cv2.CC_STAT_AREA], 0)))
        removed = np.unique(labels[marks < 0])
        chosen[removed[removed != largest]] = False
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
