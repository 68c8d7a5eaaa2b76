"""Sizes of frames on their way through the network, and the resampling between them."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import cv2
import numpy as np

from deeplab_gygo.models.config import DECODER_STRIDE
from deeplab_gygo.models.guide import encode_probability


@dataclass(frozen=True)
class Geometry:
    """Sizes of a frame on its way through the network, (height, width) in pixels.

    Attributes:
        frame: Size of the frames.
        working: Size at which the network sees them.
        padded: `working`, grown at the bottom and the right to a multiple of the stride.
    """

    frame: tuple[int, int]
    working: tuple[int, int]
    padded: tuple[int, int]

    @classmethod
    def fit(cls, frame: tuple[int, int], short_side: int, stride: int) -> Geometry:
        """Fits frames to a working size.

        Args:
            frame: Height and width of the frames, pixels.
            short_side: Short side of the working size; smaller frames are not enlarged.
            stride: Multiple that the network's input must have.

        Returns:
            The geometry.
        """
        # A fraction, since exports compute it too: a float's last bit would decide ties.
        scale = min(Fraction(1), Fraction(short_side, min(frame)))
        working = tuple(max(1, round(side * scale)) for side in frame)
        padded = tuple(-(-side // stride) * stride for side in working)
        return cls(tuple(frame), working, padded)

    def image(self, image: np.ndarray) -> np.ndarray:
        """Resizes and pads a frame for the network.

        Args:
            image: uint8 [H, W, 3] RGB at the size of the frames.

        Returns:
            uint8 [H', W', 3] at the padded size.
        """
        return self._padded(_resized(image, self.working))

    def soft_mask(self, probability: np.ndarray) -> np.ndarray:
        """Resizes and pads a mask or a probability.

        Args:
            probability: uint8 or float32 [H, W] in 0..1 at the size of the frames.

        Returns:
            float32 [H', W'] in 0..1.
        """
        return self._padded(_resized(probability.astype(np.float32), self.working))

    def guide(self, probability: np.ndarray | None) -> np.ndarray:
        """Codes a previous mask as the guide: -1 background, +1 object, 0 unknown.

        Args:
            probability: uint8 or float32 [H, W] in 0..1 at the size of the frames; None:
                unknown.

        Returns:
            float32 [H'/4, W'/4, 1].
        """
        height, width = (side // DECODER_STRIDE for side in self.padded)
        if probability is None:
            return np.zeros((height, width, 1), np.float32)
        # By whole factors this is the mean over blocks of `models.guide.guide_at_stride`.
        size = (width, height)
        coarse = cv2.resize(self.soft_mask(probability), size, interpolation=cv2.INTER_AREA)
        return encode_probability(coarse)[..., None]

    def labels(self, labels: np.ndarray) -> np.ndarray:
        """Resizes and pads labels, void among them, by the nearest neighbor.

        Args:
            labels: uint8 [H, W] at the size of the frames.

        Returns:
            uint8 [H', W'], of the same values.
        """
        size = self.working[::-1]
        return self._padded(cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST))

    def logits(self, coarse: np.ndarray) -> np.ndarray:
        """Resizes logits to the size of the frames; logits, not probabilities, are interpolated.

        Args:
            coarse: float32 [H'/s, W'/s] logits of the padded input at any stride.

        Returns:
            float32 [H, W].
        """
        fine = _resized(coarse.astype(np.float32, copy=False), self.padded)
        return _resized(fine[: self.working[0], : self.working[1]], self.frame)

    def resampling(self, stride: int, multiple: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns what `logits` does as one matrix per axis, for use in a compiled program.

        Args:
            stride: Stride of the logits: 1, or a divisor of the sides of the padded input.
            multiple: The output is grown at the bottom and the right, by zeros, to a multiple of
                it, so that frames of like sizes share a program.

        Returns:
            float32 [H', h] and [W', w]; rows @ logits @ columns.T begins with `logits(logits)`.

        Example:
            >>> geometry = Geometry.fit((30, 50), 480, 16)
            >>> rows, columns = geometry.resampling(4, 32)
            >>> coarse = np.random.default_rng(0).normal(size=(8, 16)).astype(np.float32)
            >>> found = (rows @ coarse @ columns.T)[:30, :50]
            >>> bool(np.allclose(found, geometry.logits(coarse), atol=1e-4))
            True
        """
        shrinks, matrices = self.frame[0] < self.working[0], []
        for padded, working, frame in zip(self.padded, self.working, self.frame, strict=True):
            matrix = _resized_rows(np.eye(padded // stride, dtype=np.float32), padded)
            matrix = _resized_rows(matrix[:working], frame, shrinks=shrinks)
            below = -len(matrix) % multiple
            matrices.append(np.pad(matrix, ((0, below), (0, 0))))
        return matrices[0], matrices[1]

    def _padded(self, values: np.ndarray) -> np.ndarray:
        below, right = (p - w for p, w in zip(self.padded, self.working, strict=True))
        if not below and not right:
            return values
        # The border is replicated: a black one would look like a contour to the network.
        return cv2.copyMakeBorder(values, 0, below, 0, right, cv2.BORDER_REPLICATE)


def _resized(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if values.shape[:2] == size:
        return values
    shrinks = size[0] < values.shape[0]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(np.ascontiguousarray(values), size[::-1], interpolation=method)


def _resized_rows(values: np.ndarray, count: int, *, shrinks: bool = False) -> np.ndarray:
    """Resizes the first axis of [N, M] as `_resized` does."""
    if len(values) == count:
        return values
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(np.ascontiguousarray(values), (values.shape[1], count), interpolation=method)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Returns probabilities float32 in 0..1 of logits of any shape, without overflow."""
    return (0.5 * (1.0 + np.tanh(0.5 * logits.astype(np.float32)))).astype(np.float32)
