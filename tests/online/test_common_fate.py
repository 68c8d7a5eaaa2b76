"""What comes out from behind an object and stays with the background is told from the object."""

import cv2
import numpy as np
import pytest

from deeplab_gygo.online.common_fate import LEAST_STRANGER, CommonFate
from deeplab_gygo.online.distractor_track import DistractorTrack

SIZE = (160, 320)
PACE = 3  # pixels a frame


def _grain(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    smooth = cv2.GaussianBlur(rng.uniform(0, 255, (*SIZE, 3)).astype(np.float32), (0, 0), 2)
    return np.clip((smooth - 127) * 4 + 127, 0, 255)


def _box(left: float, top: int, width: int, height: int) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[top : top + height, max(0, round(left)) : max(0, round(left) + width)] = True
    return mask


def _layers(parts) -> tuple[np.ndarray, list[np.ndarray]]:
    """Paints (mask, shift of its texture, seed) over a still background, first one behind."""
    image = 0.4 * _grain(0)
    masks = []
    for mask, shift, seed in parts:
        texture = np.roll(_grain(seed), round(shift), axis=1)
        image[mask] = texture[mask]
        masks = [m & ~mask for m in masks] + [mask]
    return np.clip(image, 0, 255).astype(np.uint8), masks


def _run(scene, frames: int = 36) -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
    """Follows an object that the network always sees whole; returns what was told apart at last."""
    track = DistractorTrack(fate=True)
    image, masks = _layers(scene(0))
    track.begin(image, masks[-1])
    previous, theirs = masks[-1], np.zeros(SIZE, bool)
    for number in range(1, frames):
        image, masks = _layers(scene(number))
        predicted = np.logical_or.reduce(masks)
        theirs = track.claim(image, predicted, previous)
        previous = predicted & ~theirs
        track.follow(image, theirs, previous)
    return theirs, masks, predicted


def test_a_twin_that_comes_out_from_behind_is_not_the_object():
    def scene(number):
        moved = PACE * number
        return [(_box(100, 60, 60, 60), 0, 2), (_box(90 + moved, 50, 80, 80), moved, 1)]

    theirs, (twin, thing), _ = _run(scene)
    assert theirs[twin].mean() > 0.85
    assert theirs[thing].mean() < 0.05


def test_a_part_that_lies_apart_is_a_stranger_as_a_whole():
    fate = CommonFate()
    thing, twin = np.zeros((60, 100), bool), np.zeros((60, 100), bool)
    thing[10:50, 50:90] = True
    fate.begin(thing)
    # The twin came out of nowhere, half of it only now; the object moves, the ground does not.
    back = np.zeros((60, 100, 2), np.float32)
    error = np.zeros((60, 100), np.float32)
    for number in range(1, 9):
        thing = np.roll(thing, 2, axis=1)
        back[:] = 0
        back[thing] = (-2, 0)
        twin[15:45, 10 : 20 if number < 8 else 28] = True
        strange, _ = fate.strangers(back, error, thing | twin)
        fate.keep(thing | twin)
    assert strange[twin].all() and not strange[thing].any()


def test_it_is_told_by_a_moving_camera_too():
    def scene(number):  # the camera follows the object: the twin goes by
        moved = -PACE * number
        return [(_box(160 + moved, 60, 60, 60), moved, 2), (_box(150, 50, 80, 80), 0, 1)]

    def shifted(number):
        return scene(number)

    track = DistractorTrack(fate=True)
    previous = None
    for number in range(36):
        image, masks = _layers(shifted(number))
        background = np.roll(0.4 * _grain(0), -PACE * number, axis=1).astype(np.uint8)
        image[~np.logical_or.reduce(masks)] = background[~np.logical_or.reduce(masks)]
        if previous is None:
            track.begin(image, masks[-1])
            previous = masks[-1]
            continue
        predicted = np.logical_or.reduce(masks)
        theirs = track.claim(image, predicted, previous)
        previous = predicted & ~theirs
        track.follow(image, theirs, previous)
    assert theirs[masks[0]].mean() > 0.85
    assert theirs[masks[1]].mean() < 0.05


@pytest.mark.parametrize(
    "part",
    [
        pytest.param(lambda n: (_box(60 + PACE * n, 70, 60, 40), PACE * n, 2), id="moves along"),
        pytest.param(
            lambda n: (_box(85 + PACE * n - min(n, 8), 70, 60, 40), PACE * n - min(n, 8), 2),
            id="is put out",
        ),
    ],
)
def test_what_moves_with_the_object_is_its_own(part):
    def scene(number):
        moved = PACE * number
        return [part(number), (_box(90 + moved, 50, 80, 80), moved, 1)]

    theirs, _, _ = _run(scene)
    assert not theirs.any()


def test_nothing_is_told_where_nothing_moves():
    def scene(number):
        return [(_box(60 - number, 60, 100, 60), 0, 2), (_box(90, 50, 80, 80), 0, 1)]

    theirs, _, _ = _run(scene)
    assert not theirs.any()


def test_small_things_stay():
    side = 8  # of a foot that stands while the body walks on

    def scene(number):
        moved = PACE * number
        return [(_box(100, 100, side, side), 0, 2), (_box(90 + moved, 50, 80, 80), moved, 1)]

    assert side**2 < LEAST_STRANGER * 80**2
    theirs, _, _ = _run(scene)
    assert not theirs.any()


def test_a_trace_that_is_lost_begins_anew():
    fate = CommonFate()
    mask = np.zeros((40, 60), bool)
    mask[10:30, 10:30] = True
    fate.begin(mask)
    far = np.full(mask.shape, 9, np.float32)
    back = np.zeros((*mask.shape, 2), np.float32)
    assert not fate.strangers(back, far, mask)[0].any()
    fate.keep(mask)
    # All of it is believed again: what now leaves the background is no stranger.
    assert not fate.strangers(back, 0 * far, mask)[1].any()


def test_copies_go_their_own_way():
    track = DistractorTrack(fate=True)
    image, masks = _layers([(_box(90, 50, 80, 80), 0, 1)])
    track.begin(image, masks[-1])
    other = track.copy()
    other.claim(image, np.zeros(SIZE, bool), masks[-1])
    other.pass_by(image, np.zeros(SIZE, bool))
    assert track.fate is not other.fate
    again = track.claim(image, masks[-1], masks[-1])
    assert not again.any()


def test_what_reappears_apart_and_comes_along_is_the_objects():
    """As a thing that passes behind a pole: its front comes out before its back goes in."""

    def scene(number):
        moved = PACE * number
        parts = [(_box(100 + moved, 50, 80, 60), moved, 1), (_box(200, 0, 40, 160), 0, 3)]
        image, (thing, _) = _layers(parts)
        return image, thing

    track = DistractorTrack(fate=True)
    image, thing = scene(0)
    track.begin(image, thing)
    previous = thing
    for number in range(1, 30):
        image, thing = scene(number)
        theirs = track.claim(image, thing, previous)
        along = track.along(SIZE)
        _, labels = cv2.connectedComponents(thing.astype(np.uint8))
        known = np.unique(labels[thing & (previous | along)])
        previous = np.isin(labels, known) & thing & ~theirs
        track.follow(image, thing & ~previous, previous, usual=80 * 60)
    left, right = thing[:, :200], thing[:, 240:]
    assert left.any() and right.any()
    assert previous[:, 240:][right].mean() > 0.9


def test_what_stands_in_front_divides_the_object_and_takes_nothing_with_it():
    """The network takes the part of a pole that covers the object for it."""
    pole = _box(196, 0, 14, SIZE[0])
    track = DistractorTrack(fate=True)
    previous, shares = None, []
    for number in range(30):
        moved = PACE * number
        thing = _box(90 + moved, 40, 90, 80)
        image, (seen, _) = _layers([(thing, moved, 1), (pole, 0, 3)])
        if previous is None:
            track.begin(image, seen)
            previous = seen
            continue
        theirs = track.claim(image, thing, previous)
        previous = thing & ~theirs
        track.follow(image, theirs, previous)
        left, right = seen.copy(), seen.copy()
        left[:, 196:], right[:, :210] = False, False
        for part in (left, right):
            if np.count_nonzero(part) > 800:
                assert previous[part].mean() > 0.85, number
        if (pole & thing).any():
            shares.append(theirs[pole & thing].mean())
    assert max(shares) > 0.5  # for some frames: flow is not sharp beside a thing so thin


def test_what_stays_on_its_table_is_whole_however_the_camera_turns():
    """A long thing lies on a table; the camera turns, and its ends are lost from sight at times."""
    size, fate = (80, 200), CommonFate()
    thing = np.zeros(size, bool)
    thing[35:45, 20:180] = True
    fate.begin(thing)
    rows, columns = np.indices(size, np.float32)
    angle = 0.03
    turned = [-angle * (rows - 40), angle * (columns - 60)]
    for number in range(16):
        seen = thing.copy()
        if number < 3:
            seen[:, 110:] = False
        error = np.zeros(size, np.float32)
        strange, _ = fate.strangers(np.stack(turned, axis=-1), error, seen)
        assert not strange.any()
        fate.keep(seen)


def test_an_end_that_moves_like_what_is_beside_it_is_the_objects():
    """A long thing comes nearer at one end, which moves with the ground there, and alone does."""
    size, fate = (80, 200), CommonFate()
    thing = np.zeros(size, bool)
    thing[30:50, 20:170] = True
    fate.begin(thing)
    columns = np.indices(size, np.float32)[1]
    along = np.stack([0.025 * (columns - 100), np.zeros(size, np.float32)], axis=-1)
    ground = along.copy()
    ground[:, :130, 1] += 3  # left of the end, the ground moves against the thing
    back = np.where(thing[..., None], along, ground)
    for number in range(12):
        seen = thing.copy()
        if number == 0:
            seen[:, 145:] = False  # the end was lost for once, so that it cannot be traced
        strange, _ = fate.strangers(back, np.zeros(size, np.float32), seen)
        assert not strange.any(), number
        fate.keep(seen)


@pytest.mark.parametrize(("pace", "kept"), [(2, False), (12, True)])
def test_long_flow_may_miss_by_more(pace, kept):
    """A pixel of error tells what is uncovered by a slow object, and nothing beside a quick one."""
    size, fate = (80, 200), CommonFate()
    thing = np.zeros(size, bool)
    thing[20:60, 60:120] = True
    fate.begin(thing)
    moved = np.roll(thing, pace, axis=1)
    back = np.zeros((*size, 2), np.float32)
    back[moved] = (-pace, 0)
    error = np.zeros(size, np.float32)
    unsure = np.zeros(size, bool)
    unsure[30:50, 80:100] = True
    error[unsure] = 1.2
    fate.strangers(back, error, moved)
    assert fate.traced[35:45, 85:95].all() == kept
    assert fate.traced[moved & ~unsure].mean() > 0.9


def test_a_side_that_comes_into_view_is_the_objects():
    """A thing that turns shows a side that moves less than it, as the ground, but not far from it.

    Only its near end moves: most of it stays as the ground does.
    """
    size, fate = (80, 200), CommonFate()
    thing = np.zeros(size, bool)
    thing[30:50, 20:140] = True
    fate.begin(thing)
    back = np.zeros((*size, 2), np.float32)
    back[30:50, 90:140, 0] = -3  # the near end swings towards the side that comes into view
    back[:30, :100, 0] = back[50:, :100, 0] = 6  # the ground that the rest moves against
    for number in range(12):
        seen = thing.copy()
        seen[30:50, 140:170] = number > 0
        strange, _ = fate.strangers(back, np.zeros(size, np.float32), seen)
        assert not strange.any(), number
        fate.keep(seen)


@pytest.mark.parametrize("turns", [True, False])
def test_a_side_that_opens_towards_its_pivot_is_the_objects(turns):
    """A car swings round: its side comes into view and moves less and less towards the rear end.

    The same place that stands still as a whole is a stranger.
    """
    size, fate, pace, pivot = (80, 200), CommonFate(), 2, 60
    thing = np.zeros(size, bool)
    thing[30:50, 100:140] = True
    fate.begin(thing)
    columns = np.indices(size, np.float32)[1]
    told = []
    for number in range(1, 12):
        edge = 100 + pace * number
        seen = np.zeros(size, bool)
        seen[30:50, pivot : edge + 40] = True
        back = np.zeros((*size, 2), np.float32)
        back[30:50, edge : edge + 40, 0] = -pace
        if turns:
            opened = -pace * (columns - pivot) / (edge - pivot)
            back[30:50, pivot:edge, 0] = opened[30:50, pivot:edge]
        strange, _ = fate.strangers(back, np.zeros(size, np.float32), seen)
        fate.keep(seen & ~strange)
        told.append(strange.any())
    assert any(told) != turns
