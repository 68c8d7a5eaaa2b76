"""The window that follows small objects."""

import numpy as np
import pytest

from deeplab_gygo.inference.config import OnlineConfig
from deeplab_gygo.inference.segmenter import DeepLabSegmenter
from deeplab_gygo.inference.zoom import MARGIN, MAX_ZOOM, SMALL, Window
from deeplab_gygo.io.sequence import Frame

FRAME, VIEW = (480, 640), (120, 160)


def _square(left, top, side, size=FRAME, value=1):
    mask = np.zeros(size, np.uint8)
    mask[top : top + side, left : left + side] = value
    return mask


@pytest.mark.parametrize("corner", [(300, 200), (0, 0), (620, 460), (100, 440)])
def test_the_window_contains_the_object_and_lies_in_the_frame(corner):
    mask = _square(*corner, 20)
    window = Window(FRAME, VIEW).around(mask)
    assert 1 < window.zoom <= MAX_ZOOM
    assert 0 <= window.left <= FRAME[1] * (1 - 1 / window.zoom)
    assert 0 <= window.top <= FRAME[0] * (1 - 1 / window.zoom)
    seen = window.crop(mask.astype(np.float32)).mean() / window.zoom**2
    assert seen == pytest.approx(mask.mean(), rel=0.1)
    assert FRAME[0] / window.zoom >= MARGIN * 20 * 0.99


def test_the_window_is_the_frame_unless_objects_are_small():
    whole = Window(FRAME, VIEW)
    side = SMALL * FRAME[0] // VIEW[0]
    assert whole.around(_square(10, 10, side + 4)) == whole
    assert whole.around(np.zeros(FRAME, np.uint8)) == whole
    # Two small objects far from each other.
    assert whole.around(_square(10, 10, 8) + _square(600, 400, 8)) == whole
    near = whole.around(_square(300, 200, 12) + _square(330, 210, 12))
    assert near.zoom > 1
    # The window follows from wherever it is.
    assert near.around(_square(300, 200, 12)) == whole.around(_square(300, 200, 12))


@pytest.mark.parametrize("zoom", [1.0, 2.5, 8.0])
@pytest.mark.parametrize("view", [VIEW, (360, 480)])
def test_what_is_found_in_the_window_is_put_where_it_was(zoom, view):
    window = Window(FRAME, view, 200.0 / zoom, 130.0 / zoom, zoom)
    center = int(window.left + 320 / zoom), int(window.top + 240 / zoom)
    truth = _square(center[0] - 6, center[1] - 6, 14).astype(np.float32)
    found = window.paste(window.crop(truth))
    assert found.shape == FRAME
    assert np.abs((found > 0.5).astype(int) - truth.astype(int)).sum() <= (60 if zoom < 2 else 30)
    outside = np.ones(FRAME, bool)
    bottom, right = window.top + FRAME[0] / zoom, window.left + FRAME[1] / zoom
    outside[round(window.top) : round(bottom), round(window.left) : round(right)] = False
    assert not found[outside].any()


def test_no_label_is_lost():
    mask = _square(300, 200, 16, value=3)
    mask[202, 318] = 7
    mask[300, 318] = 255
    cropped = Window((4800, 6400), (60, 80)).crop_labels(np.kron(mask, np.ones((10, 10), np.uint8)))
    assert sorted(np.unique(cropped)) == [0, 3, 7, 255]


@pytest.fixture(scope="module")
def segmenter(small_parent):
    config = OnlineConfig(mode="one-shot", size=64, num_views=2, memory_frames=0)
    return DeepLabSegmenter(small_parent(separable=False), config)


def _frames(count, step=3):
    rng = np.random.default_rng(0)
    background = rng.integers(60, 120, (240, 320, 3)).astype(np.uint8)
    for index in range(count):
        image = background.copy()
        image[_place(index, step) > 0] = (230, 210, 40)
        yield Frame(index, f"{index:05d}", decode=lambda image=image: image)


def _place(index, step=3):
    return _square(100 + step * index, 90, 12, (240, 320))


def test_a_small_object_is_seen_enlarged_and_followed(segmenter, monkeypatch):
    """The network gets the window; results have the size of the frame."""
    frames = list(_frames(6, 12))
    segmenter.begin(frames[0], _place(0))
    segmenter._close_up = None
    shares = []

    def found(features, tracked, position):
        shares.append(float((tracked.probability > 0.5).mean()))
        # What the network would find: the bright square, wherever the window is.
        return (segmenter._window.crop(truth.astype(np.float32)) > 0.5).astype(np.float32)

    monkeypatch.setattr(segmenter._propagation, "probability", found)
    for index, frame in enumerate(frames[1:], 1):
        truth = _place(index, 12)
        prediction = segmenter.step(frame)
        assert prediction.probability.shape == (240, 320)
        overlap = (
            np.logical_and(prediction.mask, truth).sum()
            / np.logical_or(prediction.mask, truth).sum()
        )
        assert overlap > 0.8
    assert min(shares) > 4 * _place(0).mean()


def test_a_lost_object_is_looked_for_in_the_whole_frame(segmenter, monkeypatch):
    frames = list(_frames(4))
    segmenter.begin(frames[0], _place(0))
    segmenter._close_up = None
    near = segmenter._window
    nothing = np.zeros(near.view, np.float32)
    monkeypatch.setattr(segmenter._propagation, "probability", lambda *_, **__: nothing)
    assert not segmenter.step(frames[1]).mask.any()
    assert segmenter._window.zoom == 1
    again = segmenter._window.crop(_place(2).astype(np.float32))
    monkeypatch.setattr(segmenter._propagation, "probability", lambda *_, **__: again)
    assert segmenter.step(frames[2]).mask.any()
    assert segmenter._window.zoom > 0.8 * near.zoom


def test_objects_of_other_sizes_and_exports_see_the_frame(segmenter):
    frame = next(_frames(1))
    segmenter.begin(frame, _square(60, 60, 120, (240, 320)))
    assert segmenter._window is None
    segmenter.enlarges = False
    segmenter.begin(frame, _place(0))
    assert segmenter._window is None
    segmenter.enlarges = True


def test_several_small_objects_and_void(segmenter):
    frames = list(_frames(3))
    mask = _place(0) * 2 + _square(130, 95, 9, (240, 320), 5)
    mask[89] = 255
    first = segmenter.begin(frames[0], mask)
    assert first.steps == 0
    assert segmenter._window is not None
    prediction = segmenter.step(frames[1])
    assert prediction.probability.shape == (2, 240, 320)
    assert prediction.mask.shape == (240, 320)
    assert set(np.unique(prediction.mask)) <= {0, 2, 5}
