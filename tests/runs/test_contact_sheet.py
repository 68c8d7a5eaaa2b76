"""Contact sheets: layout, outlines, J of a tile."""

import base64

import cv2
import numpy as np

from deeplab_gygo.io.sequence import Frame
from deeplab_gygo.runs.contact_sheet import (
    PREDICTION_COLOR,
    TRUTH_COLOR,
    contact_sheet,
    jpeg_url,
    mean_jaccard,
)

SIZE = (48, 64)


def disc(x: int, y: int, radius: int, label: int = 1) -> np.ndarray:
    mask = np.zeros(SIZE, np.uint8)
    cv2.circle(mask, (x, y), radius, label, -1)
    return mask


def picture(value: int = 90) -> np.ndarray:
    return np.full((*SIZE, 3), value, np.uint8)


class TestContactSheet:
    @staticmethod
    def frames(count):
        return [Frame(i, f"{i:05d}", decode=lambda: picture(60)) for i in range(count)]

    def test_layout(self):
        masks = [disc(30, 24, 10)] * 7
        sheet = contact_sheet(self.frames(7), masks, masks)
        assert sheet.dtype == np.uint8 and sheet.ndim == 3
        assert 5 * 240 < sheet.shape[1] < 6 * 240
        tile = 240 * SIZE[0] // SIZE[1]
        assert 2 * tile < sheet.shape[0] < 2 * (tile + 40)
        assert contact_sheet(self.frames(2), masks[:2], masks[:2]).shape[1] < 3 * 240

    def test_outlines_are_drawn_in_their_colors(self):
        sheet = contact_sheet(self.frames(1), [disc(20, 24, 8)], [disc(44, 24, 8)]).astype(int)
        red = np.abs(sheet - PREDICTION_COLOR).sum(axis=2) < 60
        green = np.abs(sheet - TRUTH_COLOR).sum(axis=2) < 60
        assert red.sum() > 40 and green.sum() > 40
        assert np.nonzero(red)[1].mean() < 120 < np.nonzero(green)[1].mean()

    def test_jaccard_of_a_tile(self):
        assert mean_jaccard(disc(30, 24, 9), disc(30, 24, 9) * 255) == 1
        truth = disc(12, 12, 8) | disc(45, 30, 9, label=2)
        assert mean_jaccard(disc(12, 12, 8), truth) == 0.5
        void = truth.copy()
        void[truth == 2] = 255
        assert mean_jaccard(truth, void) == 1

    def test_a_picture_as_a_url_keeps_its_colors(self):
        drawn = picture()
        drawn[20] = PREDICTION_COLOR
        head, _, text = jpeg_url(drawn).partition(",")
        data = np.frombuffer(base64.b64decode(text), np.uint8)
        decoded = cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
        assert head == "data:image/jpeg;base64"
        assert np.abs(decoded.astype(int) - drawn).max() < 40
