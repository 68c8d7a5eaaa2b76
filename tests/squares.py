"""A scene that the tests of several segmenters share."""

from __future__ import annotations

import numpy as np
import pytest

from deeplab_gygo.io.sequence import Frame


class MovingSquares:
    """Two squares, bright and dark, that move over noise, 64x96 pixels.

    Attributes:
        size: Height and width of the frames.
    """

    size = (64, 96)

    def truth(self, index: int, left: int = 20) -> np.ndarray:
        """Returns the mask uint8 of the bright square; of the dark one with `left` 58."""
        mask = np.zeros(self.size, np.uint8)
        mask[18:46, left + 3 * index : left + 24 + 3 * index] = 1
        return mask

    def frame(self, index: int) -> Frame:
        """Returns a frame."""
        image = np.random.default_rng(index).integers(60, 120, (*self.size, 3)).astype(np.uint8)
        image[self.truth(index, 58) > 0] = (30, 40, 160)
        image[self.truth(index) > 0] = (230, 210, 40)
        return Frame(index, f"{index:05d}", decode=lambda: image)

    def followed(self, segmenter, count: int = 3, left: int = 20) -> list:
        """Returns the predictions of the first frames after the annotated one."""
        segmenter.begin(self.frame(0), self.truth(0, left))
        return [segmenter.step(self.frame(index)) for index in range(1, 1 + count)]


@pytest.fixture(scope="session")
def squares() -> MovingSquares:
    """Two moving squares."""
    return MovingSquares()
