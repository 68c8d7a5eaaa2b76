"""What comes out from behind an object and does not move with it is not the object.

Where an object moves on, things come into view that it hid. A twin of the object that stands there
is predicted as a part of it from the first pixel on, so that no rule about parts that lie apart
helps; but it stays with the background while the object leaves. Things that move together are seen
as one ("common fate": Wertheimer, 1923). So every pixel of the object that cannot be traced back
to the frame that the object is known from is watched: how far it has moved against the object, and
how far against the background. Only what follows the background, and clearly leaves the object, is
a stranger: parts of the object that swing, turn or come into view by themselves do neither. And a
stranger has an edge: all that came out from behind the object there follows the background. The
side of a thing that turns into view has none; from the parts that are known to its pivot, which
may well stand still, it moves less and less.
"""

from __future__ import annotations

import cv2
import numpy as np

LEFT = 0.3
"""Way that a stranger has moved against the object, as a part of the root of the object's area."""

JOINED = 0.1
"""Way against the background, likewise, that tells what has come along with the object."""

FOLLOWED = 0.25
"""Most that either has moved against what it follows meanwhile, as a part of that way."""

MOVED = 0.2
"""Ways against the object and the background together, likewise, from which a pixel counts where
it is asked what it follows."""

FOLLOWERS = 0.5
"""Share of what is new in one piece, and has moved, that must follow the background for any of it
to be a stranger."""

LEAST_STRANGER = 0.05
"""Least area of a stranger, as a part of the object's: feet that stand while a body walks on are
smaller."""

AGREED = 0.7
"""Pixels by which flow back and forth may miss where it began. What an object uncovers misses by as
much as the object moves against it, so that slower motion than this uncovers nothing."""

AGREED_PART = 0.15
"""The same as a part of the object's motion against the background, where that is more: flow that
is long misses by more, above all inside things of one colour (Sundaram, Brox & Keutzer, ECCV 2010,
allow .14 of the motion)."""

DENSE = 0.75
"""Least part of a pixel that must have been seen in the frame before. Flow is smooth: what is
uncovered shows as a strip of few pixels drawn out to many."""

LOST_TRACE = 0.2
"""Part of an object that must be traced back; below it, all of it is believed anew."""

LEAST_OWN = 0.1
"""Share of a part of strangers that must be the object's, so that its rest is no stranger too."""

MOST = 0.5
"""Share of a part that lies apart that decides for all of it."""

NEAR_SHARE = 0.02
"""Share of the pixels around that must be of the object or of the background to be its motion."""

_WAYS = 6  # columns and rows of the ways against the object, its near parts, and the background
_MAJORITY = 5  # pixels at the flow's size, side of the window in which the traced ones must prevail


