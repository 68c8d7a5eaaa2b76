"""Smooth random motion over time: of objects, their shape, a handheld camera and the light.

Everything is sampled once and can then be evaluated at any time, in any order. Time is in frames;
at time 0 every trajectory is at its origin.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Periods in frames: the sway of a walking person or a moving object, and its faster component.
# Frames at a distance of 10 to 20 then see different phases of the wave.
_SWAY = (28.0, 80.0)
_FAST_SWAY = (11.0, 24.0)
# The physiological tremor of a hand has some hertz: 4 to 9 frames at 30 frames per second.
_TREMOR = (4.0, 9.0)

# Root mean square of the camera motion per frame: fraction of the width, radians, log zoom.
_CAMERA_SPEED = np.array([0.009, 0.006, 0.005, 0.005])
_CAMERA_TREMOR = np.array([0.0025, 0.0025, 0.0008, 0.0005])
_CAMERA_SPEED_FACTOR = (0.3, 1.4)  # from careful to walking
_CAMERA_TREMOR_FACTOR = (0.2, 1.0)
_TRIPOD = 0.2  # probability of a camera on a tripod
_TRIPOD_FACTOR = 0.03  # of speed and tremor there
_FOLLOWING = 0.65  # probability that the camera follows the target
_READOUT = (0.2, 0.8)  # rolling shutter: first to last row of the sensor, frames

# Logarithms of gain, color temperature (red against blue) and gamma: at time 0, and per frame.
_LIGHT_START = np.array([0.10, 0.04, 0.08])
_LIGHT_SPEED = np.array([0.010, 0.004, 0.007])
_LIGHT_LOCKED = 0.25  # probability that exposure and white balance are locked
_LIGHT_MAX = np.array([0.6, 0.25, 0.4])  # an image stays readable up to this

_WAVES = 2
_CYCLES = (0.4, 1.1)  # across an object: its limbs, not its texture, are displaced
_SLOPE = 0.75  # maximum slope of the displacement; at 1 the shape would fold over itself
_STRENGTH = (0.25, 1.0)  # fraction of that slope
_GROWTH = (5.0, 20.0)  # frames to three quarters of the strength
_PHASE_SPEED = 0.12  # standard deviation, radians per frame


@dataclass(frozen=True)
class Trajectory:
    """A smooth random trajectory: a sum of waves and a constant drift, 0 at time 0.

    Attributes:
        amplitudes: float64 [waves, axes], in the unit of the axis.
        periods: float64 [waves, axes], frames.
        phases: float64 [waves, axes], radians.
        drift: float64 [axes], per frame.
    """

    amplitudes: np.ndarray
    periods: np.ndarray
    phases: np.ndarray
    drift: np.ndarray

    def at(self, time: float) -> np.ndarray:
        """Returns the displacement at a time in frames, float64 [axes]."""
        waves = np.sin(2 * np.pi * time / self.periods + self.phases)
        return (self.amplitudes * (waves - np.sin(self.phases))).sum(axis=0) + self.drift * time

    def velocity(self, time: float) -> np.ndarray:
        """Returns the displacement per frame at a time in frames, float64 [axes]."""
        frequency = 2 * np.pi / self.periods
        waves = np.cos(frequency * time + self.phases)
        return (self.amplitudes * frequency * waves).sum(axis=0) + self.drift


def sample_trajectory(
    speed: np.ndarray,
    rng: np.random.Generator,
    *,
    tremor: np.ndarray | None = None,
    drift: np.ndarray | None = None,
) -> Trajectory:
    """Samples a smooth trajectory.

    Args:
        speed: float64 [axes], root mean square per frame without drift and tremor.
        rng: Random generator.
        tremor: float64 [axes], root mean square per frame of the tremor of a hand; None for none.
        drift: float64 [axes], constant motion per frame; None for none.
    """
    axes = len(speed)
    ranges = (_SWAY, _FAST_SWAY) if tremor is None else (_SWAY, _FAST_SWAY, _TREMOR)
    periods = np.stack([rng.uniform(*span, axes) for span in ranges])
    speeds = np.stack([np.sqrt(0.75) * speed, 0.5 * speed, speed if tremor is None else tremor])
    amplitudes = speeds[: len(ranges)] * np.sqrt(2.0) * periods / (2 * np.pi)
    phases = rng.uniform(0, 2 * np.pi, periods.shape)
    return Trajectory(amplitudes, periods, phases, np.zeros(axes) if drift is None else drift)


@dataclass(frozen=True)
class CameraPose:
    """The camera at one time.

    Attributes:
        linear: float64 [2, 2], rotation, zoom and the shear of the rolling shutter.
        offset: float64 [2], displacement of the image, x and y, pixels.
        velocity: float64 [2], displacement per frame, pixels.
        center: float64 [2], center of the canvas, x and y, pixels.
    """

    linear: np.ndarray
    offset: np.ndarray
    velocity: np.ndarray
    center: np.ndarray

    def matrix(self, parallax: float = 1.0) -> np.ndarray:
        """Returns the affine transform from the canvas at time 0 to now, float64 [3, 3].

        Args:
            parallax: Factor of the displacement, above 1 in front of the background.
        """
        shift = self.center + parallax * self.offset - self.linear @ self.center
        matrix = np.eye(3)
        matrix[:2, :2], matrix[:2, 2] = self.linear, shift
        return matrix


@dataclass(frozen=True)
class Camera:
    """A handheld camera with a rolling shutter.

    Attributes:
        trajectory: Of the image: x and y in pixels, angle in radians, log zoom.
        size: Height and width of the canvas, pixels.
        readout: Time from the first row of an image to its last, frames.
        followed: Trajectory of the followed object, x and y first; None for none.
        follow: Fraction of that trajectory that is compensated, 0 to 1.
    """

    trajectory: Trajectory
    size: tuple[int, int]
    readout: float
    followed: Trajectory | None
    follow: float

    def at(self, time: float) -> CameraPose:
        """Returns the camera at a time in frames."""
        height, width = self.size
        x, y, angle, zoom = self.trajectory.at(time)
        offset, velocity = np.array([x, y]), self.trajectory.velocity(time)[:2]
        if self.followed is not None:
            offset = offset - self.follow * self.followed.at(time)[:2]
            velocity = velocity - self.follow * self.followed.velocity(time)[:2]
        cos, sin = np.exp(zoom) * np.cos(angle), np.exp(zoom) * np.sin(angle)
        # Lower rows are read later, so they show the image displaced further.
        lag = self.readout / height
        rolling = np.array([[1.0, lag * velocity[0]], [0.0, 1.0 + lag * velocity[1]]])
        linear = rolling @ np.array([[cos, -sin], [sin, cos]])
        return CameraPose(linear, offset, velocity, np.array([width / 2, height / 2]))


def sample_camera(
    size: tuple[int, int], followed: Trajectory | None, rng: np.random.Generator
) -> Camera:
    """Samples the motion of a camera.

    Args:
        size: Height and width of the canvas, pixels.
        followed: Trajectory of the target, x and y in pixels first; None for a static target.
        rng: Random generator.
    """
    unit = np.array([size[1], size[1], 1.0, 1.0])
    tripod = rng.random() < _TRIPOD
    factor = _TRIPOD_FACTOR if tripod else float(np.exp(rng.uniform(*np.log(_CAMERA_SPEED_FACTOR))))
    tremor = rng.uniform(*_CAMERA_TREMOR_FACTOR) * (_TRIPOD_FACTOR if tripod else 1.0)
    trajectory = sample_trajectory(
        factor * _CAMERA_SPEED * unit, rng, tremor=tremor * _CAMERA_TREMOR * unit
    )
    following = rng.random() < _FOLLOWING
    follow = rng.uniform(0.3, 1.0)
    readout = rng.uniform(*_READOUT)
    return Camera(trajectory, size, readout, followed if following else None, float(follow))


@dataclass(frozen=True)
class Light:
    """Exposure, white balance and tone curve of the whole image over time.

    Attributes:
        start: float64 [3], log gain, color temperature and log gamma at time 0.
        trajectory: The same three, relative to the start.
    """

    start: np.ndarray
    trajectory: Trajectory

    def lookup_table(self, time: float) -> np.ndarray:
        """Returns the lookup table of a time in frames, uint8 [1, 256, 3] for `cv2.LUT`."""
        gain, temperature, gamma = np.clip(
            self.start + self.trajectory.at(time), -_LIGHT_MAX, _LIGHT_MAX
        )
        gains = np.exp(gain + temperature * np.array([1.0, 0.0, -1.0]))
        levels = (np.arange(256) / 255.0) ** np.exp(gamma)
        return np.clip(np.rint(255.0 * levels[:, None] * gains), 0, 255).astype(np.uint8)[None]


def sample_light(rng: np.random.Generator) -> Light:
    """Samples the change of light of a clip."""
    start = rng.normal(0, 1, 3) * _LIGHT_START
    factor = 0.0 if rng.random() < _LIGHT_LOCKED else rng.uniform(0.3, 2.0)
    return Light(start, sample_trajectory(factor * _LIGHT_SPEED, rng))


@dataclass(frozen=True)
class Deformation:
    """Non-rigid deformation: low-frequency waves of growing strength, relative to the sides.

    Attributes:
        shifts: float64 [waves, 2], maximum displacement of each wave, relative to the sides.
        cycles: float64 [waves, 2], cycles across the width and down the height.
        phases: float64 [waves], radians at time 0.
        phase_speeds: float64 [waves], radians per frame.
        growth: Time constant of the strength, frames.
    """

    shifts: np.ndarray
    cycles: np.ndarray
    phases: np.ndarray
    phase_speeds: np.ndarray
    growth: float

    @property
    def max_displacement(self) -> float:
        """Upper bound of the displacement, relative to the sides."""
        return float(np.abs(self.shifts).sum())

    def displacement(self, positions: np.ndarray, time: float) -> np.ndarray:
        """Returns the displacement at positions of a sprite.

        Args:
            positions: float64 [..., 2], x and y relative to the sides.
            time: Frames.

        Returns:
            float64 [..., 2], relative to the sides.
        """
        strength = np.tanh(abs(time) / self.growth)
        angles = 2 * np.pi * positions @ self.cycles.T + self.phases + self.phase_speeds * time
        return strength * np.sin(angles) @ self.shifts


def sample_deformation(rng: np.random.Generator) -> Deformation:
    """Samples a deformation that never folds the shape over itself."""
    angles = rng.uniform(0, 2 * np.pi, (2, _WAVES))
    lengths = rng.uniform(*_CYCLES, _WAVES)
    cycles = lengths[:, None] * np.column_stack([np.cos(angles[0]), np.sin(angles[0])])
    size = _SLOPE * rng.uniform(*_STRENGTH) / (2 * np.pi * _WAVES * lengths)
    shifts = size[:, None] * np.column_stack([np.cos(angles[1]), np.sin(angles[1])])
    phases = rng.uniform(0, 2 * np.pi, _WAVES)
    speeds = rng.normal(0, _PHASE_SPEED, _WAVES)
    return Deformation(shifts, cycles, phases, speeds, float(rng.uniform(*_GROWTH)))


def turntable_index(start: float, rate: float, count: int, time: float) -> int:
    """Returns the image of a turntable spin at a time; at its ends the spin reverses.

    Args:
        start: Image at time 0.
        rate: Images per frame, of either sign.
        count: Number of images.
        time: Frames.
    """
    last = count - 1
    if last < 1:
        return 0
    position = (start + rate * time) % (2 * last)
    return int(round(min(position, 2 * last - position)))
