"""Smooth random motion over time: of an object, of a handheld camera, of the light.

Everything is drawn once and then evaluated at any time, in any order. Time counts in frames; at
time 0 every path is at its origin.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Periods in frames: the sway of a walking person or a moving object, and its quicker part. Moments
# 10 to 20 frames apart then lie on different parts of the wave.
_SWAY = (28.0, 80.0)
_QUICK = (11.0, 24.0)
# Physiological tremor of a hand with a camera lies at some hertz: 4 to 9 frames at 30 a second.
_TREMOR = (4.0, 9.0)

# Root mean square of the camera's motion a frame: part of the width, radians, logarithm of zoom.
_CAMERA_SPEED = np.array([0.009, 0.006, 0.005, 0.005])
_CAMERA_TREMOR = np.array([0.0025, 0.0025, 0.0008, 0.0005])
_VIGOR = (0.3, 1.4)  # factors of the speed, from careful to walking
_SHAKY = (0.2, 1.0)  # factors of the tremor
_CALM = 0.2  # of the clips: a camera on a stand
_ON_STAND = 0.03  # factor of speed and tremor there
_FOLLOWING = 0.65  # of the clips: the camera follows the target, and the background sweeps by
_READOUT = (0.2, 0.8)  # of a frame's time, from the first row of a sensor to its last

# Logarithms: gain, color temperature (red against blue), gamma; at time 0 and a frame.
_LIGHT_START = np.array([0.10, 0.04, 0.08])
_LIGHT_SPEED = np.array([0.010, 0.004, 0.007])
_LIGHT_STEADY = 0.25  # of the clips: exposure and white balance locked
_LIGHT_MOST = np.array([0.6, 0.25, 0.4])  # beyond this a picture turns unreadable


@dataclass(frozen=True)
class Path:
    """A smooth random path: waves and a steady drift, 0 at time 0.

    Attributes:
        amplitudes: float64 [waves, axes], in the unit of the axis.
        periods: float64 [waves, axes], frames.
        phases: float64 [waves, axes], radians.
        drift: float64 [axes], a frame.
    """

    amplitudes: np.ndarray
    periods: np.ndarray
    phases: np.ndarray
    drift: np.ndarray

    def at(self, time: float) -> np.ndarray:
        """Returns the place on the path, float64 [axes].

        Args:
            time: Frames.
        """
        turned = np.sin(2 * np.pi * time / self.periods + self.phases)
        return (self.amplitudes * (turned - np.sin(self.phases))).sum(axis=0) + self.drift * time

    def velocity(self, time: float) -> np.ndarray:
        """Returns the motion a frame, float64 [axes].

        Args:
            time: Frames.
        """
        rate = 2 * np.pi / self.periods
        turned = np.cos(rate * time + self.phases)
        return (self.amplitudes * rate * turned).sum(axis=0) + self.drift


def draw_path(
    speed: np.ndarray,
    rng: np.random.Generator,
    *,
    tremor: np.ndarray | None = None,
    drift: np.ndarray | None = None,
) -> Path:
    """Draws a smooth path.

    Args:
        speed: float64 [axes], root mean square of the motion a frame without drift and tremor.
        rng: Source of randomness.
        tremor: float64 [axes], the same of a hand's tremor; None for none.
        drift: float64 [axes], steady motion a frame; None for none.

    Returns:
        The path.
    """
    axes = len(speed)
    ranges = (_SWAY, _QUICK) if tremor is None else (_SWAY, _QUICK, _TREMOR)
    periods = np.stack([rng.uniform(*span, axes) for span in ranges])
    speeds = np.stack([np.sqrt(0.75) * speed, 0.5 * speed, speed if tremor is None else tremor])
    amplitudes = speeds[: len(ranges)] * np.sqrt(2.0) * periods / (2 * np.pi)
    phases = rng.uniform(0, 2 * np.pi, periods.shape)
    return Path(amplitudes, periods, phases, np.zeros(axes) if drift is None else drift)


@dataclass(frozen=True)
class Shot:
    """The camera at one time.

    Attributes:
        linear: float64 [2, 2], turn, zoom and the shear of the rolling shutter.
        offset: float64 [2], displacement of the picture, x and y, pixels.
        velocity: float64 [2], its motion a frame, pixels.
        middle: float64 [2], middle of the canvas, x and y, pixels.
    """

    linear: np.ndarray
    offset: np.ndarray
    velocity: np.ndarray
    middle: np.ndarray

    def matrix(self, nearness: float = 1.0) -> np.ndarray:
        """Builds the transform from the canvas at time 0 to the canvas now.

        Args:
            nearness: Multiplies the displacement: what is near moves more (parallax).

        Returns:
            float64 [3, 3], affine.
        """
        shift = self.middle + nearness * self.offset - self.linear @ self.middle
        matrix = np.eye(3)
        matrix[:2, :2], matrix[:2, 2] = self.linear, shift
        return matrix


@dataclass(frozen=True)
class Camera:
    """A handheld camera with a rolling shutter.

    Attributes:
        path: Of the picture: x and y in pixels, angle in radians, logarithm of the zoom.
        size: Height and width of the canvas, pixels.
        readout: Time from the first row of a picture to its last, frames.
        followed: Path of the object that the camera follows, x and y first; None for none.
        follow: How far it follows, 0 to 1.
    """

    path: Path
    size: tuple[int, int]
    readout: float
    followed: Path | None
    follow: float

    def shot(self, time: float) -> Shot:
        """Evaluates the camera.

        Args:
            time: Frames.
        """
        height, width = self.size
        across, down, angle, zoom = self.path.at(time)
        offset, velocity = np.array([across, down]), self.path.velocity(time)[:2]
        if self.followed is not None:
            offset = offset - self.follow * self.followed.at(time)[:2]
            velocity = velocity - self.follow * self.followed.velocity(time)[:2]
        cos, sin = np.exp(zoom) * np.cos(angle), np.exp(zoom) * np.sin(angle)
        # Lower rows are read later, so they show the picture displaced further.
        lag = self.readout / height
        rolling = np.array([[1.0, lag * velocity[0]], [0.0, 1.0 + lag * velocity[1]]])
        linear = rolling @ np.array([[cos, -sin], [sin, cos]])
        return Shot(linear, offset, velocity, np.array([width / 2, height / 2]))


def draw_camera(size: tuple[int, int], followed: Path | None, rng: np.random.Generator) -> Camera:
    """Draws how a camera moves.

    Args:
        size: Height and width of the canvas, pixels.
        followed: Path of the target, x and y in pixels first; None when it does not move itself.
        rng: Source of randomness.

    Returns:
        The camera.
    """
    unit = np.array([size[1], size[1], 1.0, 1.0])
    calm = rng.random() < _CALM
    vigor = _ON_STAND if calm else float(np.exp(rng.uniform(*np.log(_VIGOR))))
    tremor = rng.uniform(*_SHAKY) * (_ON_STAND if calm else 1.0)
    path = draw_path(vigor * _CAMERA_SPEED * unit, rng, tremor=tremor * _CAMERA_TREMOR * unit)
    following = rng.random() < _FOLLOWING
    follow = rng.uniform(0.3, 1.0)
    readout = rng.uniform(*_READOUT)
    return Camera(path, size, readout, followed if following else None, float(follow))


@dataclass(frozen=True)
class Light:
    """Exposure, white balance and tone curve of the whole picture over time.

    Attributes:
        start: float64 [3], logarithm of gain, color temperature and logarithm of gamma at time 0.
        path: The same three, relative to the start.
    """

    start: np.ndarray
    path: Path

    def table(self, time: float) -> np.ndarray:
        """Builds the table that maps a picture to the light at a time.

        Args:
            time: Frames.

        Returns:
            uint8 [1, 256, 3], for `cv2.LUT`.
        """
        gain, temperature, gamma = np.clip(
            self.start + self.path.at(time), -_LIGHT_MOST, _LIGHT_MOST
        )
        gains = np.exp(gain + temperature * np.array([1.0, 0.0, -1.0]))
        levels = (np.arange(256) / 255.0) ** np.exp(gamma)
        return np.clip(np.rint(255.0 * levels[:, None] * gains), 0, 255).astype(np.uint8)[None]


def draw_light(rng: np.random.Generator) -> Light:
    """Draws how the light of a clip changes.

    Args:
        rng: Source of randomness.

    Returns:
        The light.
    """
    start = rng.normal(0, 1, 3) * _LIGHT_START
    vigor = 0.0 if rng.random() < _LIGHT_STEADY else rng.uniform(0.3, 2.0)
    return Light(start, draw_path(vigor * _LIGHT_SPEED, rng))


def view_position(start: float, rate: float, count: int, time: float) -> int:
    """Finds the view of a turntable spin at a time.

    The spin is not taken as closed: at its ends the turn goes back.

    Args:
        start: View at time 0.
        rate: Views a frame, of either sign.
        count: Number of views.
        time: Frames.

    Returns:
        Number of the view.
    """
    last = count - 1
    if last < 1:
        return 0
    place = (start + rate * time) % (2 * last)
    return int(round(min(place, 2 * last - place)))
