"""Path of a handheld camera given by keyframes: uneven turns, zoom, and aim beside the subject."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from product_renderer.raster import View, look_at
from product_renderer.textures import Generator

_AIM_STEPS = 6  # Fixed-point iterations; each leaves about a fifth of the error.
_LOWEST = 0.04  # Meters of the camera above the support.


@dataclass(frozen=True)
class KeyframePath:
    """Position, orientation and zoom of a camera at keyframes, linear between them.

    Attributes:
        center: float64 [3], the point it turns about, meters.
        distance: Mean distance from the center in meters.
        times: float64 [T], ascending, seconds.
        azimuth: float64 [T], radians.
        elevation: float64 [T], above the horizon, radians.
        approach: float64 [T], distance relative to the mean.
        focal: float64 [T], focal length in units of the longer image side.
        aim: float64 [T, 2], aim right and down of the center in units of the longer image side.
        roll: float64 [T], turn about the line of sight in radians.
    """

    center: np.ndarray
    distance: float
    times: np.ndarray
    azimuth: np.ndarray
    elevation: np.ndarray
    approach: np.ndarray
    focal: np.ndarray
    aim: np.ndarray
    roll: np.ndarray

    @classmethod
    def draw(
        cls,
        rng: Generator,
        center: np.ndarray,
        times: np.ndarray,
        elevation: tuple[float, float],
    ) -> KeyframePath:
        """Draws an uneven handheld orbit with zoom and a wandering aim.

        Args:
            rng: Generator to draw from.
            center: float64 [3], the point to turn about, meters.
            times: float64 [T], ascending, seconds.
            elevation: Range of the mean elevation, degrees.

        Returns:
            The path, at a mean distance of 1 m.
        """
        count = len(times)
        steps = np.radians(_uneven_steps(rng, count - 1)) * rng.choice([-1, 1])
        azimuth = rng.uniform(0, 2 * np.pi) + np.concatenate([[0.0], np.cumsum(steps)])
        angle = np.radians(rng.uniform(*elevation) + _wander(rng, count, 6.0))
        zoom = np.zeros(count)
        if count > 3 and rng.random() < 0.6:
            # The user pinches: a change of zoom within a frame or two that stays for a while.
            change, speed = int(rng.integers(2, count - 1)), rng.uniform(1.0, 2.5)
            zoom = np.log(rng.choice([0.7, 1.5])) * np.clip(
                (np.arange(count) - change + 1) / speed, 0, 1
            )
        return cls(
            center=center,
            distance=1.0,
            times=np.asarray(times, np.float64),
            azimuth=azimuth,
            elevation=np.maximum(angle, np.radians(6)),
            approach=np.exp(_wander(rng, count, 0.16)),
            focal=rng.uniform(0.75, 1.1) * np.exp(zoom),
            aim=np.stack([_wander(rng, count, 0.06), _wander(rng, count, 0.03)], axis=1),
            roll=np.radians(_wander(rng, count, 3.0)),
        )

    def view(self, time: float, size: tuple[int, int]) -> View:
        """Returns the camera at a time.

        Args:
            time: Seconds; the first and the last keyframe hold before and after.
            size: (H, W) in pixels.

        Returns:
            The view.
        """
        azimuth, elevation, approach, focal, right, down, roll = (
            float(np.interp(time, self.times, values))
            for values in (
                self.azimuth,
                self.elevation,
                self.approach,
                self.focal,
                self.aim[:, 0],
                self.aim[:, 1],
                self.roll,
            )
        )
        flat = np.cos(elevation)
        outward = np.array([flat * np.cos(azimuth), flat * np.sin(azimuth), np.sin(elevation)])
        away = self.distance * approach
        position = self.center + away * outward
        position[2] = max(position[2], _LOWEST)
        straight = look_at(position, self.center, 0.0, focal * max(size), size)
        offset = right * straight.rotation[0] + down * straight.rotation[1]
        target = self.center + offset * away / focal
        return look_at(position, target, roll, focal * max(size), size)

    def shifted(self, index: int, move, points: np.ndarray, size: tuple[int, int]) -> KeyframePath:
        """Turns the camera at a keyframe so that points get to another place in the image.

        Args:
            index: Keyframe.
            move: Function of the box of the points (left, top, right, bottom; pixels) that returns
                how far it is yet to move, x and y in pixels.
            points: float64 [N, 3], meters.
            size: (H, W) in pixels.

        Returns:
            The path with another aim at that keyframe.
        """
        path = self
        for _ in range(_AIM_STEPS):
            x, y, _ = path.view(float(path.times[index]), size).project(points).T
            wanted = np.asarray(move((x.min(), y.min(), x.max(), y.max())), np.float64)
            if np.abs(wanted).max() < 1.0:
                break
            aim = path.aim.copy()
            aim[index] = np.clip(aim[index] - wanted / max(size), -1.2, 1.2)
            path = replace(path, aim=aim)
        return path

    def smoothed(self, index: int) -> KeyframePath:
        """Returns the path with the aim at a keyframe halfway between those around it."""
        aim = self.aim.copy()
        aim[index] = (aim[index - 1] + aim[index + 1]) / 2
        return replace(self, aim=aim)


def _uneven_steps(rng: Generator, count: int) -> np.ndarray:
    """Draws the turns between keyframes: 10 to 30 degrees each and at most 180 in total."""
    if not count:
        return np.zeros(0)
    spare = max(180.0 - 10.0 * count, 0.0) * rng.uniform(0.2, 1.0)
    weights = rng.dirichlet(np.full(count, 0.7))
    steps = np.minimum(10.0 + spare * weights, 30.0)
    # What the largest turns could not take is given to the others.
    rest = 10.0 * count + spare - steps.sum()
    return np.minimum(steps + rest * weights, 30.0)


def _wander(rng: Generator, count: int, strength: float) -> np.ndarray:
    """Draws a random walk with steps of about a strength that is pulled back to 0, float64 [T]."""
    values, value = np.zeros(count), rng.normal(0, strength)
    for index in range(count):
        values[index] = value
        value = 0.8 * value + 0.6 * rng.normal(0, strength)
    return values
