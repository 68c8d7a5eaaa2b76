"""Frames of any size go through the network's sizes and back."""

import numpy as np
import pytest

from deeplab_gygo.inference.geometry import Geometry, sigmoid
from deeplab_gygo.models.guide import guide_at_stride


@pytest.mark.parametrize(
    ("frame", "working", "padded"),
    [
        ((480, 854), (480, 854), (480, 864)),
        ((1080, 1920), (480, 853), (480, 864)),
        ((854, 480), (854, 480), (864, 480)),
        ((101, 67), (101, 67), (112, 80)),
    ],
)
def test_sizes(frame, working, padded):
    geometry = Geometry.fit(frame, 480, 16)
    assert (geometry.working, geometry.padded) == (working, padded)
    assert geometry.image(np.zeros((*frame, 3), np.uint8)).shape == (*padded, 3)
    assert geometry.guide(np.zeros(frame, np.uint8)).shape == (padded[0] // 4, padded[1] // 4, 1)
    assert geometry.labels(np.zeros(frame, np.uint8)).shape == padded
    for stride in (2, 4):
        coarse = np.zeros((padded[0] // stride, padded[1] // stride), np.float32)
        assert geometry.logits(coarse).shape == frame


def test_a_mask_survives_the_way_there_and_back():
    frame = (203, 331)
    rows, columns = np.mgrid[: frame[0], : frame[1]]
    mask = ((rows - 90) ** 2 + (columns - 150) ** 2 < 60**2).astype(np.uint8)
    geometry = Geometry.fit(frame, 480, 16)
    back = geometry.logits(geometry.guide(mask)[..., 0]) > 0
    union = np.count_nonzero(back | (mask > 0))
    assert np.count_nonzero(back & (mask > 0)) / union > 0.97


def test_finer_logits_bring_back_finer_masks():
    frame = (160, 320)
    mask = np.zeros(frame, np.uint8)
    mask[:, 40:300:10] = mask[:, 41:300:10] = mask[:, 42:300:10] = 1
    geometry = Geometry.fit(frame, 480, 16)

    def recovered(stride):
        coded = guide_at_stride(2.0 * geometry.soft_mask(mask)[..., None] - 1.0, stride)
        back = geometry.logits(coded[..., 0]) > 0
        return np.count_nonzero(back & (mask > 0)) / np.count_nonzero(back | (mask > 0))

    assert recovered(2) > recovered(4) + 0.1


def test_labels_keep_their_values():
    labels = np.zeros((100, 150), np.uint8)
    labels[20:60, 30:90], labels[70:90] = 1, 255
    geometry = Geometry.fit((100, 150), 64, 16)
    small = geometry.labels(labels)
    assert set(np.unique(small)) == {0, 1, 255}
    assert small[25, 40] == 1 and small[50, 40] == 255 and small[5, 5] == 0


def test_padding_repeats_the_border():
    image = np.full((20, 20, 3), 77, np.uint8)
    assert (Geometry.fit((20, 20), 480, 16).image(image) == 77).all()


def test_guide_codes_object_background_and_unknown():
    geometry = Geometry.fit((32, 32), 480, 16)
    assert (geometry.guide(np.ones((32, 32))) == 1).all()
    assert (geometry.guide(np.zeros((32, 32))) == -1).all()
    assert (geometry.guide(None) == 0).all()


def test_sigmoid_does_not_overflow():
    with np.errstate(all="raise"):
        values = sigmoid(np.array([-1e4, 0.0, 1e4]))
    np.testing.assert_allclose(values, [0, 0.5, 1], atol=1e-6)