class CommonFate:
    """Motion of an object's pixels against the object itself and against the background.

    All arrays have the size at which flow is computed.

    Attributes:
        traced: bool [h, w], what is traced back to the object, or has come along with it.
    """

    def __init__(self):
        self._mask: np.ndarray | None = None
        self.traced = np.zeros((1, 1), bool)
        self._strange = self.traced
        self._against = np.zeros((1, 1, _WAYS), np.float32)

    def begin(self, mask: np.ndarray) -> None:
        """Starts from a frame in which all of a mask, bool [h, w], is the object."""
        self._mask, self.traced, self._strange = mask, mask, np.zeros_like(mask)
        self._against = np.zeros((*mask.shape, _WAYS), np.float32)

    def strangers(
        self, back: np.ndarray, error: np.ndarray, predicted: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Goes on by a frame, and finds what has not moved with the object.

        Args:
            back: float32 [h, w, 2], way of every pixel back to the frame before, columns and rows.
            error: float32 [h, w], pixels by which the way back and forth misses its beginning.
            predicted: bool [h, w], what is taken for the object.

        Returns:
            bool [h, w], strangers, a part of `predicted`; and bool [h, w], what is neither known to
            be the object nor to be a stranger yet.
        """
        nothing = np.zeros(predicted.shape, bool)
        if self._mask is None or not predicted.any():
            self.restart()
            return nothing, nothing
        rows, columns = np.indices(predicted.shape, np.float32)
        places = back + np.stack([columns, rows], axis=-1)
        own = _moved(self.traced, places) & predicted
        known = (error <= _tolerance(back, error, own, predicted)) & (_density(back) >= DENSE)
        traced = _prevailing(own & known, predicted)
        area = np.count_nonzero(traced)
        if area < LOST_TRACE * np.count_nonzero(predicted):
            self.restart()
            return nothing, nothing
        # Strangers are watched also where nothing is predicted of them for once.
        watched = predicted | (_moved(self._strange, places) & known)
        against = _carried(self._against, places)
        against[~(_moved(self._mask, places) & known & watched)] = 0
        root = float(np.sqrt(area))
        steps = _steps(back, known, traced, predicted, root)
        against[watched & known] += steps[watched & known]
        came, left, follows, moved = _verdict(against, root)
        left &= _has_left(against[traced], root)
        new = watched & ~traced
        strange = _large_parts(new & left, LEAST_STRANGER * area)
        strange = _of_one_piece(strange, new, follows, moved)
        strange = _whole(strange, watched, (traced | came) & ~left)
        own = predicted & (traced | (new & came)) & ~strange
        self._mask, self.traced, self._against = watched, own, against
        self._strange = strange
        return strange & predicted, predicted & ~own & ~strange

    @property
    def along(self) -> np.ndarray:
        """Parts of the last prediction most of which is the object's, bool [h, w]."""
        if self._mask is None:
            return self.traced
        count, labels = cv2.connectedComponents(self._mask.astype(np.uint8), connectivity=8)
        sizes = np.bincount(labels.ravel(), minlength=count)
        own = np.bincount(labels[self.traced], minlength=count) > MOST * sizes
        own[0] = False
        return own[labels]

    def restart(self) -> None:
        """Gives up the trace: what is kept of the frame of the moment is believed."""
        self._mask, self.traced = None, np.zeros_like(self.traced)

    def keep(self, kept: np.ndarray) -> None:
        """Learns what was left of the object in the frame of the moment, bool [h, w]."""
        if self._mask is None:
            self.begin(kept)
            return
        # What was dropped is still watched: it will be predicted again.
        self._mask, self.traced = self._mask | kept, self.traced & kept

    def copy(self) -> CommonFate:
        """Returns one that goes its own way from here."""
        other = CommonFate()
        other._mask, other.traced, other._strange = self._mask, self.traced, self._strange
        other._against = self._against.copy()
        return other


def _tolerance(
    back: np.ndarray, error: np.ndarray, own: np.ndarray, predicted: np.ndarray
) -> float:
    """Returns by how many pixels flow back and forth may miss where something was seen before."""
    sure = error <= AGREED
    around = sure & ~predicted
    if not (own & sure).any() or not around.any():
        return AGREED
    apart = np.median(back[own & sure], axis=0) - np.median(back[around], axis=0)
    return max(AGREED, AGREED_PART * float(np.linalg.norm(apart)))


def _density(back: np.ndarray) -> np.ndarray:
    """Area in the frame before of every pixel, float32 [h, w]: the determinant of the Jacobian."""
    down, across = np.gradient(back, axis=(0, 1)) if min(back.shape[:2]) > 1 else (0 * back,) * 2
    return (1 + across[..., 0]) * (1 + down[..., 1]) - across[..., 1] * down[..., 0]


def _moved(mask: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Takes a mask, bool [h, w], from where every pixel was."""
    return cv2.remap(mask.astype(np.uint8) * 255, places, None, cv2.INTER_LINEAR) > 127


def _carried(ways: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Takes ways, float32 [h, w, n], from where every pixel was."""
    pairs = np.split(ways, ways.shape[-1] // 2, axis=-1)  # OpenCV takes four channels at most
    moved = [cv2.remap(np.ascontiguousarray(p), places, None, cv2.INTER_LINEAR) for p in pairs]
    return np.concatenate(moved, axis=-1)


def _prevailing(traced: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Closes what errors of the flow leave open: bool [h, w], where traced pixels prevail."""
    size = (_MAJORITY, _MAJORITY)
    share = cv2.blur(traced.astype(np.float32), size)
    return predicted & (share > 0.5 * cv2.blur(predicted.astype(np.float32), size))


def _steps(
    back: np.ndarray, known: np.ndarray, traced: np.ndarray, predicted: np.ndarray, root: float
) -> np.ndarray:
    """Motion against the object, its near parts, and the near background: float32 [h, w, 6]."""
    own = traced & known
    around = known & (cv2.dilate(predicted.astype(np.uint8), np.ones((5, 5), np.uint8)) == 0)
    if not own.any() or not around.any():
        return np.zeros((*back.shape[:2], _WAYS), np.float32)
    against = [
        back - np.median(back[own], axis=0),
        back - _near(back, own, root),
        back - _near(back, around, root),
    ]
    return np.concatenate(against, axis=-1).astype(np.float32)


def _near(back: np.ndarray, part: np.ndarray, root: float) -> np.ndarray:
    """Averages the motion of a part, bool [h, w], near every pixel; far from it, its median."""
    side = 2 * round(root) + 1
    weight = cv2.blur(part.astype(np.float32), (side, side))[..., None]
    near = cv2.blur(back * part[..., None], (side, side)) / np.maximum(weight, 1e-6)
    return np.where(weight > NEAR_SHARE, near, np.median(back[part], axis=0))


def _verdict(
    against: np.ndarray, root: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Finds what has come along with the object, and what has left it.

    A thing that turns has no one motion: its ends move against its middle, and its parts against
    each other. So what has left it has left both, its middle and the parts near by.

    Args:
        against: float32 [h, w, 6], ways against the object, its near parts, and the background.
        root: Root of the object's area.

    Returns:
        bool [h, w] each: what has come along, what has left, what follows the background, however
        little it has moved, and what has moved enough to say whom it follows.
    """
    from_middle, from_near, from_background = (
        np.linalg.norm(against[..., i : i + 2], axis=-1) for i in range(0, _WAYS, 2)
    )
    from_object = np.minimum(from_middle, from_near)
    came = (from_background > JOINED * root) & (from_object < FOLLOWED * from_background)
    follows = from_background < FOLLOWED * from_object
    left = (from_object > LEFT * root) & follows
    return came, left, follows, from_object + from_background > MOVED * root


def _of_one_piece(
    strange: np.ndarray, new: np.ndarray, follows: np.ndarray, moved: np.ndarray
) -> np.ndarray:
    """Keeps strangers where most of what is new around them follows the background as they do.

    Args:
        strange: bool [h, w], strangers, a part of `new`.
        new: bool [h, w], what is watched and not traced.
        follows: bool [h, w], what follows the background.
        moved: bool [h, w], what has moved enough to say so.

    Returns:
        bool [h, w], a part of `strange`.
    """
    if not strange.any():
        return strange
    count, labels = cv2.connectedComponents(new.astype(np.uint8), connectivity=8)
    counted = np.bincount(labels[moved], minlength=count)
    following = np.bincount(labels[moved & follows], minlength=count)
    return strange & (following > FOLLOWERS * counted)[labels]


def _has_left(against: np.ndarray, root: float) -> bool:
    """Says whether the object itself, float32 [n, 6], has left its background.

    Where it stays, as a product on its table, the whole scene moves as one, and what lies far from
    the middle of the object differs from it only as the camera turns.
    """
    return float(np.median(np.linalg.norm(against[:, 4:], axis=-1))) > LEFT * root


def _whole(strange: np.ndarray, predicted: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Extends strangers to all of a part that lies apart and has hardly anything else.

    What is traced is not the object's for that: traces leak where two things touch.

    Args:
        strange: bool [h, w], strangers.
        predicted: bool [h, w], what is taken for the object.
        own: bool [h, w], what is traced or has come along, and has not left the object.

    Returns:
        bool [h, w].
    """
    if not strange.any():
        return strange
    count, labels = cv2.connectedComponents(predicted.astype(np.uint8), connectivity=8)
    sizes = np.bincount(labels.ravel(), minlength=count)
    foreign = np.bincount(labels[own], minlength=count) < LEAST_OWN * sizes
    foreign &= np.bincount(labels[strange], minlength=count) > MOST * sizes
    foreign[0] = False
    return strange | foreign[labels]


def _large_parts(mask: np.ndarray, least: float) -> np.ndarray:
    opened = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    _, labels, stats, _ = cv2.connectedComponentsWithStats(opened, connectivity=8)
    large = stats[:, cv2.CC_STAT_AREA] >= max(1.0, least)
    large[0] = False
    return large[labels]
