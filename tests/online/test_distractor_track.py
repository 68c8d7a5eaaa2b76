"""Distractors: what was dropped once stays apart from the object when the two touch."""

import cv2
import numpy as np
import pytest

from deeplab_gygo.online.distractor_track import LEAST_PART, DistractorTrack
from deeplab_gygo.online.flow import flow_between

SIZE = (120, 200)
BOX = (40, 60, 90, 130)  # top, left, bottom, right of the object, which stands still


def _scene(left: int, height: int = 30) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A dark object and behind it a light disc at a column; returns what is seen of each."""
    rng = np.random.default_rng(3)
    grain = cv2.GaussianBlur(rng.uniform(0, 255, (*SIZE, 3)).astype(np.float32), (0, 0), 2)
    grain = (grain - 127) * 3
    image = np.full((*SIZE, 3), 120, np.float32) + 0.3 * grain
    rows, columns = np.indices(SIZE)
    disc = (rows - 45) ** 2 + (columns - left) ** 2 < height**2 / 4
    image[disc] = 220 + 0.5 * np.roll(grain, left, axis=1)[disc]
    top, start, bottom, right = BOX
    box = np.zeros(SIZE, bool)
    box[top:bottom, start:right] = True
    image[box] = 40 + 0.4 * grain[box]
    return np.clip(image, 0, 255).astype(np.uint8), box, disc & ~box


def _walk(lefts, track=None):
    """Lets the disc come nearer; the network takes both for the object in every frame."""
    track = track or DistractorTrack()
    shares = []
    for number, left in enumerate(lefts):
        image, box, disc = _scene(left)
        predicted = box | disc
        theirs = track.claim(image, predicted, box)
        if number == 0:
            theirs = disc  # it lies apart: the filter of components drops it
        track.follow(image, predicted & theirs, predicted & ~theirs)
        shares.append((theirs[disc].mean() if disc.any() else 1.0, theirs[box].mean()))
    return track, shares


def test_a_thing_that_comes_from_the_side_stays_apart_when_it_touches():
    lefts = list(
        range(12, 64, 4)
    )  # comes in over the edge, touches the object from 48 on, half hidden at the end
    _, shares = _walk(lefts)
    of_disc, of_box = zip(*shares, strict=True)
    assert min(of_disc) > 0.9
    assert max(of_box) < 0.03


def test_without_a_distractor_nothing_is_claimed():
    image, box, disc = _scene(52)
    track = DistractorTrack()
    assert not track.claim(image, box | disc, box).any()
    track.follow(image, np.zeros(SIZE, bool), box)
    assert track.mask is None
    assert not track.claim(image, box | disc, box).any()


def test_it_is_followed_where_the_network_says_nothing_of_it():
    track, _ = _walk([12])
    for left in range(16, 44, 4):
        image, box, disc = _scene(left)
        assert not track.claim(image, box, box).any()  # nothing of it is predicted
        track.follow(image, np.zeros(SIZE, bool), box)
        assert track.mask[disc].mean() > 0.8
    image, box, disc = _scene(46)
    theirs = track.claim(image, box | disc, box)
    assert theirs[disc].mean() > 0.9 and theirs[box].mean() < 0.03


def test_specks_are_not_followed_and_what_is_forgotten_is_gone():
    image, box, _ = _scene(12)
    track = DistractorTrack()
    speck = np.zeros(SIZE, bool)
    speck[5, : int(LEAST_PART * box.sum()) - 1] = True
    track.follow(image, speck, box)
    assert track.mask is None
    track, _ = _walk([12])
    assert track.mask is not None
    track.forget()
    assert track.mask is None


def test_what_leaks_into_a_distractor_is_taken_back():
    track, _ = _walk([12])
    image, box, disc = _scene(14)
    leaked = box.copy()
    leaked[40:48, 10:18] = True  # said to be the object in the frame before
    theirs = track.claim(image, box | disc, leaked)
    assert theirs[disc].mean() > 0.95


@pytest.mark.parametrize("scale", [1, 3])
def test_large_frames_are_followed_at_a_smaller_size(scale):
    track = DistractorTrack()
    for number, left in enumerate((12, 20, 28, 36, 44, 48)):
        image, *masks = _scene(left)
        size = (SIZE[1] * scale, SIZE[0] * scale)
        image = cv2.resize(image, size)
        box, disc = (cv2.resize(m.astype(np.uint8), size) > 0 for m in masks)
        theirs = track.claim(image, box | disc, box) if number else disc
        track.follow(image, theirs, (box | disc) & ~theirs)
    assert theirs[disc].mean() > 0.9 and theirs[box].mean() < 0.03


@pytest.mark.parametrize("size", [(8, 100), (100, 8), (5, 5), (16, 300)])
def test_flow_takes_pictures_of_any_size(size):
    engine = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    one = np.random.default_rng(0).integers(0, 255, size).astype(np.uint8)
    flow = flow_between(engine, one, np.roll(one, 1, axis=1))
    assert flow.shape == (*size, 2) and np.isfinite(flow).all()


@pytest.mark.parametrize(
    ("place", "other"),
    [((60, 20), False), ((60, 0), True), ((60, 170), False), ((5, 80), False), ((80, 180), True)],
)
def test_what_appears_near_the_object_inside_the_picture_may_be_its_own(place, other):
    image, box, _ = _scene(-40)
    part = np.zeros(SIZE, bool)
    part[place[0] : place[0] + 19, place[1] : place[1] + 20] = True
    assert part.sum() > LEAST_PART * box.sum()
    track = DistractorTrack()
    track.follow(image, part, box)
    assert (track.mask is not None) == other


def test_what_appears_far_from_the_object_is_another_thing():
    size = (120, 400)
    image, box, part = np.zeros((*size, 3), np.uint8), np.zeros(size, bool), np.zeros(size, bool)
    box[40:90, 60:130] = True
    part[60:80, 300:330] = True
    track = DistractorTrack()
    track.follow(image, part, box)
    assert (track.mask == part).all()
