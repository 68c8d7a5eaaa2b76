"""Windows of the frame, enlarged to the working size: around small objects, and for close-ups.

An object of a few pixels is gone after the encoder's stride of 16: the network sees a window that
follows it instead of the whole frame. Other objects are seen in the whole frame first, then in a
close-up (`inference.close_up`). A window has the aspect of the frame and is resized to the working
size, so that nothing is compiled again.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from deeplab_gygo.inference.geometry import sigmoid

SMALL = 48
"""Root of the area of a small object, pixels at the working size. Against a limit of 24, .040 of J
(standard error .012) on objects around it; a window about larger ones, 1.8 times as wide, lost .05
on table scenes (experiments/results/propagation_choices.json)."""

MARGIN = 5.0
"""Sides of the window relative to those of the object: between 4 and 6, which are equal on small
objects; 10 is .025 lower, with as much zoom (same file)."""

MAX_ZOOM = 8.0
"""Largest enlargement; 4, 6 and 10 were measured, as in `MARGIN`."""

MIN_ZOOM = 1.25
"""Least enlargement for which there is a window; not measured."""

CLOSE_MARGIN = 1.3
"""Sides of the window of a close-up relative to those of the objects in it. One-shot J is 0 to .007
higher with 1.3 than with 1.6, by the kind of clip (experiments/results/close_up_choices.json)."""

CLOSE_SCALE = 1.5
"""Largest enlargement of a close-up, view pixels per pixel of the frame; not compared with others
at the same margin."""

MIN_CLOSE_ZOOM = 1.1
"""Least enlargement for which there is a close-up; not measured."""


@dataclass(frozen=True)
class Window:
    """A part of the frame that the network sees, at the working size.

    Attributes:
        frame: Height and width of the frame, pixels.
        view: Height and width of what the network sees, pixels.
        left: First column in the frame, pixels.
        top: First row.
        zoom: Sides of the frame relative to those of the window, 1 or more.

    Example:
        >>> mask = np.zeros((480, 640), np.uint8)
        >>> mask[200:212, 300:312] = 1
        >>> window = Window((480, 640), (360, 480)).around(mask)
        >>> window.zoom, window.crop(mask).shape
        (8.0, (360, 480))
    """

    frame: tuple[int, int]
    view: tuple[int, int]
    left: float = 0.0
    top: float = 0.0
    zoom: float = 1.0

    def around(self, mask: np.ndarray) -> Window:
        """Chooses the window for the objects of a mask: the whole frame unless they are small.

        Args:
            mask: bool or uint8 [H, W] at the size of the frames, nonzero inside the objects.
        """
        whole = Window(self.frame, self.view)
        area = np.count_nonzero(mask)
        if not area or area * (self.view[0] / self.frame[0]) ** 2 >= SMALL**2:
            return whole
        window = self._with(mask, MARGIN, MAX_ZOOM)
        return whole if window.zoom < MIN_ZOOM else window

    def close_to(self, mask: np.ndarray) -> Window:
        """Chooses the window of a close-up: the whole frame where there is little to enlarge.

        Args:
            mask: bool or uint8 [H, W] at the size of the frames, nonzero inside the objects.
        """
        limit = max(1.0, CLOSE_SCALE * self.frame[0] / self.view[0])
        window = self._with(mask, CLOSE_MARGIN, limit) if mask.any() else self
        return window if window.zoom >= MIN_CLOSE_ZOOM else Window(self.frame, self.view)

    def _with(self, mask: np.ndarray, margin: float, max_zoom: float) -> Window:
        """Returns the window with sides `margin` times those of the box of a mask."""
        (height, width), view = self.frame, self.view
        x, y, across, down = cv2.boundingRect((mask != 0).astype(np.uint8))
        zoom = max(1.0, min(max_zoom, 1 / (margin * max(across / width, down / height))))
        left = min(max(x + across / 2 - width / zoom / 2, 0), width - width / zoom)
        top = min(max(y + down / 2 - height / zoom / 2, 0), height - height / zoom)
        return Window(self.frame, view, left, top, zoom)

    def crop(self, plane: np.ndarray) -> np.ndarray:
        """Enlarges the window.

        Args:
            plane: uint8 or float32 [H, W] or [H, W, C] at the size of the frames.

        Returns:
            The same at the size of the view.
        """
        # Shrunk by area first where the window has more pixels than the view.
        shrink = max(1.0, self.frame[0] / self.zoom / self.view[0])
        if shrink > 1:
            size = tuple(max(1, round(side / shrink)) for side in plane.shape[1::-1])
            plane = cv2.resize(plane, size, interpolation=cv2.INTER_AREA)
        size = self.view[::-1]
        border = cv2.BORDER_REPLICATE
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(
            plane, self._to(plane.shape[:2]), size, flags=flags, borderMode=border
        )

    def crop_labels(self, mask: np.ndarray) -> np.ndarray:
        """Enlarges the window of a mask of object ids, uint8 [H, W]; no id is lost."""
        labels = np.unique(mask)
        planes = np.stack([self.crop((mask == label).astype(np.float32)) for label in labels])
        cropped = labels[np.argmax(planes, axis=0)]
        for label, plane in zip(labels, planes, strict=True):
            if not (cropped == label).any():
                cropped[np.unravel_index(np.argmax(plane), plane.shape)] = label
        return cropped

    def paste(self, probability: np.ndarray) -> np.ndarray:
        """Puts what was found in the window into the frame; logits are interpolated.

        Args:
            probability: float32 [H', W'] in 0..1 at the size of the view.

        Returns:
            float32 [H, W] in 0..1 at the size of the frames; 0 outside the window.
        """
        bounded = np.clip(probability, 1e-6, 1 - 1e-6)
        logits = np.log(bounded / (1 - bounded)).astype(np.float32)
        height, width = self.frame
        placed = cv2.warpAffine(
            logits, self._to(self.frame), (width, height), flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )  # fmt: skip
        inside = np.zeros(self.frame, bool)
        bottom, right = self.top + height / self.zoom, self.left + width / self.zoom
        inside[round(self.top) : round(bottom), round(self.left) : round(right)] = True
        return np.where(inside, sigmoid(placed), np.float32(0))

    def _to(self, size: tuple[int, int]) -> np.ndarray:
        """Returns the map from pixel centers of the view to those of a resized frame, [2, 3]."""
        rows = []
        for axis, start in ((1, self.left), (0, self.top)):
            scale = size[axis] / (self.zoom * self.view[axis])
            offset = start * size[axis] / self.frame[axis] + 0.5 * scale - 0.5
            rows.append([scale, 0, offset] if axis else [0, scale, offset])
        return np.array(rows, np.float64)
