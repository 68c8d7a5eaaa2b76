"""HDR to BT.709."""

from __future__ import annotations

import numpy as np
import pytest

from deeplab_gygo.io.tone_mapping import HLG, PQ, tone_map


@pytest.mark.parametrize("transfer", [HLG, PQ])
def test_tone_mapping_keeps_gray_order_and_range(transfer):
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    mapped = tone_map(ramp, transfer)
    assert mapped.dtype == np.uint8 and mapped.shape == ramp.shape
    assert np.ptp(mapped.astype(int), axis=2).max() <= 1  # gray stays gray
    gray = mapped[0, :, 1].astype(int)
    assert (np.diff(gray) >= 0).all() and gray[0] == 0 and gray[-1] >= 250
    # Diffuse white (BT.2408: 75 % of HLG, 58 % of PQ) is bright, and brighter values differ.
    white = round({HLG: 0.75, PQ: 0.58}[transfer] * 255)
    assert 225 <= gray[white] <= 245 and gray[white + 30] > gray[white]


def test_saturated_colors_survive_tone_mapping():
    red = tone_map(np.array([[[190, 60, 60]]], np.uint8), HLG)[0, 0].astype(int)
    assert red[0] > red[1] + 100 and red[0] > red[2] + 100
